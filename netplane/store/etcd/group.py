"""Group commit: transactions that come while one of etcd's is on its way share the next, each with its own outcome.

    ask ──> waiting ──> as many as do not touch each other ──> one of etcd's transactions ──> each gets its answer
               ^                                                        │
               └── whoever comes meanwhile; who touches what another writes waits for the next turn

One of etcd's costs a round trip, a raft entry and a watch response whatever is in it; so throughput grows with those
who ask at once. What became of them when the answer was lost differs: one that changes what it compares can be sent
again (if it happened, the second fails, and is looked up), of another nobody knows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from netplane.store.etcd import messages as pb
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.link import REQUEST_S, Link, Pause, Refused
from netplane.store.etcd.space import Asked
from netplane.store.protocol import Compare, Delete, OutcomeUnknown, Put, StoreError, Unavailable

AT_ONCE = 2
"""So many of etcd's transactions are under way: while one is written to disk, the next is put together."""

JOIN_TURNS = 4
"""Turns of the event loop that one of etcd's waits, as long as each brings another of ours: then nobody is idle."""

MOST = 60
"""Of ours in one of etcd's, which takes 128 operations (--max-txn-ops), those inside counted with the outer ones."""

MOST_BYTES = 500_000
"""Of values in one of etcd's; it takes 1.5 MiB (--max-request-bytes)."""


class Answer(NamedTuple):
    """What etcd said to one transaction.

    `response` is its own; `rev` etcd's revision then; `place` in it; `doubtful`: an earlier attempt may have happened.
    """

    response: Any
    cache: Cache
    rev: int
    place: int
    doubtful: bool


class _Waiting:
    """A transaction that waits for its turn, or its answer."""

    def __init__(self, asked: Asked, answer: "asyncio.Future[Answer]") -> None:
        self.asked, self.answer = asked, answer
        self.writes = {op.key for op in asked.ops}
        self.reads = {one.key for one in asked.compares}
        self.touched = self.writes | self.reads
        values = sum(len(op.value) for op in asked.ops if isinstance(op, Put))
        self.size = values if len(self.touched) <= MOST else MOST_BYTES  # of many keys: alone
        self.repeatable = not self.writes.isdisjoint(self.reads)
        self.doubtful = False

    def fail(self, error: StoreError) -> None:
        """Its caller's error; one that may have happened nevertheless is told so."""
        if self.doubtful and not isinstance(error, OutcomeUnknown):
            error = _unknown(error)
        if not self.answer.done():
            self.answer.set_exception(error)


class Group:
    """Sends transactions for one store. `cache` gives the present one, `patience_s` how long to try.

    `start` runs work until it ends or the store is closed.
    """

    def __init__(
        self,
        link: Link,
        cache: Callable[[], Cache],
        patience_s: Callable[[], float],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._link, self._cache, self._patience_s, self._start = link, cache, patience_s, start
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._most = MOST
        self._due = False

    def ask(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> "asyncio.Future[Answer]":
        """Its answer; raises Refused, Unavailable, OutcomeUnknown."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(Asked(compares, ops), answer))
        self._arrange()
        return answer

    def _arrange(self) -> None:
        if self._waiting and self._under_way < AT_ONCE and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self, seen: int = 0, turns: int = 0) -> None:
        if seen < len(self._waiting) and turns < JOIN_TURNS:
            asyncio.get_running_loop().call_soon(self._begin, len(self._waiting), turns + 1)
            return
        self._due = False
        some = self._together()
        if some:
            self._under_way += 1
            self._start(self._run(some))
        self._arrange()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._under_way = AT_ONCE
        for one in self._waiting:
            one.fail(Unavailable("the store is closed"))
        self._waiting = []

    def _together(self) -> list[_Waiting]:
        """The first of those who wait, and all that can go with it, in the order they came."""
        some: list[_Waiting] = []
        later: list[_Waiting] = []
        writes: set[str] = set()
        reads: set[str] = set()
        room = MOST_BYTES
        for one in self._waiting:
            if one.answer.cancelled():
                continue
            touches = not (writes.isdisjoint(one.touched) and reads.isdisjoint(one.writes))
            if some and (touches or one.size > room or len(some) == self._most):
                later.append(one)
            else:
                some.append(one)
                room -= one.size
            writes |= one.writes  # also of those who wait: what touches them does not overtake them
            reads |= one.reads
        self._waiting = later
        return some

    async def _run(self, some: list[_Waiting]) -> None:
        told: StoreError = OutcomeUnknown("the store was closed")
        try:
            await self._deliver(some)
        except Exception as error:  # a mistake of ours: nobody shall wait for ever
            told = StoreError(f"cannot write: {error}")
        finally:
            for one in some:
                one.fail(told)  # who has an answer does not hear of it
            self._under_way -= 1
            self._arrange()

    async def _deliver(self, some: list[_Waiting]) -> None:
        """Send until there is an answer for each, or the time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s()
        pause = Pause()
        while some:
            cache = self._cache()
            request = cache.space.txn([one.asked for one in some])
            try:
                response = await self._link.once(pb.TXN, request, REQUEST_S)
            except Refused as error:
                await self._one_by_one(some, error)
                return
            except Unavailable as error:
                some = self._again(some, error, late=loop.time() > deadline)
                await pause()
            else:
                self._tell(some, cache, response)
                return

    def _again(self, some: list[_Waiting], error: Unavailable, *, late: bool) -> list[_Waiting]:
        """Those that can be sent once more; the others are told."""
        if isinstance(error, OutcomeUnknown):
            for one in some:
                one.doubtful = True
        over = [one for one in some if late or (one.doubtful and not one.repeatable)]
        for one in over:
            one.fail(_unknown(error) if one.doubtful else error)
        return [one for one in some if one not in over]

    async def _one_by_one(self, some: list[_Waiting], error: Refused) -> None:
        """One that etcd refuses does not take the others with it; if they were too many, fewer go the next time."""
        if len(some) == 1:
            some[0].fail(error)
            return
        if "too many operations" in error.detail:
            self._most = min(self._most, len(some) // 2)
        for one in some:
            await self._deliver([one])

    def _tell(self, some: list[_Waiting], cache: Cache, response: Any) -> None:
        for place, one in enumerate(some):
            if not response.succeeded:
                one.fail(Unavailable("the store was restored just now", hint="try again"))
            elif not one.answer.done():
                own = response.responses[place].response_txn
                one.answer.set_result(Answer(own, cache, response.header.revision, place, one.doubtful))


def _unknown(error: StoreError) -> OutcomeUnknown:
    told = OutcomeUnknown(
        f"{error.message}; whether this write happened is not known", hint="read it before trying again"
    )
    told.__cause__ = error
    return told
