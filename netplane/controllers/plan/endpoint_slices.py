"""EndpointSlices of a Service, rewritten as little as possible. Source: KEP-752.

Readers pay for every slice that is written, on every node. So, for each address family and each set of ports:

1. Endpoints stay in the slice they are in. A slice is written only if one of its endpoints changed or left.
2. New endpoints go first into slices that are written anyway, fullest first.
3. What remains fills new slices; the last, partial lot goes into the fullest untouched slice with room for all of it.
4. A slice to delete and one to create make one update.

A family without any endpoint keeps one empty slice, so that readers can tell "no endpoints" from "not known yet".
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from netplane.api.objects import Endpoint, EndpointPort, EndpointSlice, Node, ObjectMeta, OwnerReference, Service
from netplane.controllers.plan import backends
from netplane.controllers.plan.world import SERVICE_NAME, World
from netplane.controllers.plan.writes import NOTHING, Create, Delete, Plan, Replace, Write

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
MAX_ENDPOINTS = 100

Ports = tuple[EndpointPort, ...]
EndpointKey = tuple[str, str, str]
Desired = dict[Ports, dict[EndpointKey, Endpoint]]


class Draft(NamedTuple):
    """A slice under construction. `old` is None for a new one; `touched` when it will be written."""

    old: EndpointSlice | None
    endpoints: dict[EndpointKey, Endpoint]
    touched: bool


def plan(world: World, key: str, limit: int = MAX_ENDPOINTS) -> Plan:
    """The writes that bring the Service's slices up to date. Slices of other managers are not looked at."""
    service = world.services.get(key)
    ours = [one for one in world.slices_of(key) if (one.metadata.labels or {}).get(MANAGED_BY) == MANAGER]
    if service is None:
        return Plan(tuple(_delete(one) for one in ours))
    if not service.spec.selector or service.spec.type == "ExternalName":
        return NOTHING
    wanted = backends.families(service)
    writes: list[Write] = []
    for family in wanted:
        existing = [one for one in ours if one.address_type == family]
        writes += _family(world, service, family, existing, limit)
    writes += [_delete(one) for one in ours if one.address_type not in wanted]
    if service.metadata.deletion_timestamp:
        # A Service on its way out gets no new slices (KEP-2253: they would outlive it).
        writes = [write for write in writes if not isinstance(write, Create)]
    return Plan(tuple(sorted(writes, key=_order)))


def _order(write: Write) -> int:
    """Endpoints appear in their new slice before they leave their old one."""
    return 1 if isinstance(write, Delete) else 0


def _family(world: World, service: Service, family: str, existing: list[EndpointSlice], limit: int) -> list[Write]:
    desired = _desired(world, service, family)
    strangers = [one for one in existing if not _owned(one, service)]
    owned = [one for one in existing if _owned(one, service)]
    by_ports = _by_ports(existing=owned)
    drafts = {
        ports: _pack(desired.get(ports, {}), by_ports.get(ports, []), service, limit)
        for ports in [*desired, *(ports for ports in by_ports if ports not in desired)]
    }
    return _writes(service, family, drafts, strangers)


def _desired(world: World, service: Service, family: str) -> Desired:
    desired: Desired = {}
    for pod in sorted(world.pods_of(service), key=lambda pod: pod.metadata.name):
        if not backends.is_backend(pod) or not backends.address(pod, family):
            continue
        node = world.nodes.get(pod.spec.node_name)
        if node is None and pod.spec.node_name and not service.spec.publish_not_ready_addresses:
            continue  # its zone is unknown until the node is; the node's arrival brings us back here
        one = backends.endpoint(service, pod, node, family)
        desired.setdefault(port_key(backends.ports(service, pod)), {})[endpoint_key(one)] = one
    return desired


def _pack(
    desired: Mapping[EndpointKey, Endpoint], existing: Sequence[EndpointSlice], service: Service, limit: int
) -> list[Draft]:
    """Rules 1 to 3 of the theory above, for one set of ports."""
    missing = dict(desired)
    drafts = [_keep(one, missing, service) for one in existing]
    for draft in sorted(drafts, key=lambda draft: -len(draft.endpoints)):
        if draft.touched and draft.endpoints:
            _move(missing, draft.endpoints, limit)
    while missing:
        target = _with_room(drafts, len(missing), limit)
        if target is None:
            drafts.append(Draft(None, {}, touched=True))
            target = len(drafts) - 1
        drafts[target] = drafts[target]._replace(touched=True)
        _move(missing, drafts[target].endpoints, limit)
    return drafts


def _keep(one: EndpointSlice, missing: dict[EndpointKey, Endpoint], service: Service) -> Draft:
    """An existing slice without the endpoints that left, and with the present state of those that stay."""
    before = {endpoint_key(endpoint): endpoint for endpoint in one.endpoints or ()}
    after = {key: missing.pop(key) for key in before if key in missing}
    touched = list(before.values()) != list(after.values()) or _labels(service) != (one.metadata.labels or {})
    return Draft(one, after, touched or len(before) != len(one.endpoints or ()))


