"""What each expression does to one packet on its way through one hook.

Where dice decide (`numgen`), every outcome is followed: a packet then has several priorities, or several targets.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from netplane.nft import expr, types
from netplane.nft.elements import Elements, Value, key_text
from netplane.nft.objects import Map, Set, Table
from netplane.nft.packet import Outcome, Packet, client_slot
from netplane.nft.types import PROTOCOLS


class Decision(NamedTuple):
    """How a walk through a hook ended; `targets` for dnat."""

    outcome: Outcome
    targets: tuple[bytes, ...] = ()
    masquerade: bool = False


class Left(Exception):
    """Leave a rule with a verdict."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict


class Situation:
    """A packet among a table's sets. `decided` says how its walk ends, once a rule has said so; `holes` counts random
    outcomes that found no entry.
    """

    def __init__(
        self, table: Table, elements: Mapping[str, Elements], local_addresses: frozenset[bytes], first: Packet
    ) -> None:
        self.table, self.elements, self.local_addresses = table, elements, local_addresses
        self.packet = first
        self.holes = 0
        self.decided: Decision | None = None
        # What rules put into dynamic maps on this walk: several values, where dice decided.
        self._learned: dict[bytes, tuple[int, ...]] = {}

    def meet(self, item: expr.Expr) -> bool | str:
        """Let an expression act: False when it does not match, a string is a note. Raises Left with a verdict."""
        return _HANDLERS[type(item)](self, item)

    def _key(self, fields: tuple[expr.Field, ...]) -> bytes:
        return b"".join(self._slot(field) for field in fields)

    def _slot(self, field: expr.Field) -> bytes:
        seen = self.packet
        match field:
            case "saddr":
                return seen.saddr
            case "daddr":
                return seen.daddr
            case "l4proto":
                return types.INET_PROTO.pack(seen.protocol)
            case "dport":
                return types.INET_SERVICE.pack(seen.dport)
            case "client":
                return client_slot(seen.saddr)
            case "priority":
                return types.CLASSID.pack(seen.priorities[0])

    def _lookup(self, name: str, key: bytes) -> tuple[bytes, Value] | None:
        owner = self.table.set(name)
        held = self.elements.get(name, {})
        if not owner.interval:
            return (key, held[key]) if key in held else None
        return next(((k, v) for k, v in held.items() if _within(owner, key, k)), None)

    # Expressions: False means no match; a string is a note for the step --------------------------------------------

    def in_set(self, item: expr.In) -> bool | str:
        """`ip saddr @pod-cidrs`."""
        found = self._lookup(item.set, self._key(item.fields))
        if (found is not None) == item.negated:
            return False
        return f"{key_text(self.table.set(item.set), found[0])} is in @{item.set}" if found else True

    def within(self, item: expr.Within) -> bool | str:
        """`ip saddr 10.244.0.0/16`."""
        address = self.packet.saddr if item.field == "saddr" else self.packet.daddr
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(item.network)
        if inside == item.negated:
            return False
        return f"{ipaddress.ip_address(address)} is {'in' if inside else 'not in'} {item.network}"

    def iif(self, item: expr.Iif) -> bool:
        """`iifname "veth*"`."""
        name = self.packet.iifname
        same = name.startswith(item.pattern[:-1]) if item.pattern.endswith("*") else name == item.pattern
        return same != item.negated

    def fib_local(self, item: expr.FibLocal) -> bool:
        """`fib saddr type local`."""
        address = self.packet.saddr if item.field == "saddr" else self.packet.daddr
        return address in self.local_addresses

    def vmap(self, item: expr.Vmap) -> bool:
        """`… vmap @services`."""
        found = self._lookup(item.map, self._key(item.fields))
        if found is None:
            return False
        raise Left(str(found[1]))

    def dnat_random(self, item: expr.DnatRandom) -> bool:
        """Follow every number the dice can show; the rule is left only by those that find an entry."""
        key = self._key(item.fields)
        found = [self._lookup(item.map, key + types.INTEGER.pack(index)) for index in range(item.modulus)]
        targets = tuple(hit[1] for hit in found if hit is not None and isinstance(hit[1], bytes))
        self.holes += item.modulus - len(targets)
        if not targets:
            return False
        owner = self.table.set(item.map)
        assert isinstance(owner, Map)
        self.decided = Decision("dnat", targets)
        raise Left("accept")

    def dnat_to(self, item: expr.DnatTo) -> bool:
        """`dnat to … . meta priority map @…`, for every priority the packet may have."""
        found = [self._lookup(item.map, self._with(item.fields, number)) for number in self.packet.priorities]
        targets = tuple(hit[1] for hit in found if hit is not None and isinstance(hit[1], bytes))
        if not targets:
            return False
        self.decided = Decision("dnat", targets)
        raise Left("accept")

    def pick(self, item: expr.Pick) -> bool:
        """Follow every number the dice can show."""
        key = self._key(item.fields)
        found = [self._lookup(item.map, key + types.INTEGER.pack(index)) for index in range(item.modulus)]
        return self._priorities(_number(hit[1]) for hit in found if hit is not None)

    def remember(self, item: expr.Remember) -> bool:
        """`update`: what is held stays, what is not is learned."""
        for number in self.packet.priorities:
            key = types.CLASSID.pack(number & expr.HIGH_HALF) + client_slot(self.packet.saddr)
            if self._lookup(item.map, key) is None:
                self._learned[key] = (*self._learned.get(key, ()), number)
        return True

    def recall(self, item: expr.Recall) -> bool | str:
        """What a map holds, or learned on this walk."""
        numbers: list[int] = []
        for priority in self.packet.priorities:
            key = self._with(item.fields, priority)
            held = self._lookup(item.map, key)
            numbers += self._learned.get(key, ()) if held is None else (_number(held[1]),)
        known = bool(numbers) and not self._learned
        return self._priorities(numbers) and ((known and f"@{item.map} knows this client") or True)

    def forget(self, item: expr.Forget) -> bool:
        """`delete`: what is learned from now on counts."""
        for priority in self.packet.priorities:
            self._learned.pop(types.CLASSID.pack(priority) + client_slot(self.packet.saddr), None)
        return True

    def count(self, item: expr.Count) -> str:
        """Counting changes nothing."""
        return f"counted in @{item.set}"

    def high_half(self, _: expr.HighHalf) -> bool:
        """Clear the low half."""
        return self._priorities(number & expr.HIGH_HALF for number in self.packet.priorities)

    def prioritized(self, _: expr.Prioritized) -> bool:
        """Whether rules left a priority."""
        return any(number & expr.HIGH_HALF for number in self.packet.priorities)

    def clear_priority(self, _: expr.ClearPriority) -> bool:
        """Clear it."""
        return self._priorities((0,))

    def _priorities(self, numbers: Iterable[int]) -> bool:
        found = tuple(dict.fromkeys(numbers))
        if found:
            self.packet = self.packet._replace(priorities=found)
        return bool(found)

    def _with(self, fields: tuple[expr.Field, ...], priority: int) -> bytes:
        return b"".join(types.CLASSID.pack(priority) if f == "priority" else self._slot(f) for f in fields)

    def masquerade(self, _: expr.Masquerade) -> bool:
        """`masquerade`: ends the walk."""
        self.decided = Decision("none", masquerade=True)
        raise Left("accept")

    def reject(self, item: expr.Reject) -> bool:
        """`reject`; with a TCP reset only TCP matches."""
        if item.tcp_reset and self.packet.protocol != PROTOCOLS["tcp"]:
            return False
        self.decided = Decision("reject")
        raise Left("drop")

    def go(self, item: expr.Go) -> bool:
        """A fixed verdict."""
        raise Left(item.verdict)

    def set_mark(self, item: expr.SetMark) -> bool:
        """Set a bit."""
        self.packet = self.packet._replace(mark=self.packet.mark | item.bit)
        return True

    def flip_mark(self, item: expr.FlipMark) -> bool:
        """Flip a bit."""
        self.packet = self.packet._replace(mark=self.packet.mark ^ item.bit)
        return True

    def marked(self, item: expr.Marked) -> bool:
        """A bit of the mark."""
        return bool(self.packet.mark & item.bit)

    def was_dnatted(self, _: expr.Dnatted) -> bool:
        """`ct status dnat`."""
        return self.packet.dnatted


