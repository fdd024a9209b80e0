"""How a pod is shown: what its containers' states add up to in one line (pure)."""

from typing import Any

from netplane.api.pod_features import GATED
from netplane.api.pod_resources import is_sidecar
from netplane.api.table import AGE, NAME, NONE, Column, Json, Now, Printer, age, get, name, since


def _pod(obj: Json, now: Now) -> list[Any]:
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    gates = spec.get("readinessGates") or []
    return [
        name(obj),
        _ready(obj),
        reason(obj),
        _restarts(obj, now),
        age(obj, now),
        get((status.get("podIPs") or [{}])[0], "ip") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{_gates_open(status, gates)}/{len(gates)}" if gates else NONE,
    ]


def _gates_open(status: Json, gates: list[Json]) -> int:
    return sum(1 for gate in gates if _condition(status, gate.get("conditionType", "")) == "True")


def _condition(status: Json, kind: str) -> str:
    """The first condition of a type; "" without one."""
    return next((one.get("status", "") for one in _conditions(status) if one.get("type") == kind), "")


def _sidecars(spec: Json) -> set[str]:
    """Init containers that stay."""
    return {one.get("name", "") for one in spec.get("initContainers") or [] if is_sidecar(one)}


def _waits(one: Json, sidecars: set[str]) -> bool:
    """Whether an init container is not done: neither ended well nor, staying, started."""
    ended = get(one, "state", "terminated")
    if ended is not None and not ended.get("exitCode"):
        return False
    return not (one.get("name") in sidecars and one.get("started"))


def _begun(obj: Json) -> list[Json]:
    """The init containers up to the one that the others wait for, itself included."""
    sidecars, begun = _sidecars(obj.get("spec") or {}), list[Json]()
    for one in get(obj, "status", "initContainerStatuses") or []:
        begun.append(one)
        if _waits(one, sidecars):
            break
    return begun


def _initializing(obj: Json) -> bool:
    """Whether the containers proper are not looked at yet."""
    begun, status = _begun(obj), obj.get("status") or {}
    return bool(begun) and _waits(begun[-1], _sidecars(obj.get("spec") or {})) and not _holds(status, "Initialized")


def _holds(status: Json, kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in _conditions(status))


def _conditions(status: Json) -> list[Json]:
    return status.get("conditions") or []


def _ready(obj: Json) -> str:
    spec, sidecars = obj.get("spec") or {}, _sidecars(obj.get("spec") or {})
    up = [one for one in _begun(obj) if one.get("ready") and one.get("started") and one.get("name") in sidecars]
    if not _initializing(obj):
        containers = get(obj, "status", "containerStatuses") or []
        up += [one for one in containers if _runs(one)]
    return f"{len(up)}/{len(spec.get('containers') or []) + len(sidecars)}"


def _runs(one: Json) -> bool:
    state = one.get("state") or {}
    if get(state, "waiting", "reason") or state.get("terminated") is not None:
        return False
    return bool(one.get("ready")) and state.get("running") is not None


def reason(obj: Json) -> str:
    """The STATUS column: the phase, or what better explains it."""
    status = obj.get("status") or {}
    phase = status.get("phase") or ""
    found = status.get("reason") or phase
    if any(c.get("type") == "PodScheduled" and c.get("reason") == GATED for c in _conditions(status)):
        found = GATED
    found = _init_reason(obj) or found
    if not _initializing(obj):
        found = _container_reason(status, found)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if phase not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(found)


def _init_reason(obj: Json) -> str:
    begun, spec = _begun(obj), obj.get("spec") or {}
    if not begun or not _waits(begun[-1], _sidecars(spec)):
        return ""
    state = begun[-1].get("state") or {}
    ended, waiting = state.get("terminated"), get(state, "waiting", "reason")
    if ended is not None:
        return f"Init:{ended.get('reason') or _exit(ended)}"
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{len(begun) - 1}/{len(spec.get('initContainers') or [])}"


def _container_reason(status: Json, found: str) -> str:
    running, failed = False, ""
    for one in reversed(status.get("containerStatuses") or []):
        state = one.get("state") or {}
        ended = state.get("terminated")
        if get(state, "waiting", "reason"):
            found = state["waiting"]["reason"]
        elif ended is not None:
            found = ended.get("reason") or _exit(ended)
            failed = found if ended.get("exitCode") else failed
        running = running or _runs(one)
    if found != "Completed":
        return found
    if running and _holds(status, "Ready"):
        return "Running"
    return failed or ("NotReady" if running else found)


def _exit(ended: Json) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(obj: Json, now: Now) -> str:
    """While a pod is initialized its init containers count, then the containers, and init containers that stay."""
    counted = _begun(obj)
    if not _initializing(obj):
        sidecars = _sidecars(obj.get("spec") or {})
        counted = [one for one in counted if one.get("name") in sidecars]
        counted += get(obj, "status", "containerStatuses") or []
    count = sum(int(one.get("restartCount") or 0) for one in counted)
    ends = [get(one, "lastState", "terminated", "finishedAt") for one in counted]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


_DONE = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}


def _done(obj: Json) -> list[Json]:
    """What a row says of a pod that has run to its end; kubectl greys it out."""
    phase = get(obj, "status", "phase")
    if phase not in _DONE:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _DONE[phase]}]


POD = Printer(
    (
        NAME,
        Column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        Column("Status", "The aggregate status of the containers in this pod."),
        Column(
            "Restarts",
            "The number of times the containers in this pod have been restarted and when the last "
            "container in this pod has restarted.",
        ),
        AGE,
        Column("IP", "status.podIP", wide=True),
        Column("Node", "spec.nodeName", wide=True),
        Column("Nominated Node", "status.nominatedNodeName", wide=True),
        Column("Readiness Gates", "spec.readinessGates", wide=True),
    ),
    _pod,
    _done,
)
