"""A packet and a ruleset → what happens to it, and the steps on the way.

The ruleset is the values that are rendered to the kernel (`Table`, and the elements of its sets), so what is traced is
what is loaded. Where rules roll dice (`numgen random mod N`), every outcome is followed:

    prerouting (or output, for packets of the host itself)
        verdict map, jumps … → drop | reject | nothing | dnat to one of {endpoints}
    postrouting, once per endpoint
        → masquerade | source kept

Only the first packet of a connection is traced: nat hooks see no other.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from netplane.nft import expr, types
from netplane.nft.elements import Elements, Value, element_text, key_text
from netplane.nft.objects import Chain, Map, Rule, Set, Table
from netplane.nft.packet import Endpoint, Outcome, Packet, Step, Trace, client_slot, packet
from netplane.nft.types import PROTOCOLS

__all__ = ["Endpoint", "Outcome", "Packet", "Ruleset", "Step", "Trace", "client_slot", "content_lines", "packet"]

_MAX_DEPTH = 16


class _Verdict(NamedTuple):
    """How a walk through a hook ended; `targets` for dnat."""

    outcome: Outcome
    targets: tuple[bytes, ...] = ()
    masquerade: bool = False


class _Go(Exception):
    """Leave a rule with a verdict."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict


class Ruleset(NamedTuple):
    """A table with the elements of its sets, and the host's own addresses (for `fib … type local`)."""

    table: Table
    elements: Mapping[str, Elements]
    local_addresses: frozenset[bytes] = frozenset()

    def trace(self, first: Packet) -> Trace:
        """Follow the first packet of a connection."""
        walk = _Walk(self, first)
        decided = walk.hook("output" if first.local else "prerouting")
        if decided.outcome in ("reject", "drop"):
            return Trace(first, decided.outcome, (), False, tuple(walk.steps), walk.holes)
        if decided.outcome == "none":
            after = _Walk(self, walk.packet)
            masquerade = after.hook("postrouting").masquerade
            return Trace(first, "none", (), masquerade, (*walk.steps, *after.steps), walk.holes)
        endpoints = tuple(self._endpoint(walk, target) for target in decided.targets)
        return Trace(first, "dnat", endpoints, any(e.masquerade for e in endpoints), tuple(walk.steps), walk.holes)

    def _endpoint(self, walk: "_Walk", target: bytes) -> Endpoint:
        family = self.table.family
        size = family.address.size
        port = int.from_bytes(target[family.address.slot :][:2], "big")
        moved = walk.packet._replace(daddr=target[:size], dport=port, dnatted=True)
        after = _Walk(self, moved)
        masquerade = after.hook("postrouting").masquerade
        address = family.address.text(target)
        walk.steps += [step._replace(note=f"{address}: {step.note}" if step.note else address) for step in after.steps]
        return Endpoint(address, port, masquerade)