def _with_room(drafts: Sequence[Draft], count: int, limit: int) -> int | None:
    """The fullest untouched slice that takes all of a partial lot."""
    if count >= limit:
        return None
    fitting = [
        (-len(draft.endpoints), i)
        for i, draft in enumerate(drafts)
        if not draft.touched and len(draft.endpoints) + count <= limit
    ]
    return min(fitting)[1] if fitting else None


def _move(source: dict[EndpointKey, Endpoint], target: dict[EndpointKey, Endpoint], limit: int) -> None:
    for key in list(source)[: max(limit - len(target), 0)]:
        target[key] = source.pop(key)


def _writes(
    service: Service, family: str, drafts: Mapping[Ports, list[Draft]], strangers: Iterable[EndpointSlice]
) -> list[Write]:
    kept = [(ports, draft) for ports, lot in drafts.items() for draft in lot if draft.endpoints]
    created = [(ports, draft) for ports, draft in kept if draft.old is None]
    empty = [draft.old for lot in drafts.values() for draft in lot if draft.old is not None and not draft.endpoints]
    if not kept:
        placeholder = _render(service, family, (), {}, None)
        if len(empty) == 1 and _same(empty[0], placeholder):
            empty = []
        else:
            created = [((), Draft(None, {}, touched=True))]
    writes: list[Write] = [
        Replace(_render(service, family, ports, draft.endpoints, draft.old))
        for ports, draft in kept
        if draft.old is not None and draft.touched
    ]
    for ports, draft in created:
        recycled = empty.pop() if empty else None
        made = _render(service, family, ports, draft.endpoints, recycled)
        writes.append(Replace(made) if recycled is not None else Create(made))
    return writes + [_delete(one) for one in (*empty, *strangers)]


def _render(
    service: Service, family: str, ports: Ports, endpoints: Mapping[EndpointKey, Endpoint], old: EndpointSlice | None
) -> EndpointSlice:
    meta = old.metadata if old is not None else _new_meta(service)
    return EndpointSlice(
        metadata=msgspec.structs.replace(meta, labels=_labels(service)),
        address_type=family,
        endpoints=list(endpoints.values()),
        ports=list(ports),
    )


def _new_meta(service: Service) -> ObjectMeta:
    meta = service.metadata
    owner = OwnerReference(
        api_version="v1", kind="Service", name=meta.name, uid=meta.uid, controller=True, block_owner_deletion=True
    )
    return ObjectMeta(generate_name=f"{meta.name}-", namespace=meta.namespace, owner_references=[owner])


def _labels(service: Service) -> dict[str, str]:
    """The Service's labels, and ours, which a Service cannot set."""
    own = {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == backends.HEADLESS:
        own[HEADLESS] = ""
    theirs = service.metadata.labels or {}
    return {key: value for key, value in theirs.items() if key not in (SERVICE_NAME, MANAGED_BY, HEADLESS)} | own


def _owned(one: EndpointSlice, service: Service) -> bool:
    """Whether this very Service controls the slice, not an earlier one of its name."""
    owners = one.metadata.owner_references or ()
    return any(owner.controller and owner.uid == service.metadata.uid for owner in owners)


def _same(one: EndpointSlice, other: EndpointSlice) -> bool:
    """Whether `one` already is the placeholder `other`."""
    return (
        (one.metadata.labels or {}) == (other.metadata.labels or {})
        and one.address_type == other.address_type
        and not one.endpoints
        and port_key(one.ports or ()) == port_key(other.ports or ())
    )


def _by_ports(existing: Iterable[EndpointSlice]) -> dict[Ports, list[EndpointSlice]]:
    grouped: dict[Ports, list[EndpointSlice]] = {}
    for one in existing:
        grouped.setdefault(port_key(one.ports or ()), []).append(one)
    return grouped


def port_key(ports: Iterable[EndpointPort]) -> Ports:
    """Ports in one order and with their defaults said, so that equal ones compare equal."""
    named = (
        EndpointPort(
            name=port.name or "", protocol=port.protocol or "TCP", port=port.port, app_protocol=port.app_protocol
        )
        for port in ports
    )
    return tuple(sorted(named, key=lambda port: (port.name, port.protocol, port.port or 0, port.app_protocol or "")))


def endpoint_key(one: Endpoint) -> EndpointKey:
    """What makes it the same endpoint: its address, the pod behind it, and its DNS name."""
    target = one.target_ref
    return (one.addresses[0] if one.addresses else "", target.uid or target.name if target else "", one.hostname or "")


def _delete(one: EndpointSlice) -> Delete:
    return Delete(EndpointSlice, one.metadata.namespace, one.metadata.name)


def zone_changed(old: Node | None, new: Node | None) -> bool:
    """Whether a change of a node can change endpoints: its zone, its coming or going."""
    if old is None or new is None:
        return True
    return (old.metadata.labels or {}).get(backends.ZONE) != (new.metadata.labels or {}).get(backends.ZONE)
