"""Host ports without a kernel: what a mapping becomes, what collides, and which text makes and removes it."""

from ipaddress import ip_address, ip_interface

from cni.plan import hostports
from cni.plan.hostports import HostPort, PortMapping
from netplane.rtnl import Route

POD = [ip_interface("10.88.0.5/16"), ip_interface("10.88.0.6/16"), ip_interface("fd00::5/64")]


def test_a_mapping_is_one_element_per_family_of_the_pod() -> None:
    both = hostports.bind([PortMapping(80, 8080)], POD, "br0")
    assert [(str(p.host), str(p.address)) for p in both] == [("0.0.0.0", "10.88.0.5"), ("::", "fd00::5")]
    assert {str(p) for p in both} == {"80/tcp"}
    (one,) = hostports.bind([PortMapping(80, 8080, "udp", ip_address("2001:db8::1"))], POD, "br0")
    assert str(one) == "[2001:db8::1]:80/udp"
    assert hostports.bind([PortMapping(80, 8080, "tcp", ip_address("2001:db8::1"))], POD[:1], "br0") == ()


def test_who_is_masqueraded_on_the_way() -> None:
    mapping = [PortMapping(80, 8080)]
    sources = [
        [str(p.source) for p in hostports.bind(mapping, POD, "br0", snat=snat, masq_all=everybody)]
        for snat, everybody in ((True, False), (False, False), (True, True))
    ]
    assert sources == [["10.88.0.0/16", "fd00::/64"], ["None", "None"], ["0.0.0.0/0", "::/0"]]


def test_ports_collide_where_one_packet_could_mean_both() -> None:
    def first(mapping: PortMapping) -> hostports.HostPort:
        return hostports.bind([mapping], POD, "br0")[0]

    anywhere, here = first(PortMapping(80, 1)), first(PortMapping(80, 2, "tcp", ip_address("192.0.2.1")))
    there = first(PortMapping(80, 2, "tcp", ip_address("192.0.2.2")))
    assert anywhere.collides(here)
    assert here.collides(anywhere)
    assert here.collides(here)
    assert not here.collides(there)
    assert not anywhere.collides(first(PortMapping(80, 1, "udp")))
    assert not anywhere.collides(first(PortMapping(81, 1)))
    assert not anywhere.collides(first(PortMapping(80, 1, "tcp", ip_address("::1"))))


def test_what_is_added_is_what_is_removed_once_per_pod() -> None:
    ports = hostports.bind([PortMapping(80, 8080), PortMapping(81, 8081)], POD[:1], "br0")
    added = hostports.add(ports, "np-x").splitlines()
    assert added == [
        'add element inet netplane-cni anyports4 { tcp . 80 comment "np-x" : 10.88.0.5 . 8080 }',
        'add element inet netplane-cni hairpin4 { 10.88.0.0/16 . 10.88.0.5 comment "np-x" }',
        'add element inet netplane-cni anyports4 { tcp . 81 comment "np-x" : 10.88.0.5 . 8081 }',
    ]
    removed = hostports.remove(ports, "np-x").splitlines()
    assert removed == added + [line.replace("add", "delete", 1) for line in added]


def test_a_listing_gives_up_only_what_carries_the_mark() -> None:
    listing = """table inet netplane-cni {
\tset hairpin4 {
\t\telements = { 10.88.0.0/16 . 10.88.0.5 comment "np-x", 10.1.0.0/24 . 10.1.0.2 comment "np-y",
\t\t\t     10.88.0.7 . 10.88.0.7 comment "np-x" }
\t}
}"""
    assert hostports.stale("hairpin4", listing, "np-x", ()).splitlines() == [
        "delete element inet netplane-cni hairpin4 { 10.88.0.0/16 . 10.88.0.5 }",
        "delete element inet netplane-cni hairpin4 { 10.88.0.7 . 10.88.0.7 }",
    ]


LISTING = """table inet netplane-cni {
\tmap anyports4 {
\t\telements = { tcp . 80 comment "np-x" : 10.88.0.5 . 8080, tcp . 81 comment "np-y" : 10.88.0.5 . 81,
\t\t\t     udp . 53 comment "np-x" : 10.88.0.9 . 53 }
\t}
}"""


def test_elements_that_belong_to_nobody_or_lead_elsewhere_are_found() -> None:
    """A store's own element for another pod's address is stale: its key is deleted, whatever it leads to."""
    any_, pod = ip_address("0.0.0.0"), ip_address("10.88.0.5")
    right, moved = HostPort(any_, "tcp", 80, pod, 8080), HostPort(any_, "udp", 53, pod, 53)
    assert [hostports.is_shown(port, LISTING, "np-x") for port in (right, moved)] == [True, False]
    assert not hostports.is_shown(right, LISTING, "np-y")
    assert hostports.stale("anyports4", LISTING, "np-x", [right, moved]) == (
        "delete element inet netplane-cni anyports4 { udp . 53 }\n"
    )
    assert hostports.stale("anyports4", LISTING, "np-x", [right]) == hostports.stale(
        "anyports4", LISTING, "np-x", [right, moved]
    )


def test_the_device_is_that_of_the_longest_route() -> None:
    routes = [
        Route.of("default", via="192.0.2.1", dev="eth0"),
        Route.of("10.88.0.0/16", dev="br0"),
        Route.of("10.88.0.5/32", dev="veth5"),
        Route.of("::/0", via="fe80::1", dev="eth0"),
    ]
    assert [hostports.device(routes, i.ip) for i in POD] == ["veth5", "br0", "eth0"]
    assert hostports.device(routes[1:3], ip_address("10.9.0.1")) == ""
