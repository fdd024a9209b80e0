"""nfnetlink bytes of set elements, packed by hand: bulk elements cost one join, no object per attribute.

    NEWSETELEM   nfgenmsg . TABLE . SET . ELEMENTS{ elem* }
    elem         LIST_ELEM{ KEY{ VALUE key } [KEY_END{ VALUE key }] [DATA{ VALUE data | VERDICT{ … } }] [FLAGS] [EXPR] }

Elements of one set have one size, so all of them share their headers: elem = head + key + middle + data. Only those
whose counter does not begin with 0 are longer. The kernel dumps the same layout, which `decode` relies on.
Source: linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
"""

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from netplane.net import netlink as nl
from netplane.nft import types
from netplane.nft.elements import Change, Transaction, Value
from netplane.nft.objects import Map, Set, Table
from netplane.nft.types import Verdict

SUBSYSTEM = 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
(GETTABLE, GETCHAIN, GETSET, NEWSETELEM, GETSETELEM, DELSETELEM, GETGEN) = (
    SUBSYSTEM << 8 | number for number in (1, 4, 10, 12, 13, 14, 16)
)

# A nested attribute's length has 16 bits; leave room for the list's own header.
CHUNK_BYTES = 65_000

_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEM_KEY, _ELEM_DATA, _ELEM_FLAGS, _ELEM_EXPR, _ELEM_KEY_END = 1, 2, 3, 7, 10
_EXPR_NAME, _EXPR_DATA, _COUNTER_PACKETS = 1, 2, 2
_DATA_VALUE, _DATA_VERDICT = 1, 2
_INTERVAL_END = 1
_CODES = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "goto": -4, "return": -5}
_CODE_NAMES = {code: name for name, code in _CODES.items()}
_BYTES_HEAD, _PACKETS_HEAD = struct.pack("=HH", 12, 1), struct.pack("=HH", 12, _COUNTER_PACKETS)
_HEAD = struct.Struct("=HHHHHH")
_LENGTH = struct.Struct("=H")


class Part(NamedTuple):
    """What one message of a batch carries, for turning an error back into the element it is about."""

    change: Change
    adding: bool
    keys: Sequence[bytes]
    body_bytes: int


def nfgenmsg(family: int, resource: int = 0) -> bytes:
    """The header after nlmsghdr: family, version, big-endian resource id."""
    return struct.pack("!BBH", family, 0, resource)


@cache
def _verdict_data(verdict: str) -> bytes:
    word, _, chain = verdict.partition(" ")
    code = nl.attr(1, struct.pack("!i", _CODES[word]))
    inner = code + (nl.attr_str(2, chain) if chain else b"")
    return nl.attr(_ELEM_DATA, nl.attr(_DATA_VERDICT, inner))


@cache
def _decoded_verdict(rest: bytes) -> Verdict:
    verdict = nl.attr_map(nl.attr_map(nl.attr_map(rest)[_ELEM_DATA])[_DATA_VERDICT])
    word = _CODE_NAMES[struct.unpack("!i", verdict[1])[0]]
    return Verdict(f"{word} {nl.string(verdict[2])}" if 2 in verdict else word)


def _head(key_bytes: int, rest_bytes: int) -> bytes:
    """LIST_ELEM, KEY and VALUE headers of an element with `rest_bytes` after its key."""
    return _HEAD.pack(12 + key_bytes + rest_bytes, 1, 8 + key_bytes, _ELEM_KEY, 4 + key_bytes, _DATA_VALUE)


def _value_attr(kind: int, value: bytes) -> bytes:
    return nl.attr(kind, nl.attr(_DATA_VALUE, value))


def _encode_plain(key_bytes: int, keys: Sequence[bytes]) -> list[bytes]:
    head = _head(key_bytes, 0)
    return [head + key for key in keys]


def _encode_data(owner: Map, items: Sequence[tuple[bytes, Value]]) -> list[bytes]:
    key_bytes, data_bytes = types.width(owner.key), types.width(owner.data)
    head = _head(key_bytes, 8 + data_bytes)
    middle = struct.pack("=HHHH", 8 + data_bytes, _ELEM_DATA, 4 + data_bytes, _DATA_VALUE)
    return [head + key + middle + data for key, data in items]  # type: ignore[operator]  # data maps hold bytes


