"""Hands events to watchers: each has a bounded buffer, and one that falls behind is closed.

Everything here happens in the event loop's thread, without awaiting, so a publication is seen by all watchers or
by none, and a watcher that registers between two publications misses nothing.

All have their events at once, but they are woken a few in each turn of the event loop: the first are on their way while
the others wait, requests are answered between, and who gets another event meanwhile sends both as one.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from netplane.store.protocol import Compacted, Event, Taker, WatchOverflow
from netplane.store.state import Recent, of_prefix

BUFFER_EVENTS = 32_768
"""Events are shared, so this bounds pointers; it must hold one large transaction group (a collection's deletion)."""

BUFFER_BYTES = 64 << 20
"""Values that nobody but a slow watcher holds any more; what comes into an empty buffer is taken whatever its size."""

WOKEN_IN_TURN = 50
"""Some 20 us each to encrypt and send: a turn of the event loop lasts about a millisecond."""

Older = Callable[[], Awaitable[list[Event]]]
"""Gives the next batch of events that lie in the past, none at their end. May be cancelled and called again."""

Backlog = Callable[["Watcher"], Older | None]


class Watcher:
    """One watch. `backlog` is called on entry: it fills in what lies in the past.

    It may `offer` events at once, return a function that reads older batches before the live ones, or raise.
    """

    def __init__(self, hub: "Hub", prefix: str, from_rev: int, backlog: Backlog) -> None:
        self.prefix = prefix
        self.from_rev = from_rev
        self._hub = hub
        self._backlog = backlog
        self._older: Older | None = None
        self._events: list[Event] = []
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._delivered = max(from_rev - 1, 0)
        self._overflowed = False
        self._open = False
        self._due = False  # the hub is about to wake it
        self.taker: Taker | None = None

    async def __aenter__(self) -> Self:
        if self.from_rev <= 0:
            self.from_rev = self._hub.rev + 1
            self._delivered = self._hub.rev
        self._older = self._backlog(self)
        self._open = True
        self._hub.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        if self._older is not None:
            events = await self._older()
            if events:
                self._delivered = events[-1].rev
                return events
            self._older = None
        while not self._events:
            if self._overflowed:
                raise WatchOverflow(self._delivered)
            if not self._open:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        events, self._events, self._bytes = self._events, [], 0
        self._delivered = events[-1].rev
        return events

    @property
    def progress(self) -> int:
        """Everything up to this revision was handed out."""
        caught_up = self._open and self._older is None and not self._events
        return max(self._delivered, self._hub.rev) if caught_up else self._delivered

    def offer(self, events: Sequence[Event], size: int = 0) -> None:
        """Buffer events (of this prefix, in order; values of `size` bytes); close the watch when they do not fit."""
        if events[0].rev < self.from_rev:
            events = [event for event in events if event.rev >= self.from_rev]
        self._bytes += size
        too_large = self._bytes > self._hub.buffer_bytes and self._events
        if too_large or len(self._events) + len(events) > self._hub.buffer_events:
            self._events = []
            self._overflowed = True
            self.end()
            return
        self._events.extend(events)
        if self._waiter is not None and not self._due:
            self._due = True
            self._hub.wake(self)

    def end(self) -> None:
        """No more events; what is buffered can still be read."""
        self._open = False
        self._hub.remove(self)
        self.taker = None
        self.wake()

    def wake(self) -> None:
        """Its turn: events go to the taker if it takes them, else to the reader, who waits."""
        self._due = False
        if self._waiter is None or self._waiter.done():
            return  # it reads on by itself
        if self.taker is not None and self._events and self._taken(self.taker):
            self._delivered = self._events[-1].rev
            self._events, self._bytes = [], 0
        else:
            self._waiter.set_result(None)

    def _taken(self, taker: Taker) -> bool:
        try:
            return taker(self._events)
        except Exception:
            return False  # the reader will meet the same, and can say so


def backlog(watcher: Watcher, recent: Recent, compact_rev: int, older: Callable[[], Older]) -> Older | None:
    """Offer what is remembered from the watcher's revision on, or give what reads it. Raises Compacted."""
    if watcher.from_rev <= compact_rev:
        raise Compacted(compact_rev)
    events = recent.since(watcher.from_rev)
    if events is None:
        return older()
    matching = of_prefix(events, watcher.prefix)
    if matching:
        watcher.offer(matching)
    return None


class Hub:
    """All watchers of one store. `rev` is the last published revision."""

    def __init__(self, rev: int, buffer_events: int = BUFFER_EVENTS, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.rev = rev
        self.buffer_events = buffer_events
        self.buffer_bytes = buffer_bytes
        self._by_prefix: defaultdict[str, dict[Watcher, None]] = defaultdict(dict)
        self._due: deque[Watcher] = deque()
        self._turning = False

    def add(self, watcher: Watcher) -> None:
        """Register for publications from now on."""
        self._by_prefix[watcher.prefix][watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher; a second time does nothing."""
        watchers = self._by_prefix.get(watcher.prefix)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._by_prefix[watcher.prefix]

    def publish(self, events: Sequence[Event], rev: int) -> None:
        """Give committed events, in order, to whoever watches them. `rev` is the revision reached."""
        self.rev = rev
        for prefix, watchers in list(self._by_prefix.items()):
            matching = of_prefix(events, prefix)
            if matching:
                size = sum(len(event.kv.value) for event in matching)
                for watcher in list(watchers):
                    watcher.offer(matching, size)

    def wake(self, watcher: Watcher) -> None:
        """Wake a watcher that has events, in the loop's next turn or a later one."""
        self._due.append(watcher)
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        for _ in range(min(WOKEN_IN_TURN, len(self._due))):
            self._due.popleft().wake()
        self._turning = bool(self._due)
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)

    def close(self) -> None:
        """End all watches."""
        for watchers in list(self._by_prefix.values()):
            for watcher in list(watchers):
                watcher.end()
