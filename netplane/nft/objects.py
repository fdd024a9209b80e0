"""Tables, sets, maps, chains and rules as frozen values.

`str(table)` is text that `nft -f` loads and that `nft -s -t list table` prints back unchanged: the listing is the
canonical form (tests hold both to it), so a live table is compared with the wanted one as text.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from netplane.nft.expr import Expr
from netplane.nft.types import DataType, Family

_PRIORITIES = {"dstnat": -100, "srcnat": 100}


class Set(msgspec.Struct, frozen=True):
    """A set of keys. `declared` is the declaration nft keeps when types alone do not say it (`typeof …`).

    `size` is the most elements that rules may put in; 0 where they put in none.
    """

    name: str
    key: tuple[DataType, ...]
    flags: tuple[Literal["interval", "dynamic", "timeout"], ...] = ()
    declared: str = ""
    size: int = 0

    @property
    def dynamic(self) -> bool:
        """Rules put elements into it, so what it holds is the kernel's business."""
        return "dynamic" in self.flags

    @property
    def interval(self) -> bool:
        """Keys are ranges: first value and last value, one after the other."""
        return "interval" in self.flags

    def declaration(self) -> str:
        """`type ipv4_addr . inet_proto`, or the typeof form."""
        return self.declared or "type " + " . ".join(kind.name for kind in self.key)

    def lines(self) -> Iterator[str]:
        """The declaration block, without elements."""
        yield f"\t{self.keyword} {self.name} {{"
        yield f"\t\t{self.declaration()}"
        if self.size:
            yield f"\t\tsize {self.size}"
        if self.flags:
            yield f"\t\tflags {','.join(self.flags)}"
        if isinstance(self, Map) and self.counted:
            yield "\t\tcounter"
        yield "\t}"

    @property
    def keyword(self) -> str:
        """`set`, or `map` in a map."""
        return "set"


class Map(Set, frozen=True, kw_only=True):
    """A map from keys to data, or to verdicts when `data` is empty. `counted`: each element counts its look-ups."""

    data: tuple[DataType, ...] = ()
    counted: bool = False

    def declaration(self) -> str:
        """`type ipv4_addr . inet_proto : verdict`, or the typeof form."""
        return self.declared or (
            "type "
            + " . ".join(kind.name for kind in self.key)
            + " : "
            + (" . ".join(kind.name for kind in self.data) or "verdict")
        )

    @property
    def keyword(self) -> str:
        """`map`."""
        return "map"


class Rule(msgspec.Struct, frozen=True):
    """Matches and statements, evaluated from left to right until one does not match."""

    exprs: tuple[Expr, ...]

    def text(self, family: Family) -> str:
        """The rule on one line."""
        return " ".join(expr.text(family) for expr in self.exprs)


def rule(*exprs: Expr) -> Rule:
    """A rule of these expressions."""
    return Rule(exprs)


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain is called from. Priority by nft's name for it."""

    type: Literal["nat", "filter"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: str

    @property
    def order(self) -> int:
        """The priority as a number: lower runs earlier."""
        return _PRIORITIES[self.priority] if self.priority in _PRIORITIES else int(self.priority)

    def __str__(self) -> str:
        # At prerouting -100 has the name dstnat; at output nft prints the number.
        priority = str(self.order) if self.hook == "output" else self.priority
        return f"type {self.type} hook {self.hook} priority {priority}; policy accept;"


class Chain(msgspec.Struct, frozen=True):
    """A chain; a base chain when it has a hook."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None

    def lines(self, family: Family) -> Iterator[str]:
        """The block as nft lists it."""
        yield f"\tchain {self.name} {{"
        if self.hook:
            yield f"\t\t{self.hook}"
        for item in self.rules:
            yield f"\t\t{item.text(family)}"
        yield "\t}"


class Table(msgspec.Struct, frozen=True):
    """A table with everything in it but the elements, in the order nft lists it: sets and maps, then chains."""

    family: Family
    name: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    comment: str = ""

    @property
    def spec(self) -> str:
        """`ip netplane-proxy`: how commands name it."""
        return f"{self.family.nft} {self.name}"

    def set(self, name: str) -> Set:
        """The set or map of this name. Raises KeyError."""
        for item in self.sets:
            if item.name == name:
                return item
        raise KeyError(name)

    def blocks(self) -> Iterator[list[str]]:
        """The lines of each set, map and chain."""
        for item in self.sets:
            yield list(item.lines())
        for chain in self.chains:
            yield list(chain.lines(self.family))

    def __str__(self) -> str:
        head = [f"table {self.spec} {{"]
        if self.comment:
            head.append(f'\tcomment "{self.comment}"')
        body = "\n\n".join("\n".join(block) for block in self.blocks())
        return "\n".join(head) + "\n" + body + "\n}\n"


def chain_commands(family: Family, table: str, chains: tuple[Chain, ...]) -> Iterator[str]:
    """Commands that make these chains exactly so, whatever was in them: add, flush, add each rule.

    All chains come before the first rule, since rules name chains.
    """
    where = f"{family.nft} {table}"
    for chain in chains:
        hook = f" {{ {chain.hook} }}" if chain.hook else ""
        yield f"add chain {where} {chain.name}{hook}"
    for chain in chains:
        yield f"flush chain {where} {chain.name}"
        for item in chain.rules:
            yield f"add rule {where} {chain.name} {item.text(family)}"


def ensure_text(table: Table) -> str:
    """One atomic `nft -f` script that makes a table so, keeping the elements its sets hold.

    Every command is idempotent; chains are flushed and refilled in the same transaction, so no packet meets a
    half-written one.
    """
    comment = f' {{ comment "{table.comment}"; }}' if table.comment else ""
    lines = [f"add table {table.spec}{comment}"]
    for item in table.sets:
        size = f" size {item.size};" if item.size else ""
        flags = f" flags {','.join(item.flags)};" if item.flags else ""
        counter = " counter;" if isinstance(item, Map) and item.counted else ""
        lines.append(f"add {item.keyword} {table.spec} {item.name} {{ {item.declaration()};{size}{flags}{counter} }}")
    lines += chain_commands(table.family, table.name, table.chains)
    return "\n".join(lines) + "\n"


def canonical(listing: str) -> str:
    """A listing without nft 1.0.6's slip: the first rule that uses a typeof map is printed with `tcp dport`.

    The slip is not harmless: loaded back, that rule matches TCP only. A table therefore gives such a map a first user
    that no packet ever reaches.
    """
    return listing.replace("meta l4proto . tcp dport", "meta l4proto . th dport")
