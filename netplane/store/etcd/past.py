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
from netplane.store.protocol import Event, Unavailable

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

    def _joins(self) -> bool:
        """Whether what is remembered goes on in what the cache remembers."""
        return self._cache.recent.since(self._last + 1) is not None

    async def _read(self, first: int, last: int) -> list[Event]:
        if self._cache.rev == last:
            await self._fence()
        space = self._cache.space
        key, end = spaces.everything(self._prefix)
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=first - space.moved, prev_kv=True)
        at, stream = self._link.stream(pb.WATCH)
        found: list[Event] = []
        try:
            await stream.write(pb.WatchRequest(create_request=create))
            async with asyncio.timeout(READ_S):
                async for response in stream:
                    if response.compact_revision:
                        raise Refused(StatusCode.OUT_OF_RANGE, "the revision has been compacted")
                    for one in response.events:
                        if one.kv.mod_revision + space.moved > last:
                            return found
                        if space.holds(one.kv.key):
                            found.append(_event(space, one))
        except AioRpcError as error:
            raise self._link.failed(error, at) from error
        except TimeoutError as error:
            raise Unavailable("etcd does not give its history", hint="try again") from error
        finally:
            stream.cancel()
        raise Unavailable("etcd ended the reading of its history", hint="try again")


def _event(space: Space, found: Any) -> Event:
    rev = found.kv.mod_revision + space.moved
    prev = space.kv(found.prev_kv) if found.prev_kv.key else None
    if found.type != pb.DELETE:
        return Event(rev, space.kv(found.kv), prev, deleted=False)
    assert prev is not None, "what is deleted was there, and is kept for as long as the deletion"
    return Event(rev, prev._replace(mod_rev=rev), prev, deleted=True)
