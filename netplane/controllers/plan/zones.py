"""Endpoints dealt to zones in proportion to the zones' CPU. Source: KEP-2433 (topology aware hints).

    share of a zone = its ready nodes' allocatable CPU / that of all
    desired         = share * ready endpoints
    minimum         = ⌈desired / 1.2⌉        so that no endpoint gets more than 20 % above its part

1. Slices whose hints still fit (every zone known, none above its maximum) stay as they are.
2. In all others each ready endpoint is hinted for its own zone.
3. Zones with too many give, one by one, to those with too few; the zone that is furthest off goes first.

Without a zone or CPU on every ready node, with fewer endpoints than zones, or when the minimums add up to more than
there is, nobody gets hints: traffic goes everywhere rather than to the wrong place.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from netplane.api import conditions
from netplane.api.objects import Endpoint, Node
from netplane.controllers.plan import hints
from netplane.controllers.plan.backends import ZONE
from netplane.controllers.plan.hints import Lot

OVERLOAD = 0.2
# The older annotation is asked first.
ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

ENABLED, DISABLED = "TopologyAwareHintsEnabled", "TopologyAwareHintsDisabled"
NO_NODE_INFO = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
NO_ZONE = "One or more endpoints do not have a zone specified"
NO_HINTS = "No hints allocated for zones"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"

Shares = Mapping[str, float]


class Allocation(NamedTuple):
    """How many endpoints a zone must have, may have, and should have."""

    minimum: int
    maximum: int
    desired: float


class Verdict(NamedTuple):
    """Lots with their hints; or without any, and why."""

    lots: list[Lot]
    problem: str = ""


class Contribution(NamedTuple):
    """What a ready node brings to its zone. A zone of "" or no CPU spoils the proportions of the whole cluster."""

    zone: str
    cpu_m: int

    @property
    def usable(self) -> bool:
        """Whether it says both."""
        return bool(self.zone) and self.cpu_m > 0


def wanted(annotations: Mapping[str, str] | None) -> bool:
    """Whether a Service asks for proportional hints."""
    said = annotations or {}
    value = next((said[name] for name in ANNOTATIONS if name in said), "")
    return value in ("auto", "Auto")


def contribution(node: Node) -> Contribution | None:
    """None for nodes that do not count: not ready, or of the control plane."""
    labels = node.metadata.labels or {}
    if not conditions.is_ready(node) or any(name in labels for name in EXCLUDED):
        return None
    allocatable = (node.status.allocatable if node.status else None) or {}
    return Contribution(labels.get(ZONE, ""), milli(allocatable.get("cpu", 0)))


def milli(quantity: Any) -> int:
    """A CPU quantity (`4`, `1500m`, `0.5`) in thousandths; 0 for what is none."""
    text = str(quantity)
    try:
        return int(text[:-1]) if text.endswith("m") else math.ceil(float(text) * 1000)
    except ValueError:
        return 0


def shares(parts: Iterable[Contribution]) -> dict[str, float]:
    """The zones' parts of the CPU, adding up to 1; {} with fewer than two zones, or when a node says too little."""
    sums: dict[str, int] = {}
    for part in parts:
        if not part.usable:
            return {}
        sums[part.zone] = sums.get(part.zone, 0) + part.cpu_m
    total = sum(sums.values())
    return {zone: sums[zone] / total for zone in sorted(sums)} if len(sums) > 1 else {}


def allocate(by_zone: Shares, lots: Sequence[Lot]) -> Verdict:
    """Hints for the endpoints of a Service, of one family. Slices to create come first among `lots`."""
    count = sum(hints.is_ready(one) for lot in lots for one in lot.endpoints)
    allocations, problem = _allocations(by_zone, count)
    if not problem:
        kept, free, held = _sort_out(lots, allocations)
        if any(hints.is_ready(one) and not one.zone for lot in free.values() for one in lot.endpoints):
            problem = NO_ZONE
        else:
            free = _deal(free, allocations, held)
            problem = "" if held else NO_HINTS
    if problem:
        return Verdict(hints.none(lots), problem)
    return Verdict([kept[i] if i in kept else free[i] for i in range(len(lots))])


