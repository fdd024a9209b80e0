"""Pods that nobody else ends, and finished ones beyond the threshold: which are deleted, and how. As tables."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import Node, Pod, Taint
from netplane.controllers import touched
from netplane.controllers.plan import pod_gc
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Delete, Patch, Plan
from tests import controller_objects as made

NOW = "2026-01-01T00:00:00Z"
OFF = Taint(key="node.kubernetes.io/out-of-service", effect="NoExecute")


def pod(
    name: str, phase: str = "Running", on: str = "n", *, reason: str = "", created: str = "", ends: bool = False
) -> Pod:
    one = made.pod(name, on=on, phase=phase)
    meta = msgspec.structs.replace(
        one.metadata, creation_timestamp=created or f"2026-01-01T00:00:{ord(name[0]) - 97:02}Z"
    )
    assert one.status is not None
    one = msgspec.structs.replace(one, metadata=meta, status=msgspec.structs.replace(one.status, reason=reason))
    return made.ending(one) if ends else one


def plan(world: World, key: str, clock_s: float = 0.0, threshold: int = 0) -> Plan:
    return pod_gc.plan(world, key, clock_s, NOW, threshold)


def deleted(one: Plan) -> str:
    """Names of the pods that go, in order; those that are marked as failed before in brackets."""
    told: list[str] = []
    failed = False
    for write in one.writes:
        if isinstance(write, Patch):
            assert (write.patch["status"]["phase"], write.subresource) == ("Failed", "status")
            failed = True
        else:
            assert isinstance(write, Delete)
            assert write.grace_period_s == 0
            told.append(f"[{write.name}]" if failed else write.name)
            failed = False
    return "".join(told)


def test_pods_go_when_their_node_was_missing_long_enough() -> None:
    world = World.of(made.node("n"), pod("a"), pod("b", on="never"), now=0.0)
    assert plan(world, "n", 100.0).writes == ()
    assert plan(world, "never", 4.0).again_s == 1.0
    assert deleted(plan(world, "never", 5.0)) == "[b]"
    world.apply(made.node("n"), None, 100.0)
    assert plan(world, "n", 101.0).again_s == 4.0
    assert deleted(plan(world, "n", 105.0)) == "[a]"
    world.apply(None, made.node("n"), 105.0)
    assert plan(world, "n", 200.0).writes == ()


def test_nodes_that_nobody_names_are_forgotten() -> None:
    world = World.of(made.node("n"), made.node("empty"), pod("a"), pod("b", on="never"))
    for obj in (made.node("n"), made.node("empty")):
        world.apply(obj, None, 100.0)
    assert world.missing_since == {"n": 100.0, "never": 0.0}
    for one in (pod("a"), pod("b", on="never")):
        world.apply(one, None, 200.0)
    assert world.missing_since == {}


def test_who_ran_on_a_node_that_is_gone_is_marked_as_disrupted_and_who_had_finished_is_not() -> None:
    world = World.of(pod("a"), pod("b", "Succeeded"), pod("c", "Failed"))
    done = plan(world, "n", 10.0)
    assert deleted(done) == "[a]bc"
    assert isinstance(done.writes[0], Patch)
    [condition] = done.writes[0].patch["status"]["conditions"]
    assert condition == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": NOW,
    }


@pytest.mark.parametrize(
    ("on", "gone"),
    [
        (made.node("n", False, taints=[OFF]), True),
        (made.node("n", "Unknown", taints=[OFF]), True),
        (made.node("n", False), False),
        (made.node("n", taints=[OFF]), False),
    ],
)
def test_pods_that_are_to_end_on_a_node_out_of_service_go(on: Node, *, gone: bool) -> None:
    ending = pod("a", ends=True)
    world = World.of(on, ending, pod("b"))
    assert (list(touched.of_pod_gc(world, None, on)), list(touched.of_pod_gc(world, None, ending))) == (
        (["n"], ["n"]) if gone else ([], [])
    )
    assert deleted(plan(world, "n")) == ("[a]" if gone else "")


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        (
            [pod("a", "Failed", "", ends=True), pod("b", "Succeeded", "", ends=True), pod("c", on="", ends=True)],
            "ab[c]",
        ),
        ([pod("a", "Failed", ""), pod("b", "Succeeded"), pod("c", ends=True), pod("d", "Pending", "")], ""),
    ],
)
def test_pods_without_a_node_that_are_to_end_have_nobody_else_to_end_them(pods: list[Pod], expected: str) -> None:
    world = World.of(made.node("n"), *pods)
    assert deleted(plan(world, pod_gc.NO_NODE)) == expected
    poked = {key for one in pods for key in touched.of_pod_gc(world, one, one)}
    assert (pod_gc.NO_NODE in poked) is bool(expected)


@pytest.mark.parametrize(
    ("threshold", "pods", "expected"),
    [
        (0, [pod("a", "Failed"), pod("b", "Succeeded")], ""),
        (-1, [pod("a", "Failed"), pod("b", "Succeeded")], ""),
        (1, [pod("a", "Failed"), pod("b", "Succeeded"), pod("c", "Failed")], "ab"),
        (1, [pod("a"), pod("b", "Succeeded"), pod("c", "Failed")], "b"),
        (1, [pod("b", "Failed"), pod("a", "Succeeded")], "a"),
        (5, [pod("a", "Failed"), pod("b", "Succeeded")], ""),
        (1, [pod("a", "Pending"), pod("b", "Unknown"), pod("c"), pod("d", "Failed")], ""),
        (1, [pod("a", "Failed"), pod("b", "Failed", reason="Evicted"), pod("c", "Failed")], "ba"),
        (2, [pod("b", "Failed", created=NOW), pod("a", "Failed", created=NOW), pod("c", "Failed", created=NOW)], "a"),
    ],
)
def test_finished_pods_beyond_the_threshold_go_the_evicted_and_the_oldest_first(
    threshold: int, pods: list[Any], expected: str
) -> None:
    world = World.of(made.node("n"), *pods)
    assert deleted(plan(world, pod_gc.ALL_FINISHED, threshold=threshold)) == expected


def test_finished_pods_are_counted_when_one_more_finishes() -> None:
    running, done = pod("a"), pod("a", "Succeeded")
    world = World.of(made.node("n"), running)
    world.apply(running, done, 0.0)
    assert list(touched.of_pod_gc(world, running, done)) == [pod_gc.ALL_FINISHED]
    assert world.finished == {"shop/a"}
    assert list(touched.of_pod_gc(world, done, done)) == []
    world.apply(done, None, 0.0)
    assert not world.finished
