"""The tunnel's own packets pass connection tracking by; what is inside them does not, and passes few rules."""

import contextlib
import ipaddress
import re
from typing import NamedTuple

import pytest

from cni.plan import firewall, overlay, untracked
from cni.plan.underlay import Underlay
from netplane.kernel import netns, sysctl
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft, NftError
from netplane.net import names
from netplane.nft.types import FAMILIES, PROTOCOLS
from netplane.rtnl import Address, Bridge, Change, FdbEntry, Link, Neighbour, Vxlan, add, delete, delete_link
from tests.cnitools import Spaces, ask, default_route, door, echo, wire
from tests.overlay_cluster import Cluster

pytestmark = pytest.mark.privileged
VXLAN, INNER = overlay.Tunnel("vxlan"), {1: "10.9.0.1", 2: "10.9.0.2"}


def tracked_ports(space: str, protocol: str) -> set[int]:
    """Destination ports of a node's flows, both families."""
    with netns.opened(space) as fd:
        conntrack = Conntrack(fd)
        try:
            return {
                flow.original.destination_port
                for family in FAMILIES
                for flow in conntrack.flows(family, PROTOCOLS[protocol])
            }
        finally:
            conntrack.close()


def nft(space: str, text: str) -> str:
    return netns.run_in(space, lambda: Nft().run_text(text))


def test_only_inner_flows_are_tracked(cluster: Cluster) -> None:
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    with echo(b, b4), echo(b, b6, 8081):
        assert ask(a, b4) == a4
        assert ask(a, b4, kind="udp") == a4
        assert ask(a, b6, 8081) == a6
    for agent in cluster.agents.values():
        assert tracked_ports(agent.space, "tcp") >= {8080, 8081}
        assert 8080 in tracked_ports(agent.space, "udp")
        assert overlay.PORT not in tracked_ports(agent.space, "udp")
        # A chain of type filter sees every packet: none is in the way of pods' packets, only at the underlay's device.
        seen = set(re.findall(r"type filter hook (\w+)", nft(agent.space, "list ruleset")))
        assert seen == {"ingress", "output"}
    # What pods send to that port of somebody else is tracked, and masqueraded, as ever.
    with echo(cluster.outside, "192.0.2.200", overlay.PORT):
        assert ask(a, "192.0.2.200", overlay.PORT, kind="udp") == "192.0.2.1"
        assert overlay.PORT in tracked_ports(cluster.agents[1].space, "udp")


# By hand, where an agent would not go ---------------------------------------------------------------------------


class End(NamedTuple):
    """A tunnel's end: its namespace and its underlay."""

    space: str
    underlay: Underlay


def tunnel(one: End, other: End, number: int) -> None:
    """A tunnel device with an address, and what leads to the other end."""
    here, there = one.underlay.address, other.underlay.address
    kind = Vxlan(1, overlay.PORT, here, one.underlay.dev, learning=False)
    mac = names.mac("end", INNER[3 - number])
    with door(one.space) as rtnl:
        rtnl.apply(
            [
                add(Link("vx0", kind, mac=names.mac("end", INNER[number]), mtu=1430, up=True)),
                add(Address.of("vx0", f"{INNER[number]}/24")),
                add(Neighbour("vx0", ipaddress.ip_address(INNER[3 - number]), mac)),
                add(FdbEntry("vx0", mac, there)),
            ]
        )
    nft(one.space, firewall.table() + untracked.sent(VXLAN, one.underlay))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("where", ["device", "bridge", "anywhere"])
