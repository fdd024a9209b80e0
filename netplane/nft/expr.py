"""What rules are made of, as frozen values that print themselves the way `nft list` does.

Printing the listing's own form (`meta mark | 0x00004000`, not `or 0x4000`) lets a live chain be compared with the
wanted one as text. `netplane.nft.trace` evaluates these same values.
"""

from typing import Literal, Protocol

import msgspec

from netplane.nft.types import Family, Verdict

Field = Literal["saddr", "daddr", "l4proto", "dport", "client", "priority"]

CLIENT_SEEDS, CLIENT_MODULUS = (0x5EED, 0xC0FFEE, 0x1CEB00DA), 0xFFFFFFFF
HIGH_HALF = 0xFFFF0000

FRONTEND: tuple[Field, ...] = ("daddr", "l4proto", "dport")
"""What a packet asks for: destination, protocol, port."""


class Expr(Protocol):
    """A match or a statement of a rule."""

    def text(self, family: Family) -> str:
        """As nft prints it in a table of this family."""


def client_text(family: Family) -> str:
    """Who asks: the source address, or three hashes of it where it is longer than 4 bytes.

    nft 1.0.6 gives the key of `update @map { … }` 16 bytes of registers and lets the data overwrite what is beyond; a
    service port's number takes 4 of them. In 12 bytes, two of a million clients have the same hashes once in 10^17.
    """
    if family.address.size == 4:
        return f"{family.nft} saddr"
    return " . ".join(f"jhash {family.nft} saddr mod {CLIENT_MODULUS} seed {seed:#x}" for seed in CLIENT_SEEDS)


def fields_text(fields: tuple[Field, ...], family: Family) -> str:
    """`ip daddr . meta l4proto . th dport`."""
    names = {
        "client": client_text(family),
        "priority": "meta priority",
        "saddr": f"{family.nft} saddr",
        "daddr": f"{family.nft} daddr",
        "l4proto": "meta l4proto",
        "dport": "th dport",
    }
    return " . ".join(names[field] for field in fields)


class In(msgspec.Struct, frozen=True):
    """Match: the fields are in a set (or not)."""

    fields: tuple[Field, ...]
    set: str
    negated: bool = False

    def text(self, family: Family) -> str:
        """`ip saddr != @pod-cidrs`."""
        return f"{fields_text(self.fields, family)} {'!= ' if self.negated else ''}@{self.set}"


class Within(msgspec.Struct, frozen=True):
    """Match: an address of the packet is in a network (or not). A comparison: cheaper than a set of one range."""

    field: Literal["saddr", "daddr"]
    network: str
    negated: bool = False

    def text(self, family: Family) -> str:
        """`ip saddr != 10.244.0.0/16`."""
        return f"{family.nft} {self.field} {'!= ' if self.negated else ''}{self.network}"


class Iif(msgspec.Struct, frozen=True):
    """Match: the input interface's name; a trailing `*` makes it a prefix. Locally made packets have no name."""

    pattern: str
    negated: bool = False

    def text(self, family: Family) -> str:
        """`iifname != "veth*"`."""
        return f'iifname {"!= " if self.negated else ""}"{self.pattern}"'


class FibLocal(msgspec.Struct, frozen=True):
    """Match: an address of the packet is one of this host's."""

    field: Literal["saddr", "daddr"]

    def text(self, family: Family) -> str:
        """`fib saddr type local`."""
        return f"fib {self.field} type local"


class Marked(msgspec.Struct, frozen=True):
    """Match: the packet's mark has this bit."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark & 0x00004000 != 0x00000000`."""
        return f"meta mark & {self.bit:#010x} != 0x00000000"


class Dnatted(msgspec.Struct, frozen=True):
    """Match: the connection's destination was rewritten."""

    def text(self, family: Family) -> str:
        """`ct status dnat`."""
        return "ct status dnat"


class SetMark(msgspec.Struct, frozen=True):
    """Statement: set a bit of the packet's mark."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark set meta mark | 0x00004000`."""
        return f"meta mark set meta mark | {self.bit:#010x}"


class FlipMark(msgspec.Struct, frozen=True):
    """Statement: flip a bit of the packet's mark (to clear it where it is known to be set)."""

    bit: int

    def text(self, family: Family) -> str:
        """`meta mark set meta mark ^ 0x00004000`."""
        return f"meta mark set meta mark ^ {self.bit:#010x}"


class Vmap(msgspec.Struct, frozen=True):
    """Statement: the verdict that a map holds for these fields; none: go on with the next rule."""

    fields: tuple[Field, ...]
    map: str

    def text(self, family: Family) -> str:
        """`ip daddr . meta l4proto . th dport vmap @services`."""
        return f"{fields_text(self.fields, family)} vmap @{self.map}"


