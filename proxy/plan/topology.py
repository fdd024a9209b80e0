"""Which endpoints a connection may reach: policies, readiness, and hints.

    cluster   ready endpoints, narrowed by hints; if none is ready, those that terminate but still serve
    local     the same of this node only, without hints

Hints count only when every ready endpoint carries them and one of them fits: node hints first, then zone hints.
Source: KEP-2433 (hints), KEP-3015 (PreferSameNode), KEP-1669 (terminating endpoints).
"""

from collections.abc import Sequence
from typing import NamedTuple

from proxy.plan.model import Endpoint


class Usable(NamedTuple):
    """Endpoints for Cluster policy and for Local policy (None: no frontend uses that policy).

    `any` says whether there are usable endpoints anywhere: a Local policy without local ones drops then, not rejects.
    """

    cluster: list[Endpoint] | None
    local: list[Endpoint] | None
    any: bool


def usable(
    endpoints: Sequence[Endpoint], node: str, zone: str, *, cluster: bool, local: bool, node_hints: bool = True
) -> Usable:
    """Choose endpoints for the policies that a service port uses."""
    of_cluster = _ready_or_draining(endpoints, _hinted(endpoints, node, zone, node_hints)) if cluster else None
    here = [endpoint for endpoint in endpoints if endpoint.local]
    of_node = _ready_or_draining(here, here) if local else None
    exists = any(endpoint.ready or endpoint.draining for endpoint in endpoints)
    return Usable(of_cluster, of_node, exists)


def _ready_or_draining(endpoints: Sequence[Endpoint], preferred: Sequence[Endpoint]) -> list[Endpoint]:
    ready = [endpoint for endpoint in preferred if endpoint.ready]
    return ready or [endpoint for endpoint in endpoints if endpoint.draining]


def _hinted(endpoints: Sequence[Endpoint], node: str, zone: str, node_hints: bool) -> Sequence[Endpoint]:
    """The endpoints that hints point this node to; all of them where hints do not apply."""
    ready = [endpoint for endpoint in endpoints if endpoint.ready]
    if node_hints and node and all(endpoint.nodes for endpoint in ready):
        same = [endpoint for endpoint in ready if node in endpoint.nodes]
        if same:
            return same
    if zone and all(endpoint.zones for endpoint in ready):
        same = [endpoint for endpoint in ready if zone in endpoint.zones]
        if same:
            return same
    return endpoints
