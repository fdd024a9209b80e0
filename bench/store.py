"""Transactions per second of the stores, through the API the apiserver uses, at several numbers of callers.

Each transaction creates one key of 800 bytes with "must be absent", as the creation of a Service does; SQLite commits
are synchronous (fsync). Then: opening a store that holds all of them, and handing every event to watchers.

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
from netplane.store.memory import MemoryStore
from netplane.store.protocol import Compare, Put, Store
from netplane.store.sqlite import SqliteStore

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


async def measure(seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = await SqliteStore.open(path)
        memory = MemoryStore()
        for callers in (1, 16, 64, 128):
            ours = await writes(store, callers, seconds, f"b{callers}")
            model = await writes(memory, callers, seconds / 4, f"b{callers}")
            rows.append({"what": f"create, {callers} callers", "sqlite /s": round(ours), "memory /s": round(model)})
        total = (await store.range("")).count
        await store.close()
        begin = time.perf_counter()
        store = await SqliteStore.open(path)
        rate = round(total / (time.perf_counter() - begin))
        rows.append({"what": f"open, {total} keys", "sqlite /s": rate, "memory /s": ""})
        ours, model = await fan_out(store, 1000, 512), await fan_out(memory, 1000, 512)
        rows.append({"what": "events to 1000 watchers", "sqlite /s": round(ours), "memory /s": round(model)})
        await store.close()
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
