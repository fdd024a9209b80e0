"""`netplane apiserver backup` and `restore`: all objects of a store into one file, and back, into either kind."""

import asyncio
import datetime
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import click
import orjson

from netplane.apiserver.process.files import checked_target
from netplane.apiserver.process.settings import EtcdServers
from netplane.apiserver.process.storage import STATE_FILE, chosen, flags, need_etcd_client
from netplane.errors import UsageError
from netplane.store.protocol import Compacted, StoreError

KEPT = ("/registry/", "/allocated/")  # the rest says who serves the store now
ATTEMPTS = 3
_DATA_DIR = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The apiserver's.  [required with SQLite]"
)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to report.")
_HELP = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.command(short_help="Write all objects to FILE, while it serves.", context_settings=_HELP)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_DATA_DIR
@flags
@_OUTPUT
def backup(file: Path, data_dir: Path | None, output: str, **store: Any) -> None:
    """Write all objects, as they are at one revision, to FILE; the apiserver may run meanwhile.

    FILE appears whole or not at all. Keys and certificates (the pki folder) are not in it: keep a copy of those too.

    \b
    netplane apiserver backup monday.gz --data-dir /var/lib/netplane
    netplane apiserver backup monday.gz --storage etcd --etcd-servers http://127.0.0.1:2379
    """
    etcd = chosen(**store)
    checked_target("FILE", file)
    quiet = output == "json"
    if etcd is not None:
        need_etcd_client()
        made = asyncio.run(_from_etcd(file, etcd, quiet=quiet))
        source = f"etcd {','.join(etcd.servers)}{etcd.prefix}"
    else:
        path = _state(data_dir)
        made = _from_sqlite(file, path, quiet=quiet)
        source = str(path)
    size = file.stat().st_size
    report = {"file": str(file), "bytes": size, **made._asdict()}
    _tell(report, f"{made.objects:,} keys of {source} at revision {made.revision} → {file} ({_human(size)})", output)


@click.command(context_settings=_HELP)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_DATA_DIR
@flags
@click.option("--force", is_flag=True, help="Replace the objects that are there.")
@_OUTPUT
def restore(file: Path, data_dir: Path | None, *, force: bool, output: str, **store: Any) -> None:
    """Make the store hold what FILE holds, and nothing else. It is a backup of either kind of store.

    FILE is checked as a whole first. The store changes in one step: killed at any point, it is the old one or the new
    one. Revisions go on above all that clients have seen, so they list again. An apiserver on SQLite must be stopped;
    apiservers on etcd go over by themselves.

    \b
    netplane apiserver restore monday.gz --data-dir /var/lib/netplane
    netplane apiserver restore monday.gz --storage etcd --etcd-servers http://127.0.0.1:2379 --force
    """
    from netplane.store import archive  # noqa: PLC0415 - `--help` needs none of it

    etcd = chosen(**store)
    state = _state(data_dir) if etcd is None else Path()
    found = archive.verify(file)
    with _progress("restoring", found.objects, archive.entries(file), quiet=output == "json") as entries:
        if etcd is None:
            rev = _into_sqlite(state, entries, found.revision, force=force)
        else:
            need_etcd_client()
            rev = asyncio.run(_into_etcd(etcd, entries, found.revision, force=force))
    where = str(state) if etcd is None else f"etcd {','.join(etcd.servers)}{etcd.prefix}"
    report = {"file": str(file), "objects": found.objects, "backupRevision": found.revision, "revision": rev}
    _tell(report, f"{file} ({found.objects:,} keys of {found.created}) → {where}, from revision {rev} on", output)


def _state(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise UsageError(
            "which store? --data-dir is missing", hint="give --data-dir, or --storage etcd --etcd-servers …"
        )
    return data_dir / STATE_FILE


def _from_sqlite(file: Path, path: Path, *, quiet: bool) -> Any:
    from netplane.apiserver.process.files import writing  # noqa: PLC0415
    from netplane.store import archive, sqlite_copy  # noqa: PLC0415

    with sqlite_copy.snapshot(path) as snapshot, writing(file) as out:
        writer = archive.Writer(out, snapshot.rev, "sqlite", _now())
        with _progress("backing up", snapshot.size, snapshot.entries(), quiet=quiet) as entries:
            for entry in entries:
                if entry.key.startswith(KEPT):
                    writer.add(entry)
        return writer.finish()


async def _from_etcd(file: Path, etcd: EtcdServers, *, quiet: bool) -> Any:
    """History may be compacted away while it is read: then once more, from a newer revision."""
    for attempt in range(ATTEMPTS):
        try:
            return await _from_etcd_once(file, etcd, quiet=quiet)
        except Compacted:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _from_etcd_once(file: Path, etcd: EtcdServers, *, quiet: bool) -> Any:
    from netplane.apiserver.process.files import writing  # noqa: PLC0415
    from netplane.store import archive  # noqa: PLC0415
    from netplane.store.etcd import copy  # noqa: PLC0415

    link = _link(etcd)
    try:
        snapshot = await copy.snapshot(link, etcd.prefix)
        if snapshot is None:
            raise StoreError(f"there is no store in etcd under {etcd.prefix}", hint="is --etcd-prefix right?")
        with writing(file) as out, _progress("backing up", snapshot.size, (), quiet=quiet) as bar:
            writer = archive.Writer(out, snapshot.rev, "etcd", _now())
            async for entry in snapshot.entries():
                if entry.key.startswith(KEPT):
                    writer.add(entry)
                bar.update(1)
            return writer.finish()
    finally:
        await link.close()


def _into_sqlite(state: Path, entries: Iterable[Any], backup_rev: int, *, force: bool) -> int:
    from netplane.apiserver.process.lock import held  # noqa: PLC0415
    from netplane.store import sqlite_copy  # noqa: PLC0415

    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(state.parent / "lock"):
        return sqlite_copy.replace(state, entries, backup_rev, force=force)


async def _into_etcd(etcd: EtcdServers, entries: Iterable[Any], backup_rev: int, *, force: bool) -> int:
    from netplane.store.etcd import copy  # noqa: PLC0415

    link = _link(etcd)
    try:
        return await copy.replace(link, etcd.prefix, entries, backup_rev, force=force)
    finally:
        await link.close()


def _link(etcd: EtcdServers) -> Any:
    from netplane.store.etcd.link import Link, Tls  # noqa: PLC0415

    return Link(etcd.servers, Tls(etcd.ca, etcd.cert, etcd.key))


@contextmanager
def _progress(label: str, length: int, entries: Iterable[Any], *, quiet: bool) -> Iterator[Any]:
    """A bar on stderr where a person looks at it. It gives the entries, or is advanced by hand."""
    hidden = quiet or not sys.stderr.isatty()
    bar = cast("Any", click.progressbar)(entries or None, length=length, label=label, file=sys.stderr, hidden=hidden)
    with bar:
        yield bar


def _tell(report: dict[str, Any], text: str, output: str) -> None:
    click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() if output == "json" else text)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _human(size: int) -> str:
    return f"{size:,} bytes" if size < 1 << 20 else f"{size / (1 << 20):,.1f} MiB"
