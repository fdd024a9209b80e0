"""Overlays by node configuration: other families, direct routing, other numbers, and an underlay that changes."""

from functools import partial
from pathlib import Path

import pytest

from cni.plan import conflist, overlay
from netplane.api import kinds
from netplane.kernel import netns
from netplane.rtnl import Address, Bridge, Change, Link, Veth, Vxlan, add, delete
from tests.cnitools import AgentProcess, ask, door, echo
from tests.overlay_cluster import Cluster, clustered
from tests.waiting import until

pytestmark = pytest.mark.privileged


def put(cluster: Cluster, number: int, addresses: list[str], cidrs: list[str], **notes: str) -> None:
    internal = [{"type": "InternalIP", "address": address} for address in addresses]
    metadata = {"name": f"n{number}", "annotations": notes}
    doc = {"metadata": metadata, "spec": {"podCIDRs": cidrs}, "status": {"addresses": internal}}
    cluster.api(lambda: cluster.api.fake.store.put(kinds.NODE, doc))


def ready(cluster: Cluster) -> None:
    for number, agent in cluster.agents.items():
        until((agent.conf / conflist.FILE).exists, f"the configuration of n{number}")


def own_address(space: str, *addresses: str) -> None:
    with door(space) as rtnl:
        rtnl.apply([add(Address.of("eth0", a, nodad=":" in a)) for a in addresses])


def tunnel(space: str) -> Vxlan | None:
    with door(space) as rtnl:
        return next((link.kind for link in rtnl.links() if isinstance(link.kind, Vxlan)), None)


def routes(space: str) -> dict[str, str]:
    with door(space) as rtnl:
        return {str(r.dst): r.dev for r in rtnl.routes() if r.proto == overlay.ROUTE_PROTOCOL}


@pytest.mark.parametrize("cidrs", ["10.244.{}.0/24 fd00:{}::/64", "fd00:{}::/64"])
def test_a_tunnel_over_ipv6(tmp_path: Path, cidrs: str) -> None:
    with clustered(tmp_path, "--vxlan-vni", "7", "--vxlan-port", "4789") as cluster:
        for number in cluster.agents:
            own_address(cluster.agents[number].space, f"2001:db8::{number}/64")
            put(cluster, number, [f"2001:db8::{number}"], cidrs.format(number, number).split())
            cluster.start(number)
        ready(cluster)
        found = tunnel(cluster.agents[1].space)
        assert found is not None
        assert (found.vni, found.port, str(found.local)) == (7, 4789, "2001:db8::1")
        a, b = (cluster.run(n, "ADD", f"c{n}", cluster.place.name(f"c{n}")) for n in (1, 2))
        assert (a.status, b.status) == (0, 0), (a, b)
        spaces_ = [f"{name}" for name in cluster.place.made if name.endswith(("-c1", "-c2"))]
        for one, other in zip(a.body["ips"], b.body["ips"], strict=True):
            source, target = (ip["address"].split("/")[0] for ip in (one, other))
            with echo(spaces_[1], target):
                assert ask(spaces_[0], target) == source


