"""The overlay's rules: which interface is the underlay, who is reached directly, and what flannel's annotations say."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from cni.__main__ import parse_underlay
from cni.plan import overlay, untracked
from cni.plan.underlay import Found, Rule, RuleKind, Underlay, choose
from netplane.api.objects import Node
from netplane.errors import UsageError
from netplane.rtnl import Address, Bridge, Link, Route

FOUND = Found(
    [Link("lo", mtu=65536), Link("eth0", mtu=1500), Link("eth1", mtu=9000)],
    [
        Address.of("eth0", "192.0.2.1/24"),
        Address.of("eth0", "2001:db8::1/64"),
        Address.of("eth1", "198.51.100.1/24"),
        Address.of("eth1", "198.51.100.9/24"),
        Address("eth1", Address.of("eth1", "fe80::1/64").interface, scope="link"),
    ],
    [
        Route.of("default", via="192.0.2.254", dev="eth0"),
        Route.of("198.51.100.0/24", dev="eth1", src="198.51.100.9"),
        Route.of("203.0.113.0/24", via="198.51.100.254", dev="eth1"),
        Route.of("2001:db8::/64", dev="eth0"),
    ],
)


@pytest.mark.parametrize(
    ("kind", "value", "dev", "address"),
    [
        ("address", "198.51.100.9", "eth1", "198.51.100.9"),
        ("address", "203.0.113.1", None, None),
        ("interface", "eth1", "eth1", "198.51.100.1"),
        ("interface", "eth0", "eth0", "192.0.2.1"),
        ("interface", "eth7", None, None),
        ("can-reach", "8.8.8.8", "eth0", "192.0.2.1"),
        ("can-reach", "198.51.100.77", "eth1", "198.51.100.9"),
        ("can-reach", "203.0.113.7", "eth1", "198.51.100.1"),
        ("can-reach", "2001:db8::77", "eth0", "2001:db8::1"),
        ("can-reach", "2001:db8:1::77", None, None),
    ],
)
def test_each_rule_finds_its_interface(kind: RuleKind, value: str, dev: str | None, address: str | None) -> None:
    found = choose(Rule.of(kind, value), [ip_address("192.0.2.1")], FOUND)
    assert (found and found.dev, found and str(found.address)) == (dev, address)
    assert found is None or value in found.reason or dev in found.reason.split()


def test_an_underlay_that_is_a_bridge_is_known_as_one() -> None:
    """Its packets meet the hooks of IP at its ports, so what the tunnel receives is marked in prerouting there."""
    bridged = msgspec.structs.replace(FOUND, links=[Link("eth0", Bridge(), mtu=1500), *FOUND.links[2:]])
    for found, is_bridge in ((FOUND, False), (bridged, True)):
        chosen = choose(Rule("interface", "eth0"), [ip_address("192.0.2.1")], found)
        assert chosen is not None
        assert chosen.is_bridge == is_bridge
        text = untracked.received(overlay.Tunnel("vxlan"), chosen)
        assert ("hook prerouting" in text, "hook ingress" in text) == (is_bridge, not is_bridge)


def test_an_interface_prefers_the_nodes_own_address_then_its_family() -> None:
    six = choose(Rule("interface", "eth0"), [ip_address("2001:db8::77")], FOUND)
    own = choose(Rule("interface", "eth1"), [ip_address("198.51.100.9")], FOUND)
    assert six is not None
    assert own is not None
    assert (str(six.address), str(own.address), own.mtu_bytes) == ("2001:db8::1", "198.51.100.9", 9000)


@pytest.mark.parametrize(("words", "said"), [(("route", "x"), "no rule 'route'"), (("address", "eth0"), "'eth0'")])
def test_a_rule_that_is_none_is_told_with_its_flag(words: tuple[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=f"--underlay.*{said}"):
        parse_underlay(words)


# Direct routing ------------------------------------------------------------------------------------------------


def peer(name: str, addresses: str, cidrs: str) -> overlay.Peer:
    ends = tuple(ip_address(a) for a in addresses.split())
    return overlay.Peer(name, ends, tuple(ip_network(c) for c in cidrs.split()))


ME = peer("a", "192.0.2.1 2001:db8::1", "10.244.1.0/24 fd00:1::/64")
NEAR = peer("near", "192.0.2.2 2001:db8::2", "10.244.2.0/24 fd00:2::/64")
HALF = peer("half", "192.0.2.3 2001:db8:9::3", "10.244.3.0/24 fd00:3::/64")
FAR = peer("far", "198.18.0.4", "10.244.4.0/24 fd00:4::/64")
NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
UNDERLAY = Underlay("eth0", ip_address("192.0.2.1"), 1500, "", NETWORKS)


def by_destination(state: overlay.State) -> dict[str, str]:
    return {str(r.dst): f"{r.via} {r.dev}" for r in state.routes}


def test_peers_on_the_link_are_reached_by_routes_and_others_through_the_tunnel() -> None:
    want = overlay.desired(overlay.Tunnel(direct=True), ME, UNDERLAY, [ME, NEAR, HALF, FAR])
    assert by_destination(want) == {
        "10.244.2.0/24": "192.0.2.2 eth0",
        "fd00:2::/64": "2001:db8::2 eth0",
        "10.244.3.0/24": "192.0.2.3 eth0",
        "fd00:3::/64": f"fd00:3::1 {overlay.DEVICE}",
        "10.244.4.0/24": f"10.244.4.1 {overlay.DEVICE}",
        "fd00:4::/64": f"fd00:4::1 {overlay.DEVICE}",
    }
    assert {str(entry.dst) for entry in want.fdb} == {"192.0.2.3", "198.18.0.4"}, "no tunnel end for who needs none"
    assert len(want.neighbours) == 3


def test_host_gateway_routes_each_family_by_the_peers_address_of_it() -> None:
    want = overlay.desired(overlay.Tunnel("host-gw"), ME, UNDERLAY, [NEAR, FAR])
    assert by_destination(want) == {
        "10.244.2.0/24": "192.0.2.2 eth0",
        "fd00:2::/64": "2001:db8::2 eth0",
        "10.244.4.0/24": "198.18.0.4 eth0",
    }
    assert want.link is None


def test_a_tunnel_over_ipv6_leaves_out_peers_without_ipv6() -> None:
    six = Underlay("eth0", ip_address("2001:db8::1"), 1500, "", NETWORKS)
    want = overlay.desired(overlay.Tunnel(vni=7, port=4789), ME, six, [NEAR, FAR])
    assert set(by_destination(want)) == {"10.244.2.0/24", "fd00:2::/64"}
    assert want.link is not None
    assert "id 7 dstport 4789 local 2001:db8::1" in str(want.link)
    assert [str(entry.dst) for entry in want.fdb] == ["2001:db8::2"]


# Flannel's annotations -----------------------------------------------------------------------------------------


def node(**annotations: str) -> Node:
    notes = {f"flannel.alpha.coreos.com/{key.replace('_', '-')}": text for key, text in annotations.items()}
    addresses = [{"type": "InternalIP", "address": "192.0.2.2"}]
    doc = {"metadata": {"name": "b", "annotations": notes}, "spec": {"podCIDR": "10.244.2.0/24"}}
    return msgspec.convert(doc | {"status": {"addresses": addresses}}, Node)


BACKEND = '{"VNI":1,"VtepMAC":"6A:00:00:00:00:01"}'


@pytest.mark.parametrize(
    ("notes", "address", "mac"),
    [
        ({}, "192.0.2.2", overlay.device_mac(ip_address("192.0.2.2"))),
        ({"public_ip": "198.18.0.2"}, "198.18.0.2", overlay.device_mac(ip_address("198.18.0.2"))),
        ({"public_ip": "198.18.0.2", "public_ip_overwrite": "198.18.0.3", "backend_type": "vxlan",
          "backend_data": BACKEND}, "198.18.0.3", "6a:00:00:00:00:01"),
        ({"backend_type": "host-gw", "backend_data": "null"}, "192.0.2.2", overlay.device_mac(ip_address("192.0.2.2"))),
        ({"backend_type": "vxlan", "backend_data": '{"VtepMAC":"none"}'}, "192.0.2.2",
         overlay.device_mac(ip_address("192.0.2.2"))),
        ({"backend_type": "vxlan", "backend_data": "["}, "192.0.2.2", overlay.device_mac(ip_address("192.0.2.2"))),
    ],
)  # fmt: skip
def test_a_node_is_where_flannel_says(notes: dict[str, str], address: str, mac: str) -> None:
    found = overlay.peer(node(**notes))
    assert found is not None
    want = overlay.desired(overlay.Tunnel(), ME, UNDERLAY, [found])
    assert [(entry.mac, str(entry.dst)) for entry in want.fdb] == [(mac, address)]
    assert [neighbour.mac for neighbour in want.neighbours] == [mac]


def test_this_nodes_tunnel_end_has_the_address_its_own_annotation_says() -> None:
    me = overlay.peer(node(backend_type="vxlan", backend_data=BACKEND))
    assert me is not None
    want = overlay.desired(overlay.Tunnel(), me, UNDERLAY, [])
    assert want.link is not None
    assert want.link.mac == "6a:00:00:00:00:01"
