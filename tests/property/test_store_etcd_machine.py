"""Any sequence of transactions, reads, compactions, restarts and crashes: etcd and the model are indistinguishable.

A crash is SIGKILL to etcd while the store is open: it must come back by itself. Its own writes to find the end of
history (the fence) take revisions; etcd counts them (one that a crash met may not have happened), and the model's
counter is moved by as many.
"""

import asyncio
import atexit
import functools
import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, precondition, rule

from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.store import EtcdStore
from netplane.store.protocol import Store
from tests.etcd_process import Etcd
from tests.store_machine import KEEP, OldWatchMachine

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


class EtcdMachine(OldWatchMachine):
    patience_s, tries = 0.2, 50
    in_order = False

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"/machine{next(_numbers)}"
        self.counted = 0
        self.crashed = False

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return loop()

    def end_loop(self) -> None:
        pass

    def open(self) -> Store:
        return self.wait(EtcdStore.open([etcd().url], prefix=self.prefix, keep_revisions=KEEP))

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
            fences = self.wait(self.fences())
            self.model._rev += fences - self.counted
            self.model._hub.rev = self.model._rev
            self.counted = fences
        super().same_state()

    async def fences(self) -> int:
        """How often etcd has written the fence, once none is on its way and memory shows the last."""
        store = self.store
        assert isinstance(store, EtcdStore)
        while store._fencing is not None:
            await asyncio.shield(store._fencing)
        found = await store._link.call(pb.RANGE, pb.RangeRequest(key=spaces.fence_key(self.prefix)))
        for kv in found.kvs:
            assert await store._cache.reach(kv.mod_revision + store._cache.space.moved, self.patience_s * self.tries)
            return int(kv.version)
        return 0


TestEtcd = EtcdMachine.TestCase
TestEtcd.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
