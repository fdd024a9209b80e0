"""Which store: its flags, and the opening of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from netplane.apiserver.process.settings import EtcdServers
from netplane.errors import UsageError
from netplane.store.protocol import Store

STATE_FILE = "state.db"
DEFAULT_PREFIX = "/netplane"
_FILE = click.Path(path_type=Path, dir_okay=False)
_Command = TypeVar("_Command", bound=Callable[..., Any])

_FLAGS = [
    click.option(
        "--storage",
        type=click.Choice(["sqlite", "etcd"]),
        default="sqlite",
        help="Where objects are kept: one file in --data-dir, or etcd (then several apiservers may share it).",
    ),
    click.option(
        "--etcd-servers", default="", show_default=False, metavar="URL[,URL]", help="Members of the etcd cluster."
    ),
    click.option("--etcd-prefix", default=DEFAULT_PREFIX, help="Keys in etcd lie under this."),
    click.option("--etcd-cafile", type=_FILE, help="PEM CAs that sign etcd's certificates.  [default: the system's]"),
    click.option("--etcd-certfile", type=_FILE, help="PEM certificate to show to etcd."),
    click.option("--etcd-keyfile", type=_FILE, help="PEM key of --etcd-certfile."),
]


def flags(command: _Command) -> _Command:
    """Add the flags that choose the store; they come as `storage`, `etcd_servers`, …"""
    for option in reversed(_FLAGS):
        command = option(command)
    return command


def chosen(
    storage: str,
    etcd_servers: str,
    etcd_prefix: str,
    etcd_cafile: Path | None,
    etcd_certfile: Path | None,
    etcd_keyfile: Path | None,
) -> EtcdServers | None:
    """Checked flags; None means SQLite. Raises UsageError naming the flag."""
    servers = tuple(server.strip() for server in etcd_servers.split(",") if server.strip())
    if storage == "sqlite":
        if servers:
            raise UsageError("--etcd-servers is given, but not --storage etcd", hint="give both, or neither")
        return None
    if not servers:
        raise UsageError("--storage etcd needs --etcd-servers", hint="give URLs like http://127.0.0.1:2379")
    for server in servers:
        _check_url(server)
    if not etcd_prefix.startswith("/") or etcd_prefix.endswith("/"):
        raise UsageError(f"--etcd-prefix: {etcd_prefix!r}", hint="give one like /netplane: a slash first, none last")
    if (etcd_certfile is None) != (etcd_keyfile is None):
        missing = "--etcd-keyfile" if etcd_keyfile is None else "--etcd-certfile"
        raise UsageError(f"{missing} is missing", hint="give both files, or neither")
    return EtcdServers(servers, etcd_prefix, etcd_cafile, etcd_certfile, etcd_keyfile)


def _check_url(server: str) -> None:
    scheme, found, rest = server.partition("://")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not found or scheme not in ("http", "https") or not (host and colon and port.isdecimal()):
        raise UsageError(f"--etcd-servers: {server!r} is not a URL", hint="give one like https://10.0.0.1:2379")


async def open_store(data_dir: Path, etcd: EtcdServers | None, *, fsync: bool) -> Store:
    """The store that the flags name, opened. Raises StoreError, UsageError."""
    if etcd is None:
        from netplane.store.sqlite import SqliteStore  # noqa: PLC0415 - only what is chosen is loaded

        return await SqliteStore.open(data_dir / STATE_FILE, fsync=fsync)
    need_etcd_client()
    from netplane.store.etcd.link import Tls  # noqa: PLC0415
    from netplane.store.etcd.store import EtcdStore  # noqa: PLC0415

    return await EtcdStore.open(etcd.servers, prefix=etcd.prefix, tls=Tls(etcd.ca, etcd.cert, etcd.key))


def need_etcd_client() -> None:
    """Raises UsageError when the libraries for etcd are not installed."""
    try:
        import grpc  # noqa: F401, PLC0415 - to see whether it is there
        from google.protobuf import message  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"--storage etcd needs a library that is missing: {error.name}", hint="pip install 'netplane[etcd]'"
        ) from error
