"""A SQLite store as a whole: read at one revision while an apiserver writes it, or replaced by another in one step.

Reading opens the file beside the apiserver (readers and the writer of a WAL do not wait for each other) in one read
transaction. Replacing needs the store for itself: the new file is written beside it and renamed over it, so a process
killed at any point leaves the old store or the new one.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from netplane.store import log
from netplane.store.archive import Entry
from netplane.store.protocol import FIRST_REV, RESTORE_GAP, StoreError

_INSERT = "INSERT INTO log (place, key, deleted, create_rev, prev, value) VALUES (?, ?, 0, ?, 0, ?)"


class Snapshot:
    """The keys at one revision. `size` is how many there are."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self._path = db, path
        self._last: dict[str, int] = {}
        newest = 0
        for place, key, deleted in db.execute("SELECT place, key, deleted FROM log ORDER BY place"):
            newest = place
            if deleted:
                self._last.pop(key, None)
            else:
                self._last[key] = place
        (kept,) = db.execute("SELECT value FROM meta WHERE name = 'current_rev'").fetchone()
        self.rev = max(log.rev_of(newest), int(kept))
        self.size = len(self._last)

    def entries(self) -> Iterator[Entry]:
        """All of them, in order of their keys."""
        with log.translated(self._path, "read"):
            for key in sorted(self._last):
                (value,) = self._db.execute("SELECT value FROM log WHERE place = ?", (self._last[key],)).fetchone()
                yield Entry(key, value)


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """The store as it is now, for as long as the context lasts. Raises StoreError: missing, damaged, not ours."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}", hint="give the apiserver's --data-dir")
    with log.translated(path, "read"), closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        log.check_ours(db, path)
        found = Snapshot(db, path)
        yield found


def replace(path: Path, entries: Iterable[Entry], backup_rev: int, *, force: bool) -> int:
    """Put these entries in place of what is there; the revision they have. Raises StoreError: in use, not empty."""
    lock = log.take_lock(path)
    try:
        rev = max(_settled(path, force=force), backup_rev) + RESTORE_GAP
        fresh = path.with_name(f".{path.name}.restoring")
        with log.translated(fresh, "write"):
            last = _written(fresh, entries, rev)
        fresh.replace(path)
        _sync(path.parent)
        return last
    finally:
        os.close(lock)


def _settled(path: Path, *, force: bool) -> int:
    """The revision of what is there, its write-ahead log folded in and gone: it would be taken for the new file's."""
    if not path.exists():
        return FIRST_REV
    with log.translated(path, "read"), closing(sqlite3.connect(path, isolation_level=None)) as db:
        log.check_ours(db, path)
        found = Snapshot(db, path)
        if found.size and not force:
            raise StoreError(f"{path} holds {found.size} objects", hint="--force replaces all of them")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if Path(f"{path}-wal").exists():
        raise StoreError(f"{path} is being read", hint="try again when the other backup has ended")
    return found.rev


def _written(fresh: Path, entries: Iterable[Entry], rev: int) -> int:
    """Write a whole store whose keys have revisions from `rev` on; the last one."""
    fresh.unlink(missing_ok=True)
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")  # nobody sees this file before it is whole
        db.execute("PRAGMA synchronous = OFF")
        log.create(db)
        db.execute("BEGIN")
        sub = 0
        for entry in entries:
            if sub == log.MAX_OPS:
                rev, sub = rev + 1, 0
            db.execute(_INSERT, (log.place(rev, sub), entry.key, rev, entry.value))
            sub += 1
        db.execute("UPDATE meta SET value = ?", (rev,))
        db.execute("COMMIT")
    _sync(fresh)
    return rev


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