class _Walk:
    """One packet on its way through one hook."""

    def __init__(self, rules: Ruleset, first: Packet) -> None:
        self.rules = rules
        self.packet = first
        self.steps: list[Step] = []
        self.holes = 0
        self.chains = {chain.name: chain for chain in rules.table.chains}
        self._decided: _Verdict | None = None
        # What rules put into dynamic maps on this walk: several values, where dice decided.
        self._learned: dict[bytes, tuple[int, ...]] = {}

    def hook(self, name: str) -> _Verdict:
        """Run the base chains of a hook in the order of their priorities."""
        bases = [chain for chain in self.chains.values() if chain.hook and chain.hook.hook == name]
        for chain in sorted(bases, key=lambda c: c.hook.order if c.hook else 0):
            if self._chain(chain, 0) == "drop" and self._decided is None:
                return _Verdict("drop")
            if self._decided is not None:
                return self._decided
        return _Verdict("none")

    def _chain(self, chain: Chain, depth: int) -> str:
        """Run a chain; returns `accept`, `drop`, or `continue` when its end was reached."""
        assert depth < _MAX_DEPTH, "the kernel refuses chains this deep"
        for rule in chain.rules:
            verdict = self._rule(chain, rule)
            if verdict == "continue":
                continue
            word, _, target = verdict.partition(" ")
            if word == "return":
                return "continue"
            if word == "goto":
                return self._chain(self.chains[target], depth + 1)
            if word == "jump":
                verdict = self._chain(self.chains[target], depth + 1)
                if verdict == "continue":
                    continue
            return verdict
        return "continue"

    def _rule(self, chain: Chain, rule: Rule) -> str:
        note = ""
        for item in rule.exprs:
            handler = _HANDLERS[type(item)]
            try:
                result = handler(self, item)
            except _Go as left:
                self._note(chain, rule, left.verdict)
                return left.verdict
            if result is False:
                return "continue"
            note = result if isinstance(result, str) else note
        self._note(chain, rule, note)
        return "continue"

    def _note(self, chain: Chain, rule: Rule, note: str) -> None:
        text = rule.text(self.rules.table.family)
        self.steps.append(Step(chain.name, text, "" if note in text else note))

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
        owner = self.rules.table.set(name)
        held = self.rules.elements.get(name, {})
        if not owner.interval:
            return (key, held[key]) if key in held else None
        return next(((k, v) for k, v in held.items() if _within(owner, key, k)), None)

    # Expressions: False means no match; a string is a note for the step --------------------------------------------

    def in_set(self, item: expr.In) -> bool | str:
        """`ip saddr @pod-cidrs`."""
        found = self._lookup(item.set, self._key(item.fields))
        if (found is not None) == item.negated:
            return False
        return f"{key_text(self.rules.table.set(item.set), found[0])} is in @{item.set}" if found else True

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
        return address in self.rules.local_addresses

    def vmap(self, item: expr.Vmap) -> bool:
        """`… vmap @services`."""
        found = self._lookup(item.map, self._key(item.fields))
        if found is None:
            return False
        raise _Go(str(found[1]))

    def dnat_random(self, item: expr.DnatRandom) -> bool:
        """Follow every number the dice can show; the rule is left only by those that find an entry."""
        key = self._key(item.fields)
        found = [self._lookup(item.map, key + types.INTEGER.pack(index)) for index in range(item.modulus)]
        targets = tuple(hit[1] for hit in found if hit is not None and isinstance(hit[1], bytes))
        self.holes += item.modulus - len(targets)
        if not targets:
            return False
        owner = self.rules.table.set(item.map)
        assert isinstance(owner, Map)
        self._decided = _Verdict("dnat", targets)
        raise _Go("accept")

    def dnat_to(self, item: expr.DnatTo) -> bool:
        """`dnat to … . meta priority map @…`, for every priority the packet may have."""
        found = [self._lookup(item.map, self._with(item.fields, number)) for number in self.packet.priorities]
        targets = tuple(hit[1] for hit in found if hit is not None and isinstance(hit[1], bytes))
        if not targets:
            return False
        self._decided = _Verdict("dnat", targets)
        raise _Go("accept")

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
        self._decided = _Verdict("none", masquerade=True)
        raise _Go("accept")

    def reject(self, item: expr.Reject) -> bool:
        """`reject`; with a TCP reset only TCP matches."""
        if item.tcp_reset and self.packet.protocol != PROTOCOLS["tcp"]:
            return False
        self._decided = _Verdict("reject")
        raise _Go("drop")

    def go(self, item: expr.Go) -> bool:
        """A fixed verdict."""
        raise _Go(item.verdict)

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
    expr.In: _Walk.in_set,
    expr.Within: _Walk.within,
    expr.Iif: _Walk.iif,
    expr.FibLocal: _Walk.fib_local,
    expr.Vmap: _Walk.vmap,
    expr.DnatRandom: _Walk.dnat_random,
    expr.Masquerade: _Walk.masquerade,
    expr.Reject: _Walk.reject,
    expr.Go: _Walk.go,
    expr.SetMark: _Walk.set_mark,
    expr.FlipMark: _Walk.flip_mark,
    expr.Marked: _Walk.marked,
    expr.Dnatted: _Walk.was_dnatted,
    expr.Count: _Walk.count,
    expr.DnatTo: _Walk.dnat_to,
    expr.Pick: _Walk.pick,
    expr.Remember: _Walk.remember,
    expr.Recall: _Walk.recall,
    expr.Forget: _Walk.forget,
    expr.HighHalf: _Walk.high_half,
    expr.Prioritized: _Walk.prioritized,
    expr.ClearPriority: _Walk.clear_priority,
}


def content_lines(rules: Ruleset) -> Iterator[str]:
    """Every element as `set { element }`, for reading a ruleset in a failed test."""
    for owner in rules.table.sets:
        for key, value in sorted(rules.elements.get(owner.name, {}).items()):
            yield f"{owner.name} {{ {element_text(owner, key, value)} }}"
