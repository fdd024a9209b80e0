"""iptables rules of the caller's namespace, through the programs that own their format.

Both kinds are looked at, where their programs are installed: those kept in nftables (`iptables-nft-save`) and the
legacy ones. Reading creates nothing in the kernel.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel import netns
from netplane.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket
from netplane.net import netlink as nl
from netplane.nft import wire

SAVERS = ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save")
_FAMILIES = {2: "ip", 10: "ip6"}
_TABLES = frozenset({"nat", "filter", "mangle", "raw"})


class IptablesError(NetplaneError):
    """iptables refused, or could not be read."""


class Saved(NamedTuple):
    """What one saver printed; `restorer` takes its changes."""

    restorer: str
    text: str


def installed() -> list[str]:
    """The savers of this machine: one per kind and family, or else those that do not say which kind they are."""
    found = [saver for saver in SAVERS if shutil.which(saver)]
    return found or [saver for saver in ("iptables-save", "ip6tables-save") if shutil.which(saver)]


def saved(netns_fd: int | None = None) -> Iterator[Saved]:
    """Everything that iptables holds, one value per kind and family; kinds without any table cost no process."""
    with netns.entered(netns_fd):
        names = _nft_tables() | _legacy_tables()
    for saver in installed():
        family = "ip6" if saver.startswith("ip6") else "ip"
        legacy = saver.replace("ip6tables", "iptables") == "iptables-legacy-save"
        if (family, legacy) in names or (saver in ("iptables-save", "ip6tables-save") and names):
            yield Saved(saver.replace("-save", "-restore"), _run(saver, netns_fd=netns_fd))


def _nft_tables() -> set[tuple[str, bool]]:
    """(family, False) where nftables has a table that iptables-nft could have made."""
    with NetlinkSocket(NETLINK_NETFILTER) as sock:
        replies = sock.dump(wire.GETTABLE, wire.nfgenmsg(0), "list tables")
        found = [(m.payload[0], nl.string(nl.attr_map(m.payload, 4)[1])) for m in replies]
    return {(_FAMILIES[number], False) for number, name in found if number in _FAMILIES and name in _TABLES}


def _legacy_tables() -> set[tuple[str, bool]]:
    """(family, True) where the legacy kind has a table."""
    found = set()
    for family in _FAMILIES.values():
        with contextlib.suppress(OSError):
            if Path(f"/proc/thread-self/net/{family}_tables_names").read_text().strip():
                found.add((family, True))
    return found


def restore(change: Saved, netns_fd: int | None = None) -> None:
    """Apply changes (`iptables-restore` text) to what is there, atomically per table.

    Raises:
        IptablesError: with the program's own words.
    """
    _run(change.restorer, "--noflush", "--wait", stdin=change.text, netns_fd=netns_fd)


def _run(program: str, *arguments: str, stdin: str = "", netns_fd: int | None = None) -> str:
    with netns.entered(netns_fd):
        done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise IptablesError(f"{program}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
