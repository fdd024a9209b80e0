"""A cluster of two nodes, each with its real agent, joined by an underlay: packets, peers, restarts."""

import json
import signal
from pathlib import Path

import pytest

from cni.plan import conflist, overlay
from netplane.api import kinds
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.rtnl import Change
from tests.cnitools import AgentProcess, ask, door, echo, wire
from tests.overlay_cluster import Cluster, clustered
from tests.waiting import until

pytestmark = pytest.mark.privileged
MTU = 1450


def held(space: str) -> overlay.State:
    with door(space) as rtnl:
        return overlay.observe(rtnl.links(), rtnl.addresses(), rtnl.routes(), rtnl.neighbours(), rtnl.fdb())


def test_pods_reach_pods_of_other_nodes_and_the_world(cluster: Cluster) -> None:
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    assert (a4, b4, a6, b6) == ("10.244.1.2", "10.244.2.2", "fd00:1::2", "fd00:2::2")
    with echo(b, b4), echo(b, b6, 8081):
        for kind in ("tcp", "udp"):
            assert ask(a, b4, kind=kind) == a4, "pods see each other's own addresses"
            assert ask(a, b6, 8081, kind=kind) == a6
            assert ask(cluster.agents[1].space, b4, kind=kind) == "10.244.1.1", "a node is seen by its pods' gateway"
    with echo(cluster.outside, "192.0.2.200"):
        assert ask(a, "192.0.2.200") == "192.0.2.1"
        assert ask(a, "192.0.2.200", kind="udp") == "192.0.2.1"
    with echo(a, a4):
        assert ask(cluster.agents[1].space, a4) == "10.244.1.1"
    # The MTU is right: the largest packet that may not be split arrives whole, one byte more is refused at home.
    with echo(b, b4):
        assert ask(a, b4, kind="udp-df", size=MTU - 28) == a4
        with pytest.raises(OSError, match="too long"):
            ask(a, b4, kind="udp-df", size=MTU - 27)
        assert ask(a, b4, size=200_000) == a4


