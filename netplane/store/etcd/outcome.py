"""What became of a transaction: sent, sent again where that does no harm, and looked up when its answer was lost."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from netplane.store.etcd import messages as pb
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.link import REQUEST_S, Link, Pause
from netplane.store.etcd.space import Space
from netplane.store.protocol import KV, Compare, Delete, OutcomeUnknown, Put, Unavailable


async def send(
    link: Link, request: Any, patience_s: float, *, repeatable: bool, given_up: Callable[[], bool]
) -> tuple[Any, bool]:
    """(the answer, whether an earlier attempt may have happened). Raises Unavailable, OutcomeUnknown, Refused.

    A transaction that changes what it compares can be sent again: if the first one happened, the second fails.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    pause, doubtful = Pause(), False
    while True:
        try:
            return await link.once(pb.TXN, request, REQUEST_S), doubtful
        except Unavailable as error:
            doubtful = doubtful or isinstance(error, OutcomeUnknown)
            if loop.time() > deadline or given_up() or (doubtful and not repeatable):
                if doubtful:
                    raise OutcomeUnknown(
                        f"{error.message}; whether this write happened is not known",
                        hint="read it before trying again",
                    ) from error
                raise
        await pause()


def failed(space: Space, compares: Sequence[Compare], response: Any) -> tuple[KV | None, ...]:
    """What the compares that failed found. Raises Unavailable when the head was rewritten."""
    head, *found = (one.response_range.kvs for one in response.responses)
    if not head or head[0].mod_revision != space.head.at:
        raise Unavailable("the store was restored just now", hint="try again")
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
