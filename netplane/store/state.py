"""What a store keeps in memory: the current value of every key, in order, and the last events."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from sortedcontainers import SortedList

from netplane.store.protocol import KV, Event, RangeResult, prefix_end


class State:
    """The current keys. Reading one costs a dict look-up; reading a range costs what it returns."""

    def __init__(self, now: dict[str, KV]) -> None:
        self._now = now
        self._keys = SortedList(now)

    def get(self, key: str) -> KV | None:
        """The key as it is."""
        return self._now.get(key)

    def apply(self, events: Sequence[Event]) -> None:
        """Take committed events over, in order."""
        for event in events:
            key = event.kv.key
            if event.deleted:
                del self._now[key]
                self._keys.remove(key)
            else:
                if event.prev is None:
                    self._keys.add(key)
                self._now[key] = event.kv

    def range(self, prefix: str, start: str, limit: int, rev: int) -> RangeResult:
        """See Store.range; `rev` is the current revision."""
        first, end = max(prefix, start), prefix_end(prefix)
        count = (self._keys.bisect_left(end) if end else len(self._keys)) - self._keys.bisect_left(first)
        if count <= 0:
            return RangeResult([], rev, False, 0)
        keys = self._keys.irange(first, end or None, inclusive=(True, False))
        kvs = [self._now[key] for key in (islice(keys, limit) if limit else keys)]
        return RangeResult(kvs, rev, len(kvs) < count, count)


class Recent:
    """The last events, bounded in number and bytes, so that a watch a little behind need not read the disk."""

    def __init__(self, floor: int, *, events: int = 10_000, size_bytes: int = 32 << 20) -> None:
        self._floor = floor
        self._events: deque[Event] = deque()
        self._most, self._most_bytes, self._bytes = events, size_bytes, 0

    def add(self, events: Sequence[Event]) -> None:
        """Remember events; forget the oldest when there are too many."""
        self._events.extend(events)
        self._bytes += sum(len(event.kv.value) for event in events)
        while len(self._events) > self._most or self._bytes > self._most_bytes:
            oldest = self._events.popleft()
            self._floor = oldest.rev
            self._bytes -= len(oldest.kv.value)

    def since(self, rev: int) -> list[Event] | None:
        """All events at revisions >= `rev` in order; None when some of them are forgotten."""
        if rev <= self._floor:
            return None
        found: list[Event] = []
        for event in reversed(self._events):
            if event.rev < rev:
                break
            found.append(event)
        found.reverse()
        return found


def of_prefix(events: Sequence[Event], prefix: str) -> list[Event]:
    """Those of keys that begin so."""
    return [event for event in events if event.kv.key.startswith(prefix)]


def before(events: Sequence[Event], prefix: str) -> dict[str, KV | None]:
    """What the keys in events (in order) were before them."""
    was: dict[str, KV | None] = {}
    for event in events:
        if event.kv.key.startswith(prefix):
            was.setdefault(event.kv.key, event.prev)
    return was


def rewind(now: RangeResult, was: dict[str, KV | None], start: str, limit: int, rev: int) -> RangeResult:
    """An unlimited current range as it was at `rev`, before the changes that `was` undoes."""
    state = {kv.key: kv for kv in now.kvs}
    for key, kv in was.items():
        if kv is None:
            state.pop(key, None)
        elif key >= start:
            state[key] = kv
    kvs = [state[key] for key in sorted(state)]
    page = kvs[:limit] if limit else kvs
    return RangeResult(page, rev, len(page) < len(kvs), len(kvs))
