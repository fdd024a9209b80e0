"""What became of a transaction: what failed compares found, and whether one whose answer was lost had happened."""

from collections.abc import Sequence
from typing import Any

from netplane.store.etcd.cache import Cache
from netplane.store.etcd.space import Space
from netplane.store.protocol import KV, Compare, Delete, OutcomeUnknown, Put


def failed(space: Space, compares: Sequence[Compare], response: Any) -> tuple[KV | None, ...]:
    """What the compares that failed found."""
    found = (one.response_range.kvs for one in response.responses)
    kvs = [space.kv(kvs[0]) if kvs else None for kvs in found]
    pairs = zip(kvs, compares, strict=True)
    return tuple(kv for kv, compare in pairs if (kv.mod_rev if kv else 0) != compare.mod_rev)


def already(cache: Cache, since: int, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> int:
    """The revision at which an earlier attempt of this transaction happened; 0: it did not.

    It happened if one of its changes came right after what it compared: that revision of a key has one successor.
    Raises OutcomeUnknown when so much happened since that nobody remembers.
    """
    wanted = {one.key: one.mod_rev for one in compares}
    op = next(op for op in ops if op.key in wanted)
    events = cache.recent.since(since + 1)
    if events is None:
        raise OutcomeUnknown("etcd was lost for long; whether this write happened is not known", hint="read it")
    for event in events:
        if event.kv.key == op.key and (event.prev.mod_rev if event.prev else 0) == wanted[op.key]:
            same = event.deleted if isinstance(op, Delete) else not event.deleted and event.kv.value == op.value
            if same:
                return event.rev
    return 0
