"""core/v1 Endpoints of a Service: what EndpointSlices replaced, for the clients that still read them.

One object per Service, its primary family only, at most 1,000 addresses, no terminating pods unless the Service asks
for pods that are not ready. Pods that serve the same port numbers share a subset.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from netplane.api import conditions
from netplane.api.objects import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointsPort,
    EndpointSubset,
    ObjectMeta,
    ObjectReference,
    Pod,
    Service,
)
from netplane.controllers.plan import backends, triggers
from netplane.controllers.plan.packing import Ports, port_key
from netplane.controllers.plan.slice_objects import HEADLESS, TRIGGER_TIME
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Create, Delete, Plan, Replace, Write

NAME = "endpoints"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
OURS = (OVER_CAPACITY, TRIGGER_TIME)
MAX_ADDRESSES = 1000


def plan(world: World, key: str) -> Plan:
    """The write that brings the Service's Endpoints up to date, if any. Endpoints we did not make are not deleted."""
    service, existing = world.services.get(key), world.endpoints.get(key)
    if service is None:
        made_by_us = existing is not None and (existing.metadata.labels or {}).get(MANAGED_BY) == MANAGER
        gone = (existing,) if existing is not None and made_by_us else ()
        return Plan(tuple(Delete(Endpoints, one.metadata.namespace, one.metadata.name) for one in gone), forget=True)
    if not service.spec.selector or service.spec.type == "ExternalName":
        return NOTHING
    pods = world.pods_of(service)
    trigger = triggers.since(world.memory.get((NAME, key)), service, pods)
    wanted = _render(service, existing, pods, trigger.time)
    writes: tuple[Write, ...] = ()
    if existing is None and not service.metadata.deletion_timestamp:
        writes = (Create(wanted),)
    elif existing is not None and not _same(existing, wanted):
        writes = (Replace(wanted),)
    return Plan(writes, remember=trigger.seen)


def _render(service: Service, existing: Endpoints | None, pods: Iterable[Pod], trigger: str) -> Endpoints:
    subsets, truncated = _subsets(service, pods)
    meta = (
        existing.metadata
        if existing is not None
        else ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace)
    )
    labels = {**(service.metadata.labels or {}), MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == backends.HEADLESS:
        labels[HEADLESS] = ""
    annotations = {name: value for name, value in (meta.annotations or {}).items() if name not in OURS}
    if trigger:
        annotations[TRIGGER_TIME] = trigger
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    return Endpoints(
        metadata=msgspec.structs.replace(meta, labels=labels, annotations=annotations or None), subsets=subsets
    )


def _subsets(service: Service, pods: Iterable[Pod]) -> tuple[list[EndpointSubset], bool]:
    family = backends.families(service)[0]
    ready: dict[Ports, list[EndpointAddress]] = {}
    not_ready: dict[Ports, list[EndpointAddress]] = {}
    count = 0
    for pod in sorted(pods, key=lambda pod: (not conditions.is_ready(pod), pod.metadata.name)):
        ip = backends.address(pod, family) if _belongs(service, pod) else ""
        ports = port_key(backends.ports(service, pod))
        if not ip or (not ports and service.spec.ports):
            continue  # serves none of the Service's ports
        count += 1
        if count <= MAX_ADDRESSES:
            lot = ready if service.spec.publish_not_ready_addresses or conditions.is_ready(pod) else not_ready
            lot.setdefault(ports, []).append(_address(service, pod, ip))
    every = sorted({*ready, *not_ready}, key=repr)
    return [_subset(ready.get(ports), not_ready.get(ports), ports) for ports in every], count > MAX_ADDRESSES


def _belongs(service: Service, pod: Pod) -> bool:
    going = pod.metadata.deletion_timestamp is not None
    return backends.is_backend(pod) and (not going or service.spec.publish_not_ready_addresses)


def _address(service: Service, pod: Pod, ip: str) -> EndpointAddress:
    meta = pod.metadata
    return EndpointAddress(
        ip=ip,
        hostname=backends.hostname(service, pod),
        node_name=pod.spec.node_name or None,
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def _subset(
    ready: list[EndpointAddress] | None, not_ready: list[EndpointAddress] | None, ports: Ports
) -> EndpointSubset:
    return EndpointSubset(
        addresses=_sorted(ready), not_ready_addresses=_sorted(not_ready), ports=[_port(port) for port in ports] or None
    )


def _sorted(addresses: list[EndpointAddress] | None) -> list[EndpointAddress] | None:
    return sorted(addresses, key=lambda one: ipaddress.ip_address(one.ip).packed) if addresses else None


def _port(port: EndpointPort) -> EndpointsPort:
    return EndpointsPort(
        name=port.name or "", port=port.port or 0, protocol=port.protocol or "TCP", app_protocol=port.app_protocol
    )


def _told(meta: ObjectMeta) -> dict[str, str]:
    """Annotations whose change is worth a write."""
    return {name: value for name, value in (meta.annotations or {}).items() if name != TRIGGER_TIME}


def _same(one: Endpoints, other: Endpoints) -> bool:
    a, b = one.metadata, other.metadata
    return (
        (a.labels or {}) == (b.labels or {}) and _told(a) == _told(b) and (one.subsets or []) == (other.subsets or [])
    )
