"""Defaults: what an absent field of each kind means, set in place, so that readers never have to know.

Beside real defaults an object gets the fields that the real server always writes, empty ones too (an Event's source, an
endpoint's conditions): clients compare. What depends on the cluster (addresses, families, ports) is allocated, not
defaulted: see netplane.api.services. Source: core/v1, discovery/v1 and networking/v1 defaults of Kubernetes 1.36.
"""

from collections.abc import Callable
from typing import Any

from netplane.api import more_defaults, pod_defaults, quantity, rare_defaults
from netplane.api.kinds import Kind
from netplane.api.pod_defaults import fill, parts

Json = dict[str, Any]

AFFINITY_TIMEOUT_S = 10_800


def apply(kind: Kind, obj: Json) -> None:
    """Set the defaults of one object, in place. Kinds without any are left alone."""
    function = _BY_KIND.get((kind.group, kind.kind))
    if function:
        function(obj)


def _service(obj: Json) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    _affinity(spec)
    for port in spec.get("ports") or ():
        fill(port, {"protocol": "TCP"})
        fill(port, {"targetPort": port.get("port", 0)})
    if spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, {"internalTrafficPolicy": "Cluster"}, zero_counts=False)
    balancer = obj.setdefault("status", {}).setdefault("loadBalancer", {})
    if spec["type"] == "LoadBalancer":
        fill(spec, {"allocateLoadBalancerNodePorts": True}, zero_counts=False)
        for ingress in balancer.get("ingress") or ():
            if ingress.get("ip"):
                fill(ingress, {"ipMode": "VIP"}, zero_counts=False)


def _affinity(spec: Json) -> None:
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        fill(spec, {"sessionAffinityConfig": {}}, zero_counts=False)
        fill(spec["sessionAffinityConfig"], {"clientIP": {}}, zero_counts=False)
        fill(spec["sessionAffinityConfig"]["clientIP"], {"timeoutSeconds": AFFINITY_TIMEOUT_S}, zero_counts=False)


def _namespace(obj: Json) -> None:
    metadata = obj.setdefault("metadata", {})
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    parts(obj, "spec", "status")


_NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


def _node(obj: Json) -> None:
    parts(obj, "spec", "status")
    _first_of_several(obj["spec"], "podCIDR", "podCIDRs", lambda cidr: cidr)
    status = obj["status"]
    for field in ("capacity", "allocatable"):
        if field in status:
            status[field] = {name: quantity.rounded(amount) for name, amount in (status[field] or {}).items()}
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = dict(status["capacity"])
    info = status.get("nodeInfo") or {}
    status["nodeInfo"] = {**dict.fromkeys(_NODE_INFO, ""), **info}
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {"Port": 0})


def _pod(obj: Json) -> None:
    pod_defaults.apply_pod(obj)
    fill(obj, _OF_STATUSES if "status" in obj else {"status": {}}, zero_counts=False)
    _first_of_several(obj["status"], "podIP", "podIPs", lambda ip: {"ip": ip})


_OF_STATUSES: Json = {
    f"status.{statuses}[].{field}": {}
    for statuses in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    for field in ("state", "lastState")
}


def _first_of_several(obj: Json, one: str, several: str, item: Callable[[str], Any]) -> None:
    """`one` is the first of `several`; where they differ the one wins, as the API defines."""
    first, listed = obj.get(one) or "", obj.get(several) or []
    if first and listed[:1] != [item(first)]:
        obj[several] = [item(first)]
    elif listed and not first:
        obj[one] = listed[0]["ip"] if isinstance(listed[0], dict) else listed[0]


def _endpoints(obj: Json) -> None:
    fill(obj, {"subsets[].ports[].protocol": "TCP"})


def _endpoint_slice(obj: Json) -> None:
    absent = {"ports[].name": "", "ports[].protocol": "TCP", "endpoints[].conditions": {}}
    fill(obj, absent, zero_counts=False)
    for field in ("endpoints", "ports"):  # Go writes both, null when there are none
        obj.setdefault(field, None)


def _event(obj: Json) -> None:
    fill(
        obj, {"involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": ""}, zero_counts=False
    )
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(field, None)


def _lease(obj: Json) -> None:
    parts(obj, "spec")


_BY_KIND: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("", "Node"): _node,
    ("", "Pod"): _pod,
    ("", "Endpoints"): _endpoints,
    ("", "Event"): _event,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("coordination.k8s.io", "Lease"): _lease,
    **more_defaults.BY_KIND,
    **rare_defaults.BY_KIND,
}
