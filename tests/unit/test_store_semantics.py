"""What every store promises, asked of those that live in this process."""

import asyncio
from pathlib import Path

import pytest

from netplane.store.memory import MemoryStore
from netplane.store.protocol import Store
from netplane.store.sqlite import SqliteStore
from tests.store_promises import BUFFER, KEEP, PROMISES, Scenario


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_stores_keep_their_promises(kind: str, promise: Scenario, tmp_path: Path) -> None:
    async def run() -> None:
        store: Store
        if kind == "memory":
            store = MemoryStore(keep_revisions=KEEP, buffer_events=BUFFER)
        else:
            store = await SqliteStore.open(tmp_path / "s.db", keep_revisions=KEEP, buffer_events=BUFFER)
        try:
            await promise(store)
        finally:
            await store.close()

    asyncio.run(run())
