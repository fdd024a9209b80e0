"""Whose turn it is: calls for one container go one after the other, whether a thread or the event loop has them."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

Wake = Callable[[], None]


class Turns:
    """One queue per container that has a call under way; those without have none. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Wake]] = {}

    @contextlib.contextmanager
    def now(self, container: str) -> Iterator[bool]:
        """Whether it is this container's turn at once; it is over with the body."""
        mine = self._take(container, None)
        try:
            yield mine
        finally:
            if mine:
                self._give_back(container)

    @contextlib.asynccontextmanager
    async def later(self, container: str) -> AsyncIterator[None]:
        """Wait for the turn in the event loop."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(_set, ready)

        if not self._take(container, wake):
            try:
                await ready
            except asyncio.CancelledError:
                if not self._withdraw(container, wake):
                    self._give_back(container)
                raise
        try:
            yield
        finally:
            self._give_back(container)

    def _take(self, container: str, wake: Wake | None) -> bool:
        with self._lock:
            if container not in self._queues:
                self._queues[container] = deque()
                return True
            if wake is not None:
                self._queues[container].append(wake)
            return False

    def _withdraw(self, container: str, wake: Wake) -> bool:
        """Leave the queue; False when the turn was given meanwhile."""
        with self._lock, contextlib.suppress(ValueError, KeyError):
            self._queues[container].remove(wake)
            return True
        return False

    def _give_back(self, container: str) -> None:
        with self._lock:
            queue = self._queues[container]
            if not queue:
                del self._queues[container]
                return
            wake = queue.popleft()
        wake()


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