def test_received_packets_are_left_untracked_at_devices_bridges_and_anywhere(
    place: Spaces, version: int, where: str
) -> None:
    left, right = place.name("left"), place.name("right")
    addresses = ("192.0.2.1/24", "192.0.2.2/24") if version == 4 else ("2001:db8::1/64", "2001:db8::2/64")
    wire(left, addresses[0], right, addresses[1])
    dev = "br0" if where == "bridge" else "eth0"
    if where == "bridge":  # its ports' frames come to the hooks of IP before the bridge has them
        moved = Address.of("eth0", addresses[1])
        with door(right) as rtnl:
            rtnl.apply([add(Link("br0", Bridge(), up=True)), Change("eth0", master="br0")])
            rtnl.apply([delete(moved), add(Address.of("br0", addresses[1], nodad=True))])
        switches = [f"net/bridge/bridge-nf-call-{word}" for word in ("iptables", "ip6tables")]
        netns.run_in(right, lambda: [sysctl.write(switch, 1) for switch in switches])
    ends = [
        End(left, Underlay("eth0", ipaddress.ip_address(addresses[0].split("/")[0]), 1500, "")),
        End(right, Underlay(dev, ipaddress.ip_address(addresses[1].split("/")[0]), 1500, "", (), where == "bridge")),
    ]
    for number in (1, 2):
        tunnel(ends[number - 1], ends[2 - number], number)
    make = untracked.received_anywhere if where == "anywhere" else untracked.received
    nft(right, make(VXLAN, ends[1].underlay))
    with echo(right, INNER[2]):
        assert ask(left, INNER[2]) == INNER[1]
        assert ask(left, INNER[2], kind="udp") == INNER[1]
    for end in ends[1:] if where == "device" else ends:
        assert 8080 in tracked_ports(end.space, "tcp")
    assert overlay.PORT not in tracked_ports(right, "udp")
    # The other end lets all be tracked that it receives: so it is this rule that makes the difference.
    assert overlay.PORT in tracked_ports(left, "udp")


def test_what_a_router_cut_in_pieces_is_put_together(place: Spaces) -> None:
    """A piece that is not tracked waits for the others in another place than they do: none of them may be left out."""
    left, router, right = place.name("left"), place.name("router"), place.name("right")
    wire(left, "192.0.2.1/24", router, "192.0.2.254/24", "eth0")
    wire(right, "198.51.100.1/24", router, "198.51.100.254/24", "eth1")
    default_route(left, "192.0.2.254")
    default_route(right, "198.51.100.254")
    netns.run_in(router, lambda: sysctl.write("net/ipv4/ip_forward", 1))
    with door(router) as rtnl:
        rtnl.apply([Change("eth1", mtu=1300)])
    ends = [
        End(left, Underlay("eth0", ipaddress.ip_address("192.0.2.1"), 1500, "")),
        End(right, Underlay("eth1", ipaddress.ip_address("198.51.100.1"), 1500, "")),
    ]
    for number in (1, 2):
        tunnel(ends[number - 1], ends[2 - number], number)
    nft(right, untracked.received(VXLAN, ends[1].underlay))
    with echo(right, INNER[2]):
        assert ask(left, INNER[2], kind="udp", size=100) == INNER[1]
        assert overlay.PORT not in tracked_ports(right, "udp")
        assert ask(left, INNER[2], kind="udp", size=1390) == INNER[1]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_without_a_tunnel_there_are_no_rules_and_text_is_repeatable(cluster: Cluster, address: str) -> None:
    underlay, space = Underlay("eth0", ipaddress.ip_address(address), 1500, ""), cluster.agents[1].space
    for mode, rules in (("vxlan", 2), ("vxlan", 2), ("host-gw", 0), ("none", 0)):
        tunnel_ = overlay.Tunnel(mode)  # type: ignore[arg-type] # its three words
        for received in (untracked.received, untracked.received_anywhere, untracked.received):
            nft(space, untracked.sent(tunnel_, underlay) + received(tunnel_, underlay))
        listing = nft(space, "list ruleset")
        assert (listing.count("notrack"), listing.count(address)) == (rules, rules)
        assert ("table netdev netplane-cni" in listing) == (rules > 0)


def test_a_device_that_goes_takes_the_rule_along_and_another_gets_it(place: Spaces) -> None:
    left, right = place.name("left"), place.name("right")
    wire(left, "192.0.2.1/24", right, "192.0.2.2/24")
    wire(left, "198.51.100.1/24", right, "198.51.100.2/24", "eth1")
    underlay = [Underlay(f"eth{i}", ipaddress.ip_address("192.0.2.1"), 1500, "") for i in range(2)]
    nft(left, firewall.table() + untracked.received(VXLAN, underlay[0]))
    with door(left) as rtnl:
        rtnl.apply([delete_link("eth0")])
    with contextlib.suppress(NftError):  # before Linux 6.15 a chain needs its device
        nft(left, untracked.received(VXLAN, underlay[0]))
    nft(left, untracked.received(VXLAN, underlay[1]))
    listing = nft(left, "list ruleset")
    assert listing.count("notrack") == 1
    assert 'hook ingress device "eth1"' in listing
