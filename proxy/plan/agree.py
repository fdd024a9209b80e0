"""What the kernel did with one packet, put together from nftables' trace messages, and held against the tracer.

The tracer follows every outcome of the dice, the kernel took one: they agree when the kernel's outcome is among the
tracer's, on the way through the same chains, with the source rewritten or kept as the tracer says.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from netplane.net.addresses import with_port
from netplane.nft.events import Event, Headers
from netplane.nft.objects import canonical
from netplane.nft.packet import Packet, Trace
from netplane.nft.types import Family
from proxy.plan.skeleton import NAME

Rules = Mapping[tuple[str, str, int], str]


class Seen(NamedTuple):
    """One rule that decided something, anywhere in the namespace."""

    table: str
    chain: str
    rule: str
    verdict: str


class Followed(NamedTuple):
    """What became of the packet. `endpoint` when its destination was rewritten; `lost`: no hook saw it leave."""

    outcome: str
    endpoint: str
    masquerade: bool
    seen: tuple[Seen, ...]


def follow(first: Packet, events: Sequence[Event], rules: Rules, own_table: str) -> Followed:
    """Put messages together; `own_table` is the table that marks and watches the packet."""
    seen = tuple(_seen(events, rules, own_table))
    last = [e.headers for e in events if e.table == own_table and e.chain in ("input", "postrouting") and e.headers]
    if not last:
        stopped = next((one for one in reversed(seen) if one.verdict == "drop"), None)
        outcome = "lost" if stopped is None else "reject" if stopped.rule.startswith("reject") else "drop"
        return Followed(outcome, "", False, seen)
    end = last[0]
    moved = (end.daddr, end.dport) != (first.daddr, first.dport)
    outcome = "dnat" if moved else "none"
    return Followed(outcome, _text(first.family, end) if moved else "", end.saddr != first.saddr, seen)


def _seen(events: Sequence[Event], rules: Rules, own_table: str) -> Iterator[Seen]:
    for event in events:
        # The end of a chain is told as a rule without a handle.
        if event.kind == "rule" and event.handle and event.table != own_table:
            table = f"{event.family} {event.table}"
            text = rules.get((table, event.chain, event.handle), f"(rule with handle {event.handle})")
            yield Seen(table, event.chain, canonical(text), event.verdict)


def _text(family: Family, end: Headers) -> str:
    return with_port(family.address.text(end.daddr), end.dport)


def disagreements(trace: Trace, followed: Followed) -> Iterator[str]:
    """What the kernel did otherwise than the tracer says; none when they agree."""
    if followed.outcome != trace.outcome:
        yield f"the kernel's verdict is {followed.outcome}, the tracer's {trace.outcome}"
        return
    possible = {str(endpoint): endpoint.masquerade for endpoint in trace.endpoints}
    if followed.endpoint and followed.endpoint not in possible:
        yield f"the kernel went to {followed.endpoint}, which the tracer does not reach"
        return
    masquerade = possible.get(followed.endpoint, trace.masquerade)
    if followed.outcome in ("dnat", "none") and followed.masquerade != masquerade:
        yield f"the source was {'rewritten' if followed.masquerade else 'kept'}, and the tracer says otherwise"
    ours, theirs = _chains(step.chain for step in trace.steps), _chains(_ours(trace, followed))
    if ours != theirs:
        yield f"the kernel went through {' → '.join(theirs) or 'no chain'}, the tracer through {' → '.join(ours)}"


def _ours(trace: Trace, followed: Followed) -> Iterator[str]:
    table = f"{trace.packet.family.nft} {NAME}"
    return (one.chain for one in followed.seen if one.table == table)


def _chains(names: Iterator[str]) -> list[str]:
    """Chains in the order of the visit, each once; what happens after the choice differs from endpoint to endpoint."""
    return [name for name, _ in itertools.groupby(names) if name != "postrouting"]
