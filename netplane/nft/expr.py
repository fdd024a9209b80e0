"""What rules are made of, as frozen values that print themselves the way `nft list` does.

Printing the listing's own form (`meta mark | 0x00004000`, not `or 0x4000`) lets a live chain be compared with the
wanted one as text. `netplane.nft.trace` evaluates these same values.
"""

from typing import Literal

import msgspec

from netplane.nft.types import Family, Verdict

Field = Literal["saddr", "daddr", "l4proto", "dport"]

FRONTEND: tuple[Field, ...] = ("daddr", "l4proto", "dport")
"""What a packet asks for: destination, protocol, port."""


class Expr(msgspec.Struct, frozen=True):
    """A match or a statement of a rule."""

    def text(self, family: Family) -> str:
        """As nft prints it in a table of this family."""
        raise NotImplementedError


def fields_text(fields: tuple[Field, ...], family: Family) -> str:
    """`ip daddr . meta l4proto . th dport`."""
    names = {
        "saddr": f"{family.nft} saddr",
        "daddr": f"{family.nft} daddr",
        "l4proto": "meta l4proto",
        "dport": "th dport",
    }
    return " . ".join(names[field] for field in fields)


class In(Expr, frozen=True):
    """Match: the fields are in a set (or not)."""

    fields: tuple[Field, ...]
    set: str
    negated: bool = False

    def text(self, family: Family) -> str:
        """`ip saddr != @pod-cidrs`."""
        return f"{fields_text(self.fields, family)} {'!= ' if self.negated else ''}@{self.set}"


class Iif(Expr, frozen=True):
    """Match: the input interface's name; a trailing `*` makes it a prefix. Locally made packets have no name."""

    pattern: str
    negated: bool = False

    def text(self, family: Family) -> str:
        """`iifname != "veth*"`."""
        return f'iifname {"!= " if self.negated else ""}"{self.pattern}"'


class FibLocal(Expr, frozen=True):
    """Match: an address of the packet is one of this host's."""

    field: Literal["saddr", "daddr"]

    def text(self, family: Family) -> str:
        """`fib saddr type local`."""
        return f"fib {self.field} type local"


class Marked(Expr, frozen=True):
    """Match: the packet's mark has this bit."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark & 0x00004000 != 0x00000000`."""
        return f"meta mark & {self.bit:#010x} != 0x00000000"


class Dnatted(Expr, frozen=True):
    """Match: the connection's destination was rewritten."""

    def text(self, family: Family) -> str:
        """`ct status dnat`."""
        return "ct status dnat"


class SetMark(Expr, frozen=True):
    """Statement: set a bit of the packet's mark."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark set meta mark | 0x00004000`."""
        return f"meta mark set meta mark | {self.bit:#010x}"


class FlipMark(Expr, frozen=True):
    """Statement: flip a bit of the packet's mark (to clear it where it is known to be set)."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark set meta mark ^ 0x00004000`."""
        return f"meta mark set meta mark ^ {self.bit:#010x}"


class Vmap(Expr, frozen=True):
    """Statement: the verdict that a map holds for these fields; none: go on with the next rule."""

    fields: tuple[Field, ...]
    map: str

    def text(self, family: Family) -> str:
        """`ip daddr . meta l4proto . th dport vmap @services`."""
        return f"{fields_text(self.fields, family)} vmap @{self.map}"


class DnatRandom(Expr, frozen=True):
    """Statement: rewrite the destination to the map's entry at fields . (random number below `modulus`)."""

    fields: tuple[Field, ...]
    modulus: int
    map: str

    def text(self, family: Family) -> str:
        """`dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints`."""
        key = f"{fields_text(self.fields, family)} . numgen random mod {self.modulus}"
        return f"dnat {family.nft} to {key} map @{self.map}"


class Masquerade(Expr, frozen=True):
    """Statement: rewrite the source to the node's address, from a random port."""

    def text(self, family: Family) -> str:
        """`masquerade fully-random`."""
        return "masquerade fully-random"


class Reject(Expr, frozen=True):
    """Statement: refuse, with a TCP reset (which only matches TCP) or an ICMP error."""

    tcp_reset: bool = False

    def text(self, family: Family) -> str:
        """`reject with tcp reset`, `reject`."""
        return "reject with tcp reset" if self.tcp_reset else "reject"


class Go(Expr, frozen=True):
    """Statement: a fixed verdict."""

    verdict: Verdict

    def text(self, family: Family) -> str:
        """`goto dispatch`, `drop`."""
        return self.verdict
