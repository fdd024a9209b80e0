"""A state machine over any store: whatever is done to it, in any order, it is indistinguishable from the model.

Subclasses say how the store is opened, restarted and crashed.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netplane.store.memory import MemoryStore
from netplane.store.protocol import Compacted, Compare, Delete, Event, Put, Store, StoreError, TxnResult

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
        await self._watch.__aexit__(None, None, None)
        self._watch = store.watch(self.prefix, self.rev + 1)
        await self._watch.__aenter__()

    async def some(self) -> bool:
        """Read one batch, if there is one."""
        try:
            for event in await asyncio.wait_for(anext(self._watch), 0.01):
                self._take(event)
        except TimeoutError:
            return False
        return True

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
    """Rules do the same to both stores and compare what comes back.

    `in_order`: transactions begun at the same time happen in the order they were begun.
    """

    in_order = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = self.new_loop()
        self.store: Store
        self.model = self.new_model()
        self.followers: list[Follower] = []

    def new_model(self) -> MemoryStore:
        """What the store must equal."""
        return MemoryStore(keep_revisions=KEEP)

    def took(self, result: TxnResult) -> None:
        """The store has done a transaction, the model will: a chance to say which revision it has."""

    def compacted(self, rev: int) -> None:
        """The store was compacted; so is the model."""
        self.wait(self.model.compact(rev))

    def back(self, count: int) -> int:
        """The revision `count` before the current one."""
        return self.wait(self.model.current_rev()) - count

    def wait(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(awaitable)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """What everything here runs in; `end_loop` ends it."""
        return asyncio.new_event_loop()

    def end_loop(self) -> None:
        """The last step."""
        self.loop.close()

    def open(self) -> Store:
        """The store as it lies there."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.store = self.open()

    @rule(ops=OPS, compare=st.lists(KEYS, max_size=2, unique=True), stale=st.booleans())
    def transaction(self, ops: Sequence[Put | Delete], compare: list[str], stale: bool) -> None:
        kvs = [self.wait(self.model.get(key)) for key in compare]
        compares = [Compare(k, (kv.mod_rev if kv else 0) + stale) for k, kv in zip(compare, kvs, strict=True)]
        done = self.wait(self.store.txn(compares, ops))
        self.took(done)
        assert done == self.wait(self.model.txn(compares, ops))

    @rule(groups=st.lists(OPS, min_size=2, max_size=6))
    def transactions_at_once(self, groups: list[list[Put | Delete]]) -> None:
        if not self.in_order:  # those that surely take a revision can be told in the order they happened
            groups = [ops for ops in groups if any(isinstance(op, Put) for op in ops)]

        async def both() -> None:
            ours = await asyncio.gather(*(self.store.txn([], ops) for ops in groups))
            happened = sorted(zip(ours, groups, strict=True), key=lambda one: one[0].rev) if not self.in_order else None
            in_turn = [ops for _, ops in happened] if happened is not None else groups
            told = [result for result, _ in happened] if happened is not None else ours
            for result, ops in zip(told, in_turn, strict=True):
                self.took(result)
                assert result == await self.model.txn([], ops)

        self.wait(both())

    @rule(
        prefix=PREFIXES, back=st.integers(-1, 8), start=st.sampled_from(["", "/a/2", "/b/1\0"]), limit=st.integers(0, 3)
    )
    def read(self, prefix: str, back: int, start: str, limit: int) -> None:
        rev = max(self.back(back), 0)
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
        rev = self.back(back)
        self.wait(self.store.compact(rev))
        self.compacted(rev)

    @rule()
    def restart(self) -> None:
        self.catch_up()
        self.wait(self.store.close())
        self.reopen()

    def reopen(self) -> None:
        self.store = self.open()
        for follower in self.followers:
            follower.rev = self.wait(self.store.current_rev())
            self.wait(follower.connect(self.store))

    @rule(which=st.integers(0, 2), behind=st.booleans())
    def disconnect(self, which: int, behind: bool) -> None:
        """A client goes away at any moment and resumes from what it saw last; too late, it lists again."""
        if which >= len(self.followers):
            return
        follower = self.followers[which]
        if behind and not self.wait(follower.some()):
            return
        try:
            self.wait(follower.connect(self.store))
        except Compacted:
            listed = self.wait(self.store.range(follower.prefix))
            follower.rev, follower.state = listed.rev, {kv.key: kv.value for kv in listed.kvs}
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
            self.wait(self.store.close())
        self.end_loop()


class OldWatchMachine(StoreMachine):
    """The same, and watches from any revision that is still kept, after restarts as well."""

    patience_s, tries = 0.05, 200  # a busy machine opens files slowly; only a store that lost something waits so long

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def replay(self, prefix: str, back: int) -> None:
        current = self.wait(self.model.current_rev())
        rev = max(self.back(back), 1)
        assert self.events(self.store, prefix, rev, current) == self.events(self.model, prefix, rev, current)

    def events(self, store: Store, prefix: str, rev: int, current: int) -> object:
        async def read() -> list[Event]:
            found: list[Event] = []
            async with store.watch(prefix, rev) as watch:
                tries = 0
                while watch.progress < current:
                    try:
                        found += await asyncio.wait_for(anext(watch), self.patience_s)
                    except TimeoutError:
                        tries += 1
                        assert watch.progress >= current or tries < self.tries
            return found

        try:
            return self.wait(read())
        except StoreError as error:
            return str(error)
