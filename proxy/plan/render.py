"""Frontends → elements, with the fewest changes.

Indices of a frontend's endpoints are dense, 0 … N-1. When endpoints change, those that stay keep their index, newcomers
take the holes of those that left, and what is left over is closed by moving the last ones in:

    a b c d   - b        → a d c           1 row replaced, the last row gone
    a b c     - b + x    → a x c           1 row replaced
    a b       + x        → a b x           1 row added
"""

from collections.abc import Container, Iterator
from functools import cache

from netplane.nft import types
from netplane.nft.elements import Change, Value
from netplane.nft.objects import Table
from proxy.plan.affinity import HANDLE_BYTES, slots
from proxy.plan.model import ROW_SHARDS, Frontend

_VERDICTS = (("services", "entry"), ("fw-services", "firewall"), ("ext-services", "external"), ("sc-services", "short"))
_VERDICT_SLOTS = tuple((name, Frontend._fields.index(field)) for name, field in _VERDICTS)

NOTHING = Frontend("")


@cache
def index_slot(index: int) -> bytes:
    """An index as the last slot of an endpoint's key."""
    return types.INTEGER.pack(index)


def arrange(old: bytes, wanted: bytes, width: int) -> bytes:
    """The wanted rows in an order that changes as little as possible against the old rows.

    Both are rows of `width` bytes, one after the other, each at most once.
    """
    if old == wanted or not old or not wanted:
        return wanted
    new = {wanted[i : i + width] for i in range(0, len(wanted), width)}
    rows: list[bytes | None] = []
    for i in range(0, len(old), width):
        row = old[i : i + width]
        rows.append(row if row in new else None)
        new.discard(row)
    # Newcomers in the order they were given, so that equal inputs give equal rows.
    fresh = [row for row in (wanted[i : i + width] for i in range(0, len(wanted), width)) if row in new]
    return b"".join(_filled(rows, fresh))


def _filled(rows: list[bytes | None], fresh: list[bytes]) -> list[bytes]:
    """Put newcomers into holes; move last rows into holes that remain; append newcomers that remain."""
    coming = iter(fresh)
    for index, row in enumerate(rows):
        if row is None:
            rows[index] = next(coming, None)
    index = 0
    while index < len(rows):
        if rows[index] is None:
            last = rows.pop()
            if index < len(rows):
                rows[index] = last
            continue
        index += 1
    return [row for row in rows if row is not None] + list(coming)


class Draft:
    """Element changes of one table, gathered until they become a transaction."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._remove: dict[str, list[bytes]] = {}
        self._add: dict[str, list[tuple[bytes, Value]]] = {}

    def remove(self, name: str, key: bytes) -> None:
        """An element that goes."""
        self._remove.setdefault(name, []).append(key)

    def add(self, name: str, key: bytes, value: Value = None) -> None:
        """An element that comes."""
        self._add.setdefault(name, []).append((key, value))

    def changes(self) -> tuple[Change, ...]:
        """Everything gathered, set by set."""
        return tuple(
            Change(owner, self._remove.get(owner.name, ()), self._add.get(owner.name, ()))
            for owner in self._table.sets
            if owner.name in self._remove or owner.name in self._add
        )


def settle(old: Frontend | None, new: Frontend, width: int) -> Frontend:
    """The new frontend with its rows arranged against the old one's."""
    if old is None:
        return new
    return new._replace(
        rows=arrange(old.rows, new.rows, width), short_rows=arrange(old.short_rows, new.short_rows, width)
    )


def change_frontend(draft: Draft, key: bytes, old: Frontend, new: Frontend, width: int) -> None:
    """Turn one settled frontend into another; `NOTHING` stands for one that is not there."""
    if old.handles or new.handles or old.short_handles or new.short_handles:
        _change_sticky(draft, key, old, new, width)
        return
    if old.shard == new.shard:
        _change_rows(draft, ROW_SHARDS[new.shard], key, old.rows, new.rows, width)
    else:
        _change_rows(draft, ROW_SHARDS[old.shard], key, old.rows, b"", width)
        _change_rows(draft, ROW_SHARDS[new.shard], key, b"", new.rows, width)
    _change_rows(draft, "sc-endpoints", key, old.short_rows, new.short_rows, width)
    for name, slot in _VERDICT_SLOTS:
        before, after = old[slot], new[slot]
        if before != after:
            if before:
                draft.remove(name, key)
            if after:
                draft.add(name, key, str(after))
    if old.sources != new.sources:
        for source in set(old.sources) - set(new.sources):
            draft.remove("lb-sources", source_key(key, source))
        for source in set(new.sources) - set(old.sources):
            draft.add("lb-sources", source_key(key, source))


def _change_sticky(draft: Draft, key: bytes, old: Frontend, new: Frontend, width: int) -> None:
    """Where either side has session affinity: compare all their elements, there are few such services."""
    have = {(name, part): value for name, part, value in frontend_elements(key, old, width)}
    want = {(name, part): value for name, part, value in frontend_elements(key, new, width)}
    for (name, part), value in have.items():
        if want.get((name, part), "") != value:
            draft.remove(name, part)
    for (name, part), value in want.items():
        if have.get((name, part), "") != value:
            draft.add(name, part, value)


def _change_rows(draft: Draft, name: str, key: bytes, old: bytes, new: bytes, width: int) -> None:
    if old == new:
        return
    for offset in range(0, max(len(old), len(new)), width):
        before, after = old[offset : offset + width], new[offset : offset + width]
        if before != after:
            element = key + index_slot(offset // width)
            if before:
                draft.remove(name, element)
            if after:
                draft.add(name, element, after)


def source_key(frontend: bytes, source: bytes) -> bytes:
    """The key of an allowed source range of a frontend: both ends carry the frontend."""
    half = len(source) // 2
    return frontend + source[:half] + frontend + source[half:]


def frontend_elements(
    key: bytes, frontend: Frontend, width: int, sets: Container[str] | None = None
) -> Iterator[tuple[str, bytes, Value]]:
    """(set, key, value) of every element of a frontend but its allocated address; rows only of these sets."""
    if frontend.handles or frontend.short_handles:
        yield from _sticky_elements(key, frontend, width)
    else:
        for name, rows in ((ROW_SHARDS[frontend.shard], frontend.rows), ("sc-endpoints", frontend.short_rows)):
            for offset in range(0, len(rows), width) if sets is None or name in sets else ():
                yield name, key + index_slot(offset // width), rows[offset : offset + width]
    for name, slot in _VERDICT_SLOTS:
        if frontend[slot]:
            yield name, key, str(frontend[slot])
    for source in frontend.sources:
        yield "lb-sources", source_key(key, source), None


def _sticky_elements(key: bytes, frontend: Frontend, width: int) -> Iterator[tuple[str, bytes, Value]]:
    for prefix, rows, handles in (
        ("", frontend.rows, frontend.handles),
        ("sc-", frontend.short_rows, frontend.short_handles),
    ):
        pairs = zip(slots(rows, width), slots(handles, HANDLE_BYTES), strict=True)
        for index, (row, handle) in enumerate(pairs):
            yield f"{prefix}sticky-ids", key + index_slot(index), handle
            yield f"{prefix}sticky-endpoints", key + handle, row
