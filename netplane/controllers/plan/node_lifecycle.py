"""Is a node alive? Its Lease says so; its Ready condition, its NoSchedule taints and its pods' readiness follow.

    a heartbeat is a renewed Lease, or a status that says when the kubelet posted it

    heartbeat fresh, Ready absent or Unknown ──► Ready=True      (a node that says False itself is left alone)
    no heartbeat for the grace period        ──► Ready=Unknown, its pods Ready=False

    condition                      taint, with effect NoSchedule
    Ready=False                    node.kubernetes.io/not-ready
    Ready=Unknown                  node.kubernetes.io/unreachable
    MemoryPressure=True …          node.kubernetes.io/memory-pressure …
    spec.unschedulable             node.kubernetes.io/unschedulable

Who has to leave such a node, and when, is decided in `node_taints` and `evictions`.
Source: KEP-589 (node heartbeats), KEP-382 (taint nodes by condition).
"""

from netplane.api import conditions
from netplane.api.objects import Condition, Node, Pod, Taint
from netplane.controllers.plan import node_taints
from netplane.controllers.plan.disruption import NOT_READY, UNREACHABLE
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan, Write, event

NAME = "node-lifecycle"
COMPONENT = "node-controller"
NO_SCHEDULE = "NoSchedule"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
NEVER = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
MANAGED = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *BY_CONDITION.values()})


def plan(world: World, key: str, grace_s: float, clock_s: float, now: str) -> Plan:
    """The node's condition, taints and pods as its heartbeat has them.

    `clock_s` is on the clock of `world.renewed_at`; `now` is the same moment as the API writes it.
    """
    node = world.nodes.get(key)
    if node is None:
        return NOTHING
    age_s = clock_s - world.renewed_at.get(key, clock_s)
    alive = age_s < grace_s
    heard = world.lease_of(key) is not None
    before = conditions.ready(node)
    after = _judge(before, alive=alive, heard=heard)
    writes = _taints(node, after)
    if after != (before.status if before else ""):
        changed = _unknown(node, now) if after == "Unknown" else _ready(now)
        writes.append(Patch(Node, "", key, {"status": {"conditions": changed}}, "status"))
        if before is not None and before.status == "True":
            text = f"Node {key} status is now: NodeNotReady"
            writes.append(event(node, "NodeNotReady", text, now=now, kind="Normal", by=COMPONENT))
    if not alive:
        writes += [write for pod in world.pods_on(key) if conditions.is_ready(pod) for write in _not_ready(pod, now)]
    return Plan(tuple(writes), grace_s - age_s if alive else None)


def _judge(before: Condition | None, *, alive: bool, heard: bool) -> str:
    if not alive:
        return "Unknown"
    if before is not None and before.status in ("True", "False"):
        return before.status
    if heard:
        return "True"
    return before.status if before else ""  # new: it has the grace period to say its first word


def _ready(now: str) -> list[dict[str, str]]:
    """Of a node that renews its lease and says nothing else. Only a heartbeat is noted as one."""
    said = {"type": "Ready", "status": "True", "reason": "NodeLeaseRenewed", "message": "the node renews its lease"}
    return [{**said, "lastTransitionTime": now, "lastHeartbeatTime": now}]


def _unknown(node: Node, now: str) -> list[dict[str, str]]:
    """Of a silent node nothing is known that only its kubelet knows; what it never said, since it was made."""
    reported = {one.type: one.status for one in conditions.told(node)}
    changed: list[dict[str, str]] = []
    for name in ("Ready", *PRESSURES):
        reason, message = STOPPED if name in reported else NEVER
        one = {"type": name, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": now}
        if name not in reported and node.metadata.creation_timestamp:
            one["lastHeartbeatTime"] = node.metadata.creation_timestamp
        if reported.get(name) != "Unknown":
            changed.append(one)
    return changed


def _taints(node: Node, ready: str) -> list[Write]:
    wanted = _wanted(node, ready)
    present = node.spec.taints or []
    if {one.key for one in present if _managed(one)} == wanted:
        return []
    kept = [one for one in present if not _managed(one) or one.key in wanted]
    new = sorted(wanted - {one.key for one in kept if _managed(one)})
    return [node_taints.patch(node, [*kept, *(Taint(key=key, effect=NO_SCHEDULE) for key in new)])]


def _wanted(node: Node, ready: str) -> set[str]:
    said = conditions.told(node)
    found = {BY_CONDITION[one.type] for one in said if one.type in BY_CONDITION and one.status == "True"}
    if node_taints.TAINT_OF.get(ready):
        found.add(node_taints.TAINT_OF[ready])
    return found | {UNSCHEDULABLE} if node.spec.unschedulable else found


def _managed(taint: Taint) -> bool:
    return taint.effect == NO_SCHEDULE and taint.key in MANAGED


def _not_ready(pod: Pod, now: str) -> list[Write]:
    """Its node cannot say any more whether the pod serves; nobody should be sent there."""
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "NodeNotReady",
        "message": "the pod's node stopped renewing its lease",
        "lastTransitionTime": now,
    }
    meta = pod.metadata
    return [
        Patch(Pod, meta.namespace, meta.name, {"status": {"conditions": [condition]}}, "status"),
        event(pod, "NodeNotReady", "Node is not ready", now=now, by=COMPONENT),
    ]
