"""A program that writes and tells each acknowledged write, killed in the middle of it."""

import os
import signal
import subprocess
import sys


def acknowledged(program: str, lines: int, *arguments: str) -> list[tuple[int, int, int]]:
    """Run `program`, kill it after so many lines: (caller, n, revision) of each, those of its last moment too.

    Each line must go out with one write(2), so that a reader sees whole lines only.
    """
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = b"".join(process.stdout.readline() for _ in range(lines))
        os.kill(process.pid, signal.SIGKILL)
        text += process.stdout.read()
    rows = [tuple(map(int, line.split())) for line in text.splitlines()]
    assert len(rows) >= lines
    return [(caller, n, rev) for caller, n, rev in rows]
