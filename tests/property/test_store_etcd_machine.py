"""Any sequence of transactions, reads, compactions, restarts and crashes: etcd and the model are indistinguishable.

A crash is SIGKILL to etcd while the store is open: it must come back by itself. Its own writes to find the end of
history (the fence) take revisions; they are counted, and the model's counter is moved by as many.
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


class Counting(EtcdStore):
    """Counts its fences."""

    fences = 0

    async def _fence(self) -> None:
        self.fences += 1
        await super()._fence()


class EtcdMachine(OldWatchMachine):
    patience_s, tries = 0.2, 50
    in_order = False

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"/machine{next(_numbers)}"
        self.moved = 0
        self.crashed = False

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return loop()

    def end_loop(self) -> None:
        pass

    def open(self) -> Store:
        return self.wait(Counting.open([etcd().url], prefix=self.prefix, keep_revisions=KEEP))

    @rule()
    @precondition(lambda self: not self.crashed)
    def crash(self) -> None:
        self.crashed = True  # once in an example is enough, and takes half a second
        etcd().kill()
        etcd().start()
        self.wait(self.store.catch_up())

    def restart(self) -> None:
        super().restart()
        self.moved = 0

    @invariant()
    def same_state(self) -> None:
        if hasattr(self, "store"):
            assert isinstance(self.store, Counting)
            self.model._rev += self.store.fences - self.moved
            self.model._hub.rev = self.model._rev
            self.moved = self.store.fences
        super().same_state()


TestEtcd = EtcdMachine.TestCase
TestEtcd.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
