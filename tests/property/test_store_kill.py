"""kill -9 in the middle of concurrent writes: all that was acknowledged is there, and every revision is unique."""

import asyncio
from pathlib import Path

import pytest

from netplane.store.sqlite import SqliteStore
from tests import killed_writer

# The writer: 32 callers, each creating key after key (two per transaction), printing a line after each answer. The
# line goes out with one write(2), so a reader sees whole lines only. A 33rd keeps compacting.
WRITER = """
import asyncio, os, sys
from netplane.store.protocol import Compare, Delete, Put
from netplane.store.sqlite import SqliteStore

async def caller(store, i):
    for n in range(10**9):
        ops = [Put(f"/{i}/{n}", b"%d" % n), Put(f"/last/{i}", b"%d" % n)]
        result = await store.txn([Compare(f"/{i}/{n}", 0)], ops)
        os.write(1, f"{i} {n} {result.rev}\\n".encode())

async def compactor(store):
    while True:
        await store.compact(await store.current_rev() - 20)
        await asyncio.sleep(0.01)

async def main():
    store = await SqliteStore.open(sys.argv[1], keep_revisions=10, fsync=sys.argv[3] == "fsync")
    await asyncio.gather(compactor(store), *(caller(store, int(sys.argv[2]) + i) for i in range(32)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines_before_the_kill", [1, 200, 3000])
@pytest.mark.parametrize("mode", ["fsync", "no-fsync"])
def test_no_acknowledged_write_is_lost(tmp_path: Path, mode: str, lines_before_the_kill: int) -> None:
    path = tmp_path / "s.db"
    acknowledged: dict[tuple[int, int], int] = {}
    for life in range(3):
        acknowledged |= write_and_kill(path, mode, lines_before_the_kill, first_caller=100 * life)
        asyncio.run(check(path, acknowledged))
    revisions = sorted(acknowledged.values())
    assert len(set(revisions)) == len(revisions)


def write_and_kill(path: Path, mode: str, lines: int, first_caller: int) -> dict[tuple[int, int], int]:
    rows = killed_writer.acknowledged(WRITER, lines, str(path), str(first_caller), mode)
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    return {(caller, n): rev for caller, n, rev in rows}


async def check(path: Path, acknowledged: dict[tuple[int, int], int]) -> None:
    store = await SqliteStore.open(path)
    everything = {kv.key: kv for kv in (await store.range("")).kvs}
    last: dict[int, int] = {}
    for (caller, n), rev in acknowledged.items():
        assert everything[f"/{caller}/{n}"].mod_rev == rev
        last[caller] = max(n, last.get(caller, 0))
    for caller, n in last.items():  # the same transaction's other key: as new, or newer if the last answer got lost
        assert int(everything[f"/last/{caller}"].value) >= n
        newest = everything[f"/last/{caller}"]
        assert everything[f"/{caller}/{int(newest.value)}"].mod_rev == newest.mod_rev
    assert await store.current_rev() >= max(acknowledged.values())
    await store.close()
