"""One watch feeds the cache: load at a revision, follow from there, and begin anew when the past is not what it was.

    load ──> follow ──> connection lost ──> is it the same etcd? ──> follow from the next revision
      ^         │                                │
      │         │ the head was rewritten         │ another cluster id, or a revision that is behind ours:
      │         │ history was compacted away     │ etcd was restored from a copy. Our revisions go on above
      └─────────┴────────────────────────────────┘ all that were given out: the head is written anew, with a gap

Loading anew ends all watches, and nothing before it can be read: clients get 410 and list again, as Kubernetes has it.
"""

import asyncio
import contextlib
from collections.abc import Callable

from grpc.aio import AioRpcError

from netplane.obs import logs
from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.link import Link, Pause, Refused
from netplane.store.etcd.space import GAP, Head, Space
from netplane.store.protocol import FIRST_REV, KV, StoreError

log = logs.get("store.etcd")

PAGE = 2_000
LOAD_S = 30.0


class Anew(Exception):
    """What is cached cannot be followed any further."""


class Feed:
    """Keeps a cache true. `changed` is called with each new cache (the first too); `problem` says why it is behind."""

    def __init__(self, link: Link, prefix: str, buffer_events: int, changed: Callable[[Cache], None]) -> None:
        self._link = link
        self._prefix = prefix
        self._buffer_events = buffer_events
        self._changed = changed
        self._cluster_id = 0
        self._written = 0  # where this process rewrote the head
        self.cache: Cache | None = None
        self.problem = ""

    async def run(self) -> None:
        """Follow until cancelled; `load` comes first."""
        pause = Pause()
        while True:
            try:
                await self._go_on()
            except Anew as why:
                log.warning("the store is read anew; watches end", reason=str(why))
                await self._load_anew()
            except StoreError as error:
                if not self.problem:  # it went well until now
                    pause = Pause()
                    log.warning("not following etcd; trying again", problem=error.message)
                self.problem = error.message
                await pause()

    async def _load_anew(self) -> None:
        pause = Pause()
        while True:
            try:
                await self.load()
                return
            except StoreError as error:
                self.problem = error.message
                await pause()

    async def _go_on(self) -> None:
        cache = self.cache
        assert cache is not None
        found = await self._link.call(pb.RANGE, pb.RangeRequest(key=spaces.head_key(self._prefix)))
        if found.header.cluster_id != self._cluster_id or found.header.revision < cache.etcd_rev:
            raise Anew("etcd was restored from a copy")
        if not found.kvs or found.kvs[0].mod_revision != cache.space.head.at:
            raise Anew("the store was restored")
        await self._follow(cache)

    async def _follow(self, cache: Cache) -> None:
        first, end = spaces.everything(self._prefix)
        create = pb.WatchCreateRequest(
            key=first, range_end=end, start_revision=cache.etcd_rev + 1, progress_notify=True
        )
        at, stream = self._link.stream(pb.WATCH)
        try:
            await stream.write(pb.WatchRequest(create_request=create))
            async for response in stream:
                if response.canceled:
                    self._canceled(response)
                if not response.created:
                    self._take(cache, response)
                self.problem = ""
        except AioRpcError as error:
            raise self._link.failed(error, at) from error
        finally:
            stream.cancel()
        raise StoreError(f"{self._link.server} ended the watch")

    def _canceled(self, response: pb.WatchResponse) -> None:
        if response.compact_revision:
            raise Anew("history that was not read yet is compacted away")
        raise StoreError(f"etcd ended the watch: {response.cancel_reason or 'no reason given'}")

    def _take(self, cache: Cache, response: pb.WatchResponse) -> None:
        events = response.events
        head = spaces.head_key(self._prefix)
        if any(event.kv.key == head for event in events):
            raise Anew("the store was restored")
        # With events the header may be ahead of those that are still to come; without, it is etcd's word that none is.
        cache.take(events, events[-1].kv.mod_revision if events else response.header.revision)

    async def load(self) -> None:
        """Read everything at one revision. Raises StoreError."""
        head, rev, cluster_id = await self._head()
        space = Space(self._prefix, head)
        kvs = await self._read(space, rev)
        shown = await self._last(space, kvs, rev)
        before, self.cache = self.cache, Cache(space, kvs, shown, self._buffer_events)
        self._cluster_id, self.problem = cluster_id, ""
        self._changed(self.cache)
        if before is not None:
            before.close()

    async def _read(self, space: Space, rev: int) -> list[KV]:
        first, end = space.reads("", "")
        kvs: list[KV] = []
        more = True
        while more:
            request = pb.RangeRequest(key=first, range_end=end, revision=rev, limit=PAGE)
            found = await self._link.call(pb.RANGE, request, LOAD_S)
            kvs += map(space.kv, found.kvs)
            more = found.more
            if found.kvs:
                first = found.kvs[-1].key + b"\0"
        return kvs

    async def _last(self, space: Space, kvs: list[KV], rev: int) -> int:
        """Our last revision in etcd's `rev`: of those that happened in it, whatever else may have."""
        key = spaces.deleted_key(self._prefix)
        found = await self._link.call(pb.RANGE, pb.RangeRequest(key=key, revision=rev))
        if found.kvs and found.kvs[0].mod_revision == rev:
            return space.last_rev(rev)
        return max([space.rev(rev), *(kv.mod_rev for kv in kvs)])

    async def _head(self) -> tuple[Head, int, int]:
        """(the head, etcd's revision, its cluster id). Made when there is none; rewritten when etcd went backwards."""
        key = spaces.head_key(self._prefix)
        while True:
            found = await self._link.call(pb.RANGE, pb.RangeRequest(key=key))
            kv = found.kvs[0] if found.kvs else None
            value = await self._wanted(kv, found.header)
            if kv is not None and value is None:
                head = Head.decoded(kv.value, kv.mod_revision)
                return head, found.header.revision, found.header.cluster_id
            compare = pb.Compare(target=pb.MOD, key=key, mod_revision=kv.mod_revision if kv else 0)
            put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))
            done = await self._link.call(pb.TXN, pb.TxnRequest(compare=[compare], success=[put]))
            if done.succeeded and self.cache is not None:
                # It is right for what was found, and must not be judged by the old cluster again.
                self._cluster_id = done.header.cluster_id
                self._written = done.header.revision

    async def _wanted(self, kv: pb.KeyValue | None, header: pb.ResponseHeader) -> bytes | None:
        """The head to write; None when the one that is there holds."""
        cache = self.cache
        if kv is None:
            if cache is None:
                await self._refuse_foreign()
                return Head.encoded(1, FIRST_REV)
            return Head.encoded(cache.space.head.generation, cache.rev + GAP)
        if cache is None or kv.mod_revision == self._written:
            return None
        head = Head.decoded(kv.value, kv.mod_revision)
        if header.revision >= Space(self._prefix, head).etcd_rev(cache.rev) and header.cluster_id == self._cluster_id:
            return None
        if head.base > cache.rev:  # another apiserver was faster
            return None
        return Head.encoded(head.generation, cache.rev + GAP)

    async def _refuse_foreign(self) -> None:
        first, end = spaces.everything(self._prefix)
        with contextlib.suppress(Refused):
            found = await self._link.call(pb.RANGE, pb.RangeRequest(key=first, range_end=end, limit=1, keys_only=True))
            if found.kvs:
                raise StoreError(
                    f"etcd holds keys under {self._prefix} that this program did not write: {found.kvs[0].key!r}",
                    hint="give another --etcd-prefix",
                )


async def compacted_rev(link: Link, prefix: str) -> int:
    """The revision that etcd is compacted to, as it counts; 0 when it is not. Nothing is written to learn it.

    A watch from the first revision is refused with the revision wanted; whether it would be is asked with a read.
    """
    key = spaces.fence_key(prefix)
    try:
        await link.call(pb.RANGE, pb.RangeRequest(key=key, revision=1, keys_only=True))
    except Refused as error:
        if "compacted" not in error.detail:
            raise
    else:
        return 0
    at, stream = link.stream(pb.WATCH)
    try:
        await stream.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key, start_revision=1)))
        async with asyncio.timeout(LOAD_S):
            async for response in stream:
                if response.compact_revision:
                    return int(response.compact_revision)
    except AioRpcError as error:
        raise link.failed(error, at) from error
    except TimeoutError as error:
        raise StoreError("etcd does not say what it is compacted to") from error
    finally:
        stream.cancel()
    raise StoreError("etcd does not say what it is compacted to")
