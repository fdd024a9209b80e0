"""Events for people, without drowning them: what repeats is counted, what is much alike is summed up, floods are cut.

The same words about the same object     → one Event, its count and last time go up
more than 10 of one reason in 10 minutes → one Event "(combined from similar events): …"
more than 25 at once about one object    → dropped, until one more is allowed each 5 minutes

Pure: the time is told. Source: client-go's event correlation, whose numbers these are.
"""

from collections import OrderedDict
from typing import NamedTuple, TypeVar

import msgspec

from netplane.api.objects import Event
from netplane.controllers.plan.writes import Create, Patch

BURST, REFILL_S = 25, 300.0
SIMILAR, WINDOW_S = 10, 600.0
REMEMBERED = 4096
COMBINED = "(combined from similar events): "

Key = tuple[str, ...]
T = TypeVar("T")


class _Told(NamedTuple):
    """An Event that is in the apiserver."""

    namespace: str
    name: str
    times: int


class _Group(NamedTuple):
    """Different messages of one reason about one object, since when."""

    messages: frozenset[str]
    began_s: float


class _Bucket(NamedTuple):
    tokens: float
    at_s: float


class Correlator:
    """Remembers what was told lately, of `REMEMBERED` keys at most."""

    def __init__(self) -> None:
        self._told: OrderedDict[Key, _Told] = OrderedDict()
        self._groups: OrderedDict[Key, _Group] = OrderedDict()
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()

    def take(self, event: Event, now_s: float) -> tuple[Create | Patch | None, Key]:
        """What to write for a new Event (None: nothing), and the key under which to report what became of it."""
        about = event.involved_object
        thing = (event.reporting_component, about.kind, about.namespace, about.name, about.uid)
        group = (*thing, event.type, event.reason)
        combined = self._is_flood(group, event.message, now_s)
        key = group if combined else (*group, event.message)
        if not self._allowed(thing, now_s):
            return None, key
        if combined:
            event = msgspec.structs.replace(event, message=COMBINED + event.message)
        told = self._told.get(key)
        if told is None:
            return Create(event), key
        patch = {"count": told.times + 1, "lastTimestamp": event.last_timestamp, "message": event.message}
        return Patch(Event, told.namespace, told.name, patch, kind="merge"), key

    def done(self, key: Key, written: Event) -> None:
        """The Event that was created or changed."""
        _put(self._told, key, _Told(written.metadata.namespace, written.metadata.name, written.count))

    def gone(self, key: Key) -> None:
        """The Event is no more (they live for an hour): the next is a new one."""
        self._told.pop(key, None)

    def _is_flood(self, group: Key, message: str, now_s: float) -> bool:
        known = self._groups.get(group)
        if known is None or now_s - known.began_s > WINDOW_S:
            known = _Group(frozenset(), now_s)
        known = known._replace(messages=known.messages | {message}) if len(known.messages) <= SIMILAR else known
        _put(self._groups, group, known)
        return len(known.messages) > SIMILAR

    def _allowed(self, thing: Key, now_s: float) -> bool:
        bucket = self._buckets.get(thing, _Bucket(BURST, now_s))
        tokens = min(BURST, bucket.tokens + (now_s - bucket.at_s) / REFILL_S)
        _put(self._buckets, thing, _Bucket(tokens - 1 if tokens >= 1 else tokens, now_s))
        return tokens >= 1


def _put(table: OrderedDict[Key, T], key: Key, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
