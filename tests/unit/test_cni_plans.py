"""Plans of the CNI: addresses in turn, a pod's wiring as `ip` commands, an overlay's difference, firewall text."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from cni import check
from cni.config import Network, parse
from cni.plan import conflist, firewall, ipam, overlay, pod
from cni.plan.lease import Key, Lease
from cni.plan.underlay import Found, Rule, Underlay, choose
from cni.protocol import Call, Verb
from netplane.api.objects import Node
from netplane.rtnl import Address, FdbEntry, Link, Neighbour, Request, Route, Veth, Vxlan

A, B, C = (ip_address(f"192.0.2.{i}") for i in (1, 2, 3))


def ranges(*subnets: str) -> ipam.RangeSet:
    return tuple(ipam.Range.of(ip_network(subnet)) for subnet in subnets)


def given(found: Sequence[object]) -> list[str]:
    return [str(address) for address in found]


def test_addresses_come_in_turn_and_each_once() -> None:
    small = ranges("10.1.0.0/29")
    assert given(list(ipam.candidates(small, None))) == [f"10.1.0.{i}" for i in (2, 3, 4, 5, 6)]
    assert given(list(ipam.candidates(small, ip_address("10.1.0.4")))) == [f"10.1.0.{i}" for i in (5, 6, 2, 3, 4)]
    assert given(list(ipam.candidates(small, ip_address("10.1.0.6")))) == [f"10.1.0.{i}" for i in (2, 3, 4, 5, 6)]
    assert given(list(ipam.candidates(small, ip_address("10.9.0.6"))))[:1] == ["10.1.0.2"]


def test_ranges_of_a_set_follow_each_other() -> None:
    two = ranges("10.1.0.0/30", "10.2.0.0/29")
    assert given(list(ipam.candidates(two, ip_address("10.2.0.3")))) == [
        "10.2.0.4", "10.2.0.5", "10.2.0.6", "10.1.0.2", "10.2.0.2", "10.2.0.3",
    ]  # fmt: skip
    assert ipam.capacity(two) == 1 + 5
    assert ipam.describe(two) == "10.1.0.1-10.1.0.2, 10.2.0.1-10.2.0.6"


def test_ipv6_has_no_broadcast_and_large_ranges_are_not_walked() -> None:
    wide = ranges("fd00::/64")
    assert str(wide[0].last) == "fd00::ffff:ffff:ffff:ffff"
    assert str(next(ipam.candidates(wide, wide[0].last))) == "fd00::2"
    assert ipam.capacity(wide) == 2**64 - 2


# Pods ----------------------------------------------------------------------------------------------------------


def network(*cidrs: str, mtu: int = 1450) -> Network:
    return parse(conflist.network([ip_network(c) for c in cidrs], mtu), args={}, needs_ranges=True)


def attachment(net: Network, *addresses: str) -> pod.Attachment:
    return pod.Attachment(
        net, "np-owner", "c1", "veth1", "eth0", tuple(map(ip_address, addresses)), 1450, "/run/netns/x"
    )


def test_a_pods_wiring_reads_like_ip_commands() -> None:
    wiring = pod.wiring(attachment(network("10.244.1.0/24", "fd00:1::/64"), "10.244.1.5", "fd00:1::5"), 7)
    node = [str(request) for request in wiring.node]
    assert node[0].endswith(
        "mtu 1450 master netplane0 numtxqueues 1 numrxqueues 1 up type veth peer name eth0 address 0a:58:0a:f4:01:05"
        " mtu 1450 numtxqueues 1 numrxqueues 1 netns /proc/self/fd/7"
    )
    assert "alias np-owner netplane c1 eth0 10.244.1.5,fd00:1::5" in node[1]
    assert "hairpin on" in node[1]
    assert [str(request) for request in wiring.pod] == [
        "ip link set lo up",
        "ip link set eth0 up",
        "ip address add 10.244.1.5/32 dev eth0",
        "ip address add fd00:1::5/128 dev eth0 nodad",
        "ip route append default via 10.244.1.1 dev eth0 onlink",
        "ip route append default via fd00:1::1 dev eth0 onlink",
    ]


def test_a_host_prefix_without_default_route_still_reaches_its_subnet_through_the_node() -> None:
    net = msgspec.structs.replace(network("10.244.1.0/24"), routes=())
    assert [str(r) for r in pod.wiring(attachment(net, "10.244.1.5"), 7).pod][-1] == (
        "ip route append 10.244.1.0/24 via 10.244.1.1 dev eth0 onlink"
    )


def test_marks_read_back_unless_cut_short_or_anothers() -> None:
    net = network("10.244.1.0/24")
    text = pod.alias(attachment(net, "10.244.1.5"))
    assert pod.read_alias(text, "np-owner") == ("netplane", "c1", "eth0", (ip_address("10.244.1.5"),))
    assert pod.read_alias(text, "np-other") is None
    assert pod.read_alias("", "np-owner") is None
    long = msgspec.structs.replace(attachment(net, "10.244.1.5"), container="c" * 300)
    assert len(pod.alias(long)) == pod.ALIAS_MAX_BYTES
    assert pod.read_alias(pod.alias(long), "np-owner") is None


def test_a_bridge_gets_only_what_it_lacks() -> None:
    net = network("10.244.1.0/24")
    fresh = [str(request) for request in [*pod.bridge(net, None), *pod.gateway(net, 1400, [])]]
    assert [text.split()[2] for text in fresh] == ["add", "set", "add"]
    assert fresh[-1] == "ip address add 10.244.1.1/24 dev netplane0"
    whole = Link("netplane0", mtu=1450, up=True)
    assert pod.bridge(net, whole) == pod.gateway(net, 1400, pod.gateways(net)) == []
    assert [str(r) for r in pod.bridge(net, msgspec.structs.replace(whole, mtu=1500))] == [
        "ip link set netplane0 mtu 1450 up"
    ]


def test_macs_are_the_addresss_or_what_was_asked_for() -> None:
    net = network("10.244.1.0/24")
    assert pod.pod_mac(attachment(net, "10.244.1.5")) == "0a:58:0a:f4:01:05"
    asked = msgspec.structs.replace(net, mac="02:00:00:00:00:01")
    assert pod.pod_mac(attachment(asked, "10.244.1.5")) == "02:00:00:00:00:01"
    six = network("fd00:1::/64")
    assert pod.pod_mac(attachment(six, "fd00:1::5")) != pod.pod_mac(attachment(six, "fd00:1::6"))


# The overlay ---------------------------------------------------------------------------------------------------


def peer(name: str, address: str, *cidrs: str) -> overlay.Peer:
    return overlay.Peer(name, (ip_address(address),), tuple(ip_network(c) for c in cidrs))


ME = peer("a", "192.0.2.1", "10.244.1.0/24", "fd00:1::/64")
PEERS = (ME, peer("b", "192.0.2.2", "10.244.2.0/24", "fd00:2::/64"), peer("c", "192.0.2.3", "10.244.3.0/24"))
VXLAN = overlay.Tunnel()
UNDERLAY = Underlay("eth0", A, 1500, "")


def applied(requests: Sequence[Request], have: overlay.State) -> list[str]:
    return [str(request) for request in requests]


def test_nodes_become_peers_when_they_have_addresses_and_ranges() -> None:
    node = msgspec.convert(
        {
            "metadata": {"name": "b"},
            "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24", "fd00:2::/64"]},
            "status": {
                "addresses": [{"type": "Hostname", "address": "b"}, {"type": "InternalIP", "address": "192.0.2.2"}]
            },
        },
        Node,
    )
    assert overlay.peer(node) == PEERS[1]
    assert overlay.peer(msgspec.structs.replace(node, spec=msgspec.convert({}, type(node.spec)))) is None
    assert overlay.peer(msgspec.structs.replace(node, status=None)) is None
    single = msgspec.structs.replace(node, spec=msgspec.convert({"podCIDR": "10.244.9.0/24"}, type(node.spec)))
    found = overlay.peer(single)
    assert found is not None
    assert found.pod_cidrs == (ip_network("10.244.9.0/24"),)


def test_vxlan_state() -> None:
    want = overlay.desired(VXLAN, ME, UNDERLAY, PEERS)
    assert str(want.link) == (
        f"{overlay.DEVICE} address {overlay.device_mac(A)} mtu 1450 up"
        " type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning"
    )
    assert given(want.addresses) == [f"10.244.1.1/32 dev {overlay.DEVICE}", f"fd00:1::1/128 dev {overlay.DEVICE} nodad"]
    assert [f"{r.dst} {r.via}" for r in want.routes] == [
        "10.244.2.0/24 10.244.2.1",
        "fd00:2::/64 fd00:2::1",
        "10.244.3.0/24 10.244.3.1",
    ]
    assert len(want.neighbours) == 3
    assert [str(entry.dst) for entry in want.fdb] == ["192.0.2.2", "192.0.2.3"]
    assert overlay.device_mac(B) == want.fdb[0].mac == want.neighbours[0].mac


def test_a_tunnel_over_ipv6_costs_twenty_bytes_more() -> None:
    six = Underlay("eth0", ip_address("2001:db8::1"), 1500, "")
    found = (VXLAN.pod_mtu(UNDERLAY), VXLAN.pod_mtu(six), overlay.Tunnel("host-gw").pod_mtu(six))
    assert found == (1450, 1430, 1500)


def test_repair_from_nothing_then_of_nothing() -> None:
    want = overlay.desired(VXLAN, ME, UNDERLAY, PEERS)
    texts = applied(overlay.repair(want, overlay.State()), overlay.State())
    assert texts[0].startswith(f"ip link add {overlay.DEVICE}")
    assert [text.split()[0] + " " + text.split()[1] for text in texts[1:3]] == ["ip address", "ip address"]
    assert texts.index(next(t for t in texts if "fdb" in t)) < texts.index(next(t for t in texts if "ip route" in t))
    assert overlay.repair(want, want) == []
    assert want.link is not None
    link = Link(**msgspec.structs.asdict(want.link) | {"index": 9, "kind": Vxlan(1, 8472, A, "eth0", False, True)})
    dumped = msgspec.structs.replace(want, link=link)
    assert overlay.repair(want, dumped) == []


def test_a_peer_that_moved_is_replaced_and_one_that_left_is_removed() -> None:
    have = overlay.desired(VXLAN, ME, UNDERLAY, PEERS)
    moved = (ME, peer("b", "192.0.2.9", "10.244.2.0/24", "fd00:2::/64"))
    texts = applied(overlay.repair(overlay.desired(VXLAN, ME, UNDERLAY, moved), have), have)
    assert not [t for t in texts if t.startswith("ip link")]
    assert sum(t.startswith("ip neighbour replace") for t in texts) == 2
    assert sum("route delete" in t for t in texts) == 1
    assert "10.244.3.0/24" in next(t for t in texts if "route delete" in t)
    assert sum("fdb delete" in t for t in texts) == 2
    assert not [t for t in texts if "route replace" in t], "the way to b stays as it was"


def test_a_device_that_cannot_be_changed_is_made_again() -> None:
    have = overlay.desired(VXLAN, ME, Underlay("eth1", A, 1500, ""), PEERS)
    want = overlay.desired(VXLAN, ME, UNDERLAY, PEERS)
    texts = applied(overlay.repair(want, have), have)
    assert texts[0] == f"ip link delete {overlay.DEVICE}"
    assert texts[1].startswith(f"ip link add {overlay.DEVICE}")
    assert sum("route replace" in t for t in texts) == 3
    smaller = overlay.desired(VXLAN, ME, Underlay("eth0", A, 1400, ""), PEERS)
    assert applied(overlay.repair(smaller, want), want) == [f"ip link set {overlay.DEVICE} mtu 1350 up"]


def test_changing_the_mode_removes_the_other_ones_parts() -> None:
    vxlan, direct = (overlay.desired(overlay.Tunnel(mode), ME, UNDERLAY, PEERS) for mode in ("vxlan", "host-gw"))
    assert given(direct.routes) == [
        "10.244.2.0/24 via 192.0.2.2 dev eth0 proto 78 onlink",
        "10.244.3.0/24 via 192.0.2.3 dev eth0 proto 78 onlink",
    ]
    there = applied(overlay.repair(direct, vxlan), vxlan)
    assert there[0] == f"ip link delete {overlay.DEVICE}"
    back = applied(overlay.repair(vxlan, direct), direct)
    assert sum("route delete" in t for t in back) == 2
    gone = applied(overlay.repair(overlay.State(), vxlan), vxlan)
    assert gone == [f"ip link delete {overlay.DEVICE}"]


def test_observe_takes_only_what_is_ours() -> None:
    want = overlay.desired(VXLAN, ME, UNDERLAY, PEERS)
    assert want.link is not None
    kernel = (Address("eth0", Address.of("eth0", "192.0.2.1/24").interface), Address.of(overlay.DEVICE, "fe80::1/64"))
    found = overlay.observe(
        [Link("eth0"), want.link],
        [*want.addresses, kernel[0], msgspec.structs.replace(kernel[1], scope="link")],
        [*want.routes, Route.of("fe80::/64", dev=overlay.DEVICE), Route.of("default", via="192.0.2.254", dev="eth0")],
        [*want.neighbours, Neighbour.of("eth0", "192.0.2.2", "02:00:00:00:00:01")],
        [*want.fdb, FdbEntry.of(overlay.DEVICE, "33:33:00:00:00:01"), FdbEntry.of("eth0", "02:00:00:00:00:01")],
    )
    assert found == want


def test_the_underlay_is_the_interface_with_the_address_or_else_the_default_routes() -> None:
    links = [Link("eth0", mtu=1500), Link("eth1", mtu=9000)]
    addresses = [Address.of("eth0", "192.0.2.1/24"), Address.of("eth1", "198.51.100.1/24")]
    routes = [Route.of("default", via="192.0.2.254", dev="eth0", metric=100)]
    chosen = choose(Rule(), [ip_address("198.51.100.1")], Found(links, addresses, routes))
    assert chosen is not None
    assert (chosen.dev, chosen.mtu_bytes, "InternalIP" in chosen.reason) == ("eth1", 9000, True)
    nat = choose(Rule(), [ip_address("203.0.113.5")], Found(links, addresses, routes))
    assert nat is not None
    assert (nat.dev, str(nat.address), "default route" in nat.reason) == ("eth0", "192.0.2.1", True)
    assert choose(Rule(), [ip_address("203.0.113.5")], Found(links, addresses, [])) is None


# The firewall --------------------------------------------------------------------------------------------------


def test_the_rules_do_not_grow_with_networks() -> None:
    text = firewall.table() + firewall.masquerade([ip_network(f"10.{i}.0.0/24") for i in range(50)])
    assert text.count("add rule") == firewall.table().count("add rule")
    assert text.count("add element") == 50


def test_cluster_sets_are_replaced_whole_and_merged() -> None:
    text = firewall.cluster([ip_network("10.244.1.0/24")], [ip_network("10.244.0.0/16"), ip_network("10.244.1.0/24")])
    assert "add element inet netplane-cni pods4 { 10.244.1.0/24 }" in text
    assert "add element inet netplane-cni cluster4 { 10.244.0.0/16 }" in text
    assert text.count("flush set") == 4
    assert "cluster6 {" not in text


def test_a_dropping_forward_chain_is_opened_once() -> None:
    pods = [ip_network("10.244.0.0/16"), ip_network("fd00::/48")]
    chain = "table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop;\n }\n}"
    text = firewall.forward(chain, 4, pods)
    assert [line.split()[5:8] for line in text.splitlines()] == [
        ["ip", "saddr", "10.244.0.0/16"],
        ["ip", "daddr", "10.244.0.0/16"],
    ]
    assert firewall.forward(chain + text, 4, pods) == ""
    assert firewall.forward(chain + text, 4, [ip_network("10.244.1.0/24")]) == "", "what a listed range covers"
    assert "10.245.0.0/16" in firewall.forward(chain + text, 4, [*pods, ip_network("10.245.0.0/16")])
    assert firewall.forward(chain.replace("drop", "accept"), 4, pods) == ""
    assert firewall.forward("", 6, pods) == ""


# CHECK ---------------------------------------------------------------------------------------------------------


def test_check_compares_only_what_it_made() -> None:
    net = network("10.244.1.0/24")
    here = attachment(net, "10.244.1.5")
    call = Call(Verb.CHECK, net, "c1", "/run/netns/x", "eth0")
    lease = Lease(Key("netplane", "c1", "eth0"), "active", "veth1", here.addresses)
    result = pod.result(here)
    healthy = check.Observed(
        Link("veth1", Veth(), master="netplane0", up=True),
        Link("eth0", Veth(), mac=pod.pod_mac(here), up=True),
        [Address.of("eth0", "10.244.1.5/32"), Address.of("eth0", "192.168.0.1/24")],
        [Route.of("default", via="10.244.1.1", dev="eth0"), Route.of("10.0.0.0/8", dev="eth0")],
    )
    assert list(check.differences(call, lease, result, healthy)) == []
    assert list(check.differences(call, None, result, healthy)) == ["no lease is held for eth0 of container c1"]
    other = msgspec.structs.replace(healthy, pod_end=Link("eth0", mac="02:00:00:00:00:09", up=True))
    assert "not 0a:58" in next(check.differences(call, lease, result, other))
    moved = msgspec.structs.replace(healthy, node_end=Link("veth1", master="br9", up=True))
    assert "not a port of netplane0" in next(check.differences(call, lease, result, moved))


@pytest.mark.parametrize("kind", [Vxlan(1, learning=False), Vxlan(2, learning=False), Vxlan(1), Veth()])
def test_only_an_equal_tunnel_is_kept(kind: Vxlan | Veth) -> None:
    want = overlay.State(link=Link(overlay.DEVICE, Vxlan(1, learning=False)))
    have = overlay.State(link=Link(overlay.DEVICE, kind))
    remade = any("delete" in str(request) for request in overlay.repair(want, have))
    assert remade == (kind != Vxlan(1, learning=False))
