"""A made-up cluster of any size, always the same: nodes, Services, and one EndpointSlice for each Service.

Service i is `default/svc-<i>` at 10.96.0.0/12 + i, port 80; its endpoints are numbered on from i * endpoints within
10.0.0.0/8's upper half and live on the nodes in turn.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

from netplane.api import kinds
from netplane.client.fake_store import FakeStore

SERVICE_BASE = int(ipaddress.IPv4Address("10.96.0.1"))
POD_BASE = int(ipaddress.IPv4Address("10.128.0.0"))
NODE_BASE = int(ipaddress.IPv4Address("192.168.0.1"))


def fill(store: FakeStore, *, services: int, endpoints: int, nodes: int = 3) -> None:
    """Load the whole cluster, without events."""
    store.load(kinds.NODE, (node(i) for i in range(nodes)))
    store.load(kinds.SERVICE, (service(i) for i in range(services)))
    store.load(kinds.ENDPOINT_SLICE, (endpoint_slice(i, endpoints, nodes) for i in range(services)))


def node(i: int) -> dict[str, Any]:
    """Node `node-<i>` at 192.168.0.1 + i."""
    name = f"node-{i}"
    address = str(ipaddress.IPv4Address(NODE_BASE + i))
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "a"}},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]},
    }


def service(i: int) -> dict[str, Any]:
    """A ClusterIP Service with one named port."""
    address = str(ipaddress.IPv4Address(SERVICE_BASE + i))
    return {
        "metadata": {"name": f"svc-{i}", "namespace": "default"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": f"svc-{i}"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(i: int, endpoints: int, nodes: int = 3) -> dict[str, Any]:
    """The slice of service i, all endpoints ready."""
    name = f"svc-{i}"
    return {
        "metadata": {
            "name": f"{name}-x",
            "generateName": f"{name}-",
            "namespace": "default",
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Service", "name": name, "uid": f"uid-{i}", "controller": True}
            ],
        },
        "addressType": "IPv4",
        "endpoints": list(_endpoints(i, endpoints, nodes)),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def _endpoints(i: int, endpoints: int, nodes: int) -> Iterator[dict[str, Any]]:
    for j in range(endpoints):
        pod = f"svc-{i}-{j}"
        yield {
            "addresses": [str(ipaddress.IPv4Address(POD_BASE + i * endpoints + j))],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{j % nodes}",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": pod, "uid": f"uid-{i}-{j}"},
            "zone": "a",
        }