def _encode_verdicts(owner: Map, items: Sequence[tuple[bytes, Value]], counted: Mapping[bytes, int]) -> list[bytes]:
    key_bytes = types.width(owner.key)
    wire = {}
    for verdict in {value for _, value in items}:
        data = _verdict_data(str(verdict))
        wire[verdict] = (_head(key_bytes, len(data)), data)
    made = [wire[value][0] + key + wire[value][1] for key, value in items]
    for position, (key, value) in enumerate(items) if counted else ():
        if key in counted:
            made[position] = _counting(key, wire[value][1], counted[key])
    return made


def _counting(key: bytes, data: bytes, packets: int) -> bytes:
    """An element whose counter begins with these packets."""
    counter = nl.attr(_COUNTER_PACKETS, packets.to_bytes(8, "big"))
    rest = data + nl.attr(_ELEM_EXPR, nl.attr_str(_EXPR_NAME, "counter") + nl.attr(_EXPR_DATA, counter))
    return _head(len(key), len(rest)) + key + rest


def _encode_ranges(owner: Set, keys: Sequence[bytes]) -> list[bytes]:
    half = types.width(owner.key)
    if len(owner.key) > 1:
        head = _head(half, 8 + half)
        return [head + key[:half] + _value_attr(_ELEM_KEY_END, key[half:]) for key in keys]
    return [_edges(key[:half], key[half:]) for key in keys]


def _edges(low: bytes, high: bytes) -> bytes:
    """A range of single values is two elements: its first value, and the first value after it, flagged as an end."""
    size = len(low)
    start = _head(size, 0) + low
    after = int.from_bytes(high, "big") + 1
    if after >> (8 * size):
        return start
    flags = nl.attr_be32(_ELEM_FLAGS, _INTERVAL_END)
    return start + _head(size, len(flags)) + after.to_bytes(size, "big") + flags


def encode(change: Change, adding: bool) -> list[bytes]:
    """The elements that a change removes or adds, one bytes object each."""
    owner = change.set
    keys = [key for key, _ in change.add] if adding else change.remove
    if owner.interval:
        return _encode_ranges(owner, keys)
    if not adding or not isinstance(owner, Map):
        return _encode_plain(types.width(owner.key), keys)
    return _encode_data(owner, change.add) if owner.data else _encode_verdicts(owner, change.add, change.counted)


