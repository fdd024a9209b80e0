"""Pods that vanish without a DEL, firewalls that are flushed, links of nobody: an agent mends them while it runs."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cni.command import command
from cni.patrol import Patrol
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.rtnl import Change, Link, Veth, add, delete
from tests.cnitools import (
    GRACE_S,
    AgentProcess,
    Inside,
    Node,
    Spaces,
    ask,
    at_once,
    config,
    door,
    echo,
    environment,
    patrol,
    relays,
    run_relay,
    wire,
)
from tests.waiting import until

pytestmark = pytest.mark.privileged

ONE_ADDRESS = {"ranges": [[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.9", "rangeEnd": "10.244.1.9"}]]}


@pytest.fixture
def node(engine_node: Node) -> Node:
    return engine_node


def listed(node: Node) -> str:
    done = node.inside(lambda: CliRunner().invoke(command, ["leases", "--state-dir", str(node.state_dir)]))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_pod_that_vanished_is_shown_and_then_forgotten(node: Node, place: Spaces) -> None:
    conf = config("1.1.0", ipam=ONE_ADDRESS, macspoofchk=True)
    wishes = {"portMappings": [{"hostPort": 80, "containerPort": 80}]}
    pod, next_pod = place.name("p1"), place.name("p2")
    assert node.call("ADD", "c1", pod, config=conf | {"runtimeConfig": wishes}).status == 0
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    found = Patrol(node.engine.mender, at_once, GRACE_S)
    node.inside(found.round)
    node.now_s += GRACE_S - 1
    node.inside(found.round)
    assert "orphan: no link" in listed(node), "the grace time is not over"
    assert node.call("ADD", "c2", next_pod, config=conf).status == 1
    node.now_s += 1
    node.inside(found.round)
    assert "c1" not in listed(node)
    assert node.engine.leases.ports() == []
    assert node.call("ADD", "c2", next_pod, config=conf).status == 0
    assert node.call("DEL", "c1", config=conf) == (0, {}), "a late DEL finds nothing, and that is fine"
    assert "c2" in listed(node)


def test_what_came_back_in_time_is_left_alone(node: Node, place: Spaces) -> None:
    """DEL and ADD of the same container within the grace time: what is there now was never wrong for long."""
    conf, pod = config("1.1.0"), place.name("p1")
    assert node.call("ADD", "c1", pod, config=conf).status == 0
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    found = Patrol(node.engine.mender, at_once, GRACE_S)
    node.inside(found.round)
    assert node.call("DEL", "c1", config=conf) == (0, {})
    assert node.call("ADD", "c1", pod, config=conf).status == 0
    node.now_s += GRACE_S
    node.inside(found.round)
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1"]
    assert len(node.links()) == 1


def test_a_container_with_a_call_under_way_is_left_for_later(node: Node, place: Spaces) -> None:
    """The lease of an ADD that is half done looks like one of nobody; whoever has the turn may work on it."""
    asked = []

    def busy(container: str, _work: Callable[[], None]) -> bool:
        asked.append(container)
        return False

    pod = place.name("p1")
    assert node.call("ADD", "c1", pod).status == 0
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    patrol(node, busy)
    assert asked == ["c1"]
    assert len(node.engine.leases.all()) == 1


def test_a_late_look_finds_an_add_that_has_ended(node: Node, place: Spaces) -> None:
    """What was wrong when it was looked for, and is right when its turn has come, is not touched."""
    pod = place.name("p1")
    assert node.call("ADD", "c1", pod).status == 0
    for _ in range(2):
        node.inside(lambda: node.engine.mender.mend("c1"))
    assert (len(node.links()), len(node.engine.leases.all())) == (1, 1)


def test_a_link_of_nobody_goes(node: Node, place: Spaces) -> None:
    assert node.call("ADD", "c1", place.name("p1")).status == 0
    with door(node.space) as rtnl:
        rtnl.apply([add(Link("vethlost", Veth("x"))), Change("vethlost", alias=f"{node.engine.owner} net c9 eth0 ")])
        rtnl.apply([add(Link("vethother", Veth("y"))), Change("vethother", alias="np-somebody net c9 eth0 ")])
    assert "orphan: no lease" in listed(node)
    patrol(node)
    with door(node.space) as rtnl:
        assert (bool(rtnl.find("vethlost")), bool(rtnl.find("vethother"))) == (False, True)
    assert len(node.links()) == 1


def test_a_flushed_firewall_is_made_again(node: Node, place: Spaces) -> None:
    """Masquerade, host ports and guards work again, without an ADD and without a restart."""
    outside, pod = place.name("out"), place.name("p1")
    wire(node.space, "203.0.113.1/24", outside, "203.0.113.9/24", "up0")
    conf = config("1.1.0", ipMasq=True, macspoofchk=True)
    wishes = {"portMappings": [{"hostPort": 80, "containerPort": 8080}]}
    assert node.call("ADD", "c1", pod, config=conf | {"runtimeConfig": wishes}).status == 0
    before = node.inside(lambda: Nft().run_text("list ruleset"))
    node.inside(lambda: Nft().run_text("flush ruleset"))
    patrol(node)
    assert sorted(node.inside(lambda: Nft().run_text("list ruleset")).split()) == sorted(before.split())
    with echo(pod, "10.244.1.2"), echo(outside, "203.0.113.9"):
        assert ask(outside, "203.0.113.1", 80) == "203.0.113.9"
        assert ask(pod, "203.0.113.9") == "203.0.113.1"


def test_a_host_port_that_leads_elsewhere_is_put_right(node: Node, place: Spaces) -> None:
    """CHECK sees it, too: that there is an element is not enough."""
    pod = place.name("p1")
    conf = config("1.1.0", runtimeConfig={"portMappings": [{"hostPort": 80, "containerPort": 8080}]})
    result = node.call("ADD", "c1", pod, config=conf).body
    text = "inet netplane-cni anyports4 { tcp . 80"
    moved = f'delete element {text} }}; add element {text} comment "{node.engine.owner}" : 10.244.1.77 . 8080 }}'
    node.inside(lambda: Nft().run_text(moved))
    answer = node.call("CHECK", "c1", pod, config=conf | {"prevResult": result})
    assert "80/tcp" in answer.body["msg"]
    patrol(node)
    assert node.call("CHECK", "c1", pod, config=conf | {"prevResult": result}) == (0, {})


def test_the_agent_forgets_pods_whose_namespaces_went_while_others_come_and_go(place: Spaces, tmp_path: Path) -> None:
    """A whole process, a grace time of a second, and ADDs and DELs all the while: none of them is disturbed."""
    node = place.name("node")
    agent, inside = AgentProcess(node, tmp_path), Inside(node)
    agent.start("--orphan-grace", "1")
    try:
        relay = relays(tmp_path, agent.socket)["c"]
        lost = place.name("lost")

        def call(verb: str, container: str, space: str) -> Any:
            variables = environment(verb, container, space)
            return netns.run_in(node, lambda: run_relay(relay, variables, json.dumps(config()).encode()))

        assert call("ADD", "lost", lost).status == 0
        netns.delete(lost)
        errors: list[Any] = []

        def churn(i: int, space: str) -> None:
            for _ in range(15):
                answers = [call(verb, f"c{i}", space) for verb in ("ADD", "DEL")]
                errors.extend(answer for answer in answers if answer.status)

        pods = [place.name(f"p{i}") for i in range(4)]
        threads = [threading.Thread(target=churn, args=(i, pod)) for i, pod in enumerate(pods)]
        for thread in threads:
            thread.start()
        until(lambda: "released a lease left behind" in agent.log.read_text(), "the lost pod is forgotten")
        for thread in threads:
            thread.join()
        assert errors == []
        assert call("ADD", "c9", pods[0]).status == 0
        found = inside(lambda: CliRunner().invoke(command, ["leases", "--state-dir", str(tmp_path)])).output
        assert ("lost" in found, "c9" in found) == (False, True)
    finally:
        agent.stop()
        inside.close()
