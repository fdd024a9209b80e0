"""Nodes that fell silent: how fast they are marked, and when their pods have to leave. As tables."""

from typing import Any

import pytest

from netplane.api.objects import (
    Condition,
    Event,
    Node,
    NodeSpec,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    Taint,
)
from netplane.controllers.plan import evictions, node_lifecycle, node_taints
from netplane.controllers.plan.disruption import NO_EXECUTE, NOT_READY, UNREACHABLE
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Create, Delete, Patch, Plan
from tests import controller_objects as made

NOW, WALL_S = "2026-01-01T00:01:40Z", 1767225700.0
SINCE = "2026-01-01T00:00:00Z"  # 100 s before


def node(name: str, ready: str = "True", zone: str = "a", marked: str = "", key: str = UNREACHABLE) -> Node:
    taints = [Taint(key=key, effect=NO_EXECUTE, time_added=marked)] if marked else None
    return made.node(name, ready, zone=zone, taints=taints)


def nodes(well: int, ill: int, zone: str = "a") -> list[Node]:
    some = [node(f"{zone}-well-{i}", zone=zone) for i in range(well)]
    return some + [node(f"{zone}-ill-{i}", "Unknown", zone) for i in range(ill)]


def marks(plan: Plan) -> list[tuple[str, str | None]] | None:
    """The NoExecute taints that the plan sets; None: it sets nothing."""
    for write in plan.writes:
        assert isinstance(write, Patch)
        assert write.patch["metadata"] == {"resourceVersion": "7"}
        return [
            (one["key"], one.get("timeAdded"))
            for one in write.patch["spec"]["taints"] or ()
            if one["effect"] == NO_EXECUTE
        ]
    return None


def test_a_silent_node_is_marked_and_a_returning_one_cleared() -> None:
    world = World.of(*nodes(3, 0), node("n", "Unknown"))
    assert marks(node_taints.plan(world, "n", WALL_S, NOW)) == [(UNREACHABLE, NOW)]
    world.apply(world.nodes["n"], node("n", "True", marked=SINCE), 0.0)
    assert marks(node_taints.plan(world, "n", WALL_S, NOW)) == []
    world.apply(world.nodes["n"], node("n", "False"), 0.0)
    assert marks(node_taints.plan(world, "n", WALL_S, NOW)) == [(NOT_READY, NOW)]


def test_another_reason_is_another_mark_at_once() -> None:
    world = World.of(*nodes(3, 0), node("n", "Unknown", marked=NOW, key=NOT_READY))
    assert marks(node_taints.plan(world, "n", WALL_S, NOW)) == [(UNREACHABLE, NOW)]


@pytest.mark.parametrize(
    ("others", "last", "expected_s"),
    [
        (nodes(3, 1), "", 0.0),
        (nodes(3, 1), "2026-01-01T00:01:34Z", 4.0),  # one each 10 s
        (nodes(3, 1), SINCE, 0.0),
        (nodes(1, 3), "", None),  # most are ill, and there are few: never
        (nodes(22, 38), SINCE, 0.0),  # many: one each 100 s
        (nodes(22, 38), "2026-01-01T00:00:30Z", 30.0),
        ([*nodes(0, 4), *nodes(2, 0, "b")], SINCE, 0.0),  # a zone is gone, the other is not
        (nodes(0, 4), "", None),  # all are gone: it is us
        ([*nodes(0, 4), *nodes(0, 1, "b")], "", None),
    ],
)
def test_how_long_the_next_one_waits(others: list[Node], last: str, expected_s: float | None) -> None:
    marked = [node("marked", "Unknown", marked=last)] if last else []
    world = World.of(*others, *marked)
    assert world.health.wait_s("/a", WALL_S) == (pytest.approx(expected_s) if expected_s is not None else None)


def test_who_has_to_wait_comes_back() -> None:
    world = World.of(*nodes(3, 0), node("m", "Unknown", marked="2026-01-01T00:01:34Z"), node("n", "Unknown"))
    plan = node_taints.plan(world, "n", WALL_S, NOW)
    assert not plan.writes
    assert plan.again_s == pytest.approx(4.0)


def test_when_every_node_is_silent_marks_are_taken_back() -> None:
    world = World.of(node("m", "Unknown", marked=SINCE), node("n", "Unknown", zone="b"))
    assert marks(node_taints.plan(world, "m", WALL_S, NOW)) == []
    assert node_taints.plan(world, "n", WALL_S, NOW) == Plan(again_s=node_taints.AGAIN_S)
    world.apply(None, node("back", zone="b"), 0.0)
    assert marks(node_taints.plan(world, "n", WALL_S, NOW)) == [(UNREACHABLE, NOW)]


