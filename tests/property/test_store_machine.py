"""Any sequence of transactions, reads, compactions, restarts and crashes: SQLite and the model are indistinguishable.

A crash is a copy of the files as they lie on the disk, opened in place of the store that still had them open.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netplane.store.memory import MemoryStore
from netplane.store.protocol import Compare, Delete, Event, Put, Store, StoreError
from netplane.store.sqlite import SqliteStore

T = TypeVar("T")

KEYS = st.sampled_from(["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/ü"])
PREFIXES = st.sampled_from(["", "/", "/a/", "/b/", "/c", "/ü"])
OPS = st.lists(
    st.one_of(st.builds(Put, KEYS, st.binary(max_size=3)), st.builds(Delete, KEYS)),
    max_size=4,
    unique_by=lambda op: op.key,
)
KEEP = 4


class Follower:
    """A client that lists and then watches: its copy must always become the store's."""

    def __init__(self, store: Store, prefix: str, rev: int, state: dict[str, bytes]) -> None:
        self.prefix, self.rev, self.state = prefix, rev, state
        self._watch = store.watch(prefix, rev + 1)

    async def connect(self, store: Store) -> None:
        self._watch = store.watch(self.prefix, self.rev + 1)
        await self._watch.__aenter__()

    async def catch_up(self, current: int) -> None:
        while self._watch.progress < current:
            for event in await asyncio.wait_for(anext(self._watch), 5):
                self._take(event)

    def _take(self, event: Event) -> None:
        assert event.rev >= self.rev
        assert (event.prev.value if event.prev else None) == self.state.get(event.kv.key)
        self.rev = event.rev
        if event.deleted:
            del self.state[event.kv.key]
        else:
            self.state[event.kv.key] = event.kv.value


class StoreMachine(RuleBasedStateMachine):
    """Rules do the same to both stores and compare what comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="netplane-store-"))
        self.life = 0
        self.model = MemoryStore(keep_revisions=KEEP)
        self.abandoned: list[SqliteStore] = []
        self.followers: list[Follower] = []

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(awaitable)

    def path(self) -> Path:
        return self.folder / f"life{self.life}" / "s.db"

    @initialize()
    def begin(self) -> None:
        self.path().parent.mkdir()
        self.store = self.wait(SqliteStore.open(self.path(), keep_revisions=KEEP))

    @rule(ops=OPS, compare=st.lists(KEYS, max_size=2, unique=True), stale=st.booleans())
    def transaction(self, ops: Sequence[Put | Delete], compare: list[str], stale: bool) -> None:
        kvs = [self.wait(self.model.get(key)) for key in compare]
        compares = [Compare(k, (kv.mod_rev if kv else 0) + stale) for k, kv in zip(compare, kvs, strict=True)]
        assert self.wait(self.store.txn(compares, ops)) == self.wait(self.model.txn(compares, ops))

    @rule(groups=st.lists(OPS, min_size=2, max_size=6))
    def transactions_at_once(self, groups: list[list[Put | Delete]]) -> None:
        async def both() -> None:
            ours = await asyncio.gather(*(self.store.txn([], ops) for ops in groups))
            assert ours == [await self.model.txn([], ops) for ops in groups]

        self.wait(both())

    @rule(
        prefix=PREFIXES, back=st.integers(-1, 8), start=st.sampled_from(["", "/a/2", "/b/1\0"]), limit=st.integers(0, 3)
    )
    def read(self, prefix: str, back: int, start: str, limit: int) -> None:
        rev = max(self.wait(self.model.current_rev()) - back, 0)
        assert self.outcome(self.store, prefix, rev, start, limit) == self.outcome(
            self.model, prefix, rev, start, limit
        )

    def outcome(self, store: Store, prefix: str, rev: int, start: str, limit: int) -> object:
        try:
            return self.wait(store.range(prefix, rev=rev, start=start, limit=limit))
        except StoreError as error:
            return str(error)

    @rule(prefix=PREFIXES)
    @precondition(lambda self: len(self.followers) < 3)
    def follow(self, prefix: str) -> None:
        listed = self.wait(self.store.range(prefix))
        follower = Follower(self.store, prefix, listed.rev, {kv.key: kv.value for kv in listed.kvs})
        self.wait(follower.connect(self.store))
        self.followers.append(follower)

    @rule(back=st.integers(0, 10))
    def compact(self, back: int) -> None:
        rev = self.wait(self.model.current_rev()) - back
        self.wait(self.store.compact(rev))
        self.wait(self.model.compact(rev))

    @rule()
    def restart(self) -> None:
        self.catch_up()
        self.wait(self.store.close())
        self.reopen()

    @rule()
    def crash(self) -> None:
        self.catch_up()
        before = self.path().parent
        self.abandoned.append(self.store)
        self.life += 1
        shutil.copytree(before, self.path().parent)
        self.reopen()

    def reopen(self) -> None:
        self.store = self.wait(SqliteStore.open(self.path(), keep_revisions=KEEP))
        for follower in self.followers:
            follower.rev = self.wait(self.store.current_rev())
            self.wait(follower.connect(self.store))

    def catch_up(self) -> None:
        for follower in self.followers:
            self.wait(follower.catch_up(self.wait(self.store.current_rev())))
            listed = self.wait(self.store.range(follower.prefix))
            assert follower.state == {kv.key: kv.value for kv in listed.kvs}

    @invariant()
    def same_state(self) -> None:
        if hasattr(self, "store"):
            assert self.wait(self.store.range("")) == self.wait(self.model.range(""))
            assert self.wait(self.store.compact_rev()) == self.wait(self.model.compact_rev())

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.catch_up()
            for store in (self.store, *self.abandoned):
                self.wait(store.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class OldWatchMachine(StoreMachine):
    """The same, and watches from any revision that is still kept, after restarts as well."""

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def replay(self, prefix: str, back: int) -> None:
        current = self.wait(self.model.current_rev())
        rev = max(current - back, 1)
        assert self.events(self.store, prefix, rev, current) == self.events(self.model, prefix, rev, current)

    def events(self, store: Store, prefix: str, rev: int, current: int) -> object:
        async def read() -> list[Event]:
            found: list[Event] = []
            async with store.watch(prefix, rev) as watch:
                while watch.progress < current:
                    try:
                        found += await asyncio.wait_for(anext(watch), 0.05)
                    except TimeoutError:
                        assert watch.progress >= current
            return found

        try:
            return self.wait(read())
        except StoreError as error:
            return str(error)


SETTINGS = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStore = StoreMachine.TestCase
TestStore.settings = SETTINGS
TestOldWatches = OldWatchMachine.TestCase
TestOldWatches.settings = SETTINGS
