"""The printers: what kubectl users see of each kind."""

from typing import Any

from netplane.api import more_printers, rare_printers, views
from netplane.api.pod_printer import POD
from netplane.api.table import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    Json,
    Now,
    Printer,
    age,
    get,
    name,
    pairs,
    since,
    some,
)
from netplane.net.addresses import with_port


def _namespace(obj: Json, now: Now) -> list[Any]:
    return [name(obj), get(obj, "status", "phase") or "", age(obj, now)]


def _config_map(obj: Json, now: Now) -> list[Any]:
    return [name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _lease(obj: Json, now: Now) -> list[Any]:
    return [name(obj), get(obj, "spec", "holderIdentity") or "", age(obj, now)]


# Service --------------------------------------------------------------------------------------------------------


def _service(obj: Json, now: Now) -> list[Any]:
    spec = obj.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    cluster_ip = addresses[0] or NONE
    ports = ",".join(_service_port(port) for port in spec.get("ports") or []) or NONE
    return [
        name(obj),
        spec.get("type", ""),
        cluster_ip,
        _external(obj),
        ports,
        age(obj, now),
        pairs(spec.get("selector")),
    ]


def _service_port(port: Json) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _external(obj: Json) -> str:
    spec = obj.get("spec") or {}
    kind, external = spec.get("type"), list(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(external) or NONE
    return ",".join(more_printers.ingress_points(obj) + external) or "<pending>" if kind == "LoadBalancer" else UNKNOWN


# Endpoints ------------------------------------------------------------------------------------------------------


def _endpoints(obj: Json, now: Now) -> list[Any]:
    subsets = obj.get("subsets") or []
    listed = [text for subset in subsets for text in _subset(subset)]
    return [name(obj), some(listed) if listed or not subsets else "", age(obj, now)]


def _subset(subset: Json) -> list[str]:
    addresses = [one.get("ip", "") for one in subset.get("addresses") or []]
    ports = subset.get("ports")
    if not ports:
        return addresses
    return [with_port(ip, port.get("port")) for port in ports for ip in addresses]


def _endpoint_slice(obj: Json, now: Now) -> list[Any]:
    ports = [_slice_port(port) for port in obj.get("ports") or []]
    addresses = [address for one in obj.get("endpoints") or [] for address in one.get("addresses") or []]
    shown_ports = some(ports) if ports else UNSET
    return [
        name(obj),
        obj.get("addressType", ""),
        shown_ports,
        some(addresses) if addresses else UNSET,
        age(obj, now),
    ]


def _slice_port(port: Json) -> str:
    number = port.get("port")
    return str(number) if number is not None else str(port.get("name", "*"))


# Node -----------------------------------------------------------------------------------------------------------

_ROLE = "node-role.kubernetes.io/"


def _node(obj: Json, now: Now) -> list[Any]:
    info = get(obj, "status", "nodeInfo") or {}
    architecture = f" ({info['architecture']})" if info.get("architecture") else ""
    return [
        name(obj),
        _node_status(obj),
        ",".join(_roles(obj)) or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        _node_address(obj, "InternalIP"),
        _node_address(obj, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        f"{info.get('kernelVersion') or UNKNOWN}{architecture}",
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _node_status(obj: Json) -> str:
    conditions = {one.get("type"): one.get("status") for one in get(obj, "status", "conditions") or []}
    ready = conditions.get("Ready")
    status = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if get(obj, "spec", "unschedulable") else status


def _roles(obj: Json) -> list[str]:
    labels = obj["metadata"].get("labels") or {}
    named = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)}
    if labels.get("kubernetes.io/role"):
        named.add(labels["kubernetes.io/role"])
    return sorted(named - {""})


def _node_address(obj: Json, kind: str) -> str:
    found = [one.get("address", "") for one in get(obj, "status", "addresses") or [] if one.get("type") == kind]
    return found[0] if found else NONE


# Event ----------------------------------------------------------------------------------------------------------


def _event(obj: Json, now: Now) -> list[Any]:
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last, count = obj.get("lastTimestamp") or first, obj.get("count") or 1
    if (series := obj.get("series")) is not None:
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        "/".join(part for part in (involved.get("kind", "").lower(), involved.get("name")) if part),
        involved.get("fieldPath", ""),
        ", ".join(part for part in (component, source.get("host") or obj.get("reportingInstance")) if part),
        str(obj.get("message", "")).strip(),
        since(first, now),
        count,
        name(obj),
    ]


# ----------------------------------------------------------------------------------------------------------------

_EVENT = Printer(
    (
        Column("Last Seen", "lastTimestamp"),
        Column("Type", "type"),
        Column("Reason", "reason"),
        Column("Object", "involvedObject"),
        Column("Subobject", "involvedObject.fieldPath", wide=True),
        Column("Source", "source", wide=True),
        Column("Message", "message"),
        Column("First Seen", "firstTimestamp", wide=True),
        Column("Count", "count", wide=True),
        Column("Name", "metadata.name", wide=True, format="name"),
    ),
    _event,
)  # fmt: skip


def _new_event(obj: Json, now: Now) -> list[Any]:
    return _event(views.stored(obj), now)


PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Namespace"): Printer((NAME, Column("Status", "The status of the namespace"), AGE), _namespace),
    ("", "ConfigMap"): Printer((NAME, Column("Data", "data"), AGE), _config_map),
    ("coordination.k8s.io", "Lease"): Printer((NAME, Column("Holder", "spec.holderIdentity"), AGE), _lease),
    ("", "Service"): Printer(
        (
            NAME,
            Column("Type", "spec.type"),
            Column("Cluster-IP", "spec.clusterIP"),
            Column("External-IP", "spec.externalIPs"),
            Column("Port(s)", "spec.ports"),
            AGE,
            Column("Selector", "spec.selector", wide=True),
        ),
        _service,
    ),
    ("", "Endpoints"): Printer((NAME, Column("Endpoints", "subsets"), AGE), _endpoints),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        (NAME, Column("AddressType", "addressType"), Column("Ports", "ports"), Column("Endpoints", "endpoints"), AGE),
        _endpoint_slice,
    ),
    ("", "Node"): Printer(
        (
            NAME,
            Column("Status", "The status of the node"),
            Column("Roles", "The roles of the node"),
            AGE,
            Column("Version", "status.nodeInfo.kubeletVersion"),
            Column("Internal-IP", "status.addresses", wide=True),
            Column("External-IP", "status.addresses", wide=True),
            Column("OS-Image", "status.nodeInfo.osImage", wide=True),
            Column("Kernel-Version", "status.nodeInfo.kernelVersion", wide=True),
            Column("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", wide=True),
        ),
        _node,
    ),
    ("", "Pod"): POD,
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): Printer(_EVENT.columns, _new_event),
    **more_printers.PRINTERS,
    **rare_printers.PRINTERS,
}  # fmt: skip
