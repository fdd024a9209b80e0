"""An etcd store as a whole: read at one revision while apiservers write it, or replaced by another in one step.

Replacing writes a generation of its own beside the one that is served, and then the head: apiservers that run go over
to it with that one write, and their clients list again. Killed before, it leaves keys that nobody reads; the next
restore that ends well removes them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from netplane.store.archive import Entry
from netplane.store.etcd import messages as pb
from netplane.store.etcd import space as spaces
from netplane.store.etcd.link import Link, Refused
from netplane.store.etcd.space import GAP, Head, Space
from netplane.store.protocol import Compacted, StoreError

PAGE = 1_000
READ_S = 60.0
WRITE_S = 60.0
TXN_OPS, TXN_BYTES = 100, 1_000_000  # etcd takes 128 and 1.5 MiB as it comes
AT_ONCE = 8
STAYS = "/cluster/"  # what says which cluster this is, and is no part of a backup


class Snapshot(NamedTuple):
    """The keys at one revision. `size` is how many there are."""

    link: Link
    space: Space
    etcd_rev: int
    rev: int
    size: int

    async def entries(self) -> AsyncIterator[Entry]:
        """All of them, in order of their keys. Raises Compacted when history ran away underneath."""
        first, end = self.space.reads("", "")
        while first:
            request = pb.RangeRequest(key=first, range_end=end, revision=self.etcd_rev, limit=PAGE)
            try:
                found = await self.link.call(pb.RANGE, request, READ_S)
            except Refused as error:
                raise Compacted(self.rev) if "compacted" in error.detail else error from error
            for kv in found.kvs:
                yield Entry(self.space.name(kv.key), spaces.decoded(kv.value)[1])
            first = found.kvs[-1].key + b"\0" if found.more else b""


async def snapshot(link: Link, prefix: str) -> Snapshot | None:
    """The store as it is now; None when there is none under this prefix."""
    head = await link.call(pb.RANGE, pb.RangeRequest(key=spaces.head_key(prefix)))
    if not head.kvs:
        return None
    space = Space(prefix, Head.decoded(head.kvs[0].value, head.kvs[0].mod_revision))
    first, end = space.reads("", "")
    at = head.header.revision
    counted = await link.call(pb.RANGE, pb.RangeRequest(key=first, range_end=end, revision=at, count_only=True), READ_S)
    return Snapshot(link, space, at, space.last_rev(at), counted.count)


async def replace(link: Link, prefix: str, entries: Iterable[Entry], backup_rev: int, *, force: bool) -> int:
    """Put these entries in place of what is there; the revision from which they can be read.

    Raises StoreError: not empty, or somebody else restored meanwhile. Then what was there is there.
    """
    before = await snapshot(link, prefix)
    kept: list[Entry] = []
    if before is not None:
        if before.size and not force:
            raise StoreError(f"etcd holds {before.size} objects under {prefix}", hint="--force replaces all of them")
        kept = [entry async for entry in before.entries() if entry.key.startswith(STAYS)]
    generation = await _number(link, prefix)
    root = f"{prefix}/{generation}".encode()
    await _write(link, root, kept)
    await _write(link, root, entries)
    base = max(before.rev if before else 0, backup_rev) + GAP
    at = before.space.head.at if before else 0
    key = spaces.head_key(prefix)
    put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=Head.encoded(generation, base)))
    compare = pb.Compare(target=pb.MOD, key=key, mod_revision=at)
    if not (await link.once(pb.TXN, pb.TxnRequest(compare=[compare], success=[put]), WRITE_S)).succeeded:
        raise StoreError("somebody else changed the store at the same time", hint="look at it, then try again")
    for first, end in ((f"{prefix}/0".encode(), root + b"/"), (root + b"0", spaces.everything(prefix)[1])):
        await _txn(link, pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=first, range_end=end)))
    return base


async def _number(link: Link, prefix: str) -> int:
    """A generation nobody had: the revision of a write of ours."""
    put = pb.RequestOp(request_put=pb.PutRequest(key=f"{prefix}/!restore".encode(), value=b""))
    return int((await _txn(link, put)).header.revision)


async def _write(link: Link, root: bytes, entries: Iterable[Entry]) -> None:
    """Put entries under a root, some transactions at once."""
    running: set[asyncio.Task[Any]] = set()
    ops: list[Any] = []
    size = 0
    try:
        for entry in entries:
            if ops and (len(ops) == TXN_OPS or size + len(entry.value) > TXN_BYTES):
                running.add(asyncio.create_task(_txn(link, *ops)))
                ops, size = [], 0
                if len(running) == AT_ONCE:
                    running = await _some(running)
            ops.append(
                pb.RequestOp(
                    request_put=pb.PutRequest(key=root + entry.key.encode(), value=spaces.encoded(entry.value))
                )
            )
            size += len(entry.value)
        if ops:
            running.add(asyncio.create_task(_txn(link, *ops)))
        while running:
            running = await _some(running)
    finally:
        for task in running:
            task.cancel()


async def _some(running: "set[asyncio.Task[Any]]") -> "set[asyncio.Task[Any]]":
    done, rest = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


async def _txn(link: Link, *ops: Any) -> Any:
    return await link.call(pb.TXN, pb.TxnRequest(success=list(ops)), WRITE_S)
