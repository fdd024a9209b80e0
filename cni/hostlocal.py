"""What the reference host-local plugin reserved before a network was moved to this one.

    DATA_DIR/NETWORK/10.88.0.5      a file per address: container ID, then interface, one per line

Pods that were connected before keep running, so their addresses are not given again; their DEL comes to us.
"""

from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from netplane.rtnl import IP


def reserved(data_dir: str, network: str) -> frozenset[IP]:
    """Addresses that are taken; empty where there is no such folder."""
    return frozenset(_files(data_dir, network))


def release(data_dir: str, network: str, container: str, ifname: str) -> list[IP]:
    """Remove an attachment's reservations; returns the addresses."""
    found = []
    for address, file in _files(data_dir, network).items():
        owner, *rest = _words(file)
        # host-local wrote the interface only from 0.7 on.
        if owner == container and rest in ([], [ifname]):
            file.unlink(missing_ok=True)
            found.append(address)
    return found


def collect(data_dir: str, network: str, alive: Collection[tuple[str, str]]) -> None:
    """GC: remove the reservations of attachments that are not alive; those without an interface, of such containers."""
    containers = {container for container, _ in alive}
    for file in _files(data_dir, network).values():
        owner, *rest = _words(file)
        if (owner, rest[0]) not in alive if rest else owner not in containers:
            file.unlink(missing_ok=True)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").split() or [""]
    except FileNotFoundError:
        return [""]


def _files(data_dir: str, network: str) -> dict[IP, Path]:
    if not data_dir:
        return {}
    found = {}
    try:
        for file in (Path(data_dir) / network).iterdir():
            with suppress(ValueError):  # `lock` and `last_reserved_ip.0` lie there too
                found[ip_address(file.name)] = file
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found
