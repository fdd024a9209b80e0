"""A node for a pod: which nodes it may run on, and which of them is best. A small scheduler for clusters without one.

It honours what a cluster of namespaces needs: readiness, cordons, taints and tolerations, nodeSelector, required node
affinity, host ports and the node's number of pods. A pod with required pod (anti-)affinity is
refused rather than placed wrongly. Among the fitting nodes it takes the one with the fewest pods like this one (same
namespace and labels), then the fewest pods at all, then the first by name.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from netplane.api import conditions
from netplane.api.objects import Node, Pod, Taint
from netplane.controllers.plan import backends
from netplane.controllers.plan.node_lifecycle import UNSCHEDULABLE
from netplane.controllers.plan.tolerations import tolerates
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Bind, Patch, Plan, event

NAME = "default-scheduler"
DEFAULT_MAX_PODS = 110
# A pod that fits nowhere is tried again when a node changes, and this often for all else.
AGAIN_S = 60.0


def plan(world: World, key: str, now: str) -> Plan:
    """Bind the pod, or say why not, once per reason."""
    pod = world.pods.get(key)
    if pod is None or not is_pending(pod):
        return NOTHING
    reasons: dict[str, int] = {}
    fitting: list[Node] = []
    for node in world.nodes.values():
        why = refuses(node, pod, world.pods_on(node.metadata.name))
        if why:
            reasons[why] = reasons.get(why, 0) + 1
        else:
            fitting.append(node)
    if fitting:
        best = min(fitting, key=lambda node: _score(node, pod, world))
        return Plan((Bind(pod.metadata.namespace, pod.metadata.name, best.metadata.name),))
    return _unschedulable(pod, len(world.nodes), reasons, now)


def is_pending(pod: Pod) -> bool:
    """Whether the pod waits for a node, and for us to choose it."""
    return (
        not pod.spec.node_name
        and pod.spec.scheduler_name in ("", NAME)
        and pod.metadata.deletion_timestamp is None
        and not backends.has_finished(pod)
    )


def terms(node: Node) -> tuple[object, ...]:
    """All that `refuses` asks of a node itself: while this is the same, it takes the same pods."""
    return (
        node.metadata.labels or {},
        node.spec.unschedulable,
        node.spec.taints or (),
        conditions.is_ready(node),
        _max_pods(node),
    )


def takes_room(pod: Pod) -> bool:
    """Whether a pod has a place on a node."""
    return bool(pod.spec.node_name) and not backends.has_finished(pod)


def refuses(node: Node, pod: Pod, neighbours: Iterable[Pod]) -> str:
    """Why the pod cannot run on the node; "" when it can."""
    running = [other for other in neighbours if not backends.has_finished(other)]
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("had pod affinity rules that this scheduler does not know", lambda: not _has_pod_affinity(pod)),
        ("didn't match Pod's node affinity/selector", lambda: _selected(node, pod)),
        ("were unschedulable", lambda: not node.spec.unschedulable or _tolerates(pod, Taint(key=UNSCHEDULABLE))),
        ("had untolerated taint(s)", lambda: _tolerated(node, pod)),
        ("were not ready", lambda: conditions.is_ready(node)),
        ("didn't have free ports for the requested pod ports", lambda: not _host_ports(pod) & _all_ports(running)),
        ("had too many pods", lambda: len(running) < _max_pods(node)),
    )
    return next((why for why, holds in checks if not holds()), "")


def _score(node: Node, pod: Pod, world: World) -> tuple[int, int, str]:
    pods = world.pods_on(node.metadata.name)
    alike = sum(
        other.metadata.namespace == pod.metadata.namespace and other.metadata.labels == pod.metadata.labels
        for other in pods
    )
    return (alike, len(pods), node.metadata.name)


def _unschedulable(pod: Pod, nodes: int, reasons: Mapping[str, int], now: str) -> Plan:
    told = ", ".join(f"{count} node(s) {why}" for why, count in sorted(reasons.items()))
    message = f"0/{nodes} nodes are available: {told}." if told else "no nodes available to schedule pods"
    if any(one.type == "PodScheduled" and one.message == message for one in conditions.told(pod)):
        return Plan(again_s=AGAIN_S)
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": now,
    }
    meta = pod.metadata
    patch = Patch(Pod, meta.namespace, meta.name, {"status": {"conditions": [condition]}}, "status")
    return Plan((event(pod, "FailedScheduling", message, now=now, by=NAME), patch), AGAIN_S)


def _has_pod_affinity(pod: Pod) -> bool:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = pod.spec.affinity or {}
    return any((affinity.get(kind) or {}).get(required) for kind in ("podAffinity", "podAntiAffinity"))


def _selected(node: Node, pod: Pod) -> bool:
    labels = node.metadata.labels or {}
    if not (pod.spec.node_selector or {}).items() <= labels.items():
        return False
    rule = ((pod.spec.affinity or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not rule:
        return True
    fields = {"metadata.name": node.metadata.name}
    return any(_term(term, labels, fields) for term in rule.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """All requirements of a term hold; an empty term matches nothing."""
    expressions, on_fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not on_fields:
        return False
    return all(_requirement(one, labels) for one in expressions) and all(_requirement(one, fields) for one in on_fields)


def _requirement(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(one["key"]), list(one.get("values") or ())
    match one["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or not value.lstrip("-").isdigit():
                return False
            return int(value) > int(values[0]) if one["operator"] == "Gt" else int(value) < int(values[0])
    return False


def _tolerated(node: Node, pod: Pod) -> bool:
    hard = [taint for taint in node.spec.taints or () if taint.effect in ("NoSchedule", "NoExecute")]
    return all(_tolerates(pod, taint) for taint in hard)


def _tolerates(pod: Pod, taint: Taint) -> bool:
    return any(tolerates(one, taint) for one in pod.spec.tolerations or ())


def _host_ports(pod: Pod) -> set[tuple[str, int]]:
    every = (port for container in pod.spec.containers for port in container.ports or ())
    return {(port.protocol, port.host_port) for port in every if port.host_port}


def _all_ports(pods: Iterable[Pod]) -> set[tuple[str, int]]:
    return {port for pod in pods for port in _host_ports(pod)}


def _max_pods(node: Node) -> int:
    text = str(((node.status.allocatable if node.status else None) or {}).get("pods", ""))
    return int(text) if text.isdigit() else DEFAULT_MAX_PODS
