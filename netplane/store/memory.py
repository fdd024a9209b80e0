"""The reference model: what a store does, in the fewest words. Other stores must be indistinguishable from it.

The state is the whole history, a list of events; the current state is kept beside it, and the state at an older
revision is the current one with the later events undone, newest
first. Useful in tests, and wherever nothing needs to survive.
"""

from collections.abc import Sequence

from netplane.store import hub
from netplane.store.protocol import (
    FIRST_REV,
    KEEP_REVISIONS,
    KV,
    Compacted,
    Compare,
    Delete,
    Event,
    FutureRevision,
    Put,
    RangeResult,
    StoreError,
    TxnResult,
    check_ops,
)


class MemoryStore:
    """A Store that keeps everything in memory. `keep_revisions` and `buffer_events` are lowered by tests."""

    shared = False

    def __init__(self, *, keep_revisions: int = KEEP_REVISIONS, buffer_events: int = hub.BUFFER_EVENTS) -> None:
        self._rev = FIRST_REV
        self._compact_rev = 0
        self._keep = keep_revisions
        self._now: dict[str, KV] = {}
        self._history: list[Event] = []
        self._hub = hub.Hub(self._rev, buffer_events)
        self._closed = False

    def problem(self) -> str:
        """See Store.problem."""
        return ""

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """See Store.txn."""
        if self._closed:
            raise StoreError("the store is closed")
        check_ops(ops)
        found = [(self._now.get(compare.key), compare.mod_rev) for compare in compares]
        failed = tuple(kv for kv, want in found if (kv.mod_rev if kv else 0) != want)
        if failed:
            return TxnResult(False, self._rev, failed)
        events = [event for op in ops if (event := change(self._now.get(op.key), op, self._rev + 1))]
        if events:
            self._commit(events)
        return TxnResult(True, self._rev)

    def _commit(self, events: list[Event]) -> None:
        self._rev += 1
        for event in events:
            if event.deleted:
                del self._now[event.kv.key]
            else:
                self._now[event.kv.key] = event.kv
        self._history += events
        self._hub.publish(events, self._rev)

    async def get(self, key: str, rev: int = 0) -> KV | None:
        """See Store.get."""
        return self._state(rev).get(key)

    async def range(self, prefix: str, *, rev: int = 0, start: str = "", limit: int = 0) -> RangeResult:
        """See Store.range."""
        state = self._state(rev)
        kvs = [state[key] for key in sorted(state) if key.startswith(prefix) and key >= start]
        page = kvs[:limit] if limit else kvs
        return RangeResult(page, rev or self._rev, len(page) < len(kvs), len(kvs))

    def _state(self, rev: int) -> dict[str, KV]:
        check_rev(rev, self._compact_rev, self._rev)
        if rev in (0, self._rev):
            return self._now
        state = dict(self._now)
        for event in reversed(self._history):
            if event.rev <= rev:
                break
            if event.prev is None:
                del state[event.kv.key]
            else:
                state[event.kv.key] = event.prev
        return state

    def watch(self, prefix: str, from_rev: int) -> hub.Watcher:
        """See Store.watch."""
        return hub.Watcher(self._hub, prefix, from_rev, self._catch_up)

    def _catch_up(self, watcher: hub.Watcher) -> None:
        if watcher.from_rev <= self._compact_rev:
            raise Compacted(self._compact_rev)
        past = [e for e in self._history if e.rev >= watcher.from_rev and e.kv.key.startswith(watcher.prefix)]
        if past:
            watcher.offer(past)

    async def compact(self, rev: int) -> None:
        """See Store.compact."""
        self._compact_rev = max(self._compact_rev, min(rev, self._rev - self._keep))
        self._history = [event for event in self._history if event.rev > self._compact_rev]

    async def current_rev(self) -> int:
        """See Store.current_rev."""
        return self._rev

    async def catch_up(self) -> bool:
        """See Store.catch_up: nobody else writes here."""
        return False

    async def compact_rev(self) -> int:
        """See Store.compact_rev."""
        return self._compact_rev

    async def close(self) -> None:
        """See Store.close."""
        self._closed = True
        self._hub.close()


def change(now: KV | None, op: Put | Delete, rev: int) -> Event | None:
    """The event that an operation on a key means at revision `rev`; None when it changes nothing."""
    if isinstance(op, Put):
        return Event(rev, KV(op.key, op.value, rev, now.create_rev if now else rev), now, deleted=False)
    return Event(rev, now._replace(mod_rev=rev), now, deleted=True) if now else None


def check_rev(rev: int, compacted: int, current: int) -> None:
    """Whether the state at `rev` can be read; 0 is now. Raises Compacted, FutureRevision."""
    if rev and rev < compacted:
        raise Compacted(compacted)
    if rev > current:
        raise FutureRevision(current)
