"""What packets of pods do on one node: between its pods, through translations, to the outside."""

import socket
import time
from pathlib import Path

import pytest

from netplane.kernel import netns, sysctl
from netplane.kernel.nft import Nft
from tests.cnitools import DUAL, Node, Spaces, ask, config, default_route, door, echo, routes, wire

pytestmark = pytest.mark.privileged


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


def converse(space: str, address: str, port: int) -> None:
    """On one connection: of redirects about a flow's first packet the kernel drops the most itself."""
    with netns.opened(space) as fd:
        sock = netns.socket_in(fd, socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(5.0)
        sock.connect((address, port))
        for _ in range(10):
            sock.send(b"?")
            assert sock.recv(99)
            time.sleep(0.03)  # the next redirect is due after 0.02 s, then twice that


def redirects(space: str) -> int:
    """How many a pod has received."""
    names, numbers = (
        line.split()
        for line in netns.run_in(space, Path("/proc/thread-self/net/snmp").read_text).splitlines()
        if line.startswith("Icmp:")
    )
    return int(numbers[names.index("InRedirects")])


@pytest.mark.parametrize("means", ["both", "rule", "switch", "none"])
def test_pods_are_told_no_redirects(node: Node, place: Spaces, means: str) -> None:
    """A redirect would make a pod skip the node; the routes a pod holds stay what ADD made of them."""
    pods = [place.name("p1"), place.name("p2")]
    for name in pods:
        node.call("ADD", name, name, config=config(ipam=DUAL))
    switches = [f"net/ipv4/conf/{where}/send_redirects" for where in ("all", "np0", "lo")]
    assert node.inside(lambda: [sysctl.read(switch) for switch in switches]) == ["0", "0", "1"], "others keep theirs"
    if means in ("rule", "none"):  # somebody's /etc/sysctl.conf
        node.inside(lambda: [sysctl.write(switch, 1) for switch in switches])
    if means in ("switch", "none"):
        node.inside(lambda: Nft().run_text("flush chain inet netplane-cni sent"))
    with echo(pods[1], "fd00:1::3"), echo(pods[1], "10.244.1.3", 8081):
        for _ in range(5):
            ask(pods[0], "fd00:1::3")
        converse(pods[0], "10.244.1.3", 8081)
    with door(pods[0]) as rtnl:
        neighbours = {str(n.ip) for n in rtnl.neighbours("eth0")}
    assert not neighbours & {"fd00:1::3", "10.244.1.3"} or means == "none"
    assert (redirects(pods[0]) > 0) == (means == "none")
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
