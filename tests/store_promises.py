"""What every store promises, as scenarios that any of them must pass.

The store under test keeps KEEP revisions at compaction, buffers BUFFER events for a watcher, and is new.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from netplane.store.etcd.space import STEP
from netplane.store.protocol import (
    FIRST_REV,
    KV,
    Compacted,
    Compare,
    Delete,
    Event,
    FutureRevision,
    Put,
    Store,
    StoreError,
    Watch,
    WatchOverflow,
)

Scenario = Callable[[Store], Awaitable[None]]
KEEP, BUFFER = 3, 50


def nth(store: Store, number: int) -> int:
    """The revision of a transaction that had nobody beside it, counted from the empty store, the first."""
    return FIRST_REV + (number - 1) * (STEP if store.shared else 1)


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    return (await store.txn([], [Put(key, value)])).rev


async def take(watch: Watch, count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        events += await anext(watch)
    return events


async def revisions_count_transactions(store: Store) -> None:
    first, second, third = (nth(store, number) for number in (1, 2, 3))
    assert await store.current_rev() == first == 1
    two = await store.txn([], [Put("/a", b"1"), Put("/b", b"2")])
    assert (two.succeeded, two.rev) == (True, second)
    assert await put(store, "/a", b"3") == third
    assert await store.get("/a") == KV("/a", b"3", mod_rev=third, create_rev=second)
    assert await store.get("/b") == KV("/b", b"2", mod_rev=second, create_rev=second)
    nothing = await store.txn([], [Delete("/zz")])
    assert (nothing.succeeded, nothing.rev) == (True, third)
    assert (await store.txn([], [])).rev == third


async def compares_decide_and_say_what_they_found(store: Store) -> None:
    rev = await put(store, "/a")
    absent = await store.txn([Compare("/a", 0), Compare("/b", 7), Compare("/c", 0)], [Put("/c", b"")])
    assert not absent.succeeded
    assert absent.failed == (await store.get("/a"), None)
    assert await store.get("/c") is None
    assert (await store.txn([Compare("/a", rev)], [Delete("/a"), Put("/n", b"")])).succeeded
    assert await store.get("/a") is None
    again = await store.txn([Compare("/a", 0)], [Put("/a", b"new")])
    assert await store.get("/a") == KV("/a", b"new", again.rev, again.rev)


async def concurrent_creations_have_one_winner(store: Store) -> None:
    tries = await asyncio.gather(*(store.txn([Compare("/a", 0)], [Put("/a", b"%d" % i)]) for i in range(20)))
    winners = [i for i, result in enumerate(tries) if result.succeeded]
    kv = await store.get("/a")
    assert kv is not None
    assert kv.value == b"%d" % winners[0]
    assert len(winners) == 1
    assert all(result.failed == (kv,) for result in tries if not result.succeeded)


async def a_key_named_twice_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="twice"):
        await store.txn([], [Put("/a", b""), Delete("/a")])


async def ranges_are_ordered_and_paged(store: Store) -> None:
    for key in ("/b/2", "/a/1", "/b/1", "/b0", "/c/1", "/b/3"):
        await put(store, key)
    page = await store.range("/b/", limit=2)
    assert ([kv.key for kv in page.kvs], page.more, page.count, page.rev) == (["/b/1", "/b/2"], True, 3, nth(store, 7))
    rest = await store.range("/b/", start="/b/2\0", limit=2)
    assert ([kv.key for kv in rest.kvs], rest.more, rest.count) == (["/b/3"], False, 1)
    assert (await store.range("")).count == 6
    assert (await store.range("/zz")).kvs == []


async def the_past_can_be_read(store: Store) -> None:
    await store.txn([], [Put("/a", b"1"), Put("/b", b"1")])
    await store.txn([], [Put("/a", b"2"), Delete("/b"), Put("/c", b"2")])
    two, three = nth(store, 2), nth(store, 3)
    then = await store.range("/", rev=two)
    assert [(kv.key, kv.value) for kv in then.kvs] == [("/a", b"1"), ("/b", b"1")]
    assert (then.rev, then.count) == (two, 2)
    assert (await store.range("/", rev=two, limit=1)).more
    assert [kv.key for kv in (await store.range("/", rev=two, start="/b")).kvs] == ["/b"]
    assert await store.get("/b", rev=two) == KV("/b", b"1", two, two)
    assert await store.get("/c", rev=two) is None
    assert (await store.range("/", rev=nth(store, 1))).kvs == []
    with pytest.raises(FutureRevision) as future:
        await store.range("/", rev=three + 1)
    assert future.value.rev == three


async def watches_replay_then_follow(store: Store) -> None:
    await put(store, "/a/1", b"1")
    await put(store, "/z/1", b"1")
    async with store.watch("/a/", nth(store, 2)) as watch:
        await store.txn([], [Put("/a/1", b"2"), Put("/a/2", b"1")])
        await store.txn([], [Delete("/a/1")])
        two, four, five = nth(store, 2), nth(store, 4), nth(store, 5)
        created, changed, second, deleted = await take(watch, 4)
        assert created == Event(two, KV("/a/1", b"1", two, two), None, deleted=False)
        assert changed == Event(four, KV("/a/1", b"2", four, two), created.kv, deleted=False)
        assert (second.rev, second.kv.key) == (four, "/a/2")
        assert deleted == Event(five, KV("/a/1", b"2", five, two), changed.kv, deleted=True)
        await put(store, "/z/2")
        assert watch.progress == nth(store, 6)


async def a_watch_from_now_and_one_from_the_future(store: Store) -> None:
    await put(store, "/a")
    async with store.watch("/", 0) as now, store.watch("/", nth(store, 4)) as later:
        assert (now.progress, later.progress) == (nth(store, 2), nth(store, 4) - 1)
        await put(store, "/b")
        await put(store, "/c")
        assert [event.kv.key for event in await take(now, 2)] == ["/b", "/c"]
        assert [event.kv.key for event in await take(later, 1)] == ["/c"]


async def waiting_for_events_can_be_cancelled_without_loss(store: Store) -> None:
    async with store.watch("/", 0) as watch:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(watch), 0.001)
        await put(store, "/a")
        assert [event.kv.key for event in await take(watch, 1)] == ["/a"]


async def a_slow_watcher_is_closed_and_others_are_not(store: Store) -> None:
    async with store.watch("/", 0) as slow, store.watch("/", 0) as quick:
        seen = 0
        for i in range(BUFFER + 1):
            await put(store, f"/{i}")
            seen += len(await anext(quick))
        assert seen == BUFFER + 1
        with pytest.raises(WatchOverflow):
            await anext(slow)


async def compaction_forgets_and_keeps_the_last_revisions(store: Store) -> None:
    for i in range(5):
        await put(store, "/a", b"%d" % i)  # transactions 2 to 6
    await store.txn([], [Delete("/gone"), Put("/b", b"")])
    await store.compact(nth(store, 100))
    oldest = await store.compact_rev()
    assert nth(store, 4) == oldest or nth(store, 3) < oldest < nth(store, 4), (
        "the last KEEP and no more than one beside"
    )
    for rev in (oldest, nth(store, 4)):
        kv = await store.get("/a", rev=rev)
        assert kv is not None
        assert kv.value == (b"2" if rev == nth(store, 4) else b"1")
    with pytest.raises(Compacted) as compacted:
        await store.get("/a", rev=nth(store, 3))
    assert compacted.value.rev == oldest
    with pytest.raises(Compacted):
        async with store.watch("/", oldest):
            pass
    async with store.watch("/", oldest + 1) as watch:
        wanted = [rev for rev in (nth(store, number) for number in (4, 5, 6, 7)) if rev > oldest]
        assert [event.rev for event in await take(watch, len(wanted))] == wanted
    await store.compact(nth(store, 2))
    assert await store.compact_rev() == oldest


async def closing_ends_watches_and_refuses_writes(store: Store) -> None:
    async with store.watch("/", 0) as watch:
        await put(store, "/a")
        await store.close()
        assert [event.kv.key for event in await take(watch, 1)] == ["/a"]
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
    with pytest.raises(StoreError, match="closed"):
        await put(store, "/b")


PROMISES: tuple[Scenario, ...] = (
    revisions_count_transactions,
    compares_decide_and_say_what_they_found,
    concurrent_creations_have_one_winner,
    a_key_named_twice_is_refused,
    ranges_are_ordered_and_paged,
    the_past_can_be_read,
    watches_replay_then_follow,
    a_watch_from_now_and_one_from_the_future,
    waiting_for_events_can_be_cancelled_without_loss,
    a_slow_watcher_is_closed_and_others_are_not,
    compaction_forgets_and_keeps_the_last_revisions,
    closing_ends_watches_and_refuses_writes,
)
