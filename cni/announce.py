"""Sends new pods' announcements a moment after ADD has answered: a bridge's port forwards only once the kernel's link
watch has seen its carrier, so one that is sent at once is lost, and no ADD need wait for it.
"""

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from netplane.kernel import netns

DELAY_S = 0.05


class _Job(NamedTuple):
    due_s: float
    space: int
    ifname: str
    frames: Sequence[bytes]


class Announcer:
    """One thread that sends what is due; made when the first pod comes. Methods may be called from any thread.

    Args:
        threaded: False leaves the sending to `close`, for a process that ends after one call.
    """

    def __init__(self, *, threaded: bool = True) -> None:
        self._threaded = threaded
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def announce(self, space: int, ifname: str, frames: Sequence[bytes]) -> None:
        """Send frames out of an interface of the namespace `space` (a descriptor; it may be closed afterwards)."""
        with self._lock:
            if self._thread is None and self._threaded:
                self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
                self._thread.start()
        self._jobs.put(_Job(time.monotonic() + DELAY_S, os.dup(space), ifname, frames))

    def close(self) -> None:
        """Send what waits."""
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()
        else:
            self._run()

    @property
    def waits(self) -> bool:
        """Whether something is still to be sent."""
        return not self._jobs.empty()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            time.sleep(max(0.0, job.due_s - time.monotonic()))
            try:
                # A pod that is gone already needs no announcement.
                with contextlib.suppress(OSError):
                    _send(job)
            finally:
                os.close(job.space)


def _send(job: _Job) -> None:
    with netns.socket_in(job.space, socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
        for frame in job.frames:
            sock.sendto(frame, (job.ifname, 0))
