"""A packet and a ruleset → what happens to it, and the steps on the way.

The ruleset is the values that are rendered to the kernel (`Table`, and the elements of its sets), so what is traced is
what is loaded. Where rules roll dice (`numgen random mod N`), every outcome is followed:

    prerouting (or output, for packets of the host itself)
        verdict map, jumps … → drop | reject | nothing | dnat to one of {endpoints}
    postrouting, once per endpoint
        → masquerade | source kept

Only the first packet of a connection is traced: nat hooks see no other.
"""

from collections.abc import Mapping
from typing import NamedTuple

from netplane.nft.effects import Decision, Left, Situation
from netplane.nft.elements import Elements
from netplane.nft.objects import Chain, Rule, Table
from netplane.nft.packet import Endpoint, Packet, Step, Trace

_MAX_DEPTH = 16


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
            return Trace(first, decided.outcome, (), False, tuple(walk.steps), walk.met.holes)
        if decided.outcome == "none":
            after = _Walk(self, walk.met.packet)
            masquerade = after.hook("postrouting").masquerade
            return Trace(first, "none", (), masquerade, (*walk.steps, *after.steps), walk.met.holes)
        endpoints = tuple(self._endpoint(walk, target) for target in decided.targets)
        return Trace(first, "dnat", endpoints, any(e.masquerade for e in endpoints), tuple(walk.steps), walk.met.holes)

    def _endpoint(self, walk: "_Walk", target: bytes) -> Endpoint:
        family = self.table.family
        size = family.address.size
        port = int.from_bytes(target[family.address.slot :][:2], "big")
        moved = walk.met.packet._replace(daddr=target[:size], dport=port, dnatted=True)
        after = _Walk(self, moved)
        masquerade = after.hook("postrouting").masquerade
        address = family.address.text(target)
        walk.steps += [step._replace(note=f"{address}: {step.note}" if step.note else address) for step in after.steps]
        return Endpoint(address, port, masquerade)


class _Walk:
    """One packet on its way through one hook."""

    def __init__(self, rules: Ruleset, first: Packet) -> None:
        self._rules = rules
        self.met = Situation(*rules, first)
        self.steps: list[Step] = []
        self._chains = {chain.name: chain for chain in rules.table.chains}

    def hook(self, name: str) -> Decision:
        """Run the base chains of a hook in the order of their priorities."""
        bases = [chain for chain in self._chains.values() if chain.hook and chain.hook.hook == name]
        for chain in sorted(bases, key=lambda c: c.hook.order if c.hook else 0):
            if self._chain(chain, 0) == "drop" and self.met.decided is None:
                return Decision("drop")
            if self.met.decided is not None:
                return self.met.decided
        return Decision("none")

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
                return self._chain(self._chains[target], depth + 1)
            if word == "jump":
                verdict = self._chain(self._chains[target], depth + 1)
                if verdict == "continue":
                    continue
            return verdict
        return "continue"

    def _rule(self, chain: Chain, rule: Rule) -> str:
        note = ""
        for item in rule.exprs:
            try:
                result = self.met.meet(item)
            except Left as left:
                self._note(chain, rule, left.verdict)
                return left.verdict
            if result is False:
                return "continue"
            note = result if isinstance(result, str) else note
        self._note(chain, rule, note)
        return "continue"

    def _note(self, chain: Chain, rule: Rule, note: str) -> None:
        text = rule.text(self._rules.table.family)
        self.steps.append(Step(chain.name, text, "" if note in text else note))