def _within(owner: Set, key: bytes, bounds: bytes) -> bool:
    """Whether each slot of a key lies between the slots of a range (all slots are big endian here)."""
    half = len(bounds) // 2
    low, high = types.split(owner.key, bounds[:half]), types.split(owner.key, bounds[half:])
    return all(a <= slot <= b for a, slot, b in zip(low, types.split(owner.key, key), high, strict=True))


def _number(value: Value) -> int:
    assert isinstance(value, bytes)
    return int.from_bytes(value, sys.byteorder)


_HANDLERS: dict[type[expr.Expr], Callable[..., bool | str]] = {
    expr.In: Situation.in_set,
    expr.Within: Situation.within,
    expr.Iif: Situation.iif,
    expr.FibLocal: Situation.fib_local,
    expr.Vmap: Situation.vmap,
    expr.DnatRandom: Situation.dnat_random,
    expr.Masquerade: Situation.masquerade,
    expr.Reject: Situation.reject,
    expr.Go: Situation.go,
    expr.SetMark: Situation.set_mark,
    expr.FlipMark: Situation.flip_mark,
    expr.Marked: Situation.marked,
    expr.Dnatted: Situation.was_dnatted,
    expr.Count: Situation.count,
    expr.DnatTo: Situation.dnat_to,
    expr.Pick: Situation.pick,
    expr.Remember: Situation.remember,
    expr.Recall: Situation.recall,
    expr.Forget: Situation.forget,
    expr.HighHalf: Situation.high_half,
    expr.Prioritized: Situation.prioritized,
    expr.ClearPriority: Situation.clear_priority,
}
