"""What ADD gives a pod, what it refuses, and what is left after it did; STATUS, and the plugin `loopback`."""

import json

import pytest

from cni.errors import Code
from netplane.kernel import netns, sysctl
from netplane.rtnl import Address, Bridge, BridgePort, Link, Veth, add, delete
from tests.cnitools import (
    DUAL,
    Node,
    Spaces,
    addresses,
    config,
    door,
    nothing_left,
    routes,
)

pytestmark = pytest.mark.privileged


def test_add_gives_a_pod_its_address_route_and_mtu(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    answer = node.call("ADD", "c1", pod, config=config(ipam=DUAL))
    assert answer.status == 0
    bridge, end, inside = answer.body["interfaces"]
    assert [ip["address"] for ip in answer.body["ips"]] == ["10.244.1.2/32", "fd00:1::2/128"]
    assert [ip["gateway"] for ip in answer.body["ips"]] == ["10.244.1.1", "fd00:1::1"]
    assert [ip["interface"] for ip in answer.body["ips"]] == [2, 2]
    assert answer.body["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}, {"dst": "::/0", "gw": "fd00:1::1"}]
    assert addresses(pod) == ["10.244.1.2/32", "fd00:1::2/128"]
    assert routes(pod) == ["default via 10.244.1.1 dev eth0 onlink", "default via fd00:1::1 dev eth0 onlink"]
    with door(pod) as rtnl:
        eth0, lo = rtnl.link("eth0"), rtnl.link("lo")
    assert eth0 is not None
    assert lo is not None
    assert (eth0.mtu, eth0.up, eth0.mac, lo.up) == (1400, True, "0a:58:0a:f4:01:02", True)
    assert inside == {"name": "eth0", "mac": eth0.mac, "sandbox": str(netns.path(pod))}
    with door(node.space) as rtnl:
        np0, veth = rtnl.link("np0"), rtnl.link(end["name"])
    assert np0 is not None
    assert veth is not None
    assert (np0.mtu, np0.mac, np0.up) == (1400, bridge["mac"], True)
    assert (veth.mtu, veth.mac, veth.master, veth.port) == (1400, end["mac"], "np0", BridgePort(hairpin=True))
    assert addresses(node.space, "np0") == ["10.244.1.1/24", "fd00:1::1/64"]


def test_requested_address_and_mac(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    answer = node.call("ADD", "c1", pod, args="IP=10.244.1.77;MAC=02:11:22:33:44:55")
    assert answer.body["ips"][0]["address"] == "10.244.1.77/32"
    with door(pod) as rtnl:
        eth0 = rtnl.link("eth0")
    assert eth0 is not None
    assert eth0.mac == "02:11:22:33:44:55"
    again = node.call("ADD", "c2", place.name("p2"), args="IP=10.244.1.77")
    assert (again.status, again.body["code"]) == (1, Code.INVALID_CONFIG)
    assert "10.244.1.77" in again.body["msg"]


def test_add_twice_and_a_taken_interface_name_are_refused_and_leave_what_was(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    assert node.call("ADD", "c1", pod).status == 0
    before = node.links()
    for container in ("c1", "c2"):
        answer = node.call("ADD", container, pod)
        assert (answer.status, answer.body["code"]) == (1, Code.ALREADY_ATTACHED)
        assert "eth0" in answer.body["msg"]
    assert node.links() == before
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1"]
    second = node.call("ADD", "c1", pod, ifname="net1", config=config(isDefaultGateway=False))
    assert second.body["routes"] == [{"dst": "10.244.1.0/24", "gw": "10.244.1.1"}]


def test_a_refused_route_rolls_everything_back(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    routes_ = [{"dst": "10.0.0.0/8", "gw": "203.0.113.200"}]
    bad = config(hostPrefix=False, ipam={"subnet": "10.244.1.0/24", "routes": routes_})
    answer = node.call("ADD", "c1", pod, config=bad)
    assert (answer.status, answer.body["code"]) == (1, Code.KERNEL)
    assert "ip route append 10.0.0.0/8 via 203.0.113.200" in answer.body["msg"]
    assert nothing_left(node)
    with door(pod) as rtnl:
        assert rtnl.link("eth0") is None


@pytest.mark.parametrize(
    ("path", "word"),
    [("/nowhere/at/all", "cannot be opened"), ("/etc/hostname", "no namespace"), ("/proc/self/ns/mnt", "another kind")],
)
def test_add_names_a_namespace_that_is_none(node: Node, path: str, word: str) -> None:
    answer = node.call("ADD", "c1", path)
    assert (answer.status, answer.body["code"]) == (1, Code.INVALID_ENVIRONMENT)
    assert "CNI_NETNS" in answer.body["msg"]
    assert word in answer.body["msg"]
    assert nothing_left(node)


def test_add_refuses_the_nodes_own_namespace_and_a_bridge_that_is_none(node: Node, place: Spaces) -> None:
    answer = node.call("ADD", "c1", node.space)
    assert (answer.body["code"], "own" in answer.body["msg"]) == (Code.INVALID_ENVIRONMENT, True)
    with door(node.space) as rtnl:
        rtnl.apply([add(Link("np0", Veth("np1")))])
    answer = node.call("ADD", "c1", place.name("p1"))
    assert (answer.body["code"], "np0 is no bridge" in answer.body["msg"]) == (Code.INVALID_CONFIG, True)
    assert nothing_left(node)


def test_an_existing_bridge_is_completed_not_replaced(node: Node, place: Spaces) -> None:
    with door(node.space) as rtnl:
        rtnl.apply([add(Link("np0", Bridge(), mac="02:00:00:00:00:77")), add(Address.of("np0", "192.168.7.1/24"))])
        index = rtnl.index("np0")
    answer = node.call("ADD", "c1", place.name("p1"))
    assert answer.body["interfaces"][0] == {"name": "np0", "mac": "02:00:00:00:00:77"}
    with door(node.space) as rtnl:
        assert rtnl.index("np0") == index
    assert addresses(node.space, "np0") == ["192.168.7.1/24", "10.244.1.1/24"]


def test_a_bridge_that_somebody_deleted_is_made_again(node: Node, place: Spaces) -> None:
    node.call("ADD", "c1", place.name("p1"))
    with door(node.space) as rtnl:
        rtnl.apply([delete(Link("np0"))])
    assert node.call("ADD", "c2", place.name("p2")).status == 0
    assert addresses(node.space, "np0") == ["10.244.1.1/24"]


def test_status_and_exhaustion_name_the_range(node: Node, place: Spaces) -> None:
    small = config("1.1.0", ipam={"ranges": [[{"subnet": "10.244.1.0/29"}]]})
    assert node.call("STATUS", config=small) == (0, {})
    for i in range(5):
        assert node.call("ADD", f"c{i}", place.name(f"p{i}"), config=small).status == 0
    answer = node.call("ADD", "c9", place.name("p9"), config=small)
    assert answer.body["code"] == Code.ADDRESSES_EXHAUSTED
    assert "10.244.1.1-10.244.1.6: all 5" in answer.body["msg"]
    assert node.call("STATUS", config=small).body["code"] == Code.NOT_AVAILABLE
    node.call("DEL", "c3")
    assert node.call("ADD", "c9", place.name("p8"), config=small).body["ips"][0]["address"] == "10.244.1.5/32"


def test_loopback(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    loopback = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}
    answer = node.call("ADD", "c1", pod, config=loopback, ifname="lo")
    assert answer.body["interfaces"][0]["name"] == "lo"
    with door(pod) as rtnl:
        lo = rtnl.link("lo")
    assert lo is not None
    assert lo.up
    assert node.call("CHECK", "c1", pod, config=loopback | {"prevResult": answer.body}, ifname="lo") == (0, {})
    assert node.call("DEL", "c1", pod, config=loopback, ifname="lo") == (0, {})
    assert nothing_left(node)


def test_a_pod_with_ipv6_switched_off_gets_its_ipv6_address(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    netns.run_in(pod, lambda: sysctl.write("net/ipv6/conf/default/disable_ipv6", 1))
    assert node.call("ADD", "c1", pod, config=config(ipam=DUAL)).status == 0
    assert addresses(pod) == ["10.244.1.2/32", "fd00:1::2/128"]


def test_a_refused_kernel_request_is_an_error_in_json_not_a_traceback(
    engine_node: Node, place: Spaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("cni.plan.pod.wiring", broken)
    answer = engine_node.call("ADD", "c1", place.name("p1"))
    assert (answer.status, answer.body["code"]) == (1, Code.INTERNAL)
    assert "Traceback" not in json.dumps(answer.body)
    assert nothing_left(engine_node)
