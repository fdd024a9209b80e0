"""One process for each data folder: a lock that the kernel drops when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netplane.errors import UsageError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file while the body runs. Raises UsageError when another process has it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"--data-dir {path.parent}: {error.strerror}", hint="choose a folder you can write") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"--data-dir {path.parent} is in use by another apiserver",
                hint="stop it, or give this one a folder of its own",
            ) from error
        yield
    finally:
        os.close(fd)
