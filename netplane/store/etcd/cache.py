"""What one apiserver knows of etcd: the current keys and the last events, as far as its watch has come.

Changes come in from the watch alone, in etcd's order, also one's own: so memory never shows what another apiserver
could not see, and whoever waits for a revision sees everything up to it.
"""

import asyncio
import heapq
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from netplane.store import hub, state
from netplane.store.etcd import messages as pb
from netplane.store.etcd.space import Space
from netplane.store.protocol import KV, Event


class Cache:
    """One generation's keys. `rev` is the store's revision that it shows."""

    def __init__(self, space: Space, kvs: Iterable[KV], rev: int, buffer_events: int) -> None:
        self.space = space
        self.rev = rev
        self.state = state.State({kv.key: kv for kv in kvs})
        self.recent = state.Recent(rev)
        self.hub = hub.Hub(rev, buffer_events)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = count()
        self._over = False

    @property
    def etcd_rev(self) -> int:
        """Etcd's revision that it shows, whole."""
        return self.space.etcd_rev(self.rev)

    def take(self, found: Sequence[Any], etcd_rev: int) -> None:
        """Take etcd's events over, all up to `etcd_rev`, and tell the watchers."""
        before, places = self.etcd_rev, self.space.deletions(found)
        fresh = (one for one in found if one.kv.mod_revision > before)
        events = [event for one in fresh if (event := self._event(one, places)) is not None]
        if events:
            self.recent.add(events)
            self.rev = events[-1].rev
        self.rev = max(self.rev, self.space.rev(etcd_rev))
        self.hub.publish(events, self.rev)
        while self._waiting and self._waiting[0][0] <= self.rev:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)

    def _event(self, found: Any, places: dict[tuple[int, bytes], int]) -> Event | None:
        space, at = self.space, found.kv.mod_revision
        if not space.holds(found.kv.key):
            return None
        prev = self.state.get(space.name(found.kv.key))
        if found.type != pb.DELETE:
            kv = space.kv(found.kv)
            event = Event(kv.mod_rev, kv, prev, deleted=False)
        elif prev is not None:
            rev = space.rev(at, places.get((at, found.kv.key), 0))
            event = Event(rev, prev._replace(mod_rev=rev), prev, deleted=True)
        else:
            return None
        self.state.apply([event])
        return event

    def shown(self, rev: int) -> "asyncio.Future[None]":
        """Done when `rev` is shown, or never will be."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            waiter.set_result(None)
            return waiter
        heapq.heappush(self._waiting, (rev, next(self._tickets), waiter))
        return waiter

    async def reach(self, rev: int, timeout_s: float) -> bool:
        """Wait until `rev` is shown; False when that took too long."""
        if self.rev >= rev:
            return True
        try:
            async with asyncio.timeout(timeout_s):  # wait_for may swallow a cancellation (Python 3.11)
                await self.shown(rev)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """End all watches, and all waiting: what is waited for will not come."""
        self._over = True
        self.hub.close()
        for _, _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting = []
