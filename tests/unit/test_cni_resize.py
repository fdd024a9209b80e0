"""Which running pods get another MTU, and what a bridge may pass on; and whose pods no route or tunnel can reach."""

from ipaddress import ip_address, ip_network

import pytest

from cni.plan import overlay, resize
from cni.plan.lease import Key, Lease
from cni.plan.underlay import Underlay
from netplane.rtnl import IP, Link, Network, Veth

V4, V6, ON_LINK6 = ip_address("192.0.2.1"), ip_address("2001:db8::1"), ip_network("2001:db8::/64")
PODS4, PODS6 = ip_network("10.244.1.0/24"), ip_network("fd00:1::/64")


def lease(link: str, state: str = "active") -> Lease:
    return Lease(Key("net", link, "eth0"), "active" if state == "active" else "reserved", link)


def port(name: str, mtu: int) -> Link:
    return Link(name, Veth(), mtu=mtu, master="br")


def test_only_pods_that_differ_in_the_asked_direction_are_due() -> None:
    links = {link.name: link for link in (port("small", 1350), port("right", 1400), port("large", 1450))}
    leases = [lease("small"), lease("right"), lease("large"), lease("gone")]
    assert [found.link for found, _ in resize.due(leases, links, 1400, wider=True)] == ["small"]
    assert [found.link for found, _ in resize.due(leases, links, 1400, wider=False)] == ["large"]
    assert resize.due([lease("small", "reserved")], links, 1400, wider=True) == [], "an ADD is at work there"


@pytest.mark.parametrize(("pod", "asked", "given"), [(1400, 1450, 1450), (1300, 1450, 1300), (1300, 1280, 1280)])
def test_a_pods_end_that_somebody_made_smaller_stays_so_while_it_fits(pod: int, asked: int, given: int) -> None:
    assert resize.inner_mtu(port("p", 1400), Link("eth0", mtu=pod), asked) == given


def test_a_bridge_passes_on_what_all_its_ports_take() -> None:
    links = [port("a", 1350), port("b", 1450), Link("other", Veth(), mtu=1200, master="br2")]
    assert resize.bridge_mtu(links, "br", 1450) == 1350
    assert resize.bridge_mtu(links, "br", 1300) == 1300
    assert resize.bridge_mtu(links, "br3", 1450) == 1450


@pytest.mark.parametrize(
    ("mode", "addresses", "told"),
    [
        ("host-gw", (V4,), True),
        ("host-gw", (V6,), True),
        ("host-gw", (V4, V6), False),
        ("vxlan", (V4,), False),
        ("none", (V4,), False),
    ],
)
def test_plain_routes_need_an_address_of_each_family_of_pods(
    mode: overlay.Mode, addresses: tuple[IP, ...], told: bool
) -> None:
    me = overlay.Peer("me", addresses, (PODS4, PODS6))
    assert bool(overlay.unreachable(overlay.Tunnel(mode), me)) is told


@pytest.mark.parametrize(
    ("tunnel", "addresses", "cidrs", "told"),
    [
        (overlay.Tunnel("vxlan"), (V4,), (PODS4, PODS6), False),
        (overlay.Tunnel("vxlan"), (V6,), (PODS4,), True),
        (overlay.Tunnel("vxlan", direct=True), (V6,), (PODS6,), False),
        (overlay.Tunnel("vxlan", direct=True), (V6,), (PODS4, PODS6), True),
        (overlay.Tunnel("host-gw"), (V4,), (PODS6,), True),
        (overlay.Tunnel("host-gw"), (V4,), (PODS4,), False),
        (overlay.Tunnel("none"), (V6,), (PODS4,), False),
    ],
)
def test_peers_that_cannot_be_reached_are_named(
    tunnel: overlay.Tunnel, addresses: tuple[IP, ...], cidrs: tuple[Network, ...], told: bool
) -> None:
    underlay = Underlay("eth0", ip_address("192.0.2.9"), 1500, "", (ON_LINK6,))
    me, other = overlay.Peer("me", (V4,), (PODS4,)), overlay.Peer("n2", addresses, cidrs)
    lines = overlay.left_out(tunnel, me, underlay, [me, other])
    assert [line.split()[0] for line in lines] == (["n2"] if told else [])
    want = overlay.desired(tunnel, me, underlay, [me, other])
    reached = {route.dst for route in want.routes}
    assert tunnel.mode == "none" or told is bool(set(cidrs) - reached), "what is told is what has no route"
