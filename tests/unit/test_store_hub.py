"""A watcher's buffer is bounded in events and in bytes; who reads loses nothing."""

import asyncio

import pytest

from netplane.store.hub import WOKEN_IN_TURN, Hub, Watcher
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


def test_watchers_are_woken_in_turns_and_who_waits_gets_all_at_once() -> None:
    async def test() -> None:
        hub, got = Hub(1), list[list[int]]()

        async def read() -> None:
            async with watcher(hub) as one:
                got.append([event.rev for event in await anext(one)])

        readers = [asyncio.create_task(read()) for _ in range(2 * WOKEN_IN_TURN + 1)]
        await asyncio.sleep(0)
        hub.publish([event(2, 1)], 2)
        await asyncio.sleep(0)
        assert len(got) == WOKEN_IN_TURN
        hub.publish([event(3, 1)], 3)
        await asyncio.gather(*readers)
        assert got[:WOKEN_IN_TURN] == [[2]] * WOKEN_IN_TURN
        assert got[-1] == [2, 3]
        assert len(got) == len(readers)

    asyncio.run(test())


def test_a_watch_that_ends_while_it_is_due_still_gives_what_it_has() -> None:
    async def test() -> None:
        hub = Hub(1)
        watchers = [watcher(hub) for _ in range(WOKEN_IN_TURN + 1)]
        for one in watchers:
            await one.__aenter__()
        reads = [asyncio.ensure_future(anext(one)) for one in watchers]
        await asyncio.sleep(0)
        hub.publish([event(2, 1)], 2)
        hub.close()
        assert [[one.rev for one in batch] for batch in await asyncio.gather(*reads)] == [[2]] * len(watchers)
        with pytest.raises(StopAsyncIteration):
            await anext(watchers[-1])

    asyncio.run(test())
