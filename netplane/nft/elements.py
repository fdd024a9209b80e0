"""Elements of sets and maps, and the changes that transactions make to them.

An element is a key in register form (`types.pack`) and a value: data in register form, a verdict, or None in a set.
A set's content is therefore a plain dict, and a diff of two contents is a walk over two dicts. Keys of interval sets
hold the first key and the last key of the range, one after the other.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netplane.nft import types
from netplane.nft.objects import Map, Set, Table
from netplane.nft.types import DataType, Family

Value = bytes | str | None
Elements = Mapping[bytes, Value]


class Change(msgspec.Struct, frozen=True):
    """What happens to one set: keys that go, then elements that come. A key may be in both: it is replaced.

    In a map that counts, `counted` are the packets that elements which come begin with; others begin with none.
    """

    set: Set
    remove: Sequence[bytes] = ()
    add: Sequence[tuple[bytes, Value]] = ()
    counted: Mapping[bytes, int] = {}

    def __bool__(self) -> bool:
        return bool(self.remove or self.add)

    def __len__(self) -> int:
        return len(self.remove) + len(self.add)


class Transaction(msgspec.Struct, frozen=True):
    """Element changes of one table that the kernel applies all or not at all. `str()` is `nft -f` text."""

    table: Table
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return any(self.changes)

    def __len__(self) -> int:
        return sum(map(len, self.changes))

    def __str__(self) -> str:
        return "\n".join(line for change in self.changes for line in _change_lines(self.table, change)) + "\n"


def _change_lines(table: Table, change: Change) -> Iterator[str]:
    where = f"{table.spec} {change.set.name}"
    for key in change.remove:
        yield f"delete element {where} {{ {key_text(change.set, key)} }}"
    for key, value in change.add:
        yield f"add element {where} {{ {element_text(change.set, key, value, change.counted.get(key, 0))} }}"


def key_text(owner: Set, key: bytes) -> str:
    """A key as nft prints it; ranges as prefixes where they are."""
    if not owner.interval:
        return types.text(owner.key, key)
    half = len(key) // 2
    slots = zip(owner.key, types.split(owner.key, key[:half]), types.split(owner.key, key[half:]), strict=True)
    return " . ".join(_range_text(kind, low, high) for kind, low, high in slots)


def _range_text(kind: DataType, low: bytes, high: bytes) -> str:
    if low == high:
        return kind.text(low)
    if kind.name in ("ipv4_addr", "ipv6_addr"):
        blocks = list(ipaddress.summarize_address_range(ipaddress.ip_address(low), ipaddress.ip_address(high)))
        if len(blocks) == 1:
            return str(blocks[0])
    return f"{kind.text(low)}-{kind.text(high)}"


def element_text(owner: Set, key: bytes, value: Value, packets: int = 0) -> str:
    """`10.96.0.1 . tcp . 80 : goto lb_3`; with the packets that its counter begins with, where there are any."""
    left = key_text(owner, key) + (f" counter packets {packets} bytes 0" if packets else "")
    if value is None:
        return left
    if isinstance(value, str):
        return f"{left} : {value}"
    assert isinstance(owner, Map)
    return f"{left} : {types.text(owner.data, value)}"


def cidr_range(family: Family, cidr: str) -> tuple[bytes, bytes]:
    """First and last address of a CIDR (host bits ignored).

    Raises:
        ValueError: when it is no CIDR of this family.
    """
    network = ipaddress.ip_network(cidr, strict=False)
    if network.version != family.version:
        raise ValueError(f"{cidr} is not {family.name}")
    return network.network_address.packed, network.broadcast_address.packed


def merge_ranges(ranges: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Ranges of addresses, sorted, none of them overlapping or touching another (interval sets refuse such)."""
    merged: list[tuple[bytes, bytes]] = []
    for low, high in sorted(ranges):
        if merged and int.from_bytes(low, "big") <= int.from_bytes(merged[-1][1], "big") + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def cidr_elements(family: Family, cidrs: Iterable[str]) -> dict[bytes, Value]:
    """Elements of an interval set of addresses from CIDRs; those of another family are left out.

    Raises:
        ValueError: when one is no CIDR.
    """
    ours = [cidr for cidr in cidrs if ipaddress.ip_network(cidr, strict=False).version == family.version]
    return {low + high: None for low, high in merge_ranges(cidr_range(family, cidr) for cidr in ours)}


def diff(owner: Set, have: Elements, want: Elements) -> Change:
    """The change that turns one content of a set into another; empty when they are equal."""
    remove = [key for key, value in have.items() if key not in want or want[key] != value]
    add = [(key, value) for key, value in want.items() if key not in have or have[key] != value]
    return Change(owner, remove, add)


def listing(table: Table, contents: Mapping[str, Elements]) -> str:
    """A whole table with its elements as `nft -f` text."""
    blocks = [str(table)]
    for owner in table.sets:
        items = [element_text(owner, key, value) for key, value in sorted(contents.get(owner.name, {}).items())]
        if items:
            body = ",\n\t".join(items)
            blocks.append(f"add element {table.spec} {owner.name} {{\n\t{body}\n}}\n")
    return "\n".join(blocks)
