"""Requests print as commands, invert, know what they need, and encode to the bytes the kernel documents."""

import struct
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network

import pytest

from netplane.net import names
from netplane.net import netlink as nl
from netplane.rtnl import (
    Add,
    Address,
    Bridge,
    BridgePort,
    Change,
    Delete,
    DeleteGroup,
    Dummy,
    FdbEntry,
    Link,
    Neighbour,
    PortVlan,
    Request,
    Route,
    Veth,
    Vxlan,
    add,
    append,
    decode,
    delete,
    delete_link,
    encode,
    inverse,
    replace,
)

MAC = "0a:58:0a:f4:01:02"
INDEX = {"br0": 3, "vx": 4, "eth0": 5}.__getitem__
NAMES = {3: "br0", 4: "vx", 5: "eth0"}


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            add(Link("br0", Bridge(mcast_snooping=False), mac=MAC, mtu=1450, up=True)),
            f"ip link add br0 address {MAC} mtu 1450 up type bridge mcast_snooping 0",
        ),
        (
            add(Link("v1", Veth("eth0", peer_netns=7, peer_mtu=1400), master="br0", group=9)),
            "ip link add v1 master br0 group 9 type veth peer name eth0 mtu 1400 netns /proc/self/fd/7",
        ),
        (
            add(Link("v1", Veth("eth0", peer_queues=2), queues=1)),
            "ip link add v1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 numtxqueues 2 numrxqueues 2",
        ),
        (
            add(Link("vx", Vxlan(1, local=ip_address("192.0.2.1"), dev="eth0", learning=False, tx_checksum=False))),
            "ip link add vx type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning noudpcsum",
        ),
        (add(Link("d", Dummy())), "ip link add d type dummy"),
        (add(Address.of("br0", "fd00::1/64", nodad=True)), "ip address add fd00::1/64 dev br0 nodad"),
        (
            replace(Route.of("10.2.0.0/24", via="10.2.0.0", dev="vx", onlink=True)),
            "ip route replace 10.2.0.0/24 via 10.2.0.0 dev vx onlink",
        ),
        (add(Route.of("default", via="fe80::1", dev="eth0")), "ip route add default via fe80::1 dev eth0"),
        (add(Route(IPv4Network("10.9.0.0/16"), kind="blackhole")), "ip route add blackhole 10.9.0.0/16"),
        (
            add(Neighbour.of("vx", "10.2.0.0", MAC)),
            f"ip neighbour add 10.2.0.0 lladdr {MAC} dev vx nud permanent",
        ),
        (
            delete(FdbEntry.of("vx", MAC, "192.0.2.2")),
            f"bridge fdb delete {MAC} dev vx dst 192.0.2.2 self permanent",
        ),
        (add(PortVlan("v1", 100, pvid=True, untagged=True)), "bridge vlan add dev v1 vid 100 pvid untagged"),
        (delete(PortVlan("v1", 1, 4094)), "bridge vlan delete dev v1 vid 1-4094"),
        (Change("br0", vlan_filtering=True), "ip link set br0 type bridge vlan_filtering 1"),
        (append(Route.of("default", via="10.0.0.1", dev="eth1")), "ip route append default via 10.0.0.1 dev eth1"),
        (delete_link("v1"), "ip link delete v1"),
        (DeleteGroup(77), "ip link delete group 77"),
        (Change("v1", up=False, rename="v2", master=""), "ip link set v1 name v2 nomaster down"),
        (
            Change("v1", port=BridgePort(hairpin=True)),
            "ip link set v1 type bridge_slave hairpin on learning on isolated off",
        ),
    ],
)
def test_requests_print_as_commands(request_: Request, text: str) -> None:
    assert str(request_) == text


def test_the_default_routes_family_is_its_next_hops() -> None:
    assert Route.of("default", via="10.0.0.1").dst == ip_network("0.0.0.0/0")
    assert Route.of("default", via="fe80::1").dst == ip_network("::/0")