def test_mtu_follows_the_underlay(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        with door(cluster.agents[1].space) as rtnl:
            rtnl.apply([Change("eth0", mtu=1400)])
        cluster.up()
        for number, mtu in ((1, 1350), (2, 1450)):
            space = cluster.agents[number].space
            text = json.loads((cluster.agents[number].conf / conflist.FILE).read_text())
            assert text["plugins"][0]["mtu"] == mtu
            with door(space) as rtnl:
                links = {link.name: link.mtu for link in rtnl.links()}
            assert (links[overlay.DEVICE], links[conflist.BRIDGE]) == (mtu, mtu)
            assert "underlay" in cluster.agents[number].log.read_text()


def test_peers_come_change_and_go(cluster: Cluster) -> None:
    space = cluster.agents[1].space
    assert len(held(space).routes) == 2
    cluster.api.put(3)
    until(lambda: len(held(space).routes) == 4, "the new peer's routes")
    assert {str(e.dst) for e in held(space).fdb} == {"192.0.2.2", "192.0.2.3"}
    cluster.api.put(3, podCIDRs=["10.244.33.0/24"])
    until(lambda: len(held(space).routes) == 3, "the changed peer's route")
    assert {str(r.dst) for r in held(space).routes} == {"10.244.2.0/24", "fd00:2::/64", "10.244.33.0/24"}
    cluster.api(lambda: cluster.api.fake.store.delete(kinds.NODE, "n3"))
    until(lambda: len(held(space).routes) == 2, "the stale peer's removal")
    assert len(held(space).fdb) == 1
    assert len(held(space).neighbours) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_change_nothing_and_interrupt_no_connection(cluster: Cluster, number: int) -> None:
    (a, _, _), (b, b4, _) = cluster.pod(1, "a"), cluster.pod(2, "b")
    agent = cluster.agents[1]
    before = held(agent.space)
    with echo(b, b4), netns.opened(a) as fd, netns.socket_in(fd, 2, 1) as client:
        client.settimeout(5)
        client.connect((b4, 8080))
        status = agent.kill(number)
        assert status == (0 if number == signal.SIGTERM else -number)
        client.send(b"while the agent is away")
        assert client.recv(100)
        assert cluster.run(1, "DEL", "never-added") == (0, {}), "DEL strands no pod"
        assert cluster.run(1, "ADD", "c9", a).body["code"] == 11
        agent.log.write_text("")
        cluster.start(1)
        until(lambda: "underlay" in agent.log.read_text(), "the first pass after the restart")
        assert cluster.run(1, "ADD", "x", cluster.place.name("x")).status == 0
        client.send(b"and after")
        assert client.recv(100)
    assert held(agent.space) == before
    assert "change=" not in agent.log.read_text(), "a restart repairs only differences, and there is none"
    assert not list(Path(f"{agent.socket}.pending").iterdir())


def test_damage_is_repaired_by_the_difference(cluster: Cluster) -> None:
    agent = cluster.agents[1]
    want = held(agent.space)
    agent.stop()
    with door(agent.space) as rtnl:
        rtnl.apply(overlay.repair(overlay.State(link=want.link, addresses=want.addresses), want))
        assert held(agent.space).routes == ()
    agent.log.write_text("")
    cluster.start(1)
    until(lambda: held(agent.space) == want, "the repair")
    assert "ip link" not in agent.log.read_text(), "the device was right and stayed"


def test_the_agent_survives_the_apiservers_restart(cluster: Cluster) -> None:
    space = cluster.agents[1].space
    cluster.api(cluster.api.fake.stop)
    assert cluster.run(1, "ADD", "a", cluster.place.name("a")).status == 0, "pods start without the apiserver"
    cluster.api(cluster.api.fake.start)
    cluster.api.put(3)
    until(lambda: len(held(space).routes) == 4, "news after the restart")


def test_a_forward_chain_that_drops_does_not_cut_pods_off(cluster: Cluster) -> None:
    agent = cluster.agents[1]
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    agent.stop()  # or it would let them through at once
    for word in ("ip", "ip6"):
        text = f"table {word} filter {{ chain FORWARD {{ type filter hook forward priority 0; policy drop; }}; }}"
        netns.run_in(agent.space, lambda text=text: Nft().run_text(text))  # type: ignore[misc]
    with echo(b, b4), echo(b, b6, 8081):
        with pytest.raises(OSError, match="timed out"):
            ask(a, b4, kind="udp", timeout_s=0.3)
        cluster.start(1)
        until(lambda: "FORWARD" in agent.log.read_text(), "the rules")
        assert (ask(a, b4), ask(a, b6, 8081)) == (a4, a6)


def test_a_node_without_range_waits_and_says_so(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        cluster.api.put(1, podCIDRs=[])
        cluster.start(1)
        agent = cluster.agents[1]
        until(lambda: "has no podCIDR" in agent.log.read_text(), "the reason")
        assert not (agent.conf / conflist.FILE).exists()
        cluster.api.put(1)
        until((agent.conf / conflist.FILE).exists, "the configuration")


def test_a_second_agent_with_the_same_state_is_refused(cluster: Cluster) -> None:
    first = cluster.agents[1]
    second = AgentProcess(first.space, first.folder, "http://192.0.2.254:8001", "n1")
    second.socket = first.folder / "other.sock"
    with pytest.raises(AssertionError, match="in use by another agent"):
        second.start()


def test_nothing_of_it_reaches_a_cable_of_another_kind(cluster: Cluster) -> None:
    """The lab's rule: what is not the cluster's stays as it was."""
    space = cluster.agents[1].space
    other = cluster.place.name("other")
    wire(space, "198.51.100.1/24", other, "198.51.100.2/24", "eth9")
    with echo(other, "198.51.100.2"):
        assert ask(space, "198.51.100.2") == "198.51.100.1"