class DnatRandom(msgspec.Struct, frozen=True):
    """Statement: rewrite the destination to the map's entry at fields . (random number below `modulus`)."""

    fields: tuple[Field, ...]
    modulus: int
    map: str

    def text(self, family: Family) -> str:
        """`dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints`."""
        key = f"{fields_text(self.fields, family)} . numgen random mod {self.modulus}"
        return f"dnat {family.nft} to {key} map @{self.map}"


class DnatTo(msgspec.Struct, frozen=True):
    """Statement: rewrite the destination to the map's entry at fields."""

    fields: tuple[Field, ...]
    map: str

    def text(self, family: Family) -> str:
        """`dnat ip to ip daddr . meta l4proto . th dport . meta priority map @sticky-endpoints`."""
        return f"dnat {family.nft} to {fields_text(self.fields, family)} map @{self.map}"


class Pick(msgspec.Struct, frozen=True):
    """Statement: the packet's priority becomes the map's entry at fields . (random number below `modulus`)."""

    fields: tuple[Field, ...]
    modulus: int
    map: str

    def text(self, family: Family) -> str:
        """`meta priority set ip daddr . meta l4proto . th dport . numgen random mod 3 map @sticky-ids`."""
        key = f"{fields_text(self.fields, family)} . numgen random mod {self.modulus}"
        return f"meta priority set {key} map @{self.map}"


class Recall(msgspec.Struct, frozen=True):
    """Statement: the packet's priority becomes what a map holds for these fields."""

    fields: tuple[Field, ...]
    map: str

    def text(self, family: Family) -> str:
        """`meta priority set meta priority . ip saddr map @affinity`."""
        return f"meta priority set {fields_text(self.fields, family)} map @{self.map}"


class Remember(msgspec.Struct, frozen=True):
    """Statement: put (high half of the priority . client) → priority into a map, unless it holds that key.

    Either way the entry lives for `timeout_s` from now on.
    """

    map: str
    timeout_s: int

    def text(self, family: Family) -> str:
        """`update @affinity { meta priority & ffff:0 . ip saddr timeout 3h : meta priority }`."""
        key = f"meta priority & ffff:0 . {client_text(family)}"
        return f"update @{self.map} {{ {key} timeout {duration_text(self.timeout_s)} : meta priority }}"


class Forget(msgspec.Struct, frozen=True):
    """Statement: delete the entry (priority . client) of a map."""

    map: str

    def text(self, family: Family) -> str:
        """`delete @affinity { meta priority . ip saddr : meta priority }`."""
        return f"delete @{self.map} {{ meta priority . {client_text(family)} : meta priority }}"


class HighHalf(msgspec.Struct, frozen=True):
    """Statement: clear the low half of the packet's priority."""

    def text(self, family: Family) -> str:
        """`meta priority set meta priority & ffff:0`."""
        return "meta priority set meta priority & ffff:0"


class Prioritized(msgspec.Struct, frozen=True):
    """Match: the high half of the priority is set."""

    def text(self, family: Family) -> str:
        """`meta priority & ffff:0 != none`."""
        return "meta priority & ffff:0 != none"


class ClearPriority(msgspec.Struct, frozen=True):
    """Statement: the packet has no priority any more."""

    def text(self, family: Family) -> str:
        """`meta priority set none`."""
        return "meta priority set none"


def duration_text(seconds: int) -> str:
    """As nft prints a timeout: `3h`, `1d2h3m4s`."""
    parts = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
    found = ""
    for size, unit in parts:
        count, seconds = divmod(seconds, size)
        found += f"{count}{unit}" if count else ""
    return found


class Count(msgspec.Struct, frozen=True):
    """Statement: count the packet in a set, by these fields. When the set is full, the rest of the rule is skipped."""

    fields: tuple[Field, ...]
    set: str

    def text(self, family: Family) -> str:
        """`add @connections { ip daddr . meta l4proto . th dport counter }`."""
        return f"add @{self.set} {{ {fields_text(self.fields, family)} counter }}"


class Masquerade(msgspec.Struct, frozen=True):
    """Statement: rewrite the source to the node's address, from a random port."""

    def text(self, family: Family) -> str:
        """`masquerade fully-random`."""
        return "masquerade fully-random"


class Reject(msgspec.Struct, frozen=True):
    """Statement: refuse, with a TCP reset (which only matches TCP) or an ICMP error."""

    tcp_reset: bool = False

    def text(self, family: Family) -> str:
        """`reject with tcp reset`, `reject`."""
        return "reject with tcp reset" if self.tcp_reset else "reject"


class Go(msgspec.Struct, frozen=True):
    """Statement: a fixed verdict."""

    verdict: Verdict

    def text(self, family: Family) -> str:
        """`goto dispatch`, `drop`."""
        return self.verdict