def test_direct_routing_on_the_link_and_a_tunnel_beyond_it(tmp_path: Path) -> None:
    with clustered(tmp_path, "--direct-routing") as cluster:
        cluster.up()
        space = cluster.agents[1].space
        put(cluster, 3, ["198.18.0.3"], ["10.244.3.0/24"])
        until(lambda: len(routes(space)) == 3, "the far peer's route")
        # The nodes' InternalIPs are of IPv4 alone, so IPv6 goes through the tunnel.
        vx = overlay.DEVICE
        assert routes(space) == {"10.244.2.0/24": "eth0", "fd00:2::/64": vx, "10.244.3.0/24": vx}
        (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
        with echo(b, b4), echo(b, b6, 8081):
            assert (ask(a, b4), ask(a, b6, 8081)) == (a4, a6)
        put(cluster, 2, ["198.18.0.2"], ["10.244.2.0/24", "fd00:2::/64"])
        until(lambda: routes(space)["10.244.2.0/24"] == vx, "the peer moved off the link")
        put(cluster, 2, ["192.0.2.2"], ["10.244.2.0/24", "fd00:2::/64"])
        until(lambda: routes(space)["10.244.2.0/24"] == "eth0", "and came back")
        with echo(b, b4):
            assert ask(a, b4) == a4


def second_wire(cluster: Cluster, number: int, mtu: int = 1400) -> None:
    """eth1 of a node, at a switch of its own."""
    switch = next((s for s in cluster.place.made if s.endswith("-sw2")), "")
    if not switch:
        switch = cluster.place.name("sw2")
        with door(switch) as rtnl:
            rtnl.apply([add(Link("br0", Bridge(), up=True))])
    with netns.opened(cluster.agents[number].space) as fd, door(switch) as rtnl:
        wire = Veth("eth1", peer_netns=fd, peer_mtu=mtu)
        rtnl.apply([add(Link(f"p{number}", wire, mtu=mtu, master="br0", up=True))])
    with door(cluster.agents[number].space) as rtnl:
        rtnl.apply([Change("eth1", up=True), add(Address.of("eth1", f"198.18.0.{number}/24"))])


@pytest.mark.parametrize("rule", ["interface eth1", "can-reach 198.18.0.99", "address"])
def test_an_underlay_that_is_asked_for(tmp_path: Path, rule: str) -> None:
    with clustered(tmp_path) as cluster:
        for number, agent in cluster.agents.items():
            second_wire(cluster, number)
            note = {"flannel.alpha.coreos.com/public-ip-overwrite": f"198.18.0.{number}"}
            cidrs = [f"10.244.{number}.0/24", f"fd00:{number}::/64"]
            put(cluster, number, [f"192.0.2.{number}"], cidrs, **note)
            value = rule if " " in rule else f"address 198.18.0.{number}"
            agent.start("--cluster-cidr", "10.244.0.0/16,fd00::/16", "--underlay", *value.split())
        ready(cluster)
        found = tunnel(cluster.agents[1].space)
        assert found is not None
        assert (found.dev, str(found.local)) == ("eth1", "198.18.0.1")
        assert rule.split(maxsplit=1)[0] in cluster.agents[1].log.read_text(), "the reason is printed"
        assert "elsewhere" not in cluster.agents[1].log.read_text()
        (a, a4, _), (b, b4, _) = cluster.pod(1, "a"), cluster.pod(2, "b")
        with door(a) as rtnl:
            assert (rtnl.link("eth0") or Link("")).mtu == 1350, "of the interface that carries it"
        with echo(b, b4):
            assert ask(a, b4) == a4


def test_an_underlay_peers_do_not_know_is_warned_of(tmp_path: Path) -> None:
    with clustered(tmp_path, "--underlay", "interface", "eth1") as cluster:
        second_wire(cluster, 1)
        cluster.api.put(1)
        cluster.start(1)
        log = cluster.agents[1].log
        until(lambda: "public-ip-overwrite=198.18.0.1" in log.read_text(), "the hint")


def test_an_underlay_that_is_not_there_is_told_and_waited_for(tmp_path: Path) -> None:
    with clustered(tmp_path, "--underlay", "interface", "eth1") as cluster:
        cluster.api.put(1)
        cluster.start(1)
        agent = cluster.agents[1]
        until(lambda: "--underlay interface eth1: no interface" in agent.log.read_text(), "the reason")
        assert not (agent.conf / conflist.FILE).exists()
        second_wire(cluster, 1)
        until((agent.conf / conflist.FILE).exists, "the configuration")


def follows(agent: AgentProcess, mtu: int) -> bool:
    return mtus(agent.space) == {mtu} and f'"mtu": {mtu}' in (agent.conf / conflist.FILE).read_text()


def mtus(space: str) -> set[int]:
    with door(space) as rtnl:
        return {link.mtu for link in rtnl.links() if link.name in (overlay.DEVICE, conflist.BRIDGE)}


def test_the_underlays_mtu_and_the_nodes_address_are_followed(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        cluster.up()
        agent = cluster.agents[1]
        (a, a4, _), (b, b4, _) = cluster.pod(1, "a"), cluster.pod(2, "b")
        for mtu in (1400, 1500):
            with door(agent.space) as rtnl:
                rtnl.apply([Change("eth0", mtu=mtu)])
            until(partial(follows, agent, mtu - 50), "tunnel, bridge and the next pods follow")
        own_address(agent.space, "192.0.2.11/25")  # a prefix of its own, or it would go with the old address
        put(cluster, 1, ["192.0.2.11"], ["10.244.1.0/24", "fd00:1::/64"])
        until(lambda: str(getattr(tunnel(agent.space), "local", "")) == "192.0.2.11", "the tunnel's new address")
        with door(agent.space) as rtnl:
            rtnl.apply([delete(Address.of("eth0", "192.0.2.1/24"))])
        with echo(b, b4):
            until(lambda: reaches(a, b4) == a4, "both nodes know the new address")


def reaches(space: str, address: str) -> str:
    try:
        return ask(space, address, kind="udp", timeout_s=0.2)
    except OSError:
        return ""


def test_a_tunnel_that_somebody_deletes_comes_back_at_once(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        cluster.up()
        space = cluster.agents[1].space
        until(lambda: len(routes(space)) == 2, "the peer")
        with door(space) as rtnl:
            before = rtnl.index(overlay.DEVICE)
            rtnl.apply([delete(Link(overlay.DEVICE))])
        until(lambda: index(space) not in (0, before) and len(routes(space)) == 2, "it is there again", 10)


def index(space: str) -> int:
    with door(space) as rtnl:
        return rtnl.find(overlay.DEVICE)