def _chunks(items: list[bytes]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for position, item in enumerate(items):
        if size + len(item) > CHUNK_BYTES:
            yield start, position
            start, size = position, 0
        size += len(item)
    if items:
        yield start, len(items)


def messages(table: Table, change: Change) -> Iterator[tuple[int, int, bytes, Part]]:
    """(type, flags, payload, part) of each message that a change needs: removals first."""
    where = (
        nfgenmsg(table.family.number) + nl.attr_str(_LIST_TABLE, table.name) + nl.attr_str(_LIST_SET, change.set.name)
    )
    for adding, kind, flags in (
        (False, DELSETELEM, nl.NLM_F_REQUEST),
        (True, NEWSETELEM, nl.NLM_F_REQUEST | nl.NLM_F_CREATE | nl.NLM_F_EXCL),
    ):
        items = encode(change, adding)
        keys = [key for key, _ in change.add] if adding else change.remove
        for start, end in _chunks(items):
            body = b"".join(items[start:end])
            yield kind, flags, where + nl.attr(_LIST_ELEMENTS, body), Part(change, adding, keys[start:end], len(body))


def batch(transaction: Transaction, first_seq: int) -> tuple[bytes, list[Part]]:
    """One datagram with the whole transaction; its messages count up from `first_seq` (BATCH_BEGIN).

    Only the last message asks for an ACK. `parts[i]` belongs to sequence number first_seq + 1 + i.
    """
    bodies = [item for change in transaction.changes for item in messages(transaction.table, change)]
    resource = nfgenmsg(0, SUBSYSTEM)
    wire = [nl.message(BATCH_BEGIN, nl.NLM_F_REQUEST, first_seq, resource)]
    for position, (kind, flags, payload, _) in enumerate(bodies, 1):
        ack = nl.NLM_F_ACK if position == len(bodies) else 0
        wire.append(nl.message(kind, flags | ack, first_seq + position, payload))
    wire.append(nl.message(BATCH_END, nl.NLM_F_REQUEST, first_seq + len(bodies) + 1, resource))
    return b"".join(wire), [part for *_, part in bodies]


def blamed(part: Part, table: Table, offset: int | None) -> bytes | None:
    """The key that an error's byte offset (from the message's header) points into; None when it says nothing."""
    if offset is None or not part.keys:
        return None
    start = (
        nl.HEADER_BYTES
        + 4
        + len(nl.attr_str(_LIST_TABLE, table.name))
        + len(nl.attr_str(_LIST_SET, part.change.set.name))
        + nl.NLA_HEADER_BYTES
    )
    position = start
    body = encode(part.change, part.adding)
    first = (
        next(i for i, (key, _) in enumerate(part.change.add) if key == part.keys[0])
        if part.adding
        else list(part.change.remove).index(part.keys[0])
    )
    for key, item in zip(part.keys, body[first:], strict=False):
        if position <= offset < position + len(item):
            return key
        position += len(item)
    return None


def dump_request(table: Table, owner: Set) -> bytes:
    """The payload of a GETSETELEM dump."""
    return nfgenmsg(table.family.number) + nl.attr_str(_LIST_TABLE, table.name) + nl.attr_str(_LIST_SET, owner.name)


def decode(owner: Set, payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, what follows it in the element) of each element in one message of a dump."""
    body = nl.attr_map(payload, 4).get(_LIST_ELEMENTS, b"")
    key_bytes = types.width(owner.key)
    offset, end = 0, len(body)
    while offset < end:
        (length,) = _LENGTH.unpack_from(body, offset)
        start = offset + 12
        yield body[start : start + key_bytes], body[start + key_bytes : offset + length]
        offset += (length + 3) & ~3


def rows(owner: Map, payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, data) of each element of a data map in one message of a dump.

    Elements are alike, so a whole message is split in one go; where one has more to it (a comment that somebody gave
    it), each is read by itself.
    """
    body = nl.attr_map(payload, 4).get(_LIST_ELEMENTS, b"")
    row = _row(types.width(owner.key), types.width(owner.data))
    size = row.size.to_bytes(2, sys.byteorder)
    count, rest = divmod(len(body), row.size)
    # If the first is of that size, the second begins where the length is compared next, and so on.
    if not rest and body[:: row.size] == size[:1] * count and body[1 :: row.size] == size[1:] * count:
        return row.iter_unpack(body)
    data_end = 8 + types.width(owner.data)
    return ((key, more[8:data_end]) for key, more in decode(owner, payload))


@cache
def _row(key_bytes: int, data_bytes: int) -> struct.Struct:
    return struct.Struct(f"=12x{key_bytes}s8x{data_bytes}s")


def contents(owner: Set, pairs: list[tuple[bytes, bytes]]) -> dict[bytes, Value]:
    """A set's content from its dump: pairs of `rows` for a data map, of `decode` for others."""
    if owner.interval:
        return _ranges(owner, pairs)
    if not isinstance(owner, Map):
        return {key: None for key, _ in pairs}
    return dict(pairs) if owner.data else {key: decoded_verdict(rest) for key, rest in pairs}


def decoded_verdict(rest: bytes) -> Verdict:
    """The verdict of an element of a verdict map, which is the first thing after its key."""
    return _decoded_verdict(rest[: _LENGTH.unpack_from(rest)[0]])


def get_request(table: Table, owner: Set, keys: Sequence[bytes]) -> bytes:
    """The payload that asks for these elements of a set without ranges; few enough for one attribute."""
    elements = b"".join(_encode_plain(types.width(owner.key), keys))
    return dump_request(table, owner) + nl.attr(_LIST_ELEMENTS | nl.NLA_F_NESTED, elements)


def packets(rest: bytes) -> int:
    """How many packets an element's counter saw; 0 without one. `rest` is what follows the element's key."""
    # The kernel ends an element with its counter and a counter with its packets, so they are mostly read right there.
    if rest[-12:-8] == _PACKETS_HEAD and rest[-24:-20] == _BYTES_HEAD:
        return nl.be64(rest[-8:])
    said = nl.attr_map(rest).get(_ELEM_EXPR)
    return nl.be64(nl.attr_map(nl.attr_map(said)[_EXPR_DATA])[_COUNTER_PACKETS]) if said else 0


def _ranges(owner: Set, pairs: list[tuple[bytes, bytes]]) -> dict[bytes, Value]:
    half = types.width(owner.key)
    if len(owner.key) > 1:
        return {key + rest[8 : 8 + half]: None for key, rest in pairs}
    found: dict[bytes, Value] = {}
    low: bytes | None = None
    for key, rest in sorted(pairs, key=lambda pair: (pair[0], not pair[1])):
        ends = bool(rest) and nl.be32(nl.attr_map(rest)[_ELEM_FLAGS]) & _INTERVAL_END
        if not ends:
            low = key
        elif low is not None:
            found[low + (int.from_bytes(key, "big") - 1).to_bytes(half, "big")] = None
            low = None
    if low is not None:
        found[low + b"\xff" * half] = None
    return found
