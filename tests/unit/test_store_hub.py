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
        await asyncio.sleep(0)  # the turn that wakes them
        await asyncio.sleep(0)  # the turn in which they run
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


class Desk:
    """A watcher with a taker that takes or not; `read` is what its reader got meanwhile."""

    def __init__(self, hub: Hub) -> None:
        self.watcher = watcher(hub)
        self.takes = True
        self.taken: list[int] = []
        self.read: list[int] = []

    def take(self, events: list[Event]) -> bool:
        if self.takes:
            self.taken += [one.rev for one in events]
        return self.takes

    async def run(self) -> None:
        async with self.watcher as events:
            events.taker = self.take
            async for batch in events:
                self.read += [one.rev for one in batch]


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def test_a_taker_has_what_comes_while_the_reader_waits_and_the_reader_what_it_leaves() -> None:
    async def test() -> None:
        hub = Hub(1)
        desk = Desk(hub)
        running = asyncio.create_task(desk.run())
        await turns()
        for rev, desk.takes in ((2, True), (3, False), (4, True)):
            hub.publish([event(rev, 1)], rev)
            await turns()
            assert desk.watcher.progress == rev
        assert (desk.taken, desk.read) == ([2, 4], [3])
        hub.publish([event(5, 1)], 5)
        hub.close()  # before its turn came: the reader has it, and ends
        await running
        assert (desk.taken, desk.read) == ([2, 4], [3, 5])

    asyncio.run(test())


def test_a_taker_is_not_asked_while_the_reader_has_events_in_its_hands() -> None:
    async def test() -> None:
        hub, taken = Hub(1), list[int]()

        def take(batch: list[Event]) -> bool:
            taken.append(len(batch))
            return True

        async with watcher(hub) as events:
            events.taker = take
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            hub.publish([event(2, 1)], 2)
            await turns()
            assert (taken, first.done()) == ([1], False)
            first.cancel()
            hub.publish([event(3, 1)], 3)
            await turns()
            hub.publish([event(4, 1)], 4)
            await turns()
            assert taken == [1]
            assert [one.rev for one in await anext(events)] == [3, 4]

    asyncio.run(test())


def test_what_a_taker_fails_on_goes_to_the_reader() -> None:
    async def test() -> None:
        hub = Hub(1)

        def fail(_: list[Event]) -> bool:
            raise ValueError

        async with watcher(hub) as events:
            events.taker = fail
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            hub.publish([event(2, 1)], 2)
            assert [one.rev for one in await first] == [2]

    asyncio.run(test())


def test_who_neither_takes_nor_reads_is_closed() -> None:
    async def test() -> None:
        hub = Hub(1, buffer_bytes=LIMIT)
        async with watcher(hub) as events:
            events.taker = lambda _: False
            for rev in (2, 3):
                hub.publish([event(rev, LIMIT - 1)], rev)
            with pytest.raises(WatchOverflow):
                await anext(events)

    asyncio.run(test())
