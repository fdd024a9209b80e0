"""Endpoints that people write by hand, for Services without a selector, as EndpointSlices. Source: KEP-752 (mirroring).

Readers look at slices only. Not mirrored: Endpoints labelled `endpointslice.kubernetes.io/skip-mirror=true` (who writes
them writes slices, too), those that serve as a lock of a leader election, and those of Services with a selector or of
none. No more than 1,000 addresses of a subset are taken; without any address there is no slice.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from netplane.api.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Service,
)
from netplane.controllers.plan import backends
from netplane.controllers.plan.packing import Draft, EndpointKey, Ports, endpoint_key, pack_all, port_key
from netplane.controllers.plan.slice_objects import (
    HEADLESS,
    MANAGED_BY,
    TRIGGER_TIME,
    Template,
    delete,
    in_order,
    is_owned,
    owner_of,
    writes,
)
from netplane.controllers.plan.world import SERVICE_NAME, World
from netplane.controllers.plan.writes import Plan, Write, event

NAME = "endpointslice-mirroring"
COMPONENT = "endpoint-slice-mirroring-controller"
MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ADDRESSES = MAX_ENDPOINTS = 1000

Desired = dict[str, dict[Ports, dict[EndpointKey, Endpoint]]]


def plan(world: World, key: str, now: str = "") -> Plan:
    """The writes that make the mirrored slices say what the Endpoints say."""
    service, source = world.services.get(key), world.endpoints.get(key)
    ours = [one for one in world.slices_of(key) if (one.metadata.labels or {}).get(MANAGED_BY) == MANAGER]
    if service is None or source is None or not is_mirrored(service, source):
        return Plan(tuple(delete(one) for one in ours), forget=True)
    desired, told = _desired(source)
    done: list[Write] = []
    for family in (backends.IPV4, backends.IPV6):
        existing = [one for one in ours if one.address_type == family]
        done += _family(service, source, family, existing, desired.get(family, {}))
    before = world.memory.get((NAME, key), {})
    events = [
        event(source, reason, text, now=now, by=COMPONENT)
        for reason, text in told.items()
        if before.get(reason) != text
    ]
    return Plan((*in_order(done), *events), remember=told)


def is_mirrored(service: Service, source: Endpoints) -> bool:
    """Whether these Endpoints are somebody's own, and meant for the network."""
    labels, annotations = source.metadata.labels or {}, source.metadata.annotations or {}
    return not service.spec.selector and labels.get(SKIP) != "true" and LEADER not in annotations


def _family(
    service: Service,
    source: Endpoints,
    family: str,
    existing: Iterable[EndpointSlice],
    desired: Mapping[Ports, Mapping[EndpointKey, Endpoint]],
) -> list[Write]:
    meta = source.metadata
    template = Template(
        meta.namespace,
        meta.name,
        owner_of("Endpoints", meta),
        _labels(service, source),
        family,
        annotations=_annotations(source),
        going=meta.deletion_timestamp is not None,
        placeholder=False,
    )
    owned = [one for one in existing if is_owned(one, meta.uid)]
    strangers = [one for one in existing if not is_owned(one, meta.uid)]
    drafts = [
        (ports, draft if _annotated(draft, template) else draft._replace(touched=True))
        for ports, draft in pack_all(desired, owned, template.labels, MAX_ENDPOINTS)
    ]
    return writes(template, drafts, strangers)


def _desired(source: Endpoints) -> tuple[Desired, dict[str, str]]:
    """Endpoints by family and ports; and what was left out, reason → text."""
    desired: Desired = {}
    invalid = too_many = 0
    for subset in source.subsets or ():
        ports, count = _ports(subset), 0
        for address, ready in _addresses(subset):
            family = _family_of(address.ip)
            if not family:
                invalid += 1
                continue
            count += 1
            if count > MAX_ADDRESSES:
                too_many += 1
                continue
            one = _endpoint(address, ready=ready)
            desired.setdefault(family, {}).setdefault(ports, {}).setdefault(endpoint_key(one), one)
    told: dict[str, str] = {}
    if invalid:
        told["InvalidIPAddress"] = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
    if too_many:
        text = f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. {too_many}"
        told["TooManyAddressesToMirror"] = f"{text} addresses were skipped"
    return desired, told


def _addresses(subset: EndpointSubset) -> Iterable[tuple[EndpointAddress, bool]]:
    yield from ((one, True) for one in subset.addresses or ())
    yield from ((one, False) for one in subset.not_ready_addresses or ())


def _ports(subset: EndpointSubset) -> Ports:
    return port_key(
        EndpointPort(name=one.name, protocol=one.protocol, port=one.port, app_protocol=one.app_protocol)
        for one in subset.ports or ()
    )


def _family_of(text: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(text).version}"
    except ValueError:
        return ""


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _labels(service: Service, source: Endpoints) -> dict[str, str]:
    own = {SERVICE_NAME: source.metadata.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == backends.HEADLESS:
        own[HEADLESS] = ""
    theirs = source.metadata.labels or {}
    return {key: value for key, value in theirs.items() if key != HEADLESS} | own


def _annotations(source: Endpoints) -> dict[str, str]:
    every = source.metadata.annotations or {}
    return {name: value for name, value in every.items() if name not in (TRIGGER_TIME, LAST_APPLIED)}


def _annotated(draft: Draft, template: Template) -> bool:
    """Whether the slice has the annotations that it should have."""
    have = {} if draft.old is None else draft.old.metadata.annotations or {}
    return {name: value for name, value in have.items() if name != TRIGGER_TIME} == template.annotations
