"""Every verb of the plugin, against the kernel: what a pod gets, what packets do, what is left after failures."""

import json
import sqlite3
from typing import Any

import pytest

from cni.errors import Code
from netplane.kernel import netns, sysctl
from netplane.kernel.netlink import KernelError
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Bridge, BridgePort, Change, Link, Route, Veth, add, delete
from tests.cnitools import Node, Spaces, ask, config, default_route, door, echo, wire

pytestmark = pytest.mark.privileged
DUAL = {"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]}


def routes(space: str) -> list[str]:
    with door(space) as rtnl:
        return sorted(str(route) for route in rtnl.routes() if route.proto != 2)


def addresses(space: str, dev: str = "eth0") -> list[str]:
    with door(space) as rtnl:
        return [a.interface.with_prefixlen for a in rtnl.addresses(dev) if a.scope != "link"]


def nothing_left(node: Node) -> bool:
    return node.links() == [] and node.engine.leases.all() == []


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


@pytest.mark.parametrize("filtered", ["0", "1"], ids=["bridge-nf-call-iptables=0", "bridge-nf-call-iptables=1"])
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_two_pods_of_one_node_talk_and_translated_replies_pass_the_node(
    node: Node, place: Spaces, filtered: str, family: int
) -> None:
    """A translated connection to a pod on the client's own bridge works only when the reply passes the node again."""
    pods = [place.name("p1"), place.name("p2")]
    ips = []
    for name in pods:
        answer = node.call("ADD", name, name, config=config(ipam=DUAL))
        ips.append(answer.body["ips"][family]["address"].split("/")[0])
    for word in ("iptables", "ip6tables"):
        node.inside(lambda word=word: sysctl.write(f"net/bridge/bridge-nf-call-{word}", filtered))  # type: ignore[misc]
    word, service, target = (("ip", "10.96.0.10", ips[1]), ("ip6", "fd00:96::10", f"[{ips[1]}]"))[family]
    rules = "".join(f"{word} daddr {service} {l4} dport 80 dnat to {target}:8080; " for l4 in ("tcp", "udp"))
    ruleset = f"table {word} t {{ chain c {{ type nat hook prerouting priority -100; {rules} }}; }}"
    node.inside(lambda: Nft().run_text(ruleset))
    with echo(pods[1], ips[1]):
        for kind in ("tcp", "udp"):
            assert ask(pods[0], ips[1], kind=kind) == ips[0]
            for _ in range(3):
                assert ask(pods[0], service, 80, kind=kind) == ips[0]


def test_pods_are_told_no_redirects(node: Node, place: Spaces) -> None:
    """A redirect would make a pod skip the node; the routes a pod holds stay what ADD made of them."""
    pods = [place.name("p1"), place.name("p2")]
    for name in pods:
        node.call("ADD", name, name, config=config(ipam=DUAL))
    with echo(pods[1], "fd00:1::3"), echo(pods[1], "10.244.1.3", 8081):
        for _ in range(5):
            ask(pods[0], "fd00:1::3")
            ask(pods[0], "10.244.1.3", 8081)
    with door(pods[0]) as rtnl:
        neighbours = {str(n.ip) for n in rtnl.neighbours("eth0")}
    assert not neighbours & {"fd00:1::3", "10.244.1.3"}
    assert {"fd00:1::1", "10.244.1.1"} <= neighbours


def test_subnet_prefixes_as_the_reference_plugin_gives_them(node: Node, place: Spaces) -> None:
    pods = [place.name("p1"), place.name("p2")]
    plain = config(hostPrefix=False, ipam={"subnet": "10.88.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]})
    for name in pods:
        answer = node.call("ADD", name, name, config=plain)
    assert answer.body["ips"][0]["address"] == "10.88.0.3/16"
    assert routes(pods[0]) == ["default via 10.88.0.1 dev eth0"]
    with echo(pods[1], "10.88.0.3"):
        assert ask(pods[0], "10.88.0.3") == "10.88.0.2"


@pytest.mark.parametrize("masquerade", [True, False])
def test_masquerade_is_seen_from_outside_and_only_there(node: Node, place: Spaces, masquerade: bool) -> None:
    outside, pods = place.name("out"), [place.name("p1"), place.name("p2")]
    wire(node.space, "203.0.113.1/24", outside, "203.0.113.9/24", "up0")
    default_route(outside, "203.0.113.1")
    for name in pods:
        assert node.call("ADD", name, name, config=config(ipMasq=masquerade)).status == 0
    with echo(outside, "203.0.113.9"), echo(pods[1], "10.244.1.3"):
        assert ask(pods[0], "203.0.113.9") == ("203.0.113.1" if masquerade else "10.244.1.2")
        assert ask(pods[0], "203.0.113.9", kind="udp") == ("203.0.113.1" if masquerade else "10.244.1.2")
        assert ask(pods[0], "10.244.1.3") == "10.244.1.2"


def test_many_networks_with_masquerade_are_elements_not_rules(node: Node, place: Spaces) -> None:
    rules = []
    for i in range(3):
        name = place.name(f"p{i}")
        network = config(name=f"n{i}", bridge=f"br{i}", ipMasq=True, ipam={"subnet": f"10.{i}.0.0/24"})
        assert node.call("ADD", name, name, config=network).status == 0
        listing = node.inside(lambda: Nft().run_text("list chain inet netplane-cni postrouting"))
        rules.append(listing.count("masquerade"))
    assert rules[0] > 0
    assert len(set(rules)) == 1


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


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_finds_nothing_on_a_healthy_pod_and_tolerates_other_plugins(
    node: Node, place: Spaces, version: str
) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod, config=config(version, ipam=DUAL)).body
    with door(pod) as rtnl:
        rtnl.apply(
            [
                Change("eth0", mtu=1300),
                add(Address.of("eth0", "192.168.9.9/24")),
                add(Route.of("198.51.100.0/24", via="192.168.9.1", dev="eth0")),
            ]
        )
    result["interfaces"].append({"name": "net1", "sandbox": "/elsewhere"})
    checked = node.call("CHECK", "c1", pod, config=config(version, ipam=DUAL, prevResult=result))
    assert checked == (0, {})


def _lose_address(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Address.of("eth0", "10.244.1.2/32"))])


