"""A range of pod addresses for each node, cut from the cluster's ranges, one per family.

The Nodes themselves are the record: whatever one of them carries is taken, so a restart forgets nothing and hands
nothing out twice. What a plan means to give is reserved before it is written: if the answer gets lost, nobody else
gets it meanwhile, and the same node gets the same again.
"""

from netplane.api.objects import Node
from netplane.controllers.plan.ranges import Network, Pool
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan, event

__all__ = ["COMPONENT", "FULL", "NAME", "Network", "Pool", "plan"]

NAME = "pod-cidr"
COMPONENT = "node-ipam-controller"
FULL = "CIDRNotAvailable"
# When ranges ran out, look again this often: one is free again once a node is deleted.
FULL_AGAIN_S = 60.0


def plan(world: World, key: str, now: str) -> Plan:
    """Give the node its ranges if it has none; an Event when there are none left."""
    node = world.nodes.get(key)
    if node is None or node.spec.pod_cidr or node.metadata.deletion_timestamp:
        return NOTHING
    cidrs = [str(one) for one in world.ranges.held(key)]
    if not cidrs:
        found = world.ranges.lowest_free()
        lacking = ", ".join(str(pool.network) for pool, part in found if part is None)
        if lacking:
            return _full(node, lacking, now)
        cidrs = [str(part) for _, part in found]
    spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs}
    # With the version that was read: whoever else gave this node a range meanwhile wins.
    version = {"resourceVersion": node.metadata.resource_version}
    write = Patch(Node, "", key, {"metadata": version, "spec": spec}, kind="merge")
    return Plan((write,), reserve=tuple(cidrs))


def _full(node: Node, lacking: str, now: str) -> Plan:
    text = f"no podCIDR left in {lacking}; widen --cluster-cidr, or raise --node-cidr-mask-size for smaller parts"
    return Plan((event(node, FULL, text, now=now, by=COMPONENT),), FULL_AGAIN_S, note=text)
