"""Walks round once in a while and has mended what is wrong with no call under way (see `cni/mender.py`).

A round looks at the links, the leases, and where there are host ports at their elements: 75 ms for 1,000 pods on two
small cores, a third of the grace time apart, PATROL_S at most. A container that a call is under way for is left for the
next round.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial

from cni.mender import Mender
from netplane.errors import NetplaneError
from netplane.obs import logs

log = logs.get("cni.patrol")

PATROL_S = 60.0
ROUNDS_IN_GRACE = 3
SHORTEST_S = 0.1
WhenIdle = Callable[[str, Callable[[], None]], bool]


class Patrol:
    """Rounds, one after the other.

    Args:
        mender: finds and mends.
        when_idle: does something for a container unless a call for it is under way; says whether it did.
        grace_s: how long something must have been wrong.
    """

    def __init__(self, mender: Mender, when_idle: WhenIdle, grace_s: float) -> None:
        self._mender = mender
        self._when_idle = when_idle
        self._grace_s = grace_s

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(max(SHORTEST_S, min(PATROL_S, self._grace_s / ROUNDS_IN_GRACE)))
            await asyncio.to_thread(self.round)

    def round(self) -> None:
        """One round; what cannot be mended now is left for the next."""
        found: list[str] = []
        self._try(lambda: found.extend(self._mender.find(self._grace_s)))
        for container in found:
            self._try(partial(self._when_idle, container, partial(self._mender.mend, container)))
        self._try(self._mender.tidy)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (NetplaneError, OSError, sqlite3.Error) as error:
            log.warning("cannot mend now; trying again", error=str(error))
