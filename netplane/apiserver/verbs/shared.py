"""What a change looks like to its watchers, worked out once and shared by all of them.

A thousand watchers of one event want the same bytes. `Seen` holds what was worked out about one event: the decoded
objects before and after (only when a selector asks for them) and its encoded lines, one for each way to show it.
"""

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakValueDictionary

import orjson

from netplane.apiserver.wire import straight
from netplane.store.protocol import Event

Json = dict[str, Any]

KEEP_EVENTS = 4096


class Seen:
    """One event. `lines` maps (type, form, …) to encoded bytes."""

    __slots__ = ("event", "lines", "new", "old")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.lines: dict[tuple[Any, ...], bytes] = {}
        self.new: Json | None = None
        self.old: Json | None = None

    def after(self) -> Json:
        """The object after the event (for a delete: its last state)."""
        if self.new is None:
            self.new = orjson.loads(self.event.kv.value)
        return self.new

    def before(self) -> Json:
        """The object before the event, which must have been there."""
        if self.old is None:
            assert self.event.prev is not None
            self.old = orjson.loads(self.event.prev.value)
        return self.old


class View:
    """What watches that ask for the same have in common: the last batch, as bytes that are framed already."""

    def __init__(self) -> None:
        self._of = (0, 0)
        self._framed = b""

    def framed(self, batch: list[Event], lines: Callable[[list[Event]], list[bytes]]) -> bytes:
        """A batch as a chunk; b"" when none of it is wanted.

        All watches of a view see the same events in the same order, so the first and the last revision name a batch.
        """
        of = (batch[0].rev, batch[-1].rev)
        if of != self._of:
            self._framed = straight.chunk(b"".join(lines(batch)))
            self._of = of
        return self._framed


class EventCache:
    """The last few thousand events that anybody watched, by revision and key; the views of open watches."""

    def __init__(self, keep: int = KEEP_EVENTS) -> None:
        self._keep = keep
        self._seen: dict[tuple[int, str], Seen] = {}
        self._views: WeakValueDictionary[Hashable, View] = WeakValueDictionary()

    def view(self, asked: Hashable) -> View:
        """The view of all watches that ask for this; it goes with the last of them."""
        found = self._views.get(asked)
        if found is None:
            found = self._views[asked] = View()
        return found

    def get(self, event: Event) -> Seen:
        """What is known about an event."""
        found = self._seen.get((event.rev, event.kv.key))
        if found is None:
            found = self._seen[event.rev, event.kv.key] = Seen(event)
            if len(self._seen) > self._keep:
                del self._seen[next(iter(self._seen))]
        return found
