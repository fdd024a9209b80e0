"""From a pod to what a Service knows of it: address, conditions, ports. Source: KEP-752, KEP-1672 (terminating)."""

import ipaddress
from collections.abc import Iterator

from netplane.api import conditions
from netplane.api.objects import (
    Container,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    Node,
    ObjectReference,
    Pod,
    Service,
    ServicePort,
)

ZONE = "topology.kubernetes.io/zone"
IPV4, IPV6 = "IPv4", "IPv6"
FINISHED = ("Succeeded", "Failed")
HEADLESS = "None"


def has_finished(pod: Pod) -> bool:
    """Whether a pod has ended, for better or worse: it serves nobody and takes no room."""
    return pod.status is not None and pod.status.phase in FINISHED


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return IPV6 if ":" in address else IPV4


def families(service: Service) -> tuple[str, ...]:
    """Address types the Service wants slices for.

    Objects from before dual-stack have no ipFamilies: then the clusterIP tells, and a headless one may have both.
    """
    if service.spec.ip_families:
        return tuple(service.spec.ip_families)
    if service.spec.cluster_ip and service.spec.cluster_ip != HEADLESS:
        return (family_of(service.spec.cluster_ip),)
    return (IPV4, IPV6)


def address(pod: Pod, family: str) -> str:
    """The pod's address of a family, as RFC 5952 writes it; "" for none."""
    status = pod.status
    if status is None:
        return ""
    every = [entry.ip for entry in status.pod_ips or ()] or [status.pod_ip]
    for ip in every:
        if ip and family_of(ip) == family:
            return ip if family == IPV4 else str(ipaddress.IPv6Address(ip))
    return ""


def is_backend(pod: Pod) -> bool:
    """Whether the pod can stand in a slice at all: it has an address and is not finished."""
    status = pod.status
    return status is not None and bool(status.pod_ip or status.pod_ips) and not has_finished(pod)


def endpoint(service: Service, pod: Pod, node: Node | None, family: str) -> Endpoint:
    """The pod as an endpoint. A terminating pod is never ready, but serves while its Ready condition holds."""
    meta, serving, terminating = pod.metadata, conditions.is_ready(pod), pod.metadata.deletion_timestamp is not None
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    return Endpoint(
        addresses=[address(pod, family)],
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname(service, pod) or None,
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
        node_name=pod.spec.node_name or None,
        zone=((node.metadata.labels or {}).get(ZONE) if node else None) or None,
    )


def hostname(service: Service, pod: Pod) -> str:
    """The pod's name in the Service's DNS zone: its hostname, when its subdomain is the Service."""
    same = service.metadata.namespace == pod.metadata.namespace and pod.spec.subdomain == service.metadata.name
    return pod.spec.hostname if same else ""


def ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    """The Service's ports as this pod serves them; a name that the pod does not know is left out."""
    found = ((port, find_port(pod, port)) for port in service.spec.ports or ())
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        for port, number in found
        if number is not None
    )


def find_port(pod: Pod, port: ServicePort) -> int | None:
    """The number behind a target port: itself, or that of the container port of this name and protocol.

    An absent target port is the port itself, as the API defaults it.
    """
    target = port.target_port
    if target is None:
        return port.port
    if isinstance(target, int):
        return target or port.port
    for container in _serving_containers(pod):
        for candidate in container.ports or ():
            if candidate.name == target and candidate.protocol == port.protocol:
                return candidate.container_port
    return None


def _serving_containers(pod: Pod) -> Iterator[Container]:
    """Containers, then sidecars: init containers that are restarted for ever (KEP-753)."""
    yield from pod.spec.containers
    yield from (one for one in pod.spec.init_containers or () if one.restart_policy == "Always")
