"""Turns, seats and queues: who is let in when, counted in requests served and never in seconds."""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from typing import Any

from netplane.apiserver.limits import fairness
from netplane.apiserver.limits.fairness import Entry, Gate


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def ask(gate: Gate, user: str, served: list[str], times: int = 1, answer_bytes: int = 0) -> None:
    for _ in range(times):
        assert await gate.enter(user) is Entry.GRANTED
        served.append(user)
        gate.leave(user, answer_bytes)


def gaps(served: list[str], user: str) -> list[int]:
    """How many others were served before each request of a user, since the one before."""
    at = [-1, *(i for i, one in enumerate(served) if one == user)]
    return [b - a - 1 for a, b in itertools.pairwise(at)]


def test_two_hundred_connections_of_one_do_not_hold_up_another() -> None:
    async def test() -> None:
        gate, served = Gate(400), list[str]()
        noise = [asyncio.create_task(ask(gate, "noisy", served, 40)) for _ in range(200)]
        quiet = asyncio.create_task(ask(gate, "quiet", served, 50))
        await asyncio.gather(quiet, *noise)
        assert (served.count("noisy"), served.count("quiet")) == (8000, 50)
        assert max(gaps(served, "quiet")) <= 2 * fairness.TURN_REQUESTS
        assert (gate.executing, gate.waiting, gate.dispatched) == (0, 0, 8050)

    run(test)


def test_equal_users_are_served_equally() -> None:
    async def test() -> None:
        gate, served = Gate(400), list[str]()
        await asyncio.gather(*(ask(gate, user, served, 20) for user in ("a", "b", "c") for _ in range(60)))
        assert max(abs(served[:1800].count(user) - 600) for user in ("a", "b", "c")) <= fairness.TURN_REQUESTS

    run(test)


def test_large_answers_count_for_more_than_small_ones() -> None:
    async def test() -> None:
        gate, served = Gate(400), list[str]()
        large = 9 * fairness.BYTES_PER_UNIT
        lists = [asyncio.create_task(ask(gate, "lists", served, 20, large)) for _ in range(100)]
        gets = [asyncio.create_task(ask(gate, "gets", served, 20)) for _ in range(100)]
        await asyncio.gather(*lists, *gets)
        first = served[:1000]
        assert first.count("gets") > 3 * first.count("lists")

    run(test)


def test_a_request_alone_waits_for_nobody() -> None:
    async def test() -> None:
        gate = Gate(2)
        assert gate.enter_now()
        assert gate.enter_now()
        assert not gate.enter_now()
        gate.leave("a")
        assert gate.executing == 1

    run(test)


def test_seats_bound_what_is_under_way() -> None:
    async def test() -> None:
        gate, most, go = Gate(3), 0, asyncio.Event()

        async def slow() -> None:
            nonlocal most
            assert await gate.enter("u") is Entry.GRANTED
            most = max(most, gate.executing)
            await go.wait()
            gate.leave("u")

        tasks = [asyncio.create_task(slow()) for _ in range(10)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert (gate.executing, gate.waiting) == (3, 7)
        go.set()
        await asyncio.gather(*tasks)
        assert (most, gate.executing, gate.waiting) == (3, 0, 0)

    run(test)


def test_a_full_queue_refuses_its_own_user_only() -> None:
    async def test() -> None:
        gate = Gate(1)
        assert gate.enter_now()
        waiting = [asyncio.create_task(gate.enter("noisy")) for _ in range(fairness.QUEUE_LENGTH)]
        await asyncio.sleep(0)
        assert await gate.enter("noisy") is Entry.QUEUE_FULL
        other = asyncio.create_task(gate.enter("quiet"))
        await asyncio.sleep(0)
        assert gate.rejected[Entry.QUEUE_FULL] == 1
        gate.leave("first")
        assert await waiting[0] is Entry.GRANTED
        gate.leave("noisy")
        assert await other is Entry.GRANTED
        for one in waiting[1:]:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(test)


def test_who_waits_too_long_is_refused() -> None:
    async def test() -> None:
        gate = Gate(1)
        assert gate.enter_now()
        late = asyncio.create_task(gate.enter("u"))
        await asyncio.sleep(0)
        gate.expire(time.perf_counter() + fairness.MAX_WAIT_S + 1)
        assert await late is Entry.TIME_OUT
        again = asyncio.create_task(gate.enter("u"))
        await asyncio.sleep(0)
        gate.leave("first")
        assert await again is Entry.GRANTED
        assert gate.waiting == 0

    run(test)


def test_a_client_that_is_gone_leaves_no_seat_taken() -> None:
    async def test() -> None:
        gate = Gate(1)
        assert gate.enter_now()
        gone = asyncio.create_task(gate.enter("u"))
        await asyncio.sleep(0)
        gate.leave("first")
        while not gate.executing:
            await asyncio.sleep(0)
        gone.cancel()  # it was let in and does not know yet
        await asyncio.gather(gone, return_exceptions=True)
        assert await gate.enter("v") is Entry.GRANTED
        assert gate.executing == 1

    run(test)
