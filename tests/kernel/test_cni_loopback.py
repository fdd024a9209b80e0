"""Host ports are ports of 127.0.0.1 too, and still a pod does not reach the node's 127.0.0.0/8 (CVE-2020-8558).

Every refusal is asked for twice: with the rules, and without the chain that is to refuse, which then does not.
"""

import re
import socket
import struct
from typing import Any, NamedTuple

import pytest

from netplane.kernel import netns, sysctl
from netplane.kernel.nft import Nft
from tests.cnitools import Node, Spaces, aim_at_loopback, ask, config, echo

pytestmark = pytest.mark.privileged
TARGET, TABLE = "127.0.0.9", "inet netplane-cni"


class Pods(NamedTuple):
    """A node with a host port, the pod behind it, and its neighbour, who sends what is for TARGET to the node."""

    node: Node
    server: str
    address: str
    intruder: str

    def nft(self, text: str) -> str:
        return self.node.inside(lambda: Nft().run_text(text))

    def refuses(self, port: int, kind: str) -> bool:
        try:
            ask(self.intruder, TARGET, port, kind=kind, timeout_s=0.5)
        except TimeoutError:
            return True
        return False


def attach(node: Node, place: Spaces, name: str, *mappings: dict[str, Any]) -> tuple[str, str]:
    """(namespace, address) of a new pod."""
    space = place.name(name)
    answer = node.call("ADD", name, space, config=config("1.1.0", runtimeConfig={"portMappings": list(mappings)}))
    assert answer.status == 0, answer.body
    return space, answer.body["ips"][0]["address"].split("/")[0]


@pytest.fixture
def pods(engine_node: Node, place: Spaces) -> Pods:
    mappings = [{"hostPort": 80, "containerPort": 8080, "protocol": kind} for kind in ("tcp", "udp")]
    server, address = attach(engine_node, place, "server", *mappings)
    intruder, _ = attach(engine_node, place, "intruder")
    aim_at_loopback(engine_node, intruder, TARGET)
    return Pods(engine_node, server, address, intruder)


@pytest.mark.parametrize("filtered", [0, 1], ids=["bridge-nf-call-iptables=0", "bridge-nf-call-iptables=1"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_host_port_answers_the_node_and_no_pod(pods: Pods, kind: str, filtered: int) -> None:
    pods.node.inside(lambda: sysctl.write("net/bridge/bridge-nf-call-iptables", filtered))
    with echo(pods.server, pods.address):
        assert ask(pods.node.space, "127.0.0.1", 80, kind=kind) == "10.244.1.1"
        assert pods.refuses(80, kind)
        pods.nft(f"flush chain {TABLE} loopback_new")
        assert not pods.refuses(80, kind)
        pods.node.inside(pods.node.engine.mender.tidy)
        assert pods.refuses(80, kind), "rules that somebody removed are made again"


def test_another_programs_port_of_the_node_is_none_of_a_pods_127_0_0_1(pods: Pods) -> None:
    """kube-proxy's NodePorts are those of any local address, and its table may be there first."""
    pods.nft(
        "add table ip foreign; add chain ip foreign pre { type nat hook prerouting priority dstnat; }; "
        f"add rule ip foreign pre fib daddr type local tcp dport 30080 dnat to {pods.address}:8080"
    )
    with echo(pods.server, pods.address):
        assert ask(pods.intruder, "10.244.1.1", 30080)
        assert pods.refuses(30080, "tcp")
        pods.nft(f"flush chain {TABLE} loopback_new")
        assert not pods.refuses(30080, "tcp")


def test_what_is_not_tracked_is_not_delivered(pods: Pods) -> None:
    """Chains of type nat never see it."""
    pods.nft(
        "add table ip foreign; add chain ip foreign pre { type filter hook prerouting priority raw; }; "
        f"add rule ip foreign pre ip daddr {TARGET} notrack"
    )
    with echo(pods.node.space, TARGET, 9000):
        assert ask(pods.node.space, TARGET, 9000, kind="udp")
        assert pods.refuses(9000, "udp")
        pods.nft(f"flush chain {TABLE} loopback_in")
        assert not pods.refuses(9000, "udp")


def test_no_pod_ends_a_conversation_of_the_nodes_own(pods: Pods) -> None:
    """An ICMP error about a flow of lo belongs to that flow, for connection tracking."""
    with netns.opened(pods.node.space) as here, netns.opened(pods.intruder) as there:
        asks, answers = (netns.socket_in(here, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        raw = netns.socket_in(there, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with asks, answers, raw:
        answers.bind(("127.0.0.1", 9001))
        asks.bind((TARGET, 9002))
        asks.connect(("127.0.0.1", 9001))
        asks.settimeout(0.5)
        asks.send(b"?")
        assert answers.recv(9) == b"?"
        raw.sendto(unreachable(9002, 9001), (TARGET, 0))
        with pytest.raises(TimeoutError):
            asks.recv(9)
        pods.nft(f"flush chain {TABLE} loopback_in")
        raw.sendto(unreachable(9002, 9001), (TARGET, 0))
        with pytest.raises(ConnectionRefusedError):
            asks.recv(9)


def unreachable(source: int, target: int) -> bytes:
    """ICMP "port unreachable" (RFC 792) about a UDP packet from TARGET to 127.0.0.1."""
    ends = socket.inet_aton(TARGET) + socket.inet_aton("127.0.0.1")
    inner = checked(struct.pack("!BBHHHBBH", 0x45, 0, 29, 0, 0, 64, 17, 0) + ends, 10)
    inner += struct.pack("!HHHH", source, target, 9, 0)
    return checked(struct.pack("!BBHI", 3, 3, 0, 0) + inner, 2)


def checked(data: bytes, at: int) -> bytes:
    """The data with its Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + struct.pack("!H", ~total & 0xFFFF) + data[at + 2 :]


def test_a_node_without_host_ports_has_no_chain_that_sees_every_packet(engine_node: Node, place: Spaces) -> None:
    def seen() -> set[str]:
        listing = engine_node.inside(lambda: Nft().run_text(f"list table {TABLE}"))
        return set(re.findall(r"type filter hook (\w+)", listing))

    attach(engine_node, place, "plain")
    assert seen() == {"output"}
    attach(engine_node, place, "mapped", {"hostPort": 80, "containerPort": 80, "protocol": "tcp"})
    assert seen() == {"input", "output"}, "and none that what is forwarded passes"
