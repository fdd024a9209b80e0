"""Host ports with real packets: from outside, the node, its localhost, the pod itself and the pod's neighbours."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from netplane.kernel import netns, sysctl
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Link, add, delete
from proxy.tools import sctp
from tests.cnitools import DUAL, Answer, Node, Spaces, aim_at_loopback, ask, config, default_route, door, echo, wire

pytestmark = pytest.mark.privileged
NODE, OUTSIDE = ("203.0.113.1", "2001:db8::1"), ("203.0.113.9", "2001:db8::9")


@pytest.fixture
def outside(node: Node, place: Spaces) -> str:
    """A machine on the node's uplink, with routes back."""
    out = place.name("out")
    wire(node.space, f"{NODE[0]}/24", out, f"{OUTSIDE[0]}/24", "up0")
    for space, address in ((node.space, NODE[1]), (out, OUTSIDE[1])):
        with door(space) as rtnl:
            rtnl.apply([add(Address.of("up0", f"{address}/64", nodad=True))])
    default_route(out, NODE[0])
    default_route(out, NODE[1])
    return out


def mapping(host_port: int, port: int = 8080, protocol: str = "tcp", **more: Any) -> dict[str, Any]:
    return {"hostPort": host_port, "containerPort": port, "protocol": protocol, **more}


