"""Pods whose node is gone: nobody is left to end them, so they are deleted without its word.

A pod may name a node that we merely have not heard of yet, so a node counts as gone only after `patience_s`.
"""

from netplane.api.objects import Pod
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Delete, Plan

PATIENCE_S = 5.0


def plan(world: World, key: str, clock_s: float, patience_s: float = PATIENCE_S) -> Plan:
    """Delete the pods of node `key` if it has been missing long enough."""
    if key in world.nodes or not key:
        return NOTHING
    pods = world.pods_on(key)
    since = world.missing_since.get(key)
    if not pods or since is None:
        return NOTHING
    left_s = since + patience_s - clock_s
    if left_s > 0:
        return Plan(again_s=left_s)
    return Plan(
        tuple(Delete(Pod, pod.metadata.namespace, pod.metadata.name, grace_period_s=0) for pod in pods),
        note=f"node {key} is gone",
    )
