"""Pods whose node is gone or out of service: nobody is left to end them, so they are deleted without its word.

A pod may name a node that we merely have not heard of yet, so a node counts as gone only after `patience_s`. Out of
service is a node that is not ready and that somebody gave the taint by which they vouch that it is off: its pods that
are to end have ended (KEP-2268).
"""

from netplane.api import conditions
from netplane.api.objects import Node, Pod
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Delete, Plan

NAME = "pod-gc"
PATIENCE_S = 5.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def out_of_service(node: Node) -> bool:
    """Whether a node is off for sure."""
    return not conditions.is_ready(node) and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ())


def plan(world: World, key: str, clock_s: float, patience_s: float = PATIENCE_S) -> Plan:
    """Delete the pods of node `key` if it has been missing long enough; if it is off, those that are to end."""
    if not key:
        return NOTHING
    pods, node = world.pods_on(key), world.nodes.get(key)
    if node is not None:
        ending = [pod for pod in pods if pod.metadata.deletion_timestamp is not None]
        return _deleted(ending, f"node {key} is out of service") if ending and out_of_service(node) else NOTHING
    since = world.missing_since.get(key)
    if not pods or since is None:
        return NOTHING
    left_s = since + patience_s - clock_s
    if left_s > 0:
        return Plan(again_s=left_s)
    return _deleted(pods, f"node {key} is gone")


def _deleted(pods: list[Pod], note: str) -> Plan:
    return Plan(
        tuple(Delete(Pod, pod.metadata.namespace, pod.metadata.name, grace_period_s=0) for pod in pods), note=note
    )
