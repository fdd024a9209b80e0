"""Three etcd members, killed one after the other while it is written: nothing acknowledged is lost, no event twice."""

import asyncio
import contextlib
from pathlib import Path

from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Compare, Event, Put, Unavailable
from tests.etcd_process import Etcd, cluster

WRITERS = 8


async def write(store: EtcdStore, writer: int, stop: asyncio.Event, acknowledged: dict[str, int]) -> None:
    for i in range(10**9):
        if stop.is_set():
            return
        key = f"/{writer}/{i}"
        with contextlib.suppress(Unavailable):  # also: the outcome is not known
            done = await store.txn([Compare(key, 0)], [Put(key, key.encode())])
            assert done.succeeded, "nobody else writes this key: the failure would be our own first attempt"
            acknowledged[key] = done.rev


async def follow(store: EtcdStore, seen: list[Event]) -> None:
    async with store.watch("/", 2) as watch:
        async for events in watch:
            seen += events


def test_members_die_one_after_the_other(tmp_path: Path) -> None:
    async def run(members: list[Etcd]) -> None:
        stores = [await EtcdStore.open([member.url for member in members]) for _ in range(2)]
        stop, acknowledged = asyncio.Event(), dict[str, int]()
        seen: list[list[Event]] = [[], []]
        watchers = [asyncio.create_task(follow(store, seen[i])) for i, store in enumerate(stores)]
        writers = [asyncio.create_task(write(stores[i % 2], i, stop, acknowledged)) for i in range(WRITERS)]
        for member in members:
            await grown(acknowledged)
            await asyncio.to_thread(member.kill)
            await grown(acknowledged)
            await asyncio.to_thread(member.start)
        await grown(acknowledged)
        stop.set()
        await asyncio.gather(*writers)
        last = max(acknowledged.values())
        for store, events in zip(stores, seen, strict=True):
            await store.catch_up()
            stored = {kv.key: kv.mod_rev for kv in (await store.range("")).kvs}
            assert {key: stored.get(key) for key in acknowledged} == acknowledged
            while not events or events[-1].rev < last:
                await asyncio.sleep(0.01)
            assert len({event.rev for event in events}) == len(events) == len(stored)
            assert [event.rev for event in events] == sorted(event.rev for event in events)
        for task in watchers:
            task.cancel()
        for store in stores:
            await store.close()

    with cluster(tmp_path, 3) as members:
        asyncio.run(run(members))


async def grown(acknowledged: dict[str, int]) -> None:
    """Wait for a hundred more writes: with two members of three there is a majority."""
    goal = len(acknowledged) + 100
    while len(acknowledged) < goal:
        await asyncio.sleep(0.01)
