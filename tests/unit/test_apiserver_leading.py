"""Of several apiservers one does the work, and another goes on when it ends, hangs or fails."""

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import patch

import pytest

from netplane.apiserver import leading
from netplane.store.memory import MemoryStore
from netplane.store.protocol import Put, StoreError


class Shared(MemoryStore):
    shared = True


class Candidate:
    """An apiserver that may lead; `leads` while it does."""

    def __init__(self, store: MemoryStore) -> None:
        self.leads = asyncio.Event()
        self.fail: Exception | None = None
        self.wake = asyncio.Event()
        self.task = asyncio.create_task(leading.run(store, self.work))

    async def work(self) -> None:
        self.leads.set()
        try:
            await self.wake.wait()
            assert self.fail is not None
            raise self.fail
        finally:
            self.leads.clear()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def scenario(test: Callable[[MemoryStore], Awaitable[None]], *, shared: bool = True) -> None:
    async def whole() -> None:
        store = Shared() if shared else MemoryStore()
        async with asyncio.timeout(20):
            with patch.multiple(leading, BEAT_S=0.01, LOST_S=0.05):
                await test(store)

    asyncio.run(whole())


def test_one_works_and_the_next_goes_on_when_it_ends() -> None:
    async def test(store: MemoryStore) -> None:
        with patch.object(leading, "LOST_S", 60.0):  # nobody waits for that: the key is given back
            one = Candidate(store)
            await one.leads.wait()
            others = [Candidate(store), Candidate(store)]
            await asyncio.sleep(0.05)
            assert not any(other.leads.is_set() for other in others)
            await one.end()
            await asyncio.wait([asyncio.create_task(o.leads.wait()) for o in others], return_when="FIRST_COMPLETED")
            assert [other.leads.is_set() for other in others].count(True) == 1
            for other in others:
                await other.end()
        assert await store.get(leading.KEY) is None

    scenario(test)


def test_one_that_hangs_is_replaced_and_stops_when_it_hears_of_it() -> None:
    async def test(store: MemoryStore) -> None:
        with patch.object(leading, "BEAT_S", 0.5):  # it does not beat for so long
            one = Candidate(store)
            await one.leads.wait()
        other = Candidate(store)
        await other.leads.wait()
        while one.leads.is_set():
            await asyncio.sleep(0.01)
        assert other.leads.is_set()
        assert not one.task.done(), "it stands by"
        await other.end()
        await one.leads.wait()
        await one.end()

    scenario(test)


def test_what_the_work_raises_is_told_and_the_key_is_given_back() -> None:
    async def test(store: MemoryStore) -> None:
        one = Candidate(store)
        await one.leads.wait()
        one.fail = StoreError("gone")
        one.wake.set()
        with pytest.raises(StoreError, match="gone"):
            await one.task
        assert await store.get(leading.KEY) is None

    scenario(test)


def test_the_key_of_one_that_is_no_more_is_taken_over() -> None:
    async def test(store: MemoryStore) -> None:
        await store.txn([], [Put(leading.KEY, b"killed")])
        one = Candidate(store)
        await one.leads.wait()
        await one.end()

    scenario(test)


def test_a_store_of_one_process_needs_no_leader() -> None:
    async def test(store: MemoryStore) -> None:
        one = Candidate(store)
        await one.leads.wait()
        assert await store.get(leading.KEY) is None
        await one.end()

    scenario(test, shared=False)
