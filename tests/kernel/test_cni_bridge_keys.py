"""Networks of layer 2, VLANs, `macspoofchk`, `enabledad`: keys of the reference bridge, by what packets do."""

from contextlib import closing
from typing import Any

import pytest

from cni.errors import Code
from netplane.kernel.netlink import KernelError
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Bridge, Change, Link, PortVlan, Route, add, delete
from tests.cnitools import Answer, Node, Spaces, ask, config, door, echo

pytestmark = pytest.mark.privileged

LAYER_2: dict[str, Any] = {"hostPrefix": False, "isDefaultGateway": False, "ipam": {}}
SECOND_MAC = "02:00:00:00:00:09"


def added(node: Node, container: str, space: str, conf: dict[str, Any]) -> dict[str, Any]:
    answer = node.call("ADD", container, space, config=conf)
    assert answer.status == 0, answer.body
    return answer.body


# Layer 2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1.0", "0.4.0", "1.1.0"])
def test_a_network_without_ipam_is_a_wire(node: Node, place: Spaces, version: str) -> None:
    """Pods give themselves addresses; the plugin gives, and later removes, the wire."""
    conf = config(version, **LAYER_2)
    one, two = place.name("p1"), place.name("p2")
    results = [added(node, f"c{i}", space, conf) for i, space in enumerate((one, two))]
    assert [result.get("ips", []) for result in results] == [[], []]
    macs = set()
    for space, address in ((one, "192.0.2.1/24"), (two, "192.0.2.2/24")):
        with door(space) as rtnl:
            rtnl.apply([add(Address.of("eth0", address))])
            link = rtnl.link("eth0")
            assert link is not None
            macs.add(link.mac)
    assert len(macs) == 2
    with echo(two, "192.0.2.2"):
        assert ask(one, "192.0.2.2") == "192.0.2.1"
    if version != "0.1.0":
        assert node.call("CHECK", "c0", one, config=conf | {"prevResult": results[0]}) == (0, {})
    assert node.call("DEL", "c0", one, config=conf) == (0, {})
    with door(one) as rtnl:
        assert rtnl.link("eth0") is None


def test_the_containers_interface_may_be_left_down(node: Node, place: Spaces) -> None:
    conf = config("1.0.0", disableContainerInterface=True, **LAYER_2)
    pod = place.name("p1")
    result = added(node, "c1", pod, conf)
    with door(pod) as rtnl:
        link = rtnl.link("eth0")
    assert link is not None
    assert not link.up
    assert node.call("CHECK", "c1", pod, config=conf | {"prevResult": result}) == (0, {})


def test_addresses_are_needed_where_the_node_routes_by_them(node: Node, place: Spaces) -> None:
    answer = node.call("ADD", "c1", place.name("p1"), config=config(ipam={}))
    assert (answer.body["code"], "ipam.ranges: is missing" in answer.body["msg"]) == (Code.INVALID_CONFIG, True)


# macspoofchk -----------------------------------------------------------------------------------------------------


def disguised(space: str, mac: str) -> None:
    with door(space) as rtnl:
        rtnl.apply([Change("eth0", mac=mac)])


def heard(space: str) -> bool:
    try:
        return ask(space, "10.244.1.1", timeout_s=1.0) != ""
    except OSError:
        return False


@pytest.mark.parametrize("held", [True, False])
def test_a_guarded_pod_cannot_be_somebody_else(node: Node, place: Spaces, held: bool) -> None:
    conf = config("1.0.0", macspoofchk=held)
    pod = place.name("p1")
    added(node, "c1", pod, conf)
    with echo(node.space, "10.244.1.1"):
        assert heard(pod)
        disguised(pod, SECOND_MAC)
        with door(pod) as rtnl:
            rtnl.apply([add(Route.of("10.244.1.1/32", dev="eth0"))])
        assert heard(pod) != held


def guards(node: Node) -> str:
    with closing(node.inside(Nft)) as nft:
        if "bridge netplane-cni" not in nft.tables():
            return ""
    return node.inside(lambda: Nft().run_text("list table bridge netplane-cni"))


def test_guards_come_and_go_with_their_pods_and_outlive_a_restart(engine_node: Node, place: Spaces) -> None:
    node, conf = engine_node, config("1.1.0", macspoofchk=True)
    pods = [place.name(f"p{i}") for i in range(3)]
    results = [added(node, f"c{i}", pod, conf) for i, pod in enumerate(pods)]
    before = guards(node)
    assert before.count("comment") == 6, "two elements for each pod"
    assert before.count(" drop") == 1, "one rule for all"
    node.restart()
    assert guards(node) == before
    node.inside(lambda: Nft().run_text("flush ruleset"))
    lost = node.call("CHECK", "c1", pods[1], config=conf | {"prevResult": results[1]})
    assert (lost.body["code"], "macspoofchk" in lost.body["msg"]) == (Code.CHECK_FAILED, True)
    node.restart()
    assert sorted(guards(node).split()) == sorted(before.split())
    assert node.call("CHECK", "c1", pods[1], config=conf | {"prevResult": results[1]}) == (0, {})
    keep = {"cni.dev/valid-attachments": [{"containerID": "c0", "ifname": "eth0"}]}
    assert node.call("DEL", "c1", pods[1], config=conf) == (0, {})
    assert node.call("GC", config=conf | keep) == (0, {})
    assert guards(node).count("comment") == 2


