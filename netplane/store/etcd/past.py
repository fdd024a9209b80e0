"""Events from before this process began, read from etcd once for all watchers that resume there.

A watch from an old revision gives them, but does not say where the past ends. An event after it does: if none came yet,
the fence is written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError

from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.cache import Cache
from netplane.store.etcd.link import Link, Refused
from netplane.store.etcd.space import Space
from netplane.store.protocol import Event, RangeResult, Unavailable

READ_S = 60.0


class Past:
    """Reads and remembers the events of one generation."""

    def __init__(self, link: Link, prefix: str, cache: Cache, fence: Callable[[], Awaitable[None]]) -> None:
        self._link, self._prefix, self._cache, self._fence = link, prefix, cache, fence
        self._lock = asyncio.Lock()
        self._first = self._last = 0
        self._events: list[Event] = []

    async def events(self, first: int, last: int) -> list[Event]:
        """All events at first <= rev <= last. Raises Refused (compacted), Unavailable."""
        async with self._lock:
            if not self._first or first < self._first or not self._joins():
                self._events = await self._read(first, last)
                self._first, self._last = first, last
        found = [event for event in self._events if event.rev >= first]
        later = self._cache.recent.since(self._last + 1) or []
        return [event for event in [*found, *later] if event.rev <= last]

    async def range(self, prefix: str, start: str, limit: int, rev: int) -> RangeResult:
        """See Store.range. Raises Refused (compacted)."""
        space = self._cache.space
        first, end = space.reads(prefix, start)
        if first >= end:
            return RangeResult([], rev, False, 0)
        at = space.etcd_rev(rev)
        if await self._is_whole(rev):
            found = await self._ranged(first, end, at, limit)
            return RangeResult([space.kv(kv) for kv in found.kvs], rev, found.more, found.count)
        every, before = await self._ranged(first, end, at), await self._ranged(first, end, at - 1)
        places = {key: place for (_, key), place in (await self._deletions(at)).items()}
        kvs = {kv.key: kv for kv in map(space.kv, every.kvs) if kv.mod_rev <= rev}
        changed = {space.name(kv.key) for kv in every.kvs} - kvs.keys()
        for old in map(space.kv, before.kvs):
            later = space.rev(at, places.get(space.key(old.key), 0)) > rev
            if old.key in changed or (old.key not in kvs and later):
                kvs[old.key] = old
        page = sorted(kvs.values())[: limit or None]
        return RangeResult(page, rev, len(page) < len(kvs), len(kvs))

    async def _is_whole(self, rev: int) -> bool:
        """Whether nothing came after `rev` in etcd's revision that it is in."""
        space = self._cache.space
        first, end = space.reads("", "")
        at = space.etcd_rev(rev)
        if rev == space.last_rev(at):
            return True
        request = pb.RangeRequest(key=first, range_end=end, revision=at, min_mod_revision=at)
        last = max((space.kv(kv).mod_rev for kv in (await self._link.call(pb.RANGE, request, READ_S)).kvs), default=rev)
        return last <= rev and not await self._deletions(at)

    async def _deletions(self, at: int) -> dict[tuple[int, bytes], int]:
        key = spaces.deleted_key(self._prefix)
        found = await self._link.call(pb.RANGE, pb.RangeRequest(key=key, revision=at), READ_S)
        told = [pb.Event(kv=kv) for kv in found.kvs if kv.mod_revision == at]
        return self._cache.space.deletions(told)

    async def _ranged(self, first: bytes, end: bytes, at: int, limit: int = 0) -> Any:
        request = pb.RangeRequest(key=first, range_end=end, revision=at, limit=limit)
        return await self._link.call(pb.RANGE, request, READ_S)

    def _joins(self) -> bool:
        """Whether what is remembered goes on in what the cache remembers."""
        return self._cache.recent.since(self._last + 1) is not None

    async def _read(self, first: int, last: int) -> list[Event]:
        if self._cache.rev == last:
            await self._fence()
        space = self._cache.space
        key, end = spaces.everything(self._prefix)
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=space.etcd_rev(first), prev_kv=True)
        at, stream = self._link.stream(pb.WATCH)
        found: list[Event] = []
        try:
            await stream.write(pb.WatchRequest(create_request=create))
            async with asyncio.timeout(READ_S):
                async for response in stream:
                    if response.compact_revision:
                        raise Refused(StatusCode.OUT_OF_RANGE, "the revision has been compacted")
                    places = space.deletions(response.events)
                    for one in response.events:
                        if space.rev(one.kv.mod_revision) > last:
                            return found
                        if space.holds(one.kv.key) and (event := _event(space, one, places)).rev >= first:
                            found.append(event)
        except AioRpcError as error:
            raise self._link.failed(error, at) from error
        except TimeoutError as error:
            raise Unavailable("etcd does not give its history", hint="try again") from error
        finally:
            stream.cancel()
        raise Unavailable("etcd ended the reading of its history", hint="try again")


def _event(space: Space, found: Any, places: dict[tuple[int, bytes], int]) -> Event:
    prev = space.kv(found.prev_kv) if found.prev_kv.key else None
    if found.type != pb.DELETE:
        kv = space.kv(found.kv)
        return Event(kv.mod_rev, kv, prev, deleted=False)
    at = found.kv.mod_revision
    rev = space.rev(at, places.get((at, found.kv.key), 0))
    assert prev is not None, "what is deleted was there, and is kept for as long as the deletion"
    return Event(rev, prev._replace(mod_rev=rev), prev, deleted=True)
