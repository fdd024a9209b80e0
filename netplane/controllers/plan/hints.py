"""Which zones and nodes an endpoint is meant for. Source: KEP-4444 (trafficDistribution), KEP-3015 (PreferSameNode).

With a traffic distribution each ready endpoint is hinted for the place it is in; readers fall back to all endpoints
where hints do not cover them. The older, proportional way is in `zones`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from netplane.api.objects import Endpoint, EndpointHints, ForNode, ForZone

SAME_NODE = "PreferSameNode"
NEAR = frozenset({"PreferClose", "PreferSameZone", SAME_NODE})


class Lot(NamedTuple):
    """The endpoints of one slice, and whether the slice is going to be written."""

    endpoints: tuple[Endpoint, ...]
    touched: bool


def distribute(policy: str | None, lots: Iterable[Lot]) -> list[Lot]:
    """Hints as spec.trafficDistribution asks; slices with wrong hints are touched. Unknown policies mean no hints."""
    return [settle(lot, [_wanted(policy, one) for one in lot.endpoints]) for lot in lots]


def none(lots: Iterable[Lot]) -> list[Lot]:
    """No hints at all."""
    return distribute(None, lots)


def settle(lot: Lot, wanted: Iterable[EndpointHints | None]) -> Lot:
    """The lot with these hints; touched if that changes one."""
    endpoints = tuple(hinted(one, hints) for one, hints in zip(lot.endpoints, wanted, strict=True))
    return Lot(endpoints, lot.touched or endpoints != lot.endpoints)


def hinted(one: Endpoint, hints: EndpointHints | None) -> Endpoint:
    """The endpoint with these hints; the very same one if it has them."""
    return one if one.hints == hints else msgspec.structs.replace(one, hints=hints)


def for_zone(zone: str) -> EndpointHints:
    """Meant for one zone."""
    return EndpointHints(for_zones=[ForZone(name=zone)])


def is_ready(one: Endpoint) -> bool:
    """Whether it says that it is; endpoints that do not say get no hints."""
    return one.conditions is not None and one.conditions.ready is True


def _wanted(policy: str | None, one: Endpoint) -> EndpointHints | None:
    if policy not in NEAR or not is_ready(one):
        return None
    zones = [ForZone(name=one.zone)] if one.zone else None
    nodes = [ForNode(name=one.node_name)] if policy == SAME_NODE and one.node_name else None
    return EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None