def _allocations(by_zone: Shares, count: int) -> tuple[dict[str, Allocation], str]:
    if not by_zone:
        return {}, NO_NODE_INFO
    if len(by_zone) > count:
        return {}, f"{TOO_FEW} ({count} endpoints, {len(by_zone)} zones)"
    minimum = {zone: math.ceil(share * count / (1 + OVERLOAD)) for zone, share in by_zone.items()}
    spare = count - sum(minimum.values())
    if spare < 0:
        return {}, f"{OVERLOADED} ({count} endpoints, {len(by_zone)} zones)"
    found = {
        zone: Allocation(least, least + spare, max(by_zone[zone] * count, least)) for zone, least in minimum.items()
    }
    return found, ""


def _sort_out(
    lots: Sequence[Lot], allocations: Mapping[str, Allocation]
) -> tuple[dict[int, Lot], dict[int, Lot], dict[str, int]]:
    """Rule 1: lots that stay, lots to deal out anew (by position), and what the zones have from those that stay."""
    kept: dict[int, Lot] = {}
    free: dict[int, Lot] = {}
    held: dict[str, int] = {}
    for i, lot in enumerate(lots):
        counts = None if lot.touched else _counts(lot.endpoints)
        fits = counts is not None and all(
            zone in allocations and held.get(zone, 0) + number <= allocations[zone].maximum
            for zone, number in counts.items()
        )
        if counts is not None and fits:
            kept[i] = lot
            held.update({zone: held.get(zone, 0) + number for zone, number in counts.items()})
        else:
            free[i] = lot
    return kept, free, held


def _counts(endpoints: Iterable[Endpoint]) -> dict[str, int] | None:
    """Hints per zone; None when a ready endpoint has none."""
    counts: dict[str, int] = {}
    for one in endpoints:
        if not hints.is_ready(one):
            continue
        zones = (one.hints.for_zones if one.hints else None) or ()
        if not zones:
            return None
        for zone in zones:
            counts[zone.name] = counts.get(zone.name, 0) + 1
    return counts


def _deal(free: Mapping[int, Lot], allocations: Mapping[str, Allocation], held: dict[str, int]) -> dict[int, Lot]:
    """Rules 2 and 3. `held` is brought up to date."""
    for lot in free.values():
        for one in lot.endpoints:
            if hints.is_ready(one) and one.zone:
                held[one.zone] = held.get(one.zone, 0) + 1
    giving, receiving = _transfers(allocations, held)
    dealt: dict[int, Lot] = {}
    for i, lot in free.items():
        zones = [_zone_for(one, giving, receiving, held) for one in lot.endpoints]
        dealt[i] = hints.settle(lot, [hints.for_zone(zone) if zone else None for zone in zones])
    return dealt


def _zone_for(one: Endpoint, giving: dict[str, int], receiving: dict[str, int], held: dict[str, int]) -> str:
    """Its own zone, unless that has one to give away and another wants it. "" for endpoints that are not ready."""
    if not hints.is_ready(one) or not one.zone:
        return ""
    taker = next((zone for zone, number in receiving.items() if number > 0), "")
    if not taker or giving.get(one.zone, 0) <= 0:
        return one.zone
    giving[one.zone] -= 1
    receiving[taker] -= 1
    held[one.zone] -= 1
    held[taker] = held.get(taker, 0) + 1
    return taker


def _transfers(allocations: Mapping[str, Allocation], held: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Whole endpoints that zones give and receive; less than half of one is not worth a move.

    A zone that has no share gives all it has: nobody is there who would ask for them.
    """
    off = {zone: held.get(zone, 0) - one.desired for zone, one in allocations.items()}
    giving = {zone: number for zone, number in held.items() if zone not in allocations}
    receiving: dict[str, int] = {}
    for _ in range(sum(giving.values())):
        _receive(off, receiving)
    while True:
        giver, taker = max(off, key=lambda zone: off[zone]), min(off, key=lambda zone: off[zone])
        more, fewer = off[giver], -off[taker]
        if max(more, fewer) < 1 or min(more, fewer) < 0.5:
            return giving, receiving
        off[giver] -= 1
        giving[giver] = giving.get(giver, 0) + 1
        _receive(off, receiving)


def _receive(off: dict[str, float], receiving: dict[str, int]) -> None:
    """One more for the zone that lacks most."""
    taker = min(off, key=lambda zone: off[zone])
    off[taker] += 1
    receiving[taker] = receiving.get(taker, 0) + 1
