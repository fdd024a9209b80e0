"""Runs one piece of work as often as needed and no oftener: at once when idle, coalesced while it is busy.

There is no fixed pause between runs. Under a burst the work's own duration is the pause: whatever arrives while it
runs is one more run. (A fixed minimum interval, as kube-proxy's 1 s, adds latency exactly when nothing is going on.)

              poke                       done, nothing came meanwhile
     IDLE ────────────► RUNNING ───────────────────────────────────────► IDLE ──┐
      ▲                 │     ▲                                                 │ resync period
      └─────────────────┘     └── done, poked meanwhile: at once                ▼
                              └── failed: after backoff (full)              RUNNING (full)
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from netplane.obs import logs

log = logs.get("runner")


class Pace(msgspec.Struct, frozen=True):
    """How often. Seconds.

    `resync_s`: a full run at the latest this long after the last full one (0: never). After the n-th failure in a row
    the next run waits min(retry_first_s * 2^n, retry_longest_s), of which half is jitter.
    `min_interval_s`: the least time from one run's start to the next's; 0 is right nearly always.
    """

    resync_s: float = 30 * 60.0
    retry_first_s: float = 0.1
    retry_longest_s: float = 30.0
    min_interval_s: float = 0.0


class Run(msgspec.Struct, frozen=True):
    """Run now; `full` asks to forget what is believed to be applied and to redo everything."""

    full: bool


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for `delay_s`, or until poked. None: until poked."""

    delay_s: float | None


class Policy:
    """The decision alone: a pure state machine over a clock that is told to it (seconds, any origin).

    It begins owing a full run: the first one puts right what an earlier process left.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._wanted = True
        self._full = True
        self._failures = 0
        self._not_before = 0.0
        self._resync_at: float | None = None

    def poke(self) -> None:
        """Something changed."""
        self._wanted = True

    def poke_full(self) -> None:
        """Something changed behind our back; redo everything."""
        self._wanted = self._full = True

    def decide(self, now: float) -> Run | Wait:
        """What to do at `now`. A `Run` counts as begun."""
        if self._resync_at is not None and now >= self._resync_at:
            self._wanted = self._full = True
            self._resync_at = None
        if not self._wanted:
            return Wait(None if self._resync_at is None else self._resync_at - now)
        if now < self._not_before:
            return Wait(self._not_before - now)
        run = Run(self._full)
        self._wanted = self._full = False
        self._not_before = now + self._pace.min_interval_s
        return run

    def succeeded(self, now: float, *, full: bool) -> None:
        """The run begun last ended well."""
        self._failures = 0
        if full and self._pace.resync_s:
            self._resync_at = now + self._pace.resync_s

    def failed(self, now: float, dice: float) -> float:
        """The run failed: repeat it in full. Returns the wait in seconds; `dice` in [0, 1) is its jitter."""
        whole = min(self._pace.retry_first_s * 2.0 ** min(self._failures, 32), self._pace.retry_longest_s)
        delay_s = whole * (0.5 + 0.5 * dice)
        self._failures += 1
        self._wanted = self._full = True
        self._not_before = now + delay_s
        return delay_s

    @property
    def failures(self) -> int:
        """Failed runs in a row."""
        return self._failures


class Runner:
    """Drives `work(full)` by a `Policy` in the running event loop. `poke` is cheap and may be called for every event.

    `work` may be a coroutine function. An exception of it is logged, and the run repeated in full after a backoff.
    """

    def __init__(self, name: str, work: Callable[[bool], Awaitable[Any] | None], pace: Pace | None = None) -> None:
        self.policy = Policy(pace or Pace())
        self.runs = 0
        self.last_success: float | None = None  # event loop time
        self._name = name
        self._work = work
        self._wake = asyncio.Event()

    def poke(self) -> None:
        """Run soon."""
        self.policy.poke()
        self._wake.set()

    def poke_full(self) -> None:
        """Run soon, and redo everything."""
        self.policy.poke_full()
        self._wake.set()

    async def run(self) -> None:
        """For ever; cancel to stop."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            step = self.policy.decide(loop.time())
            if isinstance(step, Wait):
                await self._sleep(step.delay_s)
            else:
                await self._once(step.full, loop)

    async def _once(self, full: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.runs += 1
        try:
            result = self._work(full)
            if result is not None:
                await result
        except Exception:
            delay_s = self.policy.failed(loop.time(), random.random())
            log.exception("run failed", runner=self._name, failures=self.policy.failures, retry_in_s=round(delay_s, 3))
        else:
            self.last_success = loop.time()
            self.policy.succeeded(self.last_success, full=full)

    async def _sleep(self, delay_s: float | None) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            pass
