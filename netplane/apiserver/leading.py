"""One of the apiservers on a store does what need be done once for all of them; the others stand by.

    stand by ──► the leader's key is gone, or silent for LOST_S ──► take it ──► lead: work, write the key every BEAT_S
        ▲                                                                               │
        └───────────────────── another one has the key ◄────────────────────────────────┘

Two that lead at once do no harm, as long as all they write compares what it was judged by: this spares work and guards
nothing. So nobody's clock matters, and one that hangs need not be stopped. Who ends gives the key back at once.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from netplane.apiserver import cluster as cl
from netplane.obs import logs
from netplane.store.protocol import Compare, Delete, Put, Store, StoreError

log = logs.get("apiserver.leading")

KEY = "/leader"
BEAT_S, LOST_S = 1.5, 5.0
RELEASE_S = 1.0


async def run(store: Store, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work while this process leads, until cancelled. Raises what the work raises, and StoreError."""
    if not store.shared:
        await work()
        return
    me = cl.new_uid()
    while True:
        rev = await _taken(store, me)
        log.info("leading")
        holding, working = asyncio.create_task(_hold(store, me, rev)), asyncio.ensure_future(work())
        try:
            await asyncio.wait((holding, working), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (holding, working):
                task.cancel()
            ended = await asyncio.gather(holding, working, return_exceptions=True)
            await _release(store, me)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        log.info("no longer leading")


async def _taken(store: Store, me: str) -> int:
    """Stand by until the key is ours; its revision."""
    while True:
        kv = await store.get(KEY)
        rev = kv.mod_rev if kv else 0
        if rev and not await _is_silent(store, rev):
            continue
        done = await store.txn([Compare(KEY, rev)], [Put(KEY, me.encode())])
        if done.succeeded:
            return done.rev


async def _is_silent(store: Store, rev: int) -> bool:
    """Whether the key stays as it is for LOST_S; False as soon as it does not."""
    with contextlib.suppress(StopAsyncIteration):  # the store's generation is over: look again
        async with store.watch(KEY, rev + 1) as watch:
            try:
                async with asyncio.timeout(LOST_S):
                    await anext(watch)
            except TimeoutError:
                return True
    return False


async def _hold(store: Store, me: str, rev: int) -> None:
    """Keep the key until somebody else has it."""
    while True:
        await asyncio.sleep(BEAT_S)
        done = await store.txn([Compare(KEY, rev)], [Put(KEY, me.encode())])
        if not done.succeeded:
            return
        rev = done.rev


async def _release(store: Store, me: str) -> None:
    """Give the key back, if it is ours: the next one need not wait."""
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(RELEASE_S):
            kv = await store.get(KEY)
            if kv is not None and kv.value == me.encode():
                await store.txn([Compare(KEY, kv.mod_rev)], [Delete(KEY)])