def test_one_that_just_fell_silent_may_be_the_first_of_all() -> None:
    fresh = Condition(type="Ready", status="Unknown", last_transition_time="2026-01-01T00:01:38Z")
    one = Node(metadata=ObjectMeta(name="n"), status=NodeStatus(conditions=[fresh]))
    world = World.of(*nodes(3, 0), one)
    plan = node_taints.plan(world, "n", WALL_S, NOW)
    assert not plan.writes
    assert plan.again_s == pytest.approx(3.0)
    assert node_taints.plan(world, "n", WALL_S + 3.0, NOW).writes


def test_zones_are_counted_as_nodes_come_change_and_go() -> None:
    world = World.of(node("n", "Unknown"), node("m"))
    changes = [("m", node("m", "False")), ("m", node("m", zone="b")), ("m", None), ("n", None)]
    cut_off = [world.health.cut_off]
    for name, new in changes:
        world.apply(world.nodes[name], new, 0.0)
        cut_off.append(world.health.cut_off)
    assert cut_off == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("conditions", "cordoned", "expected"),
    [
        ({"Ready": "True"}, False, set()),
        ({"Ready": "True"}, True, {"unschedulable"}),
        ({"Ready": "True", "MemoryPressure": "True", "DiskPressure": "False"}, False, {"memory-pressure"}),
        ({"Ready": "False", "NetworkUnavailable": "True"}, False, {"not-ready", "network-unavailable"}),
        ({"Ready": "True", "PIDPressure": "Unknown"}, False, set()),
    ],
)
def test_conditions_keep_new_pods_away(conditions: dict[str, str], cordoned: bool, expected: set[str]) -> None:
    some = [Condition(type=name, status=status) for name, status in conditions.items()]
    foreign = Taint(key="gpu", effect="NoSchedule")
    one = Node(
        metadata=ObjectMeta(name="n"),
        spec=NodeSpec(unschedulable=cordoned, taints=[foreign, Taint(key=UNREACHABLE, effect="NoSchedule")]),
        status=NodeStatus(conditions=some),
    )
    [write] = node_lifecycle.plan(World.of(one), "n", 40.0, 0.0, NOW).writes
    assert isinstance(write, Patch)
    taints = {taint["key"]: taint["effect"] for taint in write.patch["spec"]["taints"]}
    assert taints == {"gpu": "NoSchedule"} | {f"node.kubernetes.io/{name}": "NoSchedule" for name in expected}


def pod(*tolerations: dict[str, Any], **meta: Any) -> Pod:
    return Pod(
        metadata=ObjectMeta(name="p", namespace="shop", **meta),
        spec=PodSpec(node_name="n", tolerations=list(tolerations)),
        status=PodStatus(phase="Running"),
    )


def tolerates(seconds: int | None, key: str = UNREACHABLE) -> dict[str, Any]:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": key, "operator": "Exists", "effect": NO_EXECUTE, **limit}


GONE = 0.0


@pytest.mark.parametrize(
    ("one", "left_s"),
    [
        (pod(), GONE),
        (pod(tolerates(None)), None),
        (pod({"operator": "Exists"}), None),
        (pod(tolerates(300)), 200.0),  # the taint is 100 s old
        (pod(tolerates(100)), GONE),
        (pod(tolerates(0)), GONE),
        (pod(tolerates(-5)), GONE),
        (pod(tolerates(300), tolerates(150)), 200.0),  # of those that match the first counts
        (pod(tolerates(150), tolerates(300)), 50.0),
        (pod(tolerates(300), tolerates(None)), 200.0),
        (pod(tolerates(None), tolerates(300)), None),
        (pod(tolerates(300, NOT_READY)), GONE),
        (pod({"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}), GONE),
        (pod(deletion_timestamp=NOW), None),
    ],
)
def test_when_a_pod_has_to_leave(one: Pod, left_s: float | None) -> None:
    plan = evictions.plan(World.of(node("n", "Unknown", marked=SINCE), one), "n", WALL_S, NOW)
    if left_s == GONE:
        told, target, delete = plan.writes
        assert isinstance(told, Create)
        assert isinstance(told.obj, Event)
        assert told.obj.reason == "TaintManagerEviction"
        assert isinstance(target, Patch)
        assert target.patch["status"]["conditions"][0]["type"] == "DisruptionTarget"
        assert delete == Delete(Pod, "shop", "p")
    else:
        assert (plan.writes, plan.again_s) == ((), left_s)


def test_of_several_taints_the_strictest_counts() -> None:
    two = Node(
        metadata=ObjectMeta(name="n"),
        spec=NodeSpec(
            taints=[
                Taint(key=UNREACHABLE, effect=NO_EXECUTE, time_added=SINCE),
                Taint(key="disk", effect=NO_EXECUTE, time_added=NOW),
                Taint(key="gpu", effect="NoSchedule"),
            ]
        ),
    )
    both = pod(tolerates(300), tolerates(30, "disk"))
    assert evictions.plan(World.of(two, both), "n", WALL_S, NOW).again_s == 30.0
    assert evictions.plan(World.of(two, pod(tolerates(300))), "n", WALL_S, NOW).writes
    assert evictions.plan(World.of(node("n"), pod()), "n", WALL_S, NOW).writes == ()
