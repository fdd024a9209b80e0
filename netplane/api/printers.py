"""The printers: what kubectl users see of each kind."""

from typing import Any

from netplane.api import more_printers, rare_printers, views
from netplane.api.table import AGE, NAME, NONE, UNKNOWN, Column, Json, Now, Printer, age, get, name, pairs, since, some
from netplane.net.addresses import with_port


def _namespace(obj: Json, now: Now) -> list[Any]:
    return [name(obj), get(obj, "status", "phase") or "", age(obj, now)]


def _config_map(obj: Json, now: Now) -> list[Any]:
    return [name(obj), str(len(obj.get("data") or {}) + len(obj.get("binaryData") or {})), age(obj, now)]


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
    external = list(spec.get("externalIPs") or [])
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") != "LoadBalancer":
        return ",".join(external) or NONE
    ingress = get(obj, "status", "loadBalancer", "ingress") or []
    addresses = [one.get("ip") or one.get("hostname") or "" for one in ingress]
    return ",".join([one for one in addresses if one] + external) or "<pending>"


# Endpoints ------------------------------------------------------------------------------------------------------


def _endpoints(obj: Json, now: Now) -> list[Any]:
    listed = [text for subset in obj.get("subsets") or [] for text in _subset(subset)]
    return [name(obj), some(listed), age(obj, now)]


def _subset(subset: Json) -> list[str]:
    addresses = [one.get("ip", "") for one in subset.get("addresses") or []]
    ports = subset.get("ports")
    if not ports:
        return addresses
    return [with_port(ip, port.get("port")) for port in ports for ip in addresses]


def _endpoint_slice(obj: Json, now: Now) -> list[Any]:
    ports = [str(port["port"]) if port.get("port") is not None else "*" for port in obj.get("ports") or []]
    addresses = [address for one in obj.get("endpoints") or [] for address in one.get("addresses") or []]
    shown_ports = some(ports) if ports else "<unset>"
    return [
        name(obj),
        obj.get("addressType", ""),
        shown_ports,
        some(addresses) if addresses else "<unset>",
        age(obj, now),
    ]


# Node -----------------------------------------------------------------------------------------------------------

_ROLE = "node-role.kubernetes.io/"


def _node(obj: Json, now: Now) -> list[Any]:
    info = get(obj, "status", "nodeInfo") or {}
    return [
        name(obj),
        _node_status(obj),
        ",".join(_roles(obj)) or NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        _node_address(obj, "InternalIP"),
        _node_address(obj, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
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


# Pod ------------------------------------------------------------------------------------------------------------


def _pod(obj: Json, now: Now) -> list[Any]:
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    containers = status.get("containerStatuses") or []
    ready = sum(1 for one in containers if one.get("ready"))
    gates = spec.get("readinessGates") or []
    return [
        name(obj),
        f"{ready}/{len(spec.get('containers') or [])}",
        pod_reason(obj),
        _restarts(containers, now),
        age(obj, now),
        status.get("podIP") or get((status.get("podIPs") or [{}])[0], "ip") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{_gates_open(status, gates)}/{len(gates)}" if gates else NONE,
    ]


def _gates_open(status: Json, gates: list[Json]) -> int:
    true = {one.get("type") for one in status.get("conditions") or [] if one.get("status") == "True"}
    return sum(1 for gate in gates if gate.get("conditionType") in true)


def pod_reason(obj: Json) -> str:
    """The STATUS column: the phase, or what better explains it."""
    status = obj.get("status") or {}
    reason = status.get("reason") or status.get("phase") or ""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    reason = _init_reason(status, obj.get("spec") or {}) or _container_reason(status, reason)
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _init_reason(status: Json, spec: Json) -> str:
    containers = status.get("initContainerStatuses") or []
    for i, one in enumerate(containers):
        state = one.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended and ended.get("exitCode") == 0:
            continue
        if ended:
            return f"Init:{ended.get('reason') or _exit(ended)}"
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{i}/{len(spec.get('initContainers') or [])}"
    return ""


def _container_reason(status: Json, reason: str) -> str:
    running = False
    for one in reversed(status.get("containerStatuses") or []):
        state = one.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended is not None:
            reason = ended.get("reason") or _exit(ended)
        elif one.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
        return "Running" if ready else "NotReady"
    return reason


def _exit(ended: Json) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(containers: list[Json], now: Now) -> str:
    count = sum(int(one.get("restartCount") or 0) for one in containers)
    ends = [get(one, "lastState", "terminated", "finishedAt") for one in containers]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


# Event ----------------------------------------------------------------------------------------------------------


def _event(obj: Json, now: Now) -> list[Any]:
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    series = obj.get("series") or {}
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    count = series.get("count") or obj.get("count") or 1
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        ", ".join(part for part in (component, source.get("host") or obj.get("reportingInstance")) if part),
        str(obj.get("message", "")).strip(),
        since(first, now),
        str(count),
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

_NEW_NAMES = {
    "lastTimestamp": "deprecatedLastTimestamp",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "involvedObject": "regarding",
    "involvedObject.fieldPath": "regarding.fieldPath",
    "source": "deprecatedSource",
    "message": "note",
    "count": "deprecatedCount",
}
_NEW_EVENT_COLUMNS = tuple(
    column._replace(about=_NEW_NAMES.get(column.about, column.about)) for column in _EVENT.columns
)


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
    ("", "Pod"): Printer(
        (
            NAME,
            Column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            Column("Status", "The aggregate status of the containers in this pod."),
            Column("Restarts", "The number of times the containers in this pod have been restarted and when the last "
                   "container in this pod has restarted."),
            AGE,
            Column("IP", "status.podIP", wide=True),
            Column("Node", "spec.nodeName", wide=True),
            Column("Nominated Node", "status.nominatedNodeName", wide=True),
            Column("Readiness Gates", "spec.readinessGates", wide=True),
        ),
        _pod,
    ),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): Printer(_NEW_EVENT_COLUMNS, _new_event),
    **more_printers.PRINTERS,
    **rare_printers.PRINTERS,
}  # fmt: skip
