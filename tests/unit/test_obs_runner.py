"""When work runs: the policy without a clock, the runner in a loop."""

import asyncio
from contextlib import suppress

import pytest

from netplane.obs.runner import Pace, Policy, Run, Runner, Wait


def fresh(**pace: float) -> Policy:
    policy = Policy(Pace(**pace))
    assert policy.decide(0.0) == Run(full=True)
    policy.succeeded(0.0, full=True)
    return policy


def test_begins_with_a_full_run_and_then_waits_for_the_resync() -> None:
    assert fresh(resync_s=60.0).decide(1.0) == Wait(59.0)
    assert fresh(resync_s=0.0).decide(1.0) == Wait(None)


def test_idle_runs_at_once_and_many_pokes_are_one_run() -> None:
    policy = fresh()
    policy.poke()
    policy.poke()
    assert policy.decide(5.0) == Run(full=False)
    policy.poke()  # while it runs
    policy.poke()
    policy.succeeded(6.0, full=False)
    assert policy.decide(6.0) == Run(full=False)
    assert isinstance(policy.decide(6.0), Wait)


def test_a_failure_is_repeated_in_full_after_a_growing_wait() -> None:
    policy = fresh(retry_first_s=0.1, retry_longest_s=0.3)
    waits = []
    now = 0.0
    policy.poke()
    for _ in range(4):
        policy.decide(now)
        waits.append(policy.failed(now, 0.0))
        policy.poke()  # what arrives meanwhile does not shorten the wait
        step = policy.decide(now)
        assert isinstance(step, Wait)
        assert step.delay_s == pytest.approx(waits[-1])
        now += waits[-1]
    assert waits == pytest.approx([0.05, 0.1, 0.15, 0.15])
    assert policy.decide(now) == Run(full=True)
    policy.succeeded(now, full=True)
    assert policy.failures == 0


def test_the_resync_is_full_and_counts_from_the_last_full_run() -> None:
    policy = fresh(resync_s=60.0)
    policy.poke()
    assert policy.decide(59.0) == Run(full=False)
    policy.succeeded(59.0, full=False)
    assert policy.decide(60.0) == Run(full=True)


def test_a_least_interval_delays_the_next_start() -> None:
    policy = fresh(min_interval_s=1.0)
    policy.poke()
    assert policy.decide(0.25) == Wait(0.75)
    assert policy.decide(1.0) == Run(full=False)


def test_poke_full_survives_pokes() -> None:
    policy = fresh()
    policy.poke_full()
    policy.poke()
    assert policy.decide(1.0) == Run(full=True)


def test_the_runner_coalesces_retries_and_lets_async_work_finish() -> None:
    async def main() -> list[bool]:
        runs: list[bool] = []
        finished = asyncio.Event()

        async def work(full: bool) -> None:
            runs.append(full)
            if len(runs) == 1:
                runner.poke()
                runner.poke()
            if len(runs) == 2:
                raise OSError("the kernel said no")
            await asyncio.sleep(0)
            if len(runs) == 3:
                finished.set()

        runner = Runner("test", work, Pace(retry_first_s=0.001))
        task = asyncio.create_task(runner.run())
        await asyncio.wait_for(finished.wait(), 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return runs

    assert asyncio.run(main()) == [True, False, True]