def test_inverse_deletes_what_was_added_and_adds_what_was_deleted() -> None:
    route = Route.of("10.2.0.0/24", dev="br0")
    assert inverse(add(route)) == Delete(route, missing_ok=True)
    assert inverse(delete(route)) == Add(route)
    assert inverse(replace(route)) is None
    assert inverse(delete_link("v1")) is None


def test_inverse_of_a_change_restores_only_what_it_changed() -> None:
    before = Link("v1", mtu=1500, master="br0", up=True, port=BridgePort(hairpin=False))
    assert inverse(Change("v1", mtu=1400), before) == Change("v1", mtu=1500)
    assert inverse(Change("v1", rename="v2", up=False), before) == Change("v2", rename="v1", up=True)
    assert inverse(Change("v1", master=""), before) == Change("v1", master="br0")
    assert inverse(Change("v1", mtu=1400)) is None


def test_needs_names_the_links_that_must_be_looked_up() -> None:
    assert encode.needs(add(Link("v1", Veth("eth0"), master="br0"))) == {"br0"}
    assert encode.needs(add(Link("vx", Vxlan(1, dev="eth0")))) == {"eth0"}
    assert encode.needs(Change("v1", up=True)) == set()
    assert encode.needs(Change("v1", rename="v2", master="br0")) == {"v1", "br0"}
    assert encode.needs(add(Address.of("br0", "10.0.0.1/24"))) == {"br0"}
    assert encode.needs(delete_link("v1")) == set()


def test_queues_are_of_each_end() -> None:
    wire = encode.encode(add(Link("v1", Veth("eth0", peer_queues=2), queues=1)), INDEX)
    peer = bytes(16) + nl.attr_str(3, "eth0") + nl.attr_u32(31, 2) + nl.attr_u32(32, 2)
    mine = nl.attr_str(3, "v1") + nl.attr_u32(31, 1) + nl.attr_u32(32, 1)
    info = nl.nested(18, nl.attr_str(1, "veth"), nl.nested(2, nl.nested(1, peer)))
    assert wire == encode.Encoded(16, 0x605, bytes(16) + mine + info)


def test_veth_bytes() -> None:
    """A hand-written message: linux/if_link.h, VETH_INFO_PEER holds an ifinfomsg and then attributes."""
    wire = encode.encode(add(Link("v1", Veth("eth0", peer_netns=7), mtu=1450, master="br0", up=True)), INDEX)
    peer = bytes(16) + nl.attr_str(3, "eth0") + nl.attr_u32(28, 7)
    expected = (
        struct.pack("=BxHiII", 0, 0, 0, 1, 1)
        + nl.attr_str(3, "v1")
        + nl.attr_u32(4, 1450)
        + nl.attr_u32(10, 3)
        + nl.nested(18, nl.attr_str(1, "veth"), nl.nested(2, nl.nested(1, peer)))
    )
    assert wire == encode.Encoded(16, 0x605, expected)


@pytest.mark.parametrize(
    ("request_", "kind", "infos"),
    [
        (add(PortVlan("eth0", 200, 210)), 19, [(8, 200), (16, 210)]),
        (add(PortVlan("eth0", 100, pvid=True, untagged=True)), 19, [(6, 100)]),
        (delete(PortVlan("eth0", 1, 4094)), 17, [(8, 1), (16, 4094)]),
    ],
)
def test_vlan_bytes(request_: Request, kind: int, infos: list[tuple[int, int]]) -> None:
    """linux/if_bridge.h: RTM_SETLINK and RTM_DELLINK of AF_BRIDGE, flags and identifiers; a range is two of them."""
    wire = encode.encode(request_, INDEX)
    attrs = (nl.attr(2, struct.pack("=HH", *info)) for info in infos)
    assert (wire.type, wire.payload) == (kind, struct.pack("=BxHiII", 7, 0, 5, 0, 0) + nl.nested(26, *attrs))


