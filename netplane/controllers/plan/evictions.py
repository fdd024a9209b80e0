"""Pods leave nodes whose NoExecute taints they do not tolerate, or no longer. Source: KEP-166.

    deadline of a pod = for each NoExecute taint of its node
                          not tolerated                     → now
                          tolerated for tolerationSeconds   → when the taint was added + these
                          tolerated without a limit         → never
                        and of these the earliest; of several tolerations of one taint the first counts

Counted from when the taint was added, not from when we noticed: a restart gives nobody more time.
"""

from collections.abc import Mapping
from typing import Any

from netplane.api.objects import Pod, Taint
from netplane.controllers.plan.disruption import NO_EXECUTE, seconds
from netplane.controllers.plan.tolerations import tolerates
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Delete, Patch, Plan, Write, event

NAME = "taint-eviction"
COMPONENT = "taint-eviction-controller"
REASON = "TaintManagerEviction"


def plan(world: World, key: str, wall_s: float, now: str) -> Plan:
    """Delete the pods of node `key` whose time is over; come back for the next. `wall_s`: seconds since 1970."""
    node = world.nodes.get(key)
    taints = [one for one in (node.spec.taints if node else None) or () if one.effect == NO_EXECUTE]
    if not taints:
        return NOTHING
    writes: list[Write] = []
    later: list[float] = []
    for pod in world.pods_on(key):
        if pod.metadata.deletion_timestamp:
            continue
        left_s = deadline_s(pod, taints, wall_s) - wall_s
        if left_s <= 0:
            writes += _evict(pod, now)
        elif left_s != float("inf"):
            later.append(left_s)
    return Plan(tuple(writes), min(later, default=None))


def deadline_s(pod: Pod, taints: list[Taint], wall_s: float) -> float:
    """When the pod has to go, in seconds since 1970; infinity: never."""
    return min((_deadline_s(pod, taint, wall_s) for taint in taints), default=float("inf"))


def _deadline_s(pod: Pod, taint: Taint, wall_s: float) -> float:
    used = next((one for one in pod.spec.tolerations or () if tolerates(one, taint)), None)
    if used is None:
        return wall_s
    limit = used.get("tolerationSeconds")
    if limit is None:
        return float("inf")
    added_s = seconds(taint.time_added)
    return (wall_s if added_s is None else added_s) + max(float(limit), 0.0)


def _evict(pod: Pod, now: str) -> list[Write]:
    meta = pod.metadata
    condition: Mapping[str, Any] = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": now,
    }
    text = f"Marking for deletion Pod {meta.namespace}/{meta.name}"
    return [
        event(pod, REASON, text, now=now, kind="Normal", by=COMPONENT),
        Patch(Pod, meta.namespace, meta.name, {"status": {"conditions": [condition]}}, "status"),
        Delete(Pod, meta.namespace, meta.name),
    ]
