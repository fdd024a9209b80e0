"""kill -9 of a writer, and of etcd, in the middle of transactions that go together: what was acknowledged is there."""

import asyncio
from pathlib import Path

import pytest

from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Event, Put
from tests import killed_writer
from tests.etcd_process import Etcd

# 32 callers, each creating key after key, two per transaction, and deleting the one before: a line for each answer.
WRITER = """
import asyncio, os, sys
from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Compare, Delete, Put

async def caller(store, i):
    rev = 0
    for n in range(10**9):
        ops = [Put(f"/{i}/{n}", b"%d" % n), Put(f"/last/{i}", b"%d" % n)]
        result = await store.txn([Compare(f"/{i}/{n}", 0)], ops)
        os.write(1, f"{i} {n} {result.rev}\\n".encode())
        if n:
            await store.txn([Compare(f"/{i}/{n - 1}", rev)], [Delete(f"/{i}/{n - 1}")])
        rev = result.rev

async def main():
    store = await EtcdStore.open([sys.argv[1]])
    await asyncio.gather(*(caller(store, int(sys.argv[2]) + i) for i in range(32)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 200, 3000])
def test_no_acknowledged_write_is_lost(tmp_path: Path, lines: int) -> None:
    acknowledged: dict[tuple[int, int], int] = {}
    with Etcd(tmp_path) as etcd:
        for life in range(3):
            told = killed_writer.acknowledged(WRITER, lines, etcd.url, str(100 * life))
            acknowledged |= {(caller, n): rev for caller, n, rev in told}
            etcd.kill()
            etcd.start()
            asyncio.run(check(etcd, acknowledged))
    assert len(set(acknowledged.values())) == len(acknowledged), "every transaction has a revision of its own"


async def check(etcd: Etcd, acknowledged: dict[tuple[int, int], int]) -> None:
    """The history, read from its beginning, has each acknowledged write at its revision, and comes to what is there."""
    store = await EtcdStore.open([etcd.url])
    end = await store.txn([], [Put("/end", b"")])
    there = {kv.key: kv for kv in (await store.range("")).kvs}
    events: list[Event] = []
    async with store.watch("/", 2) as watch:
        while not events or events[-1].rev < end.rev:
            events += await anext(watch)
    assert [event.rev for event in events] == sorted(event.rev for event in events)
    made = {event.kv.key: event.rev for event in events if event.prev is None}
    assert {f"/{i}/{n}": rev for (i, n), rev in acknowledged.items()}.items() <= made.items()
    replayed = {event.kv.key: event for event in events}
    assert there == {key: event.kv for key, event in replayed.items() if not event.deleted}
    for rev in sorted(event.rev for event in events)[:: max(len(events) // 20, 1)]:
        listed = {kv.key: kv.value for kv in (await store.range("/last/", rev=rev)).kvs}
        upto = [event for event in events if event.rev <= rev and event.kv.key.startswith("/last/")]
        assert listed == {event.kv.key: event.kv.value for event in upto}
    await store.close()