def mapped(*mappings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return config("1.1.0", **({"ipam": DUAL, "runtimeConfig": {"portMappings": list(mappings)}} | more))


def elements(node: Node) -> list[str]:
    """Every element that belongs to a host port."""
    text = node.inside(lambda: Nft().run_text("list ruleset"))
    return [part for part in text.replace("\n", ",").split(",") if "comment" in part]


def native(node: Node, place: Spaces, name: str, *mappings: dict[str, Any], **more: Any) -> list[str]:
    answer = node.call("ADD", name, place.name(name), config=mapped(*mappings, **more))
    assert answer.status == 0, answer.body
    return [ip["address"].split("/")[0] for ip in answer.body["ips"]]


def chained(node: Node, place: Spaces, name: str, *mappings: dict[str, Any], **more: Any) -> list[str]:
    """The same by two plugins: one that connects the pod, and netplane-portmap after it."""
    pod = place.name(name)
    first = node.call("ADD", name, pod, config=config("1.1.0", **({"ipam": DUAL} | more)))
    assert first.status == 0, first.body
    second = portmap(node, "ADD", name, pod, first.body, *mappings)
    assert second == first
    return [ip["address"].split("/")[0] for ip in first.body["ips"]]


def portmap(node: Node, verb: str, name: str, pod: str, result: Any, *mappings: dict[str, Any]) -> Answer:
    plugin = {"cniVersion": "1.1.0", "name": "net", "type": "netplane-portmap", "snat": True, "prevResult": result}
    return node.call(verb, name, pod, config=plugin | {"runtimeConfig": {"portMappings": list(mappings)}})


Way = Callable[..., list[str]]
ways = pytest.mark.parametrize("way", [native, chained])


@ways
@pytest.mark.parametrize("prefix", [True, False], ids=["hostPrefix", "subnet prefix"])
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_host_port_is_reached_from_everywhere(
    node: Node, place: Spaces, outside: str, way: Way, prefix: bool, family: int, kind: str
) -> None:
    node.inside(lambda: sysctl.write("net/bridge/bridge-nf-call-iptables", 0))
    node.inside(lambda: sysctl.write("net/bridge/bridge-nf-call-ip6tables", 0))
    other = native(node, place, "p0", hostPrefix=prefix)
    mine = way(node, place, "p1", mapping(80, protocol=kind), hostPrefix=prefix)
    with echo(f"{place.made[-1]}", mine[family]):
        assert ask(outside, NODE[family], 80, kind=kind) == OUTSIDE[family], "from outside, with its own address"
        assert ask(node.space, NODE[family], 80, kind=kind), "from the node"
        gateway = ("10.244.1.1", "fd00:1::1")[family]
        assert ask(node.space, gateway, 80, kind=kind), "from the node, by another of its addresses"
        seen = ask(place.made[-2], NODE[family], 80, kind=kind)
        assert seen == (other[family] if prefix else gateway), "from a neighbour"
        assert ask(place.made[-1], NODE[family], 80, kind=kind) == gateway, "from the pod itself"
        if family == 0:
            assert ask(node.space, "127.0.0.1", 80, kind=kind) == gateway, "from localhost"


def test_a_host_ip_is_that_address_alone(node: Node, place: Spaces, outside: str) -> None:
    mine = native(node, place, "p1", mapping(80, hostIP=NODE[0]), mapping(81, hostIP=NODE[1]))
    with echo(place.made[-1], mine[0]), echo(place.made[-1], mine[1]):
        assert ask(outside, NODE[0], 80)
        assert ask(outside, NODE[1], 81)
        for address, port in ((NODE[1], 80), (NODE[0], 81), ("10.244.1.1", 80)):
            with pytest.raises(ConnectionRefusedError):
                ask(outside, address, port)


def test_the_nodes_own_loopback_stays_out_of_reach_of_pods(node: Node, place: Spaces) -> None:
    """Switching on route_localnet must not open 127.0.0.1 to whoever sits on the bridge (CVE-2020-8558)."""
    native(node, place, "p1", mapping(80))
    pod = place.made[-1]
    aim_at_loopback(node, pod, "127.0.0.9")
    with echo(node.space, "127.0.0.9", 9000):
        assert ask(node.space, "127.0.0.9", 9000)
        with pytest.raises(TimeoutError):
            ask(pod, "127.0.0.9", 9000, timeout_s=1.0)


@ways
def test_conflicts_are_clear_and_undo_everything(node: Node, place: Spaces, way: Way) -> None:
    way(node, place, "p1", mapping(80), mapping(53, protocol="udp", hostIP="203.0.113.1"))
    before, leases = elements(node), len(node.engine.leases.all())
    for clash in (mapping(80), mapping(80, hostIP="203.0.113.1"), mapping(53, protocol="udp")):
        answer = node.call("ADD", "p2", place.name(f"q{clash['hostPort']}{len(clash)}"), config=mapped(clash))
        assert (answer.status, answer.body["code"]) == (1, Code.PORT_IN_USE)
        assert "belongs to container p1" in answer.body["msg"]
    assert elements(node) == before
    assert len(node.engine.leases.all()) == leases
    fine = native(node, place, "p3", mapping(80, protocol="udp"), mapping(53, protocol="udp", hostIP="203.0.113.2"))
    assert fine


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_sctp_both_ways(node: Node, place: Spaces, outside: str, family: int) -> None:
    """Crafted packets: many kernels track and translate SCTP without offering sockets for it."""
    native(node, place, "p1", mapping(3868, 99, "sctp"))
    kind = (socket.AF_INET, socket.AF_INET6)[family]
    with netns.opened(outside) as there, netns.opened(place.made[-1]) as here:
        client = netns.socket_in(there, kind, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        server = netns.socket_in(here, kind, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    header = (20, 0)[family]
    with client, server:
        for end in (client, server):
            end.settimeout(5.0)
        client.sendto(sctp.encode(sctp.Packet(1234, 3868, 0, 77)), (NODE[family], 0))
        raw, (source, *_) = server.recvfrom(4096)
        first = sctp.decode(raw[header:])
        assert first is not None
        assert (source, first.dport) == (OUTSIDE[family], 99)
        server.sendto(sctp.encode(sctp.Packet(99, 1234, 77, 1, b"here")), (source, 0))
        raw, (answerer, *_) = client.recvfrom(4096)
        second = sctp.decode(raw[header:])
        assert second is not None
        assert (answerer, second.sport) == (NODE[family], 3868)


def test_del_closes_ports_without_being_told_them(node: Node, place: Spaces, outside: str) -> None:
    mine = native(node, place, "p1", mapping(80), mapping(81, protocol="sctp"))
    assert len(elements(node)) == 2 * 2 + 2, "one element for each mapping and family, one per pod and family"
    with echo(place.made[-1], mine[0]):
        assert ask(outside, NODE[0], 80)
    for _ in range(2):
        assert node.call("DEL", "p1", config=config("1.1.0")) == (0, {})
    assert elements(node) == []
    assert node.engine.leases.ports() == []
    with pytest.raises(ConnectionRefusedError):
        ask(outside, NODE[0], 80)


def test_chained_verbs(node: Node, place: Spaces) -> None:
    chained(node, place, "p1", mapping(80))
    pod = place.made[-1]
    result = {"cniVersion": "1.1.0", "interfaces": [], "ips": [{"address": "10.244.1.2/32"}]}
    assert portmap(node, "CHECK", "p1", pod, result, mapping(80)) == (0, {})
    node.inside(lambda: Nft().run_text("flush map inet netplane-cni anyports4"))
    lost = portmap(node, "CHECK", "p1", pod, result, mapping(80))
    assert lost.body["code"] == Code.CHECK_FAILED
    assert "80/tcp" in lost.body["msg"]
    for _ in range(2):
        assert portmap(node, "DEL", "p1", "", None, mapping(80)) == (0, {})
    assert elements(node) == []
    assert len(node.engine.leases.all()) == 1, "the pod stays"
    missing = portmap(node, "ADD", "p1", pod, None, mapping(80))
    assert (missing.body["code"], "prevResult" in missing.body["msg"]) == (Code.INVALID_CONFIG, True)


def test_gc_closes_the_ports_of_what_is_gone(node: Node, place: Spaces) -> None:
    chained(node, place, "p1", mapping(80))
    chained(node, place, "p2", mapping(81))
    plugin = {"cniVersion": "1.1.0", "name": "net", "type": "netplane-portmap"}
    valid = {"cni.dev/valid-attachments": [{"containerID": "p2", "ifname": "eth0"}]}
    assert node.call("GC", config=plugin | valid) == (0, {})
    assert {port.host_port for port in node.engine.leases.ports()} == {81}
    assert node.call("GC", config=config("1.1.0", **{"cni.dev/valid-attachments": []})) == (0, {})
    assert elements(node) == []


def test_a_restart_makes_the_kernel_agree_with_the_leases(node: Node, place: Spaces, outside: str) -> None:
    kept = native(node, place, "p1", mapping(80))
    native(node, place, "p2", mapping(81))
    with door(place.made[-1]) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    before = elements(node)
    table = "inet netplane-cni"
    stray = f'add element {table} anyports4 {{ tcp . 99 comment "{node.engine.owner}" : 10.244.1.9 . 1 }}\n'
    foreign = f'add element {table} anyports4 {{ tcp . 98 comment "np-other" : 10.244.1.9 . 1 }}\n'
    node.inside(lambda: Nft().run_text(stray + foreign + f"delete element {table} anyports4 {{ tcp . 80 }}\n"))
    node.restart()
    after = " ".join(elements(node))
    assert ("tcp . 80" in after, "tcp . 81" in after, "tcp . 99" in after, "tcp . 98" in after) == (
        True,
        False,
        False,
        True,
    )
    assert len(elements(node)) == len(before) // 2 + 1
    with echo(place.made[-2], kept[0]):
        assert ask(outside, NODE[0], 80)


def test_udp_flows_follow_a_change(node: Node, place: Spaces, outside: str) -> None:
    """A client that never stops keeps its source port: without a flush it would go where it went before."""
    native(node, place, "p0", mapping(1))  # the table is there, and tracks
    with netns.opened(outside) as fd:
        client = netns.socket_in(fd, socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(2.0)
        client.sendto(b"nobody is there yet", (NODE[0], 53))
        for name in ("p1", "p2"):
            mine = native(node, place, name, mapping(53, protocol="udp"))
            with echo(place.made[-1], mine[0]):
                client.sendto(b"hello", (NODE[0], 53))
                assert client.recv(99).decode().split()[0] == OUTSIDE[0]
            assert node.call("DEL", name, config=config("1.1.0")) == (0, {})


def test_a_port_of_another_store_is_refused_and_left_alone(node: Node, place: Spaces, tmp_path: Path) -> None:
    """Two stores on one node do not know each other's ports, but the kernel does."""
    theirs = Node(node.space, tmp_path / "theirs")
    try:
        native(theirs, place, "p1", mapping(80))
        before = elements(node)
        both = mapped(mapping(81), mapping(80), name="n2", bridge="np1", ipam={"subnet": "10.9.0.0/24"})
        answer = node.call("ADD", "p2", place.name("p2"), config=both)
        assert (answer.body["code"], "80/tcp" in answer.body["msg"]) == (Code.PORT_IN_USE, True), answer.body
        assert node.call("DEL", "p2", config=both) == (0, {})
        assert elements(node) == before
        assert node.engine.leases.ports() == []
    finally:
        theirs.close()


def test_rules_do_not_grow_with_ports(node: Node, place: Spaces) -> None:
    native(node, place, "p1", mapping(1000))
    listing = "list chain inet netplane-cni hostports"
    first = node.inside(lambda: Nft().run_text(listing))
    native(node, place, "p2", *[mapping(1001 + i) for i in range(50)])
    assert node.inside(lambda: Nft().run_text(listing)) == first
