"""A watcher's buffer is bounded in events and in bytes; who reads loses nothing."""

import asyncio

import pytest

from netplane.store.hub import Hub, Watcher
from netplane.store.protocol import KV, Event, WatchOverflow

LIMIT = 1000


def event(rev: int, size: int) -> Event:
    return Event(rev, KV("/k", b"v" * size, rev, rev), None, deleted=False)


def watcher(hub: Hub) -> Watcher:
    return Watcher(hub, "/", 0, lambda _: None)


def test_many_large_values_close_a_watch_that_is_not_read() -> None:
    async def test() -> None:
        hub = Hub(1, buffer_bytes=LIMIT)
        async with watcher(hub) as slow:
            for rev in (2, 3):
                hub.publish([event(rev, LIMIT - 1)], rev)
            with pytest.raises(WatchOverflow):
                await anext(slow)

    asyncio.run(test())


def test_one_that_is_read_gets_everything_however_large() -> None:
    async def test() -> None:
        hub = Hub(1, buffer_bytes=LIMIT)
        async with watcher(hub) as reader:
            for rev in range(2, 10):
                hub.publish([event(rev, 3 * LIMIT)], rev)
                assert [one.rev for one in await anext(reader)] == [rev]

    asyncio.run(test())


def test_small_ones_together_count_until_they_are_read() -> None:
    async def test() -> None:
        hub = Hub(1, buffer_bytes=LIMIT)
        async with watcher(hub) as reader:
            for _ in range(3):
                for rev in range(2, 12):
                    hub.publish([event(rev, LIMIT // 10)], rev)
                assert len(await anext(reader)) == 10

    asyncio.run(test())
