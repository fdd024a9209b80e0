"""Threads that take turns at a listening socket: whoever is free accepts the next client and does all of its call.

A call is thus done by one thread from the first byte to the last, and nobody else has to be woken for it.
"""

import socket
import threading
import time
from collections.abc import Callable

_PAUSE_S = 0.05


class Crew:
    """Grows by one whenever its last free thread has taken a client.

    Args:
        listener: a blocking, listening socket; shut down by `stop`.
        serve: does one client's call; never raises.
        most: threads at most; what comes meanwhile waits in the socket's backlog.
    """

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None], most: int) -> None:
        self._listener = listener
        self._serve = serve
        self._most = most
        self._lock = threading.Lock()
        self._free = 0
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def start(self) -> None:
        """Accept from now on."""
        with self._lock:
            self._recruit()

    def stop(self, grace_s: float) -> bool:
        """Accept no more, and wait for calls under way; whether all of them ended."""
        self._stopped = True
        self._listener.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _recruit(self) -> None:
        self._free += 1
        # Daemons: a call that never ends does not keep the process from ending.
        thread = threading.Thread(target=self._work, name=f"cni-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads are allowed: those there are go on
            self._free -= 1
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while not self._stopped:
            try:
                client, _ = self._listener.accept()
            except OSError:  # shut down; or no descriptors are left, and some may be soon
                time.sleep(_PAUSE_S)
                continue
            with self._lock:
                self._free -= 1
                if not self._free and len(self._threads) < self._most:
                    self._recruit()
            self._serve(client)
            with self._lock:
                self._free += 1
