"""Any sequence of transactions, reads, compactions, restarts and crashes: etcd and the model are indistinguishable.

A crash is SIGKILL to etcd while the store is open: it must come back by itself. Revisions are etcd's: transactions that
go together share one of etcd's, and the store's own writes to find the end of history (the fence) take some. So the
model is told which revision each transaction had; that they grow, and that no two are the same, is seen.
"""

import asyncio
import atexit
import functools
import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.space import STEP
from netplane.store.etcd.store import EtcdStore
from netplane.store.memory import MemoryStore
from netplane.store.protocol import FIRST_REV, KV, Compare, Delete, Event, Put, Store, TxnResult
from tests.etcd_process import Etcd
from tests.store_machine import KEEP, OPS, OldWatchMachine

_numbers = itertools.count()


@functools.cache
def etcd() -> Etcd:
    """One for all examples; it ends with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="netplane-etcd-"))
    process = Etcd(folder)
    process.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(process.kill)
    return process


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    """One for all examples: gRPC's threads stay with the first they met."""
    return asyncio.new_event_loop()


class Model(MemoryStore):
    """As on etcd, `create_rev` is known to etcd's revision only, once the key was changed."""

    def _commit(self, events: list[Event]) -> None:
        super()._commit([one if one.deleted else one._replace(kv=self._coarse(one.kv)) for one in events])

    def _coarse(self, kv: KV) -> KV:
        made = FIRST_REV + (kv.create_rev - FIRST_REV) // STEP * STEP
        return kv if made == FIRST_REV + (kv.mod_rev - FIRST_REV) // STEP * STEP else kv._replace(create_rev=made)


class EtcdMachine(OldWatchMachine):
    patience_s, tries = 0.2, 50
    in_order = False

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"/machine{next(_numbers)}"
        self.crashed = False
        self.known = [FIRST_REV]

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return loop()

    def end_loop(self) -> None:
        pass

    def new_model(self) -> MemoryStore:
        return Model(keep_revisions=KEEP * STEP)

    def open(self) -> Store:
        return self.wait(EtcdStore.open([etcd().url], prefix=self.prefix, keep_revisions=KEEP))

    def took(self, result: TxnResult) -> None:
        """Revisions are etcd's: they grow, and no two transactions have the same."""
        assert result.rev >= self.model._rev
        if result.succeeded and result.rev > self.model._rev:
            self.model._rev = result.rev - 1
            self.known.append(result.rev)
        self.moved(result.rev if not result.succeeded else self.model._rev)

    def moved(self, rev: int) -> None:
        self.model._rev = self.model._hub.rev = rev

    def back(self, count: int) -> int:
        """A revision that a transaction had, or one between two."""
        if count < 0:
            return self.model._rev - count
        known = [*self.known[-4:], self.model._rev]
        return known[-1 - count // 2 % len(known)] - count % 2

    def compacted(self, rev: int) -> None:
        """Etcd forgets whole revisions, so up to a STEP less than it may."""
        before, goal = self.model._compact_rev, min(rev, self.model._rev - KEEP * STEP)
        have = self.wait(self.store.compact_rev())
        assert have == before or goal - STEP < have <= goal
        assert have >= goal - STEP or goal <= before
        self.model._compact_rev = have
        self.model._history = [event for event in self.model._history if event.rev > have]

    @rule(groups=st.lists(OPS, min_size=2, max_size=6))
    def compared_at_once(self, groups: list[list[Put | Delete]]) -> None:
        """Each changes what it compares: of those that touch the same key one wins, the others fail."""
        groups = [ops for ops in groups if any(isinstance(op, Put) or self.present(op.key).mod_rev for op in ops)]
        compares = [[self.present(op.key) for op in ops] for ops in groups]

        async def both() -> None:
            ours = await asyncio.gather(*map(self.store.txn, compares, groups))
            won = sorted((i for i, result in enumerate(ours) if result.succeeded), key=lambda i: ours[i].rev)
            assert len({ours[i].rev for i in won}) == len(won)
            for i in won:
                self.took(ours[i])
                assert ours[i] == await self.model.txn(compares[i], groups[i])
            lost = [i for i, result in enumerate(ours) if not result.succeeded]
            for i in lost:
                assert not (await self.model.txn(compares[i], groups[i])).succeeded

        self.wait(both())

    def present(self, key: str) -> Compare:
        kv = self.wait(self.model.get(key))
        return Compare(key, kv.mod_rev if kv else 0)

    @rule()
    @precondition(lambda self: not self.crashed)
    def crash(self) -> None:
        self.crashed = True  # once in an example is enough, and takes half a second
        etcd().kill()
        etcd().start()
        self.wait(self.store.catch_up())

    @invariant()
    def same_state(self) -> None:
        if hasattr(self, "store"):
            self.wait(self.settled())
            self.moved(max(self.model._rev, self.wait(self.store.current_rev())))
        super().same_state()

    async def settled(self) -> None:
        """Until memory shows the last fence, and none is on its way: each takes a revision of etcd's."""
        store = self.store
        assert isinstance(store, EtcdStore)
        while store._fencing is not None:
            await asyncio.shield(store._fencing)
        found = await store._link.call(pb.RANGE, pb.RangeRequest(key=spaces.fence_key(self.prefix)))
        for kv in found.kvs:
            assert await store._cache.reach(store._cache.space.rev(kv.mod_revision), self.patience_s * self.tries)


TestEtcd = EtcdMachine.TestCase
TestEtcd.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
