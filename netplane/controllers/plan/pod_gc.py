"""Pods that nobody else ends, and finished ones when there are too many, are deleted. Source: kube-controller-manager.

    key     pods                                        deleted
    a node  of one that is gone for `PATIENCE_S`        all, marked as disrupted (KEP-3329)
            of one that is out of service               those that are to end (KEP-2268)
    ""      without a node                              those that are to end: no kubelet will say that they have
    "*"     that have finished, above the threshold     the evicted first, then the oldest

A pod may name a node that we merely have not heard of yet, so a node counts as gone only after a while. Out of service
is a node that is not ready and that somebody gave the taint by which they vouch that it is off. Who was still running
is marked as failed first: watchers must not take it for one that goes on elsewhere.
"""

import heapq
from collections.abc import Iterable
from typing import Any

from netplane.api import conditions
from netplane.api.objects import Node, Pod
from netplane.controllers.plan.backends import has_finished
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Delete, Patch, Plan, Write

NAME = "pod-gc"
NO_NODE, ALL_FINISHED = "", "*"
PATIENCE_S = 5.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
EVICTED = "Evicted"


def out_of_service(node: Node) -> bool:
    """Whether a node is off for sure."""
    return not conditions.is_ready(node) and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ())


def plan(world: World, key: str, clock_s: float, now: str, threshold: int) -> Plan:
    """Delete what key stands for, see above. `threshold`: finished pods that may stay; 0 or less: all."""
    if key == ALL_FINISHED:
        return _deleted(_oldest(world, threshold), f"more than {threshold} pods have finished", now)
    pods, node = world.pods_on(key), world.nodes.get(key)
    ending = [pod for pod in pods if pod.metadata.deletion_timestamp is not None]
    if key == NO_NODE:
        return _deleted(ending, "they never had a node", now)
    if node is not None:
        return _deleted(ending, f"node {key} is out of service", now) if out_of_service(node) else NOTHING
    since = world.missing_since.get(key)
    if not pods or since is None:
        return NOTHING
    left_s = since + PATIENCE_S - clock_s
    if left_s > 0:
        return Plan(again_s=left_s)
    return _deleted(pods, f"node {key} is gone", now, disrupted="PodGC: node no longer exists")


def _oldest(world: World, threshold: int) -> list[Pod]:
    """Finished pods beyond the threshold."""
    if not 0 < threshold < len(world.finished):
        return []
    finished = (world.pods[key] for key in world.finished)
    return heapq.nsmallest(len(world.finished) - threshold, finished, key=_rank)


def _rank(pod: Pod) -> tuple[bool, str, str]:
    evicted = pod.status is not None and pod.status.reason == EVICTED
    return not evicted, pod.metadata.creation_timestamp or "", pod.metadata.name


def _deleted(pods: Iterable[Pod], note: str, now: str, disrupted: str = "") -> Plan:
    writes = tuple(write for pod in pods for write in _delete(pod, now, disrupted))
    return Plan(writes, note=note) if writes else NOTHING


def _delete(pod: Pod, now: str, disrupted: str) -> list[Write]:
    meta = pod.metadata
    delete = Delete(Pod, meta.namespace, meta.name, grace_period_s=0)
    if has_finished(pod):
        return [delete]
    failed: dict[str, Any] = {"phase": "Failed"}
    if disrupted:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": disrupted}
        failed["conditions"] = [{**condition, "lastTransitionTime": now}]
    return [Patch(Pod, meta.namespace, meta.name, {"status": failed}, "status"), delete]
