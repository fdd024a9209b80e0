"""Keys that are typed while something is shown: one byte at a time, without echo, the terminal as it was at the end."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator


class Keys:
    """What is typed at the terminal; nothing ever, where stdin is none."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def typed(self, wanted: bytes, within_s: float) -> bool:
        """Wait so long, or until one of the wanted keys is typed; whether it was."""
        end = time.monotonic() + within_s
        while (left_s := end - time.monotonic()) > 0:
            if self._fd is None:
                time.sleep(left_s)
            elif select.select([self._fd], [], [], left_s)[0] and os.read(self._fd, 1) in wanted:
                return True  # also for b"", which is in everything: the terminal is gone
        return False


@contextlib.contextmanager
def reading() -> Iterator[Keys]:
    """Keys as they are typed, not as lines. Ctrl-C is still KeyboardInterrupt."""
    if not sys.stdin.isatty():
        yield Keys(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
