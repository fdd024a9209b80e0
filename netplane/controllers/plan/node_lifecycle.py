"""Is a node alive? Its Lease says so; its Ready condition, its taints and its pods' readiness follow.

    heartbeat fresh, Ready absent or Unknown ──► Ready=True      (a node that says False itself is left alone)
    no heartbeat for the grace period        ──► Ready=Unknown, its pods Ready=False

    Ready=True     no taint of ours
    Ready=False    node.kubernetes.io/not-ready      NoSchedule, NoExecute
    Ready=Unknown  node.kubernetes.io/unreachable    NoSchedule, NoExecute

Source: KEP-589 (node heartbeats), KEP-166 (taint based eviction).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from netplane.api.objects import Condition, Node, Pod, Taint
from netplane.controllers.plan import backends
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan, Write

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
EFFECTS = ("NoSchedule", "NoExecute")
TAINT_OF = {"": "", "True": "", "False": NOT_READY, "Unknown": UNREACHABLE}


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
    before = ready_of(node)
    after = _judge(before, alive=alive, heard=heard)
    writes = _taints(node, TAINT_OF[after], now)
    if after != (before.status if before else ""):
        writes.append(_condition(node, after, heard=heard, now=now))
    if not alive:
        writes += [_not_ready(pod, now) for pod in world.pods_on(key) if backends.is_ready(pod)]
    return Plan(tuple(writes), grace_s - age_s if alive else None)


def ready_of(node: Node) -> Condition | None:
    """The node's Ready condition."""
    conditions = (node.status.conditions if node.status else None) or ()
    return next((condition for condition in conditions if condition.type == "Ready"), None)


def _judge(before: Condition | None, *, alive: bool, heard: bool) -> str:
    if not alive:
        return "Unknown"
    if before is not None and before.status in ("True", "False"):
        return before.status
    if heard:
        return "True"
    return before.status if before else ""  # new: it has the grace period to say its first word


def _condition(node: Node, status: str, *, heard: bool, now: str) -> Patch:
    reason, message = {
        "True": ("NodeLeaseRenewed", "the node renews its lease"),
        "Unknown": ("NodeStatusUnknown", "the node stopped renewing its lease")
        if heard
        else ("NodeStatusNeverUpdated", "the node never renewed a lease"),
    }[status]
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return Patch(Node, "", node.metadata.name, {"status": {"conditions": [condition]}}, "status")


def _taints(node: Node, wanted: str, now: str) -> list[Write]:
    """The list of taints is replaced as a whole (it has no merge key), so the version guards what others put in it."""
    present = node.spec.taints or []
    ours = {(taint.key, taint.effect) for taint in present if taint.key in (NOT_READY, UNREACHABLE)}
    if ours == ({(wanted, effect) for effect in EFFECTS} if wanted else set()):
        return []
    kept = [taint for taint in present if taint.key not in (NOT_READY, UNREACHABLE)]
    added = [
        Taint(key=wanted, effect=effect, time_added=now if effect == "NoExecute" else None)
        for effect in EFFECTS
        if wanted
    ]
    taints: list[Mapping[str, Any]] = msgspec.to_builtins([*kept, *added])
    patch = {"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints or None}}
    return [Patch(Node, "", node.metadata.name, patch, kind="merge")]


def _not_ready(pod: Pod, now: str) -> Patch:
    """Its node cannot say any more whether the pod serves; nobody should be sent there."""
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "NodeNotReady",
        "message": "the pod's node stopped renewing its lease",
        "lastTransitionTime": now,
    }
    return Patch(Pod, pod.metadata.namespace, pod.metadata.name, {"status": {"conditions": [condition]}}, "status")
