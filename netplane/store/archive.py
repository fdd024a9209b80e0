"""The file a backup is: all keys of a store at one revision, as lines of JSON in gzip. `zcat FILE | head` reads it.

    {"format": "netplane-backup", "version": 1, "revision": 4711, "source": "sqlite", "created": "2026-01-31T12:00:00Z"}
    {"key": "/registry/configmaps/default/a", "value": {…}}       the object, if its JSON is as we write it
    {"key": "/allocated/nodeports/30080", "base64": "ZGVmYXVsdC9h"}          any other value
    {"objects": 2, "sha256": "…"}                                  over all the bytes before this line

Keys come in order. A file that ends early, or in which anything was changed, is refused before any of it is used.
"""

import base64
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from netplane.store.protocol import StoreError

FORMAT, VERSION = "netplane-backup", 1
LEVEL = 3  # of gzip: objects shrink to a tenth; more effort gains little and costs most of the time


class Entry(NamedTuple):
    """One key and its value."""

    key: str
    value: bytes


class Summary(NamedTuple):
    """What a whole backup holds. `created` is RFC 3339."""

    revision: int
    source: str
    created: str
    objects: int
    sha256: str


class Writer:
    """Writes an archive into an open binary file: entries in order of their keys, then `finish`."""

    def __init__(self, file: IO[bytes], revision: int, source: str, created: str) -> None:
        self._zip = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0, filename="")
        self._sum = hashlib.sha256()
        self._head = {"revision": revision, "source": source, "created": created}
        self._objects = 0
        self._line({"format": FORMAT, "version": VERSION, **self._head})

    def _line(self, document: dict[str, Any]) -> None:
        line = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
        self._sum.update(line)
        self._zip.write(line)

    def add(self, entry: Entry) -> None:
        """One more key."""
        self._objects += 1
        self._line({"key": entry.key, **_encoded(entry.value)})

    def finish(self) -> Summary:
        """Write the checksum and end the archive; the file stays open."""
        digest = self._sum.hexdigest()
        self._line({"objects": self._objects, "sha256": digest})
        self._zip.close()
        return Summary(objects=self._objects, sha256=digest, **self._head)  # type: ignore[arg-type]  # as put in above


def _encoded(value: bytes) -> dict[str, Any]:
    """JSON if reading it back gives these very bytes, else base64."""
    try:
        document = orjson.loads(value)
        if orjson.dumps(document) == value:
            return {"value": document}
    except ValueError:
        pass
    return {"base64": base64.b64encode(value).decode()}


def verify(path: Path) -> Summary:
    """Read the whole file. Raises StoreError naming it: unreadable, no backup, damaged, of a newer version."""
    checksum = hashlib.sha256()
    head: dict[str, Any] = {}
    last = b""
    lines = 0
    for line in _lines(path):
        if last:
            checksum.update(last)
        if lines == 0:
            head = _first(path, line)
        last, lines = line, lines + 1
    end = _parsed(path, last)
    objects, digest = end.get("objects"), end.get("sha256")
    if objects != lines - 2 or digest != checksum.hexdigest():
        raise _damaged(path, "its checksum does not match")
    return Summary(head["revision"], head["source"], head["created"], lines - 2, checksum.hexdigest())


def entries(path: Path) -> Iterator[Entry]:
    """The keys and values of a file that was verified."""
    for i, line in enumerate(_lines(path)):
        found = _parsed(path, line)
        if i and "key" in found:
            encoded = "base64" in found
            yield Entry(found["key"], base64.b64decode(found["base64"]) if encoded else orjson.dumps(found["value"]))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror}", hint="name a file made by `apiserver backup`"
        ) from error
    except Exception as error:  # zlib.error, of a module that need not be here otherwise
        if type(error).__name__ != "error":
            raise
        raise _damaged(path, str(error)) from error


def _first(path: Path, line: bytes) -> dict[str, Any]:
    head = _parsed(path, line)
    if head.get("format") != FORMAT:
        raise _damaged(path, "it does not begin as one")
    if head.get("version") != VERSION:
        raise StoreError(
            f"{path} has format version {head.get('version')}; this program knows {VERSION}",
            hint="use the version of Netplane that wrote it, or a newer one",
        )
    return head


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except ValueError as error:
        raise _damaged(path, "a line is no JSON") from error
    if not isinstance(found, dict):
        raise _damaged(path, "a line is no object")
    return found


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} is no whole backup: {why}", hint="use another one; nothing was changed")
