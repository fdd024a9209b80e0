"""CHECK: silent about a healthy pod, and about what other plugins did; else it says what is wrong."""

from typing import Any

import pytest

from cni.errors import Code
from netplane.rtnl import Address, Change, Link, Route, add, delete
from tests.cnitools import DUAL, Node, Spaces, config, door

pytestmark = pytest.mark.privileged


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_finds_nothing_on_a_healthy_pod_and_tolerates_other_plugins(
    node: Node, place: Spaces, version: str
) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod, config=config(version, ipam=DUAL)).body
    with door(pod) as rtnl:
        rtnl.apply(
            [
                Change("eth0", mtu=1300),
                add(Address.of("eth0", "192.168.9.9/24")),
                add(Route.of("198.51.100.0/24", via="192.168.9.1", dev="eth0")),
            ]
        )
    result["interfaces"].append({"name": "net1", "sandbox": "/elsewhere"})
    checked = node.call("CHECK", "c1", pod, config=config(version, ipam=DUAL, prevResult=result))
    assert checked == (0, {})


def _lose_address(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Address.of("eth0", "10.244.1.2/32"))])


def _lose_route(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Route.of("default", via="10.244.1.1", dev="eth0"))])


def _go_down(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([Change("eth0", up=False)])


def _lose_link(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lose_address, "lost its address 10.244.1.2"),
        (_lose_route, "the route to 0.0.0.0/0 via 10.244.1.1 is gone"),
        (_go_down, "eth0 is down"),
        (_lose_link, "eth0 is gone"),
    ],
)
def test_check_says_what_is_wrong(node: Node, place: Spaces, damage: Any, words: str) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod).body
    damage(pod)
    answer = node.call("CHECK", "c1", pod, config=config(prevResult=result))
    assert (answer.status, answer.body["code"]) == (1, Code.CHECK_FAILED)
    assert words in answer.body["msg"]


def test_check_needs_prev_result_a_namespace_and_a_lease(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod).body
    assert node.call("CHECK", "c1", pod).body["code"] == Code.INVALID_CONFIG
    assert node.call("CHECK", "c1", "/gone", config=config(prevResult=result)).body["code"] == Code.UNKNOWN_CONTAINER
    assert node.call("CHECK", "c9", pod, config=config(prevResult=result)).body["code"] == Code.CHECK_FAILED