def _lose_route(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Route.of("default", via="10.244.1.1", dev="eth0"))])


def _go_down(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([Change("eth0", up=False)])


def _lose_link(pod: str) -> None:
    with door(pod) as rtnl:
        rtnl.apply([delete(Link("eth0"))])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lose_address, "lost its address 10.244.1.2"),
        (_lose_route, "the route to 0.0.0.0/0 via 10.244.1.1 is gone"),
        (_go_down, "eth0 is down"),
        (_lose_link, "eth0 is gone"),
    ],
)
def test_check_says_what_is_wrong(node: Node, place: Spaces, damage: Any, words: str) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod).body
    damage(pod)
    answer = node.call("CHECK", "c1", pod, config=config(prevResult=result))
    assert (answer.status, answer.body["code"]) == (1, Code.CHECK_FAILED)
    assert words in answer.body["msg"]


def test_check_needs_prev_result_a_namespace_and_a_lease(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod).body
    assert node.call("CHECK", "c1", pod).body["code"] == Code.INVALID_CONFIG
    assert node.call("CHECK", "c1", "/gone", config=config(prevResult=result)).body["code"] == Code.UNKNOWN_CONTAINER
    assert node.call("CHECK", "c9", pod, config=config(prevResult=result)).body["code"] == Code.CHECK_FAILED


