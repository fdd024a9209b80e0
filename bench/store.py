"""Transactions per second of the stores, through the API the apiserver uses, at several numbers of callers.

Each transaction creates one key of 800 bytes with "must be absent", as the creation of a Service does; SQLite commits
are synchronous (fsync), and so are those of the one etcd member, on the same disk, over loopback. Then: opening a store
that holds 100,000 of them, and handing every event to watchers.

    ./run bench store [-o json] [--seconds S]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import _table
from netplane.store.etcd.store import EtcdStore
from netplane.store.memory import MemoryStore
from netplane.store.protocol import Compare, Put, Store
from netplane.store.sqlite import SqliteStore
from tests.etcd_process import Etcd

VALUE = bytes(range(32)) * 25


async def writes(store: Store, callers: int, seconds: float, tag: str) -> float:
    end = time.perf_counter() + seconds
    counts = [0] * callers

    async def call(i: int) -> None:
        while time.perf_counter() < end:
            key = f"/registry/services/ns{i}/{tag}-{counts[i]}"
            await store.txn([Compare(key, 0)], [Put(key, VALUE)])
            counts[i] += 1

    begin = time.perf_counter()
    await asyncio.gather(*(call(i) for i in range(callers)))
    return sum(counts) / (time.perf_counter() - begin)


async def fan_out(store: Store, watchers: int, events: int) -> float:
    """Events handed out per second, over all watchers."""
    ready = asyncio.Semaphore(0)

    async def watch() -> None:
        seen = 0
        async with store.watch("/fan/", 0) as stream:
            ready.release()
            async for batch in stream:
                seen += len(batch)
                if seen >= events:
                    return

    tasks = [asyncio.create_task(watch()) for _ in range(watchers)]
    for _ in tasks:
        await ready.acquire()
    begin = time.perf_counter()
    for i in range(0, events, 16):
        await asyncio.gather(*(store.txn([], [Put(f"/fan/{n}", VALUE)]) for n in range(i, min(i + 16, events))))
    await asyncio.gather(*tasks)
    return watchers * events / (time.perf_counter() - begin)


KEYS = 100_000


async def fill(store: Store, count: int) -> None:
    """Bring the store to `count` keys."""
    have = (await store.range("")).count
    for first in range(have, count, 512):
        some = range(first, min(first + 512, count))
        await asyncio.gather(*(store.txn([], [Put(f"/registry/services/fill/{n}", VALUE)]) for n in some))


async def opening(path: Path, etcd: Etcd) -> dict[str, Any]:
    """Seconds to open each with KEYS keys."""
    row: dict[str, Any] = {"what": f"open with {KEYS:,} keys, s"}
    for name, open_it in (
        ("sqlite", lambda: SqliteStore.open(path)),
        ("etcd", lambda: EtcdStore.open([etcd.url])),
    ):
        store: Store = await open_it()
        await fill(store, KEYS)
        await store.close()
        begin = time.perf_counter()
        store = await open_it()
        row[name] = round(time.perf_counter() - begin, 2)
        assert (await store.range("")).count >= KEYS
        await store.close()
    return row


async def measure(seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Etcd(Path(folder) / "etcd") as etcd:
        path = Path(folder) / "store.db"
        stores: dict[str, Store] = {
            "sqlite": await SqliteStore.open(path),
            "etcd": await EtcdStore.open([etcd.url]),
            "memory": MemoryStore(),
        }
        for callers in (1, 16, 64):
            row: dict[str, Any] = {"what": f"create/s, {callers} callers"}
            for name, store in stores.items():
                row[name] = round(await writes(store, callers, seconds / (1 + 3 * (name == "memory")), f"b{callers}"))
            rows.append(row)
        handed = {name: round(await fan_out(store, 1000, 512)) for name, store in stores.items()}
        rows.append({"what": "events/s to 1,000 watchers", **handed})
        for store in stores.values():
            await store.close()
        rows.append(await opening(path, etcd))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    options = parser.parse_args()
    rows = uvloop.run(measure(options.seconds))
    _table.show("Stores", rows, as_json=options.output == "json")


if __name__ == "__main__":
    main()
