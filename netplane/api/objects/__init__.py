"""The nouns programs read: msgspec structs with just the fields that Netplane's programs use.

Unknown fields are skipped while decoding, so a struct decodes straight from the apiserver's bytes. All are frozen:
a change of an object is a new object. Lists and maps may be null (Go writes nil ones so); where the API tells
"absent" from "false" (endpoint conditions), the type keeps None. Source: the Kubernetes API reference, 1.36.
"""

from typing import TypeVar

from netplane.api import kinds
from netplane.api.objects.events import Event, EventSource
from netplane.api.objects.meta import Object, ObjectMeta, ObjectReference, OwnerReference, Struct
from netplane.api.objects.nodes import Condition, Lease, LeaseSpec, Node, NodeAddress, NodeSpec, NodeStatus, Taint
from netplane.api.objects.pods import (
    ConfigMap,
    Container,
    ContainerPort,
    EnvVar,
    Namespace,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    ServiceAccount,
)
from netplane.api.objects.services import (
    ClientIPConfig,
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointsPort,
    EndpointSubset,
    ForNode,
    ForZone,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

__all__ = [
    "KIND_OF",
    "ClientIPConfig",
    "Condition",
    "ConfigMap",
    "Container",
    "ContainerPort",
    "Endpoint",
    "EndpointAddress",
    "EndpointConditions",
    "EndpointHints",
    "EndpointPort",
    "EndpointSlice",
    "EndpointSubset",
    "Endpoints",
    "EndpointsPort",
    "EnvVar",
    "Event",
    "EventSource",
    "ForNode",
    "ForZone",
    "Lease",
    "LeaseSpec",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "Namespace",
    "Node",
    "NodeAddress",
    "NodeSpec",
    "NodeStatus",
    "Object",
    "ObjectMeta",
    "ObjectReference",
    "ObjectT",
    "OwnerReference",
    "Pod",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "Service",
    "ServiceAccount",
    "ServiceCIDR",
    "ServiceCIDRSpec",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "Struct",
    "Taint",
]

KIND_OF: dict[type[Object], kinds.Kind] = {
    Service: kinds.SERVICE,
    EndpointSlice: kinds.ENDPOINT_SLICE,
    Node: kinds.NODE,
    Pod: kinds.POD,
    Namespace: kinds.NAMESPACE,
    ConfigMap: kinds.CONFIG_MAP,
    ServiceAccount: kinds.SERVICE_ACCOUNT,
    Lease: kinds.LEASE,
    Endpoints: kinds.ENDPOINTS,
    ServiceCIDR: kinds.SERVICE_CIDR,
    Event: kinds.EVENT,
}

ObjectT = TypeVar("ObjectT", bound=Object)
