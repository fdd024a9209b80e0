"""Who waits for a node is looked at when a node can take it, and only then."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import Node, ObjectMeta, Pod, PodSpec, PodStatus, Taint
from netplane.controllers import touched
from netplane.controllers.plan.world import World
from tests import controller_objects as made

TAINT = Taint(key="dedicated", effect="NoSchedule")


def node(name: str = "n", ready: str = "True", *, pods: str = "2", **spec: Any) -> Node:
    return made.node(name, ready, allocatable={"pods": pods}, **spec)


def pod(name: str, on: str = "", phase: str = "Pending", *, ends: bool = False, **spec: Any) -> Pod:
    gone = "2026-01-01T00:00:00Z" if ends else None
    metadata = ObjectMeta(name=name, namespace="shop", deletion_timestamp=gone)
    return Pod(metadata=metadata, spec=PodSpec(node_name=on, **spec), status=PodStatus(phase=phase))


WAITING = [pod("any"), pod("picky", node_selector={"disk": "ssd"}), pod("theirs", scheduler_name="other")]


@pytest.mark.parametrize(
    ("old", "new", "woken"),
    [
        (None, node(), ["shop/any"]),
        (node(ready="False"), node(), ["shop/any"]),
        (node(), node(labels={"disk": "ssd"}), ["shop/any", "shop/picky"]),
        (node(taints=[TAINT]), node(), ["shop/any"]),
        (node(), node(taints=[TAINT]), []),
        (node(pods="0"), node(pods="1"), ["shop/any"]),
        (node(), msgspec.structs.replace(node(), metadata=ObjectMeta(name="n", annotations={"beat": "2"})), []),
        (node(), None, []),
    ],
)
def test_a_change_of_a_node_wakes_the_pods_it_can_take_now(
    old: Node | None, new: Node | None, woken: list[str]
) -> None:
    world = World.of(*WAITING, *([old] if old else []))
    world.apply(old, new, 0.0)
    assert list(touched.of_scheduler(world, old, new)) == woken


@pytest.mark.parametrize(
    ("old", "new", "woken"),
    [
        (pod("p", "n", "Running"), None, True),
        (pod("p", "n", "Running"), pod("p", "n", "Succeeded"), True),
        (pod("p", "n", "Pending"), pod("p", "n", "Running"), False),
        (pod("p", "n", "Succeeded"), None, False),
        (pod("p", "other", "Running"), None, False),
    ],
)
def test_a_pod_that_leaves_makes_room_on_its_node_alone(old: Pod, new: Pod | None, *, woken: bool) -> None:
    world = World.of(node(), *WAITING, old)
    world.apply(old, new, 0.0)
    assert list(touched.of_scheduler(world, old, new)) == (["shop/any"] if woken else [])
