"""The SQLite file: an append-only log of changes, and the care that keeps it whole.

A row is one change. Its place is `revision << 20 | index in the transaction`, which is the table's integer key, so a
commit only ever appends to the end of one B-tree. `prev` is the place of the change before it of the same key: with it
the state at an older revision, the events of a watch and what compaction may drop are all found by place, and no index
over the keys has to be kept up to date (it would halve the writes per second). The current state lives in memory.

    place        key            deleted  create_rev  prev         value
    7<<20 | 0    /services/a    0        7           0            {…}
    7<<20 | 1    /ips/10.0.0.1  0        7           0            {…}
    9<<20 | 0    /services/a    1        7           7<<20 | 0    (empty)

Everything here blocks, and is called by one thread at a time per connection. WAL with synchronous=FULL: a commit that
returned is on disk, and a process killed at any point leaves whole transactions only. From time to time what the
write-ahead log (WAL) holds is folded into the file, as long as many commits: `append_and_fold` does it when it is due.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from netplane.store.protocol import KV, Event, StoreError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x4E455450  # "NETP"
_SUB_BITS = 20
MAX_OPS = 1 << _SUB_BITS
_FOLD_PAGES = 3_800
_PAGES_PER_ROW = 3  # at most, beside its value: the last leaf, a new one, the inner page above
_PAGES_PER_COMMIT = 2
_PAGE_BYTES = 4096
_USUAL_OF = 8  # commits, about: how many the usual time remembers
_ROWS_PER_STATEMENT = 64  # each length is a prepared statement of its own, kept

_CREATE = """
CREATE TABLE log (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, deleted INTEGER NOT NULL,
    create_rev INTEGER NOT NULL, prev INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('current_rev', 1), ('compact_rev', 0);
"""
_INSERT = "INSERT INTO log (place, key, deleted, create_rev, prev, value) VALUES "
_INSERTS = [_INSERT + ",".join(["(?,?,?,?,?,?)"] * rows) for rows in range(_ROWS_PER_STATEMENT + 1)]
_IN_WINDOW = "place >= ? AND place < ?"
_DROP_REPLACED = f"DELETE FROM log WHERE place IN (SELECT prev FROM log WHERE {_IN_WINDOW} AND prev > 0)"  # noqa: S608 - no input
_DROP_DELETED = f"DELETE FROM log WHERE {_IN_WINDOW} AND deleted"  # noqa: S608 - no input


class Row(NamedTuple):
    """One change as it is stored."""

    place: int
    key: str
    deleted: int
    create_rev: int
    prev: int
    value: bytes


def place(rev: int, sub: int = 0) -> int:
    """Where change number `sub` of revision `rev` lies."""
    return rev << _SUB_BITS | sub


def rev_of(at: int) -> int:
    """The revision of a place."""
    return at >> _SUB_BITS


class Log:
    """The opened file. Only one process may have it open; a second gets an error that says so. Without `fsync` it
    survives the process, and not the machine.

    Attributes:
        usual_s: how long commits took lately; unknown at first, which counts as long.
        fold_is_due: whether the next commit should fold the WAL, or SQLite will do so by itself soon.
    """

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self.path = path
        self.usual_s = 1.0
        self._pages = _FOLD_PAGES  # in the WAL, at most: nobody knows what it holds at the start
        self._lock_fd = take_lock(path)
        try:
            with self._translated("open"):
                self._db = _connect(path, any_thread=True)
                if not fsync:
                    self._db.execute("PRAGMA synchronous = OFF")
                self._prepare()
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _prepare(self) -> None:
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            create(self._db)
        else:
            check_ours(self._db, self.path)

    def load(self) -> tuple[Iterator[Row], int, int]:
        """(every row in order, current revision, compacted revision)."""
        with self._translated("read"):
            meta = dict(self._db.execute("SELECT name, value FROM meta"))
            (last,) = self._db.execute("SELECT coalesce(max(place), 0) FROM log").fetchone()
        return self._rows(), max(rev_of(last), meta["current_rev"]), meta["compact_rev"]

    def _rows(self) -> Iterator[Row]:
        with self._translated("read"):
            for row in self._db.execute("SELECT place, key, deleted, create_rev, prev, value FROM log ORDER BY place"):
                yield Row(*row)

    @property
    def fold_is_due(self) -> bool:
        """See above."""
        return self._pages >= _FOLD_PAGES

    def append_and_fold(self, rows: Sequence[Row]) -> None:
        """Append, then fold the WAL if that is due; if that fails, the rows are on disk and it is tried again."""
        self.append(rows)
        if self.fold_is_due:
            with contextlib.suppress(sqlite3.Error):
                _, pages, folded = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._pages = 0 if pages == folded else _FOLD_PAGES

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows, all or none, and return when they are on disk."""
        begin = time.perf_counter()
        self._write(rows)
        self.usual_s += (time.perf_counter() - begin - self.usual_s) / _USUAL_OF
        values = sum(len(row.value) for row in rows)
        self._pages += _PAGES_PER_COMMIT + _PAGES_PER_ROW * len(rows) + values // _PAGE_BYTES

    def _write(self, rows: Sequence[Row]) -> None:
        with self._translated("write"):
            if len(rows) <= _ROWS_PER_STATEMENT:  # one statement is a transaction by itself
                self._insert(rows)
                return
            with self._transaction():
                for at in range(0, len(rows), _ROWS_PER_STATEMENT):
                    self._insert(rows[at : at + _ROWS_PER_STATEMENT])

    def _insert(self, rows: Sequence[Row]) -> None:
        self._db.execute(_INSERTS[len(rows)], [field for row in rows for field in row])

    def compact(self, after: int, upto: int, current: int) -> None:
        """Drop what the changes at after < rev <= upto replaced, and the deletions among them; one transaction."""
        window = (place(after + 1), place(upto + 1))
        with self._translated("compact"), self._transaction():
            self._db.execute(_DROP_REPLACED, window)
            self._db.execute(_DROP_DELETED, window)
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'compact_rev'", (upto,))
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'current_rev'", (current,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(self.path, doing):
            yield

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._db.close()
        os.close(self._lock_fd)


class Reader:
    """A second connection, for history, so that long reads never hold up a commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated(path, "open"):
            self._db = _connect(path)
            self._db.execute("PRAGMA query_only = ON")

    def events(self, start: int, end: int, limit: int) -> list[Event]:
        """Events at places start <= place < end, at least `limit` of them if there are, whole revisions only."""
        query = """
            SELECT n.place, n.key, n.deleted, n.create_rev, n.value, p.place, p.create_rev, p.value
            FROM log n LEFT JOIN log p ON p.place = n.prev
            WHERE n.place >= ? AND n.place < ? ORDER BY n.place LIMIT ?"""
        with translated(self._path, "read"):
            rows = self._db.execute(query, (start, end, limit)).fetchall()
            if len(rows) == limit:
                last = rows[-1][0]
                rows += self._db.execute(query, (last + 1, min(end, place(rev_of(last) + 1)), -1)).fetchall()
        return [_event(row) for row in rows]

    def before(self, start: int, end: int, prefix: str) -> dict[str, KV | None]:
        """What the keys that changed at start <= place < end were before their first change there."""
        query = """
            SELECT n.key, p.value, p.place, p.create_rev FROM log n LEFT JOIN log p ON p.place = n.prev
            WHERE n.place >= ? AND n.place < ? AND n.prev < ? ORDER BY n.place"""
        was: dict[str, KV | None] = {}
        with translated(self._path, "read"):
            for key, value, at, create_rev in self._db.execute(query, (start, end, start)):
                if key not in was and key.startswith(prefix):
                    was[key] = None if at is None else KV(key, value, rev_of(at), create_rev)
        return was

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def _event(row: tuple[int, str, int, int, bytes, int | None, int, bytes]) -> Event:
    at, key, deleted, create_rev, value, prev_at, prev_create, prev_value = row
    rev = rev_of(at)
    prev = None if prev_at is None else KV(key, prev_value, rev_of(prev_at), prev_create)
    return Event(rev, KV(key, prev_value if deleted else value, rev, create_rev), prev, bool(deleted))


def create(db: sqlite3.Connection) -> None:
    """Make an empty store in an empty file.

    One transaction: a process killed here leaves an empty file or a whole one.
    """
    ids = f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION};"
    db.executescript(f"BEGIN IMMEDIATE; {_CREATE} {ids} COMMIT;")


def check_ours(db: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError: another program's file, or another version's."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != _APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program", hint="give another data folder")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}; this program knows {SCHEMA_VERSION}",
            hint="use the version of Netplane that wrote it, or a newer one",
        )


def _connect(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    cached = 2 * _ROWS_PER_STATEMENT
    db = sqlite3.connect(path, isolation_level=None, cached_statements=cached, check_same_thread=not any_thread)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: 16 MB
    return db


def take_lock(path: Path) -> int:
    """Lock `<path>-lock`, beside the file: closing a descriptor of the file itself would drop SQLite's own locks."""
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist", hint=f"mkdir -p {path.parent}")
    try:
        fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}", hint="check who may write in that folder") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise StoreError(
            f"{path} is in use by another process",
            hint="stop the other apiserver, or give this one another data folder",
        ) from error
    return fd


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """SQLite's errors as errors that say which file, and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"cannot {doing} {path}: {error}", hint=_hint(str(error))) from error


def _hint(error: str) -> str:
    if "full" in error:
        return "free some space on that disk; nothing of this write was kept"
    if "malformed" in error or "not a database" in error:
        return "restore it from a backup, or move it away to begin with an empty store"
    return "check the disk and who may write in that folder"