def test_vlans_read_back_as_ranges() -> None:
    """As `bridge -c vlan show` has them: one with flags, a range, and another port's."""
    infos = [(6, 1), (8, 100), (16, 103), (0, 7)]
    spec = nl.nested(26, *(nl.attr(2, struct.pack("=HH", *info)) for info in infos))
    dump = [nl.Message(16, 0, 0, struct.pack("=BxHiII", 7, 0, index, 0, 0) + spec) for index in (4, 5)]
    expected = [PortVlan("eth0", 1, pvid=True, untagged=True), PortVlan("eth0", 100, 103), PortVlan("eth0", 7)]
    assert decode.vlans(dump, "eth0", 5) == expected
    assert decode.vlans(dump, "eth0", 6) == []


def test_a_mac_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no MAC"):
        encode.encode(add(Neighbour.of("vx", "10.2.0.0", "0a:58")), INDEX)


@pytest.mark.parametrize(
    "route",
    [
        Route.of("10.2.0.0/24", via="10.2.0.0", dev="vx", onlink=True),
        Route.of("default", via="10.1.0.1", dev="eth0", src="10.1.0.9", metric=50),
        Route.of("fd00:2::/64", via="fd00:2::", dev="vx", onlink=True),
        Route.of("10.3.0.0/24", dev="br0"),
        Route(ip_network("10.4.0.0/24"), dev="br0", mtu=1400, table=1000, proto=99),
        Route(ip_network("10.5.0.0/24"), dev="br0", mtu=1400, advmss=1360),
        Route(ip_network("10.5.0.0/24"), kind="unreachable"),
        Route(ip_network("10.6.0.0/24"), dev="br0", scope="global"),
    ],
)
def test_routes_read_back_as_they_were_written(route: Route) -> None:
    wire = encode.encode(add(route), INDEX)
    assert decode.routes([nl.Message(wire.type, 0, 0, wire.payload)], NAMES) == [route]


def test_addresses_neighbours_and_fdb_entries_read_back() -> None:
    address = Address("br0", ip_interface("fd00::1/64"), nodad=True)
    neighbour = Neighbour.of("vx", "fd00::9", MAC)
    entry = FdbEntry.of("vx", MAC, "192.0.2.2")
    for value, read in ((address, decode.addresses), (neighbour, decode.neighbours), (entry, decode.fdb)):
        wire = encode.encode(add(value), INDEX)
        assert read([nl.Message(wire.type, 0, 0, wire.payload)], NAMES) == [value]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("eth0", ""),
        ("a" * 15, ""),
        ("", "empty"),
        ("a" * 16, "longer"),
        ("é" * 8, "longer"),
        (".", "no"),
        ("..", "not a name"),
        ("a/b", "slash"),
        ("a:1", "colon"),
        ("a b", "white space"),
        ("a\x07", "control"),
    ],
)
def test_interface_names_the_kernel_would_refuse(name: str, why: str) -> None:
    problem = names.problem(name)
    assert (why in problem) if why else problem == ""


def test_fitted_names_are_valid_stable_and_differ() -> None:
    one, two = names.fitted("veth", "a", "b"), names.fitted("veth", "ab", "")
    assert one == names.fitted("veth", "a", "b") != two
    assert len(one) == 15
    assert names.problem(one) == ""


def test_macs_made_of_hashes_are_local_and_unicast() -> None:
    for i in range(64):
        assert int(names.mac(str(i))[:2], 16) & 3 == 2


def test_a_route_by_several_ways_reads_back_as_several() -> None:
    """What the kernel makes of two IPv6 routes to one destination (rtnetlink(7), RTA_MULTIPATH)."""
    hops = b"".join(
        struct.pack("=HBBi", 8 + 20, 4 * onlink, 0, index) + nl.attr(5, ip_address(via).packed)
        for via, index, onlink in (("fd00::1", 3, True), ("fd00::2", 5, False))
    )
    head = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 3, 0, 1, 0)
    message = nl.Message(24, 0, 0, head + nl.attr_u32(15, 254) + nl.attr_u32(6, 1024) + nl.attr(9, hops))
    assert decode.routes([message], NAMES) == [
        Route.of("default", via="fd00::1", dev="br0", onlink=True),
        Route.of("default", via="fd00::2", dev="eth0"),
    ]
