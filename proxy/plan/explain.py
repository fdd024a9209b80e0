"""Why a packet went where it went: whose frontend it asked, and what became of each endpoint of that service.

The choice itself is the tracer's (that is, the rules'); this only finds the reason for every endpoint that it left out.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from netplane.api.objects import Endpoint as SliceEndpoint
from netplane.api.objects import EndpointSlice, Service
from netplane.net.addresses import with_port
from netplane.nft.packet import Packet, Trace
from netplane.nft.types import Family
from proxy.plan import services, slices
from proxy.plan.model import TERMINATING, Endpoint, Node, Port, ServiceView, frontend_key

CHOSEN = ""


class Candidate(NamedTuple):
    """An endpoint of the service. `reason` says why it was left out; "" when it can be reached."""

    endpoint: str
    target: str
    node: str
    reason: str

    @property
    def chosen(self) -> bool:
        """Whether the connection can go there."""
        return self.reason == CHOSEN


class Told(NamedTuple):
    """What was asked and why it ended as it did. Without a service, `service` and `policy` are ""."""

    service: str
    frontend: str
    policy: str
    why: str
    candidates: tuple[Candidate, ...] = ()


def explain(
    trace: Trace, items: Iterable[Service], endpoint_slices: Iterable[EndpointSlice], owner: str, node: Node
) -> Told:
    """The explanation of a trace; `owner` is the key of the service whose frontend was asked ("" for none)."""
    served = next((services.read(item) for item in items if item.key == owner), None) if owner else None
    view = served.view(trace.packet.family) if served else None
    found = _asked(view, trace.packet) if view else None
    if view is None or found is None:
        return Told("", "", "", _why_unserved(trace))
    port, frontend = found
    local = _local_policy(trace, view, frontend)
    mine = [item for item in endpoint_slices if _belongs(item, owner)]
    candidates = tuple(_candidates(trace, mine, port, node, local=local))
    name = f"{owner}:{port.name}" if port.name else owner
    return Told(name, frontend, "Local" if local else "Cluster", _why(trace, view, local=local), candidates)


def asked_key(packet: Packet) -> bytes:
    """The frontend that a packet asks for."""
    return frontend_key(packet.daddr, packet.protocol, packet.dport)


def _belongs(item: EndpointSlice, owner: str) -> bool:
    name = (item.metadata.labels or {}).get(slices.SERVICE_NAME)
    return f"{item.metadata.namespace}/{name}" == owner


def _asked(view: ServiceView, packet: Packet) -> tuple[Port, str] | None:
    """The port that was asked, and by which kind of address."""
    for port in view.ports:
        if port.protocol != packet.protocol:
            continue
        if port.port == packet.dport:
            if packet.daddr == view.cluster_ip:
                return port, "ClusterIP"
            if packet.daddr in view.load_balancer_ips:
                return port, "load balancer IP"
            if packet.daddr in view.external_ips:
                return port, "external IP"
        if port.node_port and port.node_port == packet.dport:
            return port, "NodePort"
    return None


def _local_policy(trace: Trace, view: ServiceView, frontend: str) -> bool:
    """Whether only this node's endpoints count. Pods and the node itself are spared that from outside addresses."""
    if frontend == "ClusterIP":
        return view.internal_local
    return view.external_local and not any("vmap @sc-services" in step.rule for step in trace.steps)


# Verdicts -------------------------------------------------------------------------------------------------------


def _why(trace: Trace, view: ServiceView, *, local: bool) -> str:
    match trace.outcome:
        case "dnat":
            count = len(trace.endpoints)
            sticky = view.affinity_timeout_s
            choice = "the only endpoint it may go to" if count == 1 else f"one of {count} endpoints, each as likely"
            return choice + (f"; then the client sticks to it for {sticky} s (ClientIP)" if sticky else "")
        case "reject":
            return "the service has no endpoint that answers"
        case "drop" if any(step.chain == "fw" for step in trace.steps):
            return "the source is in none of the loadBalancerSourceRanges"
        case "drop" if local:
            return "the policy is Local, and no endpoint that answers is on this node"
    return "no rule changes it"


def _why_unserved(trace: Trace) -> str:
    last = trace.steps[-1].rule if trace.steps else ""
    if "@cluster-ips" in last or (trace.outcome == "reject" and any("@cluster-ips" in s.rule for s in trace.steps)):
        return "the address is a service's ClusterIP, but no port of the service is asked"
    if "@service-cidrs" in last:
        return "the address is in a service range, but no service has it"
    return {
        "none": "no service has this frontend, so no rule changes the packet",
        "dnat": "a service has this frontend; which one, the kernel's tables do not tell",
        "reject": "the frontend's service has no endpoint that answers",
        "drop": "the frontend is there, but its policy lets no endpoint answer this source",
    }[trace.outcome]


# Endpoints ------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """An endpoint as its slice has it, and as the plan reads it."""

    said: SliceEndpoint
    text: str
    read: Endpoint | None
    problem: str


def _candidates(
    trace: Trace, items: list[EndpointSlice], port: Port, node: Node, *, local: bool
) -> Iterator[Candidate]:
    reached = {str(endpoint) for endpoint in trace.endpoints}
    known = [one for item in items for one in _known(item, port, trace.packet.family, node)]
    usable = [one.read for one in known if one.read is not None and (one.read.local or not local)]
    given: set[str] = set()
    for one in known:
        reason = one.problem or CHOSEN
        if one.read is not None and one.text not in reached:
            reason = _left_out(one.read, usable, node, local=local)
        elif one.read is not None and one.text in given:
            reason = "in another slice, too: counts once"
        given.add(one.text)
        target = one.said.target_ref
        yield Candidate(one.text, f"{target.kind} {target.name}" if target else "", one.said.node_name or "", reason)


def _known(item: EndpointSlice, port: Port, family: Family, node: Node) -> Iterator[_Known]:
    for said in item.endpoints or ():
        address = said.addresses[0] if said.addresses else ""
        alone = slices.read(msgspec.structs.replace(item, endpoints=[said]), node.name)
        if alone is None or alone.family is not family:
            yield _Known(said, address, None, f"{item.address_type}: the packet is {family.name}")
            continue
        if not len(alone):
            yield _Known(said, address, None, "its address cannot be used")
            continue
        found = slices.merge([alone], family).get((port.name, port.protocol))
        if not found:
            yield _Known(said, address, None, f"its slice has no port named {port.name!r} of this protocol")
            continue
        number = int.from_bytes(found[0].data[family.address.slot :][:2], "big")
        yield _Known(said, with_port(family.address.text(found[0].data), number), found[0], "")


def _left_out(endpoint: Endpoint, usable: list[Endpoint], node: Node, *, local: bool) -> str:
    """Why a readable endpoint of the right family and port is not reached."""
    if not endpoint.serving:
        return "terminating, and answers no more" if endpoint.flags & TERMINATING else "not ready"
    if local and not endpoint.local:
        return "not on this node, and the policy is Local"
    if not endpoint.ready and any(other.ready for other in usable):
        return "terminating: used only when no endpoint is ready"
    if endpoint.nodes and node.name not in endpoint.nodes and any(node.name in e.nodes for e in usable):
        return f"hint: for node {', '.join(endpoint.nodes)}; this is {node.name}"
    if endpoint.zones and node.zone not in endpoint.zones:
        return f"hint: for zone {', '.join(endpoint.zones)}; this node is in {node.zone or 'none'}"
    if endpoint.nodes or endpoint.zones:
        return "hint: other endpoints are nearer to this node"
    return "the loaded rules do not have it"
