"""Services, the ranges their addresses come from, and their endpoints, the new way and the old."""

import msgspec

from netplane.api.objects.meta import Object, ObjectReference, Struct


class ServicePort(Struct, frozen=True, kw_only=True):
    """spec.ports[] of a Service."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None
    node_port: int = 0
    app_protocol: str | None = None


class ClientIPConfig(Struct, frozen=True, kw_only=True):
    """spec.sessionAffinityConfig.clientIP."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Struct, frozen=True, kw_only=True):
    """spec.sessionAffinityConfig."""

    client_ip: ClientIPConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """spec of a Service."""

    ports: list[ServicePort] | None = None
    selector: dict[str, str] | None = None
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    type: str = "ClusterIP"
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    external_name: str = ""
    load_balancer_ip: str = msgspec.field(name="loadBalancerIP", default="")
    load_balancer_class: str | None = None
    load_balancer_source_ranges: list[str] | None = None
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    traffic_distribution: str | None = None


class LoadBalancerIngress(Struct, frozen=True, kw_only=True):
    """status.loadBalancer.ingress[]."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Struct, frozen=True, kw_only=True):
    """status.loadBalancer."""

    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """status of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class Service(Object, frozen=True, kw_only=True):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class EndpointConditions(Struct, frozen=True, kw_only=True):
    """endpoints[].conditions: None means "not said", which readers must resolve as the API documents."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Struct, frozen=True, kw_only=True):
    """hints.forZones[]."""

    name: str = ""


class ForNode(Struct, frozen=True, kw_only=True):
    """hints.forNodes[]."""

    name: str = ""


class EndpointHints(Struct, frozen=True, kw_only=True):
    """endpoints[].hints."""

    for_zones: list[ForZone] | None = None
    for_nodes: list[ForNode] | None = None


class Endpoint(Struct, frozen=True, kw_only=True):
    """endpoints[] of an EndpointSlice."""

    addresses: list[str] = msgspec.field(default_factory=list)
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(Struct, frozen=True, kw_only=True):
    """ports[] of an EndpointSlice. An absent name is the unnamed port."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True, kw_only=True):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class EndpointAddress(Struct, frozen=True, kw_only=True):
    """subsets[].addresses[] of Endpoints."""

    ip: str = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointsPort(Struct, frozen=True, kw_only=True):
    """subsets[].ports[] of Endpoints."""

    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Struct, frozen=True, kw_only=True):
    """subsets[] of Endpoints."""

    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointsPort] | None = None


class Endpoints(Object, frozen=True, kw_only=True):
    """core/v1 Endpoints."""

    subsets: list[EndpointSubset] | None = None


class ServiceCIDRSpec(Struct, frozen=True, kw_only=True):
    """spec of a ServiceCIDR."""

    cidrs: list[str] | None = None


class ServiceCIDR(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 ServiceCIDR: a range that ClusterIPs are given from."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()