def test_del_leaves_nothing_and_may_be_repeated(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    for _ in range(3):
        assert node.call("DEL", "c1", pod) == (0, {})
    assert nothing_left(node)
    with door(pod) as rtnl:
        assert rtnl.link("eth0") is None
    assert node.call("ADD", "c1", pod).body["ips"][0]["address"] == "10.244.1.3/32"


def test_del_works_without_namespace_lease_link_or_prev_result(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    netns.delete(pod)
    assert node.call("DEL", "c1") == (0, {})
    assert node.call("DEL", "c1", "/run/netns/npt-gone") == (0, {})
    assert node.call("DEL", "never-added") == (0, {})
    assert nothing_left(node)


def test_del_without_its_lease_still_removes_the_link(node: Node, place: Spaces) -> None:
    node.call("ADD", "c1", place.name("p1"))
    with sqlite3.connect(node.state_dir / "leases.db") as db:
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("DELETE FROM leases")
    db.close()
    assert node.call("DEL", "c1") == (0, {})
    assert nothing_left(node)


def test_gc_removes_what_is_not_valid_of_its_own_network_only(node: Node, place: Spaces) -> None:
    for i in range(3):
        node.call("ADD", f"c{i}", place.name(f"p{i}"), config=config("1.1.0"))
    other = config("1.1.0", name="other", bridge="br1", ipam={"subnet": "10.9.0.0/24"})
    node.call("ADD", "c9", place.name("p9"), config=other)
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert node.call("GC", config=config("1.1.0", **valid)) == (0, {})
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1", "c9"]
    assert len(node.links()) == 2
    assert node.call("GC", config=config("1.1.0")).body["code"] == Code.INVALID_CONFIG


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


# Restarts ------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_pods_and_releases_what_nobody_was_told_of(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod)
    node.call("ADD", "c2", place.name("p2"))
    with sqlite3.connect(node.state_dir / "leases.db") as db:
        db.execute("UPDATE leases SET state = 'reserved' WHERE container = 'c2'")
    db.close()
    index = next(link.index for link in node.links())
    node.restart()
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1"]
    assert [link.index for link in node.links()] == [index]
    assert node.call("DEL", "c2") == (0, {})


def test_a_restart_releases_leases_whose_pod_is_gone_and_reaps_links_without_lease(node: Node, place: Spaces) -> None:
    gone = place.name("p1")
    node.call("ADD", "c1", gone)
    node.call("ADD", "c2", place.name("p2"))
    with door(gone) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    with door(node.space) as rtnl:
        stranger = add(Link("vethstranger", Veth("x"), master="np0"))
        rtnl.apply([stranger, Change("vethstranger", alias="somebody else's")])
        mine = f"{node.engine.owner} net c7 eth0 10.244.1.50"
        rtnl.apply([add(Link("vethorphan", Veth("y"), master="np0")), Change("vethorphan", alias=mine)])
    node.restart()
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c2"]
    left = {link.name for link in node.links()}
    assert "vethstranger" in left
    assert "vethorphan" not in left
    assert len(left) == 2


def test_a_lost_store_is_read_off_the_links(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    node.call("ADD", "c1", pod, config=config(ipam=DUAL))
    before = node.engine.leases.all()
    for file in node.state_dir.glob("leases.db*"):
        file.unlink()
    node.restart()
    (lease,) = node.engine.leases.all()
    assert (lease.key, lease.addresses, lease.link, lease.state) == (
        before[0].key,
        before[0].addresses,
        before[0].link,
        "active",
    )
    answer = node.call("ADD", "c2", place.name("p2"), config=config(ipam=DUAL))
    assert answer.body["ips"][0]["address"] == "10.244.1.3/32"


def test_a_reboot_voids_all_leases(node: Node, place: Spaces) -> None:
    node.call("ADD", "c1", place.name("p1"))
    with door(node.space) as rtnl:
        rtnl.apply([delete(link) for link in node.links()])
    node.restart("boot-2")
    assert node.engine.leases.void == 1
    assert nothing_left(node)


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


def test_the_reaper_deletes_many_links_at_once_and_missing_ones_too(engine_node: Node) -> None:
    with door(engine_node.space) as rtnl:
        rtnl.apply([add(Link(f"v{i}", Veth(f"w{i}"))) for i in range(20)])
    from concurrent.futures import ThreadPoolExecutor

    reaper = engine_node.engine._reaper
    with ThreadPoolExecutor(24, initializer=lambda: _enter(engine_node.space)) as pool:
        list(pool.map(reaper.delete, [f"v{i}" for i in range(24)]))
    with door(engine_node.space) as rtnl:
        assert not [link for link in rtnl.links() if link.name.startswith("v")]
        with pytest.raises(KernelError):
            rtnl.index("v1")


def _enter(space: str) -> None:
    with netns.opened(space) as fd:
        netns.setns(fd)
