"""What one service puts into the maps: frontends with their verdicts and endpoints.

    frontend                       entry (services)      then
    ClusterIP                      lb_N | do-reject | do-drop
    external IP, LB IP, NodePort   ext                   ext-services: lb_N           policy Cluster: masqueraded
                                   ext-local             ext-services: lb_N (local)   policy Local: source kept
                                                         sc-services: sc_N            pods and the node: everywhere
    LB IP with source ranges       fw                    fw-services: what entry would be

A fragment depends on its service, that service's slices and the node: nothing else, so a change recomputes one.
"""

from collections.abc import Iterable, Iterator

from netplane.nft.elements import merge_ranges
from netplane.nft.types import Family
from proxy.plan import nodeports, slices, topology
from proxy.plan.flows import GONE, Expected, Flows
from proxy.plan.model import (
    EMPTY,
    EXTERNAL,
    LB,
    LOAD_BALANCER,
    NO_LOCAL,
    NODE_PORT,
    REJECT,
    SHORT,
    Endpoint,
    Fragment,
    Frontend,
    Health,
    Node,
    Options,
    Port,
    ServiceView,
    frontend_key,
)
from proxy.plan.services import Served
from proxy.plan.skeleton import MAX_ENDPOINTS
from proxy.plan.slices import Slice
from proxy.plan.topology import Usable


def fragment(
    service: Served | None, items: Iterable[Slice], family: Family, node: Node, options: Options, problems: list[str]
) -> Fragment:
    """One service's part of one family's table; empty when it has none."""
    view = service.view(family) if service is not None else None
    if view is None:
        return EMPTY
    items = tuple(items)
    count = slices.too_many(items, family)
    if count:
        problems.append(
            f"service {view.key}: {count} endpoints in its slices, {slices.MAX_MERGED} are looked at at most"
        )
        return Fragment({}, (view.cluster_ip,))
    endpoints = slices.merge(items, family)
    frontends: dict[bytes, Frontend] = {}
    hairpin: dict[bytes, None] = {}
    for port in view.ports:
        found = endpoints.get((port.name, port.protocol), [])
        if len(found) > MAX_ENDPOINTS:
            problems.append(
                f"service {view.key}: {len(found)} endpoints at port {port.name!r}, {MAX_ENDPOINTS} is most"
            )
            continue
        chosen = _choose(view, port, found, node)
        frontends.update(_frontends(view, port, chosen, node, options))
        for endpoint in (*(chosen.cluster or ()), *(chosen.local or ())):
            if endpoint.local:
                hairpin[endpoint.data[: family.address.size]] = None
    return Fragment(frontends, (view.cluster_ip,), tuple(hairpin))


def expected_flows(service: Served | None, items: Iterable[Slice], family: Family, frontends: Iterable[bytes]) -> Flows:
    """For these frontends of a service: which endpoints flows may go on to, whatever policies and hints say."""
    view = service.view(family) if service is not None else None
    if view is None:
        return dict.fromkeys(frontends, GONE)
    endpoints = slices.merge(items, family)
    by_port: dict[bytes, Expected] = {}
    for port in view.ports:
        found = endpoints.get((port.name, port.protocol), [])
        expected = Expected(frozenset(e.data for e in found if e.serving), frozenset(e.data for e in found))
        for number in {port.port, port.node_port}:
            ending = frontend_key(b"", port.protocol, number)
            by_port[ending] = by_port[ending].with_(expected) if ending in by_port else expected
    size = family.address.slot
    return {key: by_port.get(key[size:], GONE) for key in frontends}


def health(service: Served, items: Iterable[Slice]) -> Health | None:
    """What the healthCheckNodePort answers for a service; None when it has none."""
    view = next((view for view in service.views if view.health_port), None)
    if view is None:
        return None
    size = view.family.address.size
    endpoints = slices.merge(items, view.family)
    local = {e.data[:size] for found in endpoints.values() for e in found if e.local and e.ready}
    return Health(view.key, view.health_port, len(local))


def _choose(view: ServiceView, port: Port, found: list[Endpoint], node: Node) -> Usable:
    outside = view.externally_accessible(port)
    return topology.usable(
        found,
        node.name,
        node.zone,
        cluster=not view.internal_local or outside,
        local=view.internal_local or (view.external_local and outside),
    )


def _frontends(
    view: ServiceView, port: Port, chosen: Usable, node: Node, options: Options
) -> Iterator[tuple[bytes, Frontend]]:
    """Every frontend of a port. A later one of the same key wins: ClusterIP over load balancer over external IP."""
    sticky = f"{view.key}:{port.name}" if view.affinity_timeout_s else ""
    outside = _outside(view, chosen)
    if sticky:
        outside = outside._replace(sticky=sticky, timeout_s=view.affinity_timeout_s)
    if port.node_port:
        for address in nodeports.addresses(view.family, node, options):
            yield frontend_key(address, port.protocol, port.node_port), outside._replace(rank=NODE_PORT)
    for address in view.external_ips:
        yield frontend_key(address, port.protocol, port.port), outside._replace(rank=EXTERNAL)
    for address in view.load_balancer_ips:
        guarded = _guarded(view, outside, node)
        yield frontend_key(address, port.protocol, port.port), guarded._replace(rank=LOAD_BALANCER)
    inside = chosen.local if view.internal_local else chosen.cluster
    made = _inside(inside or [], chosen.any)
    if sticky:
        made = made._replace(sticky=sticky, timeout_s=view.affinity_timeout_s)
    yield frontend_key(view.cluster_ip, port.protocol, port.port), made


def _rows(endpoints: list[Endpoint] | None) -> bytes:
    return b"".join(endpoint.data for endpoint in endpoints or ())


def _verdict(kind: str, endpoints: list[Endpoint] | None) -> str:
    return f"goto {kind}_{len(endpoints)}" if endpoints else ""


def _inside(endpoints: list[Endpoint], exists: bool) -> Frontend:
    nothing = NO_LOCAL if exists else REJECT
    return Frontend(_verdict(LB, endpoints) or nothing, _rows(endpoints))


def _outside(view: ServiceView, chosen: Usable) -> Frontend:
    if not chosen.any:
        return Frontend(REJECT)
    if not view.external_local:
        return Frontend("goto ext", _rows(chosen.cluster), _verdict(LB, chosen.cluster))
    return Frontend(
        "goto ext-local",
        _rows(chosen.local),
        _verdict(LB, chosen.local),
        short=_verdict(SHORT, chosen.cluster),
        short_rows=_rows(chosen.cluster),
    )


def _guarded(view: ServiceView, outside: Frontend, node: Node) -> Frontend:
    """A load balancer's frontend behind its source ranges.

    Where the ranges hold the node, the node may also come from a VIP itself: load balancers like to put them there.
    """
    if view.source_ranges is None:
        return outside
    size = view.family.address.size
    ranges = [(both[:size], both[size:]) for both in view.source_ranges]
    if any(len(own) == size and low <= own <= high for low, high in ranges for own in node.primary):
        ranges += [(vip, vip) for vip in view.load_balancer_ips]
    sources = tuple(low + high for low, high in merge_ranges(ranges))
    return outside._replace(entry="goto fw", firewall=outside.entry, sources=sources)
