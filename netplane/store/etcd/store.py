"""The store on etcd: writes go to etcd, reads and watches are answered from memory, which one watch of etcd keeps true.

    txn ──> with others into one of etcd's: each one's compares, and "the head is still what it was" (`group`)
                │
                └─> answered at revision R ──> wait until memory shows R ──> the caller reads what it wrote

    catch_up ──> one linearizable read of the head, shared by all who ask meanwhile ──> wait until memory shows it

Memory shows revision R when the watch brought an event at R or later. Writes of others under other prefixes move etcd's
counter and bring no event; then the fence is written, whose event comes after all before it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from netplane.store import hub, state
from netplane.store.etcd import messages as pb
from netplane.store.etcd import outcome, past
from netplane.store.etcd import space as spaces
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.feed import Feed, compacted_rev
from netplane.store.etcd.group import Answer, Group
from netplane.store.etcd.link import REQUEST_S, Link, Refused, Tls
from netplane.store.etcd.space import STEP
from netplane.store.memory import check_rev
from netplane.store.protocol import (
    FIRST_REV,
    KEEP_REVISIONS,
    KV,
    Compacted,
    Compare,
    Delete,
    Event,
    Put,
    RangeResult,
    StoreError,
    TxnResult,
    Unavailable,
    check_ops,
)

DEFAULT_PREFIX = "/netplane"
PATIENCE_S = 0.05  # for an event that may never come, before the fence is written
REACH_S = 10.0
WRITE_S = 10.0
KNOWN_AWAY_S = 0.5  # when etcd did not answer just now: nobody should wait long to be told so
CHECK_S = 2.0
READ_S = 60.0


class EtcdStore:
    """A Store in etcd; made with `open`. `keep_revisions` and `buffer_events` are lowered by tests."""

    shared = True

    def __init__(self, link: Link, prefix: str, keep_revisions: int, buffer_events: int) -> None:
        self._link = link
        self._prefix = prefix
        self._keep = keep_revisions
        self._feed = Feed(link, prefix, buffer_events, self._renewed)
        self._cache: Cache
        self._past: past.Past
        self._compact_rev = 0
        self._group = Group(link, lambda: self._cache, self._patience_s, self._start)
        self._asking: list[asyncio.Future[tuple[int, Cache]]] = []
        self._fencing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unreachable = ""
        self._closed = False

    def _patience_s(self) -> float:
        return KNOWN_AWAY_S if self.problem() else WRITE_S

    @classmethod
    async def open(
        cls,
        servers: Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        tls: Tls | None = None,
        keep_revisions: int = KEEP_REVISIONS,
        buffer_events: int = hub.BUFFER_EVENTS,
    ) -> "EtcdStore":
        """Connect and load. `servers` are URLs; keys lie under `prefix` alone. Raises StoreError."""
        self = cls(Link(servers, tls), prefix, keep_revisions, buffer_events)
        try:
            await self._feed.load()
            await self._learn_compacted()
        except BaseException:
            await self._link.close()
            raise
        self._start(self._feed.run())
        self._start(self._check())
        return self

    def _start(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _renewed(self, cache: Cache) -> None:
        if hasattr(self, "_cache"):
            self._compact_rev = cache.rev
        elif cache.space.head.base > FIRST_REV:
            self._compact_rev = cache.space.head.base
        self._cache = cache
        self._past = past.Past(self._link, self._prefix, cache, self._fence)

    # Writing -----------------------------------------------------------------------------------------------------

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """See Store.txn. Raises OutcomeUnknown when etcd is lost on the way and does not come back in time."""
        self._check_open()
        check_ops(ops)
        since = self._cache.rev
        answer = await self._group.ask([self._exact(one) for one in compares], ops)
        cache = answer.cache
        if answer.response.succeeded and any(isinstance(op, Put) for op in ops):
            rev = cache.space.rev(answer.rev, answer.place)
            await self._show(cache, rev, certain=True)
            return TxnResult(True, rev)
        await self._show(cache, cache.space.rev(answer.rev), certain=False)
        if answer.response.succeeded:
            return TxnResult(True, self._deleted_at(answer, ops))
        failed = outcome.failed(cache.space, compares, answer.response)
        if answer.doubtful and (done := outcome.already(cache, since, compares, ops)):
            return TxnResult(True, done)
        return TxnResult(False, cache.rev, failed)

    def _exact(self, one: Compare) -> Compare:
        """Etcd compares its own revision, which several of ours are in; one beside the key's own never holds."""
        space, kv = self._cache.space, self._cache.state.get(one.key)
        if not one.mod_rev or kv is None or kv.mod_rev == one.mod_rev:
            return one
        beside = space.etcd_rev(kv.mod_rev) == space.etcd_rev(one.mod_rev)
        return Compare(one.key, space.head.base) if beside else one  # no key was changed when the head was written

    def _deleted_at(self, answer: Answer, ops: Sequence[Put | Delete]) -> int:
        """The revision of deletions: theirs if there was something to delete."""
        cache = answer.cache
        deleted = any(one.response_delete_range.deleted for one in answer.response.responses)
        return cache.space.rev(answer.rev, answer.place) if deleted else cache.rev

    async def _show(self, cache: Cache, rev: int, *, certain: bool) -> None:
        """Wait until memory shows `rev`; unless an event is `certain` to come, make one."""
        if cache.rev >= rev:
            return
        if certain:
            await cache.shown(rev)
            return
        if not await cache.reach(rev, PATIENCE_S):
            await self._fence()
        await cache.reach(rev, REACH_S)

    async def _fence(self) -> None:
        """Write the fence; whoever asks while it is on its way waits for the next one."""
        while self._fencing is not None:
            await asyncio.shield(self._fencing)
        put = pb.RequestOp(request_put=pb.PutRequest(key=spaces.fence_key(self._prefix), value=b""))

        async def write() -> None:
            with contextlib.suppress(StoreError):  # then the wait ends without it
                await self._link.call(pb.TXN, pb.TxnRequest(success=[put]))
            self._fencing = None

        self._fencing = self._start(write())
        await asyncio.shield(self._fencing)

    # Reading -----------------------------------------------------------------------------------------------------

    async def catch_up(self) -> bool:
        """See Store.catch_up."""
        self._check_open()
        before = self._cache
        rev = before.rev
        answer: asyncio.Future[tuple[int, Cache]] = asyncio.get_running_loop().create_future()
        self._asking.append(answer)
        if len(self._asking) == 1:
            self._start(self._ask())
        now, cache = await answer
        await self._show(cache, now, certain=False)
        if cache.rev < now:
            raise Unavailable("this apiserver is behind etcd", hint="try again")
        return cache is not before or cache.rev != rev

    async def _ask(self) -> None:
        """Read etcd's revision for all who are here now; those who come later need a later one."""
        await asyncio.sleep(0)
        asking, self._asking = self._asking, []
        known = self._cache.etcd_rev
        try:
            patience = KNOWN_AWAY_S if self.problem() else REQUEST_S
            found = await self._link.call(pb.RANGE, pb.RangeRequest(key=spaces.head_key(self._prefix)), patience)
            cache = self._cache
            if not found.kvs or found.kvs[0].mod_revision != cache.space.head.at:
                raise Unavailable("the store was restored just now", hint="try again")
            if found.header.revision < known and cache.etcd_rev >= known:
                raise Unavailable("etcd went back to an older state just now", hint="try again")
        except StoreError as error:
            for one in asking:
                if not one.done():
                    one.set_exception(error)
            return
        for one in asking:
            if not one.done():
                one.set_result((cache.space.rev(found.header.revision), cache))

    async def get(self, key: str, rev: int = 0) -> KV | None:
        """See Store.get."""
        cache = self._cache
        if rev in (0, cache.rev):
            return cache.state.get(key)
        found = await self.range(key, rev=rev, start=key, limit=1)
        return next((kv for kv in found.kvs if kv.key == key), None)

    async def range(self, prefix: str, *, rev: int = 0, start: str = "", limit: int = 0) -> RangeResult:
        """See Store.range; what memory does not remember of the past is read from etcd."""
        cache = self._cache
        check_rev(rev, self._compact_rev, cache.rev)
        if rev in (0, cache.rev):
            return cache.state.range(prefix, start, limit, cache.rev)
        events = cache.recent.since(rev + 1)
        if events is not None:
            now = cache.state.range(prefix, start, 0, cache.rev)
            return state.rewind(now, state.before(events, prefix), start, limit, rev)
        try:
            return await self._past.range(prefix, start, limit, rev)
        except Refused as error:
            raise await self._translated(error) from error

    async def _translated(self, error: Refused) -> StoreError:
        if "compacted" not in error.detail:
            return error
        await self._learn_compacted()
        return Compacted(self._compact_rev)

    def watch(self, prefix: str, from_rev: int) -> hub.Watcher:
        """See Store.watch."""
        return hub.Watcher(self._cache.hub, prefix, from_rev, self._catch_up_watch)

    def _catch_up_watch(self, watcher: hub.Watcher) -> hub.Older | None:
        self._check_open()
        older = partial(self._older, watcher.prefix, watcher.from_rev)
        return hub.backlog(watcher, self._cache.recent, self._compact_rev, older)

    def _older(self, prefix: str, first: int) -> hub.Older:
        """All events from `first` to now, from etcd, at once; what comes later is live."""
        reader, last = self._past, self._cache.rev
        done = False

        async def read() -> list[Event]:
            nonlocal done
            if done:
                return []
            try:
                events = await reader.events(first, last)
            except Refused as error:
                raise await self._translated(error) from error
            done = True
            return state.of_prefix(events, prefix)

        return read

    # Keeping house -------------------------------------------------------------------------------------------------

    async def compact(self, rev: int) -> None:
        """See Store.compact. Several apiservers may each do this: each keeps as much as it was told to."""
        space = self._cache.space
        # Of etcd's revisions, whole ones; the keeping of so many is meant for those that are full as well.
        goal = space.etcd_rev(min(rev, self._cache.rev - self._keep * STEP) + 1) - 1
        if space.last_rev(goal) <= self._compact_rev:
            return
        before, self._compact_rev = self._compact_rev, space.last_rev(goal)  # readers are turned away first
        try:
            await self._link.call(pb.COMPACT, pb.CompactionRequest(revision=goal))
        except Refused as error:
            if "compacted" not in error.detail:
                self._compact_rev = before
                raise
            await self._learn_compacted()
        except StoreError:
            self._compact_rev = before
            raise

    async def _learn_compacted(self) -> None:
        found = await compacted_rev(self._link, self._prefix)
        if found:
            self._compact_rev = max(self._compact_rev, self._cache.space.last_rev(found))

    async def current_rev(self) -> int:
        """See Store.current_rev."""
        return self._cache.rev

    async def compact_rev(self) -> int:
        """See Store.compact_rev."""
        return self._compact_rev

    def problem(self) -> str:
        """What is wrong with etcd now, for health checks; "" when it answers."""
        return self._unreachable or self._feed.problem

    async def _check(self) -> None:
        """Ask every few seconds: a member without a quorum keeps its connections, and answers nothing."""
        while True:
            try:
                await self._link.call(pb.RANGE, pb.RangeRequest(key=spaces.head_key(self._prefix)), CHECK_S)
                self._unreachable = ""
            except StoreError as error:
                self._unreachable = error.message
            await asyncio.sleep(CHECK_S)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    async def close(self) -> None:
        """See Store.close."""
        if self._closed:
            return
        self._closed = True
        self._group.close()
        self._cache.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()
