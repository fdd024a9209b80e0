"""EndpointSlices of a Service with a selector: which pods stand in them, with which hints. Source: KEP-752.

pods ──► endpoints per family and ports ──► packing ──► hints ──► writes

Slices of other managers are not looked at, nor are Services without a selector.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netplane.api.objects import Endpoint, EndpointSlice, Node, Pod, Service
from netplane.controllers.plan import backends, hints, triggers, zones
from netplane.controllers.plan.packing import (
    MAX_ENDPOINTS,
    Draft,
    EndpointKey,
    Ports,
    endpoint_key,
    pack_all,
    port_key,
)
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY, Template, delete, in_order, is_owned, owner_of
from netplane.controllers.plan.slice_objects import writes as slice_writes
from netplane.controllers.plan.world import SERVICE_NAME, World
from netplane.controllers.plan.writes import NOTHING, Plan, Write, event

MANAGER = "endpointslice-controller.k8s.io"
NAME = "endpointslices"
COMPONENT = "endpoint-slice-controller"
OURS = (SERVICE_NAME, MANAGED_BY, HEADLESS)

Desired = dict[Ports, dict[EndpointKey, Endpoint]]


class Memory(msgspec.Struct, frozen=True):
    """What is remembered of a Service between plans: readiness times, and what was last said about its hints."""

    seen: triggers.Times
    told: Mapping[str, str] = {}


def plan(world: World, key: str, now: str = "", limit: int = MAX_ENDPOINTS) -> Plan:
    """The writes that bring the Service's slices up to date. Remembers a `Memory`."""
    service = world.services.get(key)
    ours = [one for one in world.slices_of(key) if (one.metadata.labels or {}).get(MANAGED_BY) == MANAGER]
    if service is None:
        return Plan(tuple(delete(one) for one in ours), forget=True)
    if not service.spec.selector or service.spec.type == "ExternalName":
        return NOTHING
    memory: Memory | None = world.memory.get((NAME, key))
    pods = sorted(world.pods_of(service), key=lambda pod: pod.metadata.name)
    trigger = triggers.since(memory.seen if memory else None, service, pods)
    families = backends.families(service)
    writes: list[Write] = []
    said: dict[str, str] = {}
    for family in families:
        template = _template(service, family, trigger.time)
        existing = [one for one in ours if one.address_type == family]
        more, said[family] = _family(world, service, template, existing, _desired(world, service, pods, family), limit)
        writes += more
    writes += [delete(one) for one in ours if one.address_type not in families]
    told = _tell(service, ours, memory.told if memory else {}, said, now)
    return Plan((*in_order(writes), *told), remember=Memory(trigger.seen, said))


def _family(
    world: World,
    service: Service,
    template: Template,
    existing: Sequence[EndpointSlice],
    desired: Desired,
    limit: int,
) -> tuple[list[Write], str]:
    """The writes for one family, and what there is to say about its hints."""
    owned = [one for one in existing if is_owned(one, service.metadata.uid)]
    drafts, said = _with_hints(world, service, pack_all(desired, owned, template.labels, limit))
    strangers = [one for one in existing if not is_owned(one, service.metadata.uid)]
    return slice_writes(template, drafts, strangers), said


def _desired(world: World, service: Service, pods: Iterable[Pod], family: str) -> Desired:
    desired: Desired = {}
    for pod in pods:
        if not backends.is_backend(pod) or not backends.address(pod, family):
            continue
        node = world.nodes.get(pod.spec.node_name)
        if node is None and pod.spec.node_name and not service.spec.publish_not_ready_addresses:
            continue  # its zone is unknown until the node is; the node's arrival brings us back here
        one = backends.endpoint(service, pod, node, family)
        desired.setdefault(port_key(backends.ports(service, pod)), {})[endpoint_key(one)] = one
    return desired


def _with_hints(
    world: World, service: Service, drafts: list[tuple[Ports, Draft]]
) -> tuple[list[tuple[Ports, Draft]], str]:
    """The drafts with their hints. The annotation for proportional hints goes before spec.trafficDistribution."""
    ordered = sorted(drafts, key=lambda each: each[1].old is not None)  # slices to create first
    lots = [hints.Lot(tuple(draft.endpoints.values()), draft.touched) for _, draft in ordered]
    said = ""
    if zones.wanted(service.metadata.annotations):
        lots, problem = zones.allocate(world.zone_shares, lots)
        said = problem or zones.ENABLED
    else:
        lots = hints.distribute(service.spec.traffic_distribution, lots)
    hinted = [
        (ports, Draft(draft.old, dict(zip(draft.endpoints, lot.endpoints, strict=True)), lot.touched))
        for (ports, draft), lot in zip(ordered, lots, strict=True)
    ]
    return hinted, said


def _tell(
    service: Service, ours: Iterable[EndpointSlice], before: Mapping[str, str], said: Mapping[str, str], now: str
) -> list[Write]:
    """Events about proportional hints, when they come, go, or cannot be had for another reason than last time."""
    hinted = {one.address_type for one in ours for each in one.endpoints or () if each.hints}
    told: list[Write] = []
    for family, what in said.items():
        known = before.get(family, zones.ENABLED if family in hinted else "")
        if what == known:
            continue
        if what == zones.ENABLED:
            text, reason, kind = "Topology Aware Hints has been enabled", zones.ENABLED, "Normal"
        else:
            text, reason, kind = what or "Topology Aware Hints has been disabled", zones.DISABLED, "Warning"
        if what or family in before:
            message = f"{text}, addressType: {family}"
            told.append(event(service, reason, message, now=now, kind=kind, by=COMPONENT))
    return told


def _template(service: Service, family: str, trigger: str) -> Template:
    meta = service.metadata
    owner = owner_of("Service", meta)
    going = meta.deletion_timestamp is not None
    return Template(meta.namespace, meta.name, owner, labels_of(service), family, trigger=trigger, going=going)


def labels_of(service: Service) -> dict[str, str]:
    """The Service's labels, and ours, which a Service cannot set."""
    own = {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == backends.HEADLESS:
        own[HEADLESS] = ""
    theirs = service.metadata.labels or {}
    return {key: value for key, value in theirs.items() if key not in OURS} | own


def zone_changed(old: Node | None, new: Node | None) -> bool:
    """Whether a change of a node can change endpoints: its zone, its coming or going."""
    if old is None or new is None:
        return True
    return (old.metadata.labels or {}).get(backends.ZONE) != (new.metadata.labels or {}).get(backends.ZONE)
