"""What one apiserver knows of etcd: the current keys and the last events, as far as its watch has come.

Changes come in from the watch alone, in etcd's order, also one's own: so memory never shows what another apiserver
could not see, and whoever waits for a revision sees everything up to it.
"""

import asyncio
import heapq
from collections.abc import Iterable
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
        """The same revision, as etcd counts."""
        return self.rev - self.space.moved

    def take(self, found: Iterable[Any], etcd_rev: int) -> None:
        """Take etcd's events over, all up to `etcd_rev`, and tell the watchers."""
        events = [event for one in found if (event := self._event(one)) is not None]
        if events:
            self.recent.add(events)
        self.rev = max(self.rev, etcd_rev + self.space.moved)
        self.hub.publish(events, self.rev)
        while self._waiting and self._waiting[0][0] <= self.rev:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)

    def _event(self, found: Any) -> Event | None:
        space = self.space
        rev = found.kv.mod_revision + space.moved
        if rev <= self.rev or not space.holds(found.kv.key):
            return None
        name = space.name(found.kv.key)
        prev = self.state.get(name)
        if found.type != pb.DELETE:
            event = Event(rev, space.kv(found.kv), prev, deleted=False)
        elif prev is not None:
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
