"""Rtnl against the kernel, in namespaces of its own: what is applied is dumped back, and a refusal leaves nothing."""

import os
from collections.abc import Iterator

import pytest

from netplane.kernel import netns
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import (
    Address,
    Bridge,
    BridgePort,
    Change,
    DeleteGroup,
    FdbEntry,
    Ifb,
    Link,
    Neighbour,
    Route,
    Value,
    Veth,
    Vxlan,
    add,
    delete,
    delete_link,
    replace,
)

pytestmark = pytest.mark.privileged
MAC = "0a:58:0a:f4:01:02"


@pytest.fixture
def pair() -> Iterator[tuple[Rtnl, Rtnl, int]]:
    """Doors to two fresh namespaces, and a descriptor of the second."""
    spaces = [f"npt-rtnl-{os.getpid()}-{i}" for i in "ab"]
    try:
        for name in spaces:
            netns.create(name)
        with netns.opened(spaces[0]) as a, netns.opened(spaces[1]) as b, Rtnl(a) as rt_a, Rtnl(b) as rt_b:
            yield rt_a, rt_b, b
    finally:
        for name in spaces:
            netns.delete(name)


def test_links_are_for_everybody_to_read_and_nobody_else_to_change(pair: tuple[Rtnl, Rtnl, int]) -> None:
    fd = pair[2]
    pair[1].apply([add(Link("seen0", Bridge()))])
    if (child := os.fork()) == 0:
        status = 1
        try:
            netns.setns(fd)
            os.setresuid(65534, 65534, 65534)
            with Rtnl() as door:
                assert "seen0" in {link.name for link in door.links()}
                with pytest.raises(KernelError, match="EPERM"):
                    door.apply([delete_link("seen0")])
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_whole_topology_in_one_call(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, there, fd = pair
    values: list[Value] = [
        Address.of("br0", "10.1.0.1/24"),
        Route.of("10.2.0.0/24", via="10.2.0.0", dev="vx", onlink=True),
        Neighbour.of("vx", "10.2.0.0", MAC),
        FdbEntry.of("vx", MAC, "192.0.2.1"),
    ]
    here.apply(
        [
            add(Link("br0", Bridge(), mac=MAC, up=True)),
            Change("br0", mtu=1450),
            add(
                Link(
                    "v1",
                    Veth("eth0", peer_netns=fd, peer_mac="0a:58:00:00:00:09", peer_mtu=1450),
                    master="br0",
                    up=True,
                )
            ),
            Change("v1", port=BridgePort(hairpin=True), alias="net/c1/eth0"),
            add(Link("vx", Vxlan(1, dev="br0", learning=False), mtu=1400, up=True)),
            *(add(value) for value in values),
        ]
    )
    links = {link.name: link for link in here.links()}
    assert (links["br0"].mac, links["br0"].mtu, links["br0"].up) == (MAC, 1450, True)
    assert (links["v1"].master, links["v1"].port, links["v1"].alias) == ("br0", BridgePort(hairpin=True), "net/c1/eth0")
    assert links["vx"].kind == Vxlan(1, dev="br0", learning=False, tx_checksum=True)
    assert values[0] in here.addresses("br0")
    assert values[1] in here.routes()
    assert here.neighbours("vx") == [values[2]]
    assert values[3] in here.fdb("vx")
    peer = there.link("eth0")
    assert peer is not None
    assert (peer.mac, peer.mtu, peer.up) == ("0a:58:00:00:00:09", 1450, False)
    assert isinstance(links["v1"].kind, Veth)
    assert links["v1"].kind.peer_index == peer.index


def test_a_refused_request_is_named_and_everything_is_undone(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, _, _ = pair
    here.apply([add(Link("br0", Bridge(), mtu=1500, up=True)), add(Address.of("br0", "10.1.0.1/24"))])
    before = (here.links(), here.addresses(), here.routes())
    with pytest.raises(KernelError, match=r"ip address add 10\.1\.0\.1/24 dev br0: EEXIST") as caught:
        here.apply(
            [
                add(Link("ifb7", Ifb(), up=True)),
                Change("br0", mtu=1300, alias="gone", up=False),
                delete(Address.of("br0", "10.1.0.1/24")),
                add(Address.of("br0", "10.1.0.1/24")),
                add(Address.of("br0", "10.1.0.1/24")),
                add(Route.of("10.7.0.0/24", dev="ifb7")),
            ]
        )
    assert caught.value.errno == 17
    assert (here.links(), here.addresses(), here.routes()) == before


def test_a_route_by_a_missing_link_names_the_route(pair: tuple[Rtnl, Rtnl, int]) -> None:
    with pytest.raises(KernelError, match=r"ip route add 10\.7\.0\.0/24 dev nope: ENODEV"):
        pair[0].apply([add(Route.of("10.7.0.0/24", dev="nope"))])


def test_what_is_missing_may_be_deleted_when_said_so(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, _, _ = pair
    gone = [delete_link("nope", missing_ok=True), delete(Neighbour.of("nope", "10.0.0.1"), missing_ok=True)]
    here.apply([*gone, delete(Route.of("10.0.0.0/24", dev="lo"), missing_ok=True)])
    with pytest.raises(KernelError, match="ip link delete nope: ENODEV"):
        here.apply([delete_link("nope")])


def test_replace_takes_the_place_of_what_is_there(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, _, _ = pair
    here.apply([add(Link("br0", Bridge(), up=True)), add(Neighbour.of("br0", "10.0.0.1", MAC))])
    here.apply([replace(Neighbour.of("br0", "10.0.0.1", "0a:58:00:00:00:01"))])
    assert [n.mac for n in here.neighbours("br0") if str(n.ip) == "10.0.0.1"] == ["0a:58:00:00:00:01"]


def test_links_move_and_are_renamed(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, there, fd = pair
    here.apply([add(Link("v1", Veth("v2"))), Change("v2", netns=fd), Change("v1", rename="left", up=True)])
    there.apply([Change("v2", rename="right", up=True)])
    assert here.link("v1") is None
    assert there.link("right") is not None
    left = here.link("left")
    assert left is not None
    assert left.up


def test_a_group_is_deleted_at_once(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, _, _ = pair
    here.apply([add(Link(f"v{i}", Veth(f"p{i}"), group=900 if i < 3 else 0)) for i in range(4)])
    here.apply([DeleteGroup(900)])
    assert [link.name for link in here.links() if link.name.startswith("v")] == ["v3"]


def test_hundreds_of_requests_in_one_call(pair: tuple[Rtnl, Rtnl, int]) -> None:
    here, _, _ = pair
    routes = [Route.of(f"10.{i // 256}.{i % 256}.0/24", dev="br0") for i in range(700)]
    here.apply([add(Link("br0", Bridge(), up=True)), *(add(route) for route in routes)])
    assert {route.dst for route in here.routes()} >= {route.dst for route in routes}
