"""The embedded store: memory for reading, one SQLite file for keeping, one thread that writes it.

    txn ──> waiting ──> plan a batch against memory + the batch so far ──> writer thread: one commit (fsync)
                ^                                                              │
                └── whoever comes meanwhile waits for the next batch           v
                                          memory changes, watchers hear, callers get their answers

All decisions are made in the event loop's thread and only one batch is under way, so there are no locks. Memory changes
only after the commit: when it fails, the batch's callers get the error and memory still equals the disk. Callers
that arrive while the disk is busy share the next commit (group commit), which is why throughput grows with them.

A single small change is written by the loop itself while the disk is quick: nobody is there to share the commit with,
and two changes of thread would cost as much as the disk.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from netplane.store import hub, log, state
from netplane.store.memory import change, check_rev
from netplane.store.protocol import (
    KEEP_REVISIONS,
    KV,
    Compacted,
    Compare,
    Delete,
    Event,
    Put,
    RangeResult,
    StoreError,
    TxnResult,
    check_ops,
)

T = TypeVar("T")

_BATCH_TXNS = 512
_HISTORY_EVENTS = 1_000
_LOOP_WRITES_ROWS = 8
_LOOP_WRITES_BYTES = 64 * 1024
_LOOP_WRITES_S = 0.0005  # a usual commit may take so long: reads wait for it
_COMPACT_STEP = 1_000  # revisions per transaction: compaction never holds the writer for long


class _Txn(NamedTuple):
    compares: Sequence[Compare]
    ops: Sequence[Put | Delete]
    answer: "asyncio.Future[TxnResult]"


class _Batch:
    """Transactions decided one after the other, each seeing those before it, none committed yet."""

    def __init__(self, now: state.State, subs: dict[str, int], rev: int) -> None:
        self._now, self._subs = now, subs
        self._changed: dict[str, tuple[KV | None, int]] = {}
        self.rev = rev
        self.rows: list[log.Row] = []
        self.events: list[Event] = []
        self.answers: list[tuple[asyncio.Future[TxnResult], TxnResult]] = []

    def _get(self, key: str) -> tuple[KV | None, int]:
        """The key as the transactions so far leave it, and the place of its last change."""
        found = self._changed.get(key)
        if found is None:
            kv = self._now.get(key)
            return kv, log.place(kv.mod_rev, self._subs.get(key, 0)) if kv else 0
        return found

    def add(self, txn: _Txn) -> None:
        """Decide one transaction."""
        found = [(self._get(compare.key)[0], compare.mod_rev) for compare in txn.compares]
        failed = tuple(kv for kv, want in found if (kv.mod_rev if kv else 0) != want)
        if not failed:
            self._change(txn.ops)
        self.answers.append((txn.answer, TxnResult(not failed, self.rev, failed)))

    def _change(self, ops: Sequence[Put | Delete]) -> None:
        sub = 0
        for op in ops:
            now, prev = self._get(op.key)
            event = change(now, op, self.rev + 1)
            if event is None:
                continue
            at = log.place(event.rev, sub)
            sub += 1
            value = b"" if event.deleted else event.kv.value
            self.rows.append(log.Row(at, op.key, int(event.deleted), event.kv.create_rev, prev, value))
            self._changed[op.key] = (None, 0) if event.deleted else (event.kv, at)
            self.events.append(event)
        self.rev += 1 if sub else 0


class SqliteStore:
    """A Store in one SQLite file; made with `open`. `keep_revisions` and `buffer_events` are lowered by tests."""

    shared = False

    def __init__(self, writer: ThreadPoolExecutor, file: log.Log, keep_revisions: int, buffer_events: int) -> None:
        rows, self._rev, self._compact_rev = file.load()
        self._writer, self._log, self._keep = writer, file, keep_revisions
        self._reader = ThreadPoolExecutor(1, "store-reader")
        self._history: log.Reader | None = None
        now, self._subs = _replay(rows)
        self._state = state.State(now)
        self._recent = state.Recent(self._rev)
        self._hub = hub.Hub(self._rev, buffer_events)
        self._waiting: list[_Txn] = []
        self._busy = False
        self._compactions: list[Future[None]] = []
        self._idle: asyncio.Future[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        keep_revisions: int = KEEP_REVISIONS,
        buffer_events: int = hub.BUFFER_EVENTS,
        fsync: bool = True,
    ) -> "SqliteStore":
        """Open or create the file and load it. Raises StoreError: no such folder, in use, damaged, other version."""
        writer = ThreadPoolExecutor(1, "store-writer")

        def load() -> SqliteStore:
            file = log.Log(Path(path), fsync=fsync)
            try:
                return cls(writer, file, keep_revisions, buffer_events)
            except BaseException:
                file.close()
                raise

        try:
            return await asyncio.get_running_loop().run_in_executor(writer, load)
        except BaseException:
            writer.shutdown(wait=False)
            raise

    def problem(self) -> str:
        """See Store.problem."""
        return ""

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """See Store.txn."""
        if self._closed:
            raise StoreError("the store is closed")
        check_ops(ops)
        if len(ops) > log.MAX_OPS:
            raise StoreError(f"a transaction may hold {log.MAX_OPS} changes at most", hint="split it")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[TxnResult] = loop.create_future()
        self._waiting.append(_Txn(compares, ops, answer))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._write, loop)  # after everyone who is ready in this turn has joined
        return await answer

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = _Batch(self._state, self._subs, self._rev)
        taken, self._waiting = self._waiting[:_BATCH_TXNS], self._waiting[_BATCH_TXNS:]
        for txn in taken:
            if not txn.answer.cancelled():
                batch.add(txn)
        if self._writes_itself(batch):
            self._written(loop, batch, _outcome(self._log.append, batch.rows))
        elif batch.rows:
            done = self._writer.submit(self._log.append_and_fold, batch.rows)
            done.add_done_callback(
                lambda future: loop.call_soon_threadsafe(self._written, loop, batch, future.exception())
            )
        else:
            self._finish(loop, batch)

    def _writes_itself(self, batch: _Batch) -> bool:
        """Whether a batch is written in the loop: alone, small, with a quick disk and nothing else for it to do."""
        if len(batch.answers) > 1 or self._waiting or self._log.usual_s > _LOOP_WRITES_S:
            return False
        size = sum(len(row.value) for row in batch.rows)
        if not 0 < len(batch.rows) < _LOOP_WRITES_ROWS or size > _LOOP_WRITES_BYTES or self._log.fold_is_due:
            return False
        return all(one.done() for one in self._compactions)  # they use the same connection

    def _written(self, loop: asyncio.AbstractEventLoop, batch: _Batch, error: BaseException | None) -> None:
        if error is None:
            self._commit(batch)
        else:
            failure = error if isinstance(error, StoreError) else StoreError(f"cannot write: {error}")
            for answer, _ in batch.answers:
                if not answer.done():
                    answer.set_exception(failure)
        self._finish(loop, batch)
        if error is None:  # writers first: they do not wait for a thousand watchers
            self._hub.publish(batch.events, batch.rev)

    def _commit(self, batch: _Batch) -> None:
        for row in batch.rows:
            sub = row.place - log.place(log.rev_of(row.place))
            if sub and not row.deleted:
                self._subs[row.key] = sub
            else:
                self._subs.pop(row.key, None)
        self._rev = batch.rev
        self._state.apply(batch.events)
        self._recent.add(batch.events)

    def _finish(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        for answer, result in batch.answers:
            if not answer.done():
                answer.set_result(result)
        if self._waiting or batch.answers:  # those who were just answered may have more: let them join first
            loop.call_soon(self._write, loop)
            return
        self._busy = False
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def get(self, key: str, rev: int = 0) -> KV | None:
        """See Store.get."""
        if rev in (0, self._rev):
            return self._state.get(key)
        found = await self.range(key, rev=rev, start=key, limit=1)
        return next((kv for kv in found.kvs if kv.key == key), None)

    async def range(self, prefix: str, *, rev: int = 0, start: str = "", limit: int = 0) -> RangeResult:
        """See Store.range."""
        check_rev(rev, self._compact_rev, self._rev)
        if rev in (0, self._rev):
            return self._state.range(prefix, start, limit, self._rev)
        now = self._state.range(prefix, start, 0, self._rev)
        events = self._recent.since(rev + 1)
        if events is not None:
            was = state.before(events, prefix)
        else:
            window = (log.place(rev + 1), log.place(self._rev + 1))
            was = await self._read(lambda history: history.before(*window, prefix))
            check_rev(rev, self._compact_rev, self._rev)
        return state.rewind(now, was, start, limit, rev)

    async def _read(self, question: Callable[[log.Reader], T]) -> T:
        def ask() -> T:
            if self._history is None:
                self._history = log.Reader(self._log.path)
            return question(self._history)

        return await asyncio.get_running_loop().run_in_executor(self._reader, ask)

    def watch(self, prefix: str, from_rev: int) -> hub.Watcher:
        """See Store.watch."""
        return hub.Watcher(self._hub, prefix, from_rev, self._catch_up)

    def _catch_up(self, watcher: hub.Watcher) -> hub.Older | None:
        if self._closed:
            raise StoreError("the store is closed")
        older = partial(self._older, watcher.prefix, watcher.from_rev, self._rev)
        return hub.backlog(watcher, self._recent, self._compact_rev, older)

    def _older(self, prefix: str, first: int, last: int) -> hub.Older:
        """Reads the events of revisions first..last from the disk, some at a time; what comes later is live."""
        at, end = log.place(first), log.place(last + 1)

        async def read_on() -> list[Event]:
            nonlocal at
            while at < end:
                events = await self._read(partial(log.Reader.events, start=at, end=end, limit=_HISTORY_EVENTS))
                if log.rev_of(at) <= self._compact_rev:
                    raise Compacted(self._compact_rev)
                at = log.place(events[-1].rev + 1) if events else end
                matching = state.of_prefix(events, prefix)
                if matching:
                    return matching
            return []

        return read_on

    async def compact(self, rev: int) -> None:
        """See Store.compact."""
        goal = min(rev, self._rev - self._keep)
        while self._compact_rev < goal and not self._closed:
            before = self._compact_rev
            # Readers are turned away first, then the rows go; if that fails, nothing went.
            self._compact_rev = min(goal, before + _COMPACT_STEP)
            step = (before, self._compact_rev, self._rev)
            done = self._writer.submit(self._log.compact, *step)
            self._compactions = [one for one in (*self._compactions, done) if not one.done()]
            try:
                await asyncio.wrap_future(done)
            except StoreError:
                self._compact_rev = before
                raise

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
        """See Store.close; transactions under way are finished first."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        if self._busy:
            self._idle = loop.create_future()
            await self._idle
        self._hub.close()
        if self._history is not None:
            await loop.run_in_executor(self._reader, self._history.close)
        await loop.run_in_executor(self._writer, self._log.close)
        self._reader.shutdown(wait=False)
        self._writer.shutdown(wait=False)


def _outcome(write: Callable[[Sequence[log.Row]], None], rows: Sequence[log.Row]) -> Exception | None:
    """What `write` raised, if anything."""
    try:
        write(rows)
    except Exception as error:
        return error
    return None


def _replay(rows: Iterable[log.Row]) -> tuple[dict[str, KV], dict[str, int]]:
    """The current keys, and for those whose last change was not the first of its transaction, which it was."""
    now: dict[str, KV] = {}
    subs: dict[str, int] = {}
    for at, key, deleted, create_rev, _, value in rows:
        rev = log.rev_of(at)
        subs.pop(key, None)
        if deleted:
            now.pop(key, None)
        else:
            now[key] = KV(key, value, rev, create_rev)
            if at != log.place(rev):
                subs[key] = at - log.place(rev)
    return now, subs
