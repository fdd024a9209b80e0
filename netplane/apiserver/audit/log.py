"""The audit log's file: events in, JSON lines out, by a thread of its own, rotated by size and tidied by age.

The event loop never waits for the disk: it puts an event into a bounded buffer and goes on. When the disk cannot keep
up and the buffer is full, events are dropped and counted.
"""

import datetime
import logging
import logging.handlers
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from netplane.errors import UsageError
from netplane.obs import logs

log = logs.get("apiserver.audit")

BUFFERED = 10_000
BUFFERED_BYTES = 64 * 1024 * 1024
MIB = 1024 * 1024
DAY_S = 86_400


class Rotation(NamedTuple):
    """When a file is full (MiB), how many full ones are kept (0: all), and for how many days (0: for ever)."""

    max_mib: int = 100
    backups: int = 0
    days: int = 0


class RotatingFile(logging.handlers.RotatingFileHandler):
    """audit.log, and full ones beside it as audit-2026-01-31T12-00-00.000000.log."""

    def __init__(self, path: Path, rotation: Rotation) -> None:
        super().__init__(path, maxBytes=rotation.max_mib * MIB, encoding="utf-8")
        self._path = Path(self.baseFilename)
        self._rotation = rotation

    def doRollover(self) -> None:  # noqa: N802 - logging's name for it
        """Put the full file aside, remove old ones, begin a new one."""
        self.close()
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        self._path.rename(self._path.with_name(f"{self._path.stem}-{now}{self._path.suffix}"))
        self._tidy()
        self.stream = self._open()

    def _tidy(self) -> None:
        old = sorted(self._path.parent.glob(f"{self._path.stem}-????-??-??T*{self._path.suffix}"))
        keep = old[-self._rotation.backups :] if self._rotation.backups else old
        oldest_s = time.time() - self._rotation.days * DAY_S if self._rotation.days else 0
        for one in old:
            if one not in keep or one.stat().st_mtime < oldest_s:
                one.unlink(missing_ok=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name for it
        """A full disk must be heard of, not raised in a thread."""
        log.error("an audit event could not be written", file=str(self._path), problem=str(sys.exc_info()[1]))


class Writer:
    """Takes events from any thread and writes each as a line. `encode` runs on the writer's thread."""

    def __init__(self, handler: logging.Handler, encode: Callable[[Any], str]) -> None:
        self.dropped = 0
        self.written = 0
        self._handler = handler
        self._encode = encode
        self._queue: SimpleQueue[tuple[Any, int] | None] = SimpleQueue()
        self._bytes_in = self._bytes_out = 0  # each is written by one thread only
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, event: Any, weight: int = 0) -> None:
        """Log an event that keeps `weight` bytes alive, when there is room for it."""
        if self._queue.qsize() >= BUFFERED or self._bytes_in - self._bytes_out > BUFFERED_BYTES:
            if not self.dropped:
                log.error("the audit log cannot keep up: events are dropped", buffered=BUFFERED)
            self.dropped += 1
            return
        self._bytes_in += weight
        self._queue.put((event, weight))

    def close(self) -> None:
        """Write what is buffered and end."""
        self._queue.put(None)
        self._thread.join()
        self._handler.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            event, weight = item
            try:
                line = self._encode(event)
                self._handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))
            except Exception:
                log.exception("an audit event could not be written")
            self._bytes_out += weight
            self.written += 1


def handler(path: str, rotation: Rotation) -> logging.Handler:
    """What writes to `path`; `-` is stdout. Raises UsageError when the file cannot be opened."""
    if path == "-":
        return logging.StreamHandler(sys.stdout)
    try:
        found = RotatingFile(Path(path), rotation)
        Path(path).chmod(0o600)
    except OSError as error:
        raise UsageError(f"--audit-log-path {path}: {error.strerror}", hint="name a file you may write to") from error
    return found