def test_a_guard_outlives_a_lost_store(engine_node: Node, place: Spaces) -> None:
    node, pod = engine_node, place.name("p1")
    added(node, "c1", pod, config("1.1.0", macspoofchk=True))
    before = guards(node)
    node.inside(node.engine.close)
    for file in node.state_dir.glob("leases.db*"):
        file.unlink()
    node.engine = node.inside(node._engine)
    assert guards(node) == before
    assert node.call("DEL", "c1", pod) == (0, {})
    assert "comment" not in guards(node)


def test_a_failed_add_leaves_no_guard(engine_node: Node, place: Spaces) -> None:
    node = engine_node
    bad = config(
        "1.1.0", macspoofchk=True, ipam={"subnet": "10.244.1.0/24", "routes": [{"dst": "::/0", "gw": "10.1.1.1"}]}
    )
    assert node.call("ADD", "c1", place.name("p1"), config=bad).status == 1
    assert "comment" not in guards(node)
    assert (node.links(), node.engine.leases.all()) == ([], [])


# enabledad -------------------------------------------------------------------------------------------------------

SIX = {"ranges": [[{"subnet": "fd00:1::/64"}]]}


def test_an_address_that_somebody_has_is_not_given(engine_node: Node, place: Spaces) -> None:
    """A neighbour on the bridge that nobody told us of answers the probe; the next try gets another address."""
    node, conf = engine_node, config("1.1.0", enabledad=True, hostPrefix=False, ipam=SIX)
    stranger = place.name("p1")
    added(node, "c1", stranger, conf)
    with door(stranger) as rtnl:
        rtnl.apply([add(Address.of("eth0", "fd00:1::3/64", nodad=True))])
    second = place.name("p2")
    refused = node.call("ADD", "c2", second, config=conf)
    assert (refused.body["code"], "fd00:1::3" in refused.body["msg"]) == (Code.TRY_AGAIN, True)
    assert len(node.links()) == 1
    assert added(node, "c2", second, conf)["ips"][0]["address"] == "fd00:1::4/64"


# VLANs -----------------------------------------------------------------------------------------------------------


def knows_vlans(node: Node) -> bool:
    with door(node.space) as rtnl:
        try:
            rtnl.apply([add(Link("probe", Bridge(vlan_filtering=True))), delete(Link("probe"))])
        except KernelError:
            return False
    return True


def own_vlans(node: Node) -> list[list[PortVlan]]:
    with door(node.space) as rtnl:
        return [rtnl.vlans(link.name) for link in node.links() if link.alias]


def test_pods_of_a_vlan_or_a_kernel_that_has_none(node: Node, place: Spaces) -> None:
    """Where bridges know VLANs the port is in its own ones alone; where not, that is said and nothing is left."""
    conf = config("1.1.0", vlan=100, vlanTrunk=[{"id": 7}, {"minID": 200, "maxID": 210}], isDefaultGateway=True)
    answer: Answer = node.call("ADD", "c1", place.name("p1"), config=conf)
    if knows_vlans(node):
        assert answer.body["interfaces"][3]["name"] == "np0.100"
        (port,) = own_vlans(node)
        shown = {(vlan.first, vlan.last, vlan.pvid) for vlan in port}
        assert shown == {(7, 0, False), (100, 0, True), (200, 210, False)}
    else:
        assert (answer.body["code"], "vlan" in answer.body["msg"]) == (Code.UNSUPPORTED_BY_KERNEL, True)
        assert (node.links(), node.engine.leases.all()) == ([], [])
        with door(node.space) as rtnl:
            assert not rtnl.find("np0")
    assert node.call("DEL", "c1", config=conf) == (0, {})


# Routes ----------------------------------------------------------------------------------------------------------


def test_routes_have_what_1_1_0_lets_them_have(node: Node, place: Spaces) -> None:
    routes: list[dict[str, Any]] = [
        {"dst": "192.0.2.0/24", "gw": "10.244.1.1", "mtu": 1300, "advmss": 1200, "priority": 50},
        {"dst": "198.51.100.0/24", "table": 100},
        {"dst": "203.0.113.0/24", "scope": 0},
    ]
    pod = place.name("p1")
    conf = config("1.1.0", ipam={"subnet": "10.244.1.0/24", "routes": routes})
    answered = {route["dst"]: route for route in added(node, "c1", pod, conf)["routes"]}
    assert answered["192.0.2.0/24"] == routes[0]
    assert answered["198.51.100.0/24"] == {**routes[1], "gw": "10.244.1.1"}
    assert answered["203.0.113.0/24"] == {**routes[2], "gw": "10.244.1.1"}
    with door(pod) as rtnl:
        main = {str(route.dst): route for route in rtnl.routes()}
        other = {str(route.dst): route for route in rtnl.routes(100)}
    got = main["192.0.2.0/24"]
    assert (got.mtu, got.advmss, got.metric) == (1300, 1200, 50)
    assert list(other) == ["198.51.100.0/24"]
    assert "203.0.113.0/24" in main
