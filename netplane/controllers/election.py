"""Runs something while this process leads, and at no other time.

follow ──► the Lease is free ──► claim ──► lead: run the work, renew every 2 s ──► renewal overdue, or lost ──┐
   ▲                                                                                                        stop
   └────────────────────────────────────────────────────────────────────────────────────────────────────────┘

`may_write` is asked right before each write of the work: a process that was suspended wakes up with its time over and
writes nothing, before it even hears that it was replaced. Time goes on while a machine is suspended (CLOCK_BOOTTIME).
"""

import asyncio
import random
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from netplane.api.objects import Lease, ObjectMeta
from netplane.client import errors
from netplane.client.api import Api
from netplane.controllers.plan import election
from netplane.controllers.plan.election import Seen, Timing
from netplane.obs import logs

log = logs.get("controllers.election")
JITTER = 1.2


class Elector:
    """One candidate for one Lease.

    Args:
        api: where the Lease is.
        name: its name and namespace.
        identity: who we are; "" makes one of the host's name and a random part, new in each process.
        timing: see `Timing`.
    """

    def __init__(self, api: Api, name: ObjectMeta, *, identity: str = "", timing: Timing | None = None) -> None:
        self.lock = name.name
        self.identity = identity or f"{socket.gethostname()}_{uuid.uuid4()}"
        self.leader = ""  # as last seen
        self.transitions = 0
        self._api, self._name, self._timing = api, name, timing or Timing()
        self._seen: Seen | None = None
        self._until_s = 0.0

    def may_write(self) -> bool:
        """Whether our time is not over."""
        return clock_s() < self._until_s

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Follow, lead, follow, for ever; cancel to stop, which gives the lead away."""
        try:
            while True:
                await self._acquire()
                log.info("leading", lease=self._name.name, identity=self.identity)
                await self._lead(work)
                log.warning("no longer leading", lease=self._name.name, leader=self.leader)
        finally:
            with suppress(errors.ApiError, TimeoutError, asyncio.CancelledError):
                await asyncio.shield(asyncio.wait_for(self._release(), 3.0))

    async def _acquire(self) -> None:
        while not await self._try():
            await asyncio.sleep(self._timing.retry_s * (1 + JITTER * random.random()))

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Ends when the lead is lost; raises what the work raises."""
        tasks = asyncio.ensure_future(work()), asyncio.ensure_future(self._renew())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._until_s = 0.0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _renew(self) -> None:
        """Returns when it cannot be renewed in time, or belongs to another."""
        while self.may_write():
            await asyncio.sleep(self._timing.retry_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(self._until_s - clock_s(), 0.0)):
                    if not await self._try() and self.leader != self.identity:
                        return

    async def _try(self) -> bool:
        """Take or renew the Lease; False when it is another's, or the apiserver is away."""
        began_s = clock_s()
        try:
            await self._look()
            assert self._seen is not None, "just looked"
            if not election.is_free(self._seen, self.identity, clock_s()):
                return False
            wanted = election.claim(self._seen, self._name, self.identity, self._timing, _now())
            written = await (self._api.replace(wanted) if self._seen.lease else self._api.create(wanted))
        except errors.ApiError as error:
            log.debug("lease not written", lease=self._name.name, error=error.message)
            return False
        self._note(written)
        # From before the request: whoever watches us counts from when it was done, which is later.
        self._until_s = began_s + self._timing.renew_s
        return True

    async def _look(self) -> None:
        lease: Lease | None = None
        with suppress(errors.NotFound):
            lease = await self._api.get(Lease, self._name.name, self._name.namespace)
        self._note(lease)

    def _note(self, lease: Lease | None) -> None:
        self._seen = election.saw(self._seen, lease, clock_s())
        leader = election.holder(lease)
        if leader not in (self.leader, self.identity):
            log.info("another leads", lease=self._name.name, leader=leader)
        self.leader = leader
        self.transitions = (lease.spec.lease_transitions if lease else None) or 0

    async def _release(self) -> None:
        if self._seen is not None and self._seen.lease is not None and self.leader == self.identity:
            await self._api.replace(election.release(self._seen.lease, _now()))
            log.info("released", lease=self._name.name)


def clock_s() -> float:
    """Seconds since boot, suspends included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
