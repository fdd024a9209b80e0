"""The NoExecute mark on nodes that are not ready: who tolerates it not has to leave. Source: KEP-166, KEP-3902.

NoSchedule marks are put at once (`node_lifecycle`); this one is put node by node, as fast as the zone's health allows
(`disruption`), and taken away at once. One node is planned at a time, so that the pace holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netplane.api import conditions
from netplane.api.objects import Node, Taint
from netplane.controllers.plan import disruption
from netplane.controllers.plan.disruption import NO_EXECUTE, NOT_READY, OURS, UNREACHABLE
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Patch, Plan

NAME = "node-taints"
TAINT_OF = {"": "", "True": "", "False": NOT_READY, "Unknown": UNREACHABLE}
# Nodes that are ill are looked at this often: how many others are decides what happens to each.
AGAIN_S = 10.0
# When all fall silent together, the first is not marked before the others are noticed.
SETTLE_S = 5.0


def plan(world: World, key: str, wall_s: float, now: str) -> Plan:
    """Put, change or take away the mark. `wall_s`: seconds since 1970; `now`: the same as the API writes it."""
    node = world.nodes.get(key)
    if node is None:
        return NOTHING
    wanted = "" if world.health.cut_off else TAINT_OF[ready_status(node)]
    present = {taint.key for taint in node.spec.taints or () if taint.key in OURS and taint.effect == NO_EXECUTE}
    if present == ({wanted} if wanted else set()):
        # How other nodes are may change what is right for an ill one.
        return Plan(again_s=AGAIN_S) if TAINT_OF[ready_status(node)] else NOTHING
    if wanted and not present:
        wait_s = world.health.wait_s(disruption.zone_of(node), wall_s)
        if wait_s is not None:
            wait_s = max(wait_s, ill_since_s(node) + SETTLE_S - wall_s)
        if wait_s is None or wait_s > 0:
            return Plan(again_s=wait_s or AGAIN_S)
    kept = [one for one in node.spec.taints or () if not (one.key in OURS and one.effect == NO_EXECUTE)]
    added = [Taint(key=wanted, effect=NO_EXECUTE, time_added=now)] if wanted else []
    return Plan((patch(node, [*kept, *added]),))


def ready_status(node: Node) -> str:
    """True, False, Unknown; "" for a node that has not said."""
    said = conditions.ready(node)
    return said.status if said is not None and said.status in TAINT_OF else ""


def ill_since_s(node: Node) -> float:
    """When its Ready condition became what it is, in seconds since 1970; 0 when it does not say."""
    said = conditions.ready(node)
    return (disruption.seconds(said.last_transition_time) if said is not None else None) or 0.0


def patch(node: Node, taints: Iterable[Taint]) -> Patch:
    """The list of taints is replaced as a whole (it has no merge key), so the version guards what others put in it."""
    listed: list[Mapping[str, Any]] = msgspec.to_builtins(list(taints))
    change = {"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": listed or None}}
    return Patch(Node, "", node.metadata.name, change, kind="merge")
