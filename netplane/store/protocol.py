"""What every store behind the apiserver promises: an ordered map of keys to bytes, with one history.

The model is etcd's. There is one revision counter; a transaction that changes anything takes the next revision, and
all its changes carry that one. Whoever knows revision R can ask for the state at R (until it is compacted) and for
every event after R, in order, none missing and none twice. A write is acknowledged, and its events are published,
only once it is on disk.

Values carry no revision of their own: a store like etcd knows the revision only at commit, so the reader splices
`mod_rev` in.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from netplane.errors import NetplaneError

FIRST_REV = 1
"""The revision of a store nothing was ever written to (as etcd: clients read 0 as "any")."""

RESTORE_GAP = 1_000_000_000
"""How far a restored store goes on above its backup: clients saw later revisions meanwhile, nobody knows how many."""

KEEP_REVISIONS = 1_000
"""Compaction never removes the last this many revisions, so that a client may be that much behind."""


class KV(NamedTuple):
    """One key as it is or was. `mod_rev` is its last change, `create_rev` its creation."""

    key: str
    value: bytes
    mod_rev: int
    create_rev: int


class Put(NamedTuple):
    """Create or replace."""

    key: str
    value: bytes


class Delete(NamedTuple):
    """Remove; of a key that is absent, nothing."""

    key: str


class Compare(NamedTuple):
    """The key's last change must be at `mod_rev`; 0 means that the key must be absent."""

    key: str
    mod_rev: int


class Event(NamedTuple):
    """One change. `prev` is what was there before, if anything; for a delete `kv` holds the last value."""

    rev: int
    kv: KV
    prev: KV | None
    deleted: bool


class TxnResult(NamedTuple):
    """`rev` is the store's revision after the transaction; `failed` what the failed compares found, in their order."""

    succeeded: bool
    rev: int
    failed: tuple[KV | None, ...] = ()


class RangeResult(NamedTuple):
    """Keys in order, the revision they were read at, and `count` of all keys from `start` on, beyond the limit too."""

    kvs: list[KV]
    rev: int
    more: bool
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants of a result


class StoreError(NetplaneError):
    """The store cannot do what was asked."""


class Compacted(StoreError):
    """The revision asked for is no longer kept. `rev` is the oldest that can be read."""

    def __init__(self, rev: int) -> None:
        super().__init__(f"the requested revision is older than {rev}, the oldest that is kept", hint="list again")
        self.rev = rev


class FutureRevision(StoreError):
    """The revision asked for does not exist yet. `rev` is the current one."""

    def __init__(self, rev: int) -> None:
        super().__init__(f"the requested revision is newer than {rev}, the current one", hint="try again later")
        self.rev = rev


class Unavailable(StoreError):
    """The store cannot be reached now."""


class OutcomeUnknown(Unavailable):
    """The store was lost while it wrote: whether the write happened is not known."""


class WatchOverflow(StoreError):
    """The watcher read too slowly and was closed. Everything up to `rev` was handed out."""

    def __init__(self, rev: int) -> None:
        super().__init__(f"the watch fell too far behind after revision {rev}", hint="list again, then watch")
        self.rev = rev


Taker = Callable[[list[Event]], bool]
"""Takes a batch of events at once, in its reader's place; False: the reader must."""


class Watch(Protocol):
    """A stream of events in order: `async with store.watch(…) as watch: async for events in watch: …`.

    Each item is a list of one or more events. Entering raises Compacted; reading on raises WatchOverflow or, when
    history is compacted away underneath a watch that is still catching up, Compacted.
    """

    taker: Taker | None
    """If set, it is offered what comes while the reader waits: so it is never ahead of the reader, nor behind."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> list[Event]: ...

    @property
    def progress(self) -> int:
        """Every event of this watch up to this revision was handed out: what a bookmark may say."""
        ...


class Store(Protocol):
    """An asynchronous store, used from one event loop. All of it may raise StoreError when the disk fails."""

    shared: bool
    """Whether other processes may write at the same time."""

    def problem(self) -> str:
        """What keeps the store from answering now, for health checks; "" when nothing does."""
        ...

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """If all compares hold, do all operations in one new revision; otherwise nothing.

        A transaction that changes nothing takes no revision. Naming a key twice in `ops` is a ValueError.
        """
        ...

    async def get(self, key: str, rev: int = 0) -> KV | None:
        """The key now, or as it was at `rev`. Raises Compacted, FutureRevision."""
        ...

    async def range(self, prefix: str, *, rev: int = 0, start: str = "", limit: int = 0) -> RangeResult:
        """Keys that begin with `prefix`, from `start` (a whole key, included) on. Raises Compacted, FutureRevision."""
        ...

    def watch(self, prefix: str, from_rev: int) -> Watch:
        """Events of keys that begin with `prefix` at revisions >= `from_rev`; 0 means from now on.

        After reading at revision R, watch from R + 1.
        """
        ...

    async def compact(self, rev: int) -> None:
        """Forget history before `rev`, but never of the last KEEP_REVISIONS. Going backwards does nothing."""
        ...

    async def current_rev(self) -> int:
        """The revision of the last change that reads here see."""
        ...

    async def catch_up(self) -> bool:
        """Make reads see everything that anybody was told is written before this call; whether that brought news.

        Only a store with several processes on it has something to do. Raises Unavailable.
        """
        ...

    async def compact_rev(self) -> int:
        """The oldest revision that can be read; events are kept after it."""
        ...

    async def close(self) -> None:
        """End all watches and release the store."""
        ...


def prefix_end(prefix: str) -> str:
    """The first string after all that begin with `prefix`; "" (no end) for the empty prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""


def check_ops(ops: Sequence[Put | Delete]) -> None:
    """Refuse a transaction that names a key twice: its outcome would depend on the order. Raises ValueError."""
    if len(ops) > 1 and len({op.key for op in ops}) != len(ops):
        raise ValueError("a transaction names a key twice")
