"""Calls that runtimes should not make and do: what each is answered, and that nothing is left behind."""

from typing import Any

import pytest

from cni.errors import Code
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Change, Link, Veth, add, delete
from tests.cnitools import Answer, Node, Spaces, ask, config, door, echo

pytestmark = pytest.mark.privileged


def refused(answer: Answer, code: int, words: str) -> None:
    """An error as the specification has it: on stdout, with these four keys at most, and a status that is not 0."""
    assert answer.status != 0
    assert set(answer.body) <= {"cniVersion", "code", "msg", "details"}
    assert (answer.body["code"], words in answer.body["msg"]) == (code, True), answer.body


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere/x", "cannot be opened"),
        ("/etc/hostname", "is no namespace"),
        ("/proc/self/ns/mnt", "another kind"),
        ("x/y", "cannot be opened"),
        ("/", "is no namespace"),
    ],
)
def test_a_namespace_that_is_none(node: Node, path: str, words: str) -> None:
    refused(node.call("ADD", "c1", path), Code.INVALID_ENVIRONMENT, words)
    assert (node.links(), node.engine.leases.all()) == ([], [])
    assert node.call("DEL", "c1", path) == (0, {})
    assert node.call("DEL", "c1", "") == (0, {})


def test_an_interface_that_is_there_already_stays_as_it_is(node: Node, place: Spaces) -> None:
    """Somebody else's `eth0`, another container's in the same namespace, and `lo`."""
    pod = place.name("p1")
    with door(pod) as rtnl:
        rtnl.apply([add(Link("eth0", Veth("far"), up=True)), add(Address.of("eth0", "192.0.2.1/24"))])
    for ifname in ("eth0", "lo"):
        refused(node.call("ADD", "c1", pod, ifname=ifname), Code.ALREADY_ATTACHED, f"{ifname} exists already")
    assert node.call("ADD", "c1", pod, ifname="net1").status == 0
    refused(node.call("ADD", "c2", pod, ifname="net1"), Code.ALREADY_ATTACHED, "net1 exists already")
    assert node.call("DEL", "c2", pod, ifname="net1") == (0, {})
    with door(pod) as rtnl:
        assert rtnl.find("net1"), "another container's DEL"
        assert [str(a.interface.ip) for a in rtnl.addresses("eth0") if a.scope != "link"] == ["192.0.2.1"]
    assert [lease.key.container for lease in node.engine.leases.all()] == ["c1"]


def test_networks_and_interfaces_of_one_container_are_apart(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    plain = config("1.1.0", isDefaultGateway=False)
    other = plain | {"name": "other", "bridge": "np1", "ipam": {"subnet": "10.77.0.0/24"}}
    for ifname, conf in (("eth0", plain), ("net1", plain), ("net2", other)):
        assert node.call("ADD", "c1", pod, ifname=ifname, config=conf).status == 0
    nothing: dict[str, Any] = {"cni.dev/valid-attachments": []}
    assert node.call("GC", config=plain | {"name": "unheard-of"} | nothing) == (0, {})
    assert node.call("DEL", "c1", pod, ifname="eth0", config=plain) == (0, {})
    keys = [(lease.key.network, lease.key.ifname) for lease in node.engine.leases.all()]
    assert keys == [("net", "net1"), ("other", "net2")]
    refused(node.call("GC", config=plain), Code.INVALID_CONFIG, "cni.dev/valid-attachments")
    assert node.call("GC", config=plain | nothing) == (0, {})
    assert [lease.key.network for lease in node.engine.leases.all()] == ["other"]
    assert node.call("DEL", "c1", "", ifname="net2", config=other) == (0, {})
    assert (node.links(), node.engine.leases.all()) == ([], [])


@pytest.mark.parametrize("prefix", [True, False], ids=["hostPrefix", "subnet prefix"])
def test_a_second_interface_leaves_the_way_out_to_the_first(node: Node, place: Spaces, prefix: bool) -> None:
    """Both lead to the same places, in both families."""
    pod = place.name("p1")
    conf = config(
        "1.1.0", hostPrefix=prefix, ipam={"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]}
    )
    for ifname in ("eth0", "net1"):
        answer = node.call("ADD", "c1", pod, ifname=ifname, config=conf)
        assert answer.status == 0, answer.body
    with door(pod) as rtnl:
        ways = [route.dev for route in rtnl.routes() if str(route.dst) == "0.0.0.0/0"]
    assert ways == ["eth0", "net1"]
    with echo(node.space, "10.244.1.1"), echo(node.space, "fd00:1::1"):
        assert ask(pod, "10.244.1.1") == "10.244.1.2"
        assert ask(pod, "fd00:1::1") in ("fd00:1::1", "fd00:1::2", "fd00:1::3")
    assert node.call("CHECK", "c1", pod, ifname="net1", config=conf | {"prevResult": answer.body}) == (0, {})
    assert node.call("DEL", "c1", pod, ifname="eth0", config=conf) == (0, {})
    with door(pod) as rtnl:
        assert [route.dev for route in rtnl.routes() if str(route.dst) == "0.0.0.0/0"] == ["net1"]


def test_a_pool_of_one(node: Node, place: Spaces) -> None:
    conf = config("1.1.0", ipam={"subnet": "10.9.9.0/30"})
    one, two = place.name("p1"), place.name("p2")
    assert node.call("ADD", "c1", one, config=conf).body["ips"][0]["address"] == "10.9.9.2/32"
    refused(node.call("ADD", "c2", two, config=conf), Code.ADDRESSES_EXHAUSTED, "10.9.9.1-10.9.9.2")
    refused(node.call("STATUS", config=conf), Code.NOT_AVAILABLE, "10.9.9.1-10.9.9.2")
    refused(node.call("ADD", "c2", two, config=conf, args="IP=10.9.9.2"), Code.INVALID_CONFIG, "in use")
    assert node.call("DEL", "c1", one, config=conf) == (0, {})
    assert node.call("STATUS", config=conf) == (0, {})
    assert node.call("ADD", "c2", two, config=conf).status == 0, "nothing else is free: it need not rest"


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        ({"bridge": "lo"}, Code.INVALID_CONFIG, "bridge: the link lo is no bridge but hardware"),
        ({"ipam": {"subnet": "10.9.0.0/24", "resolvConf": "/nowhere"}}, Code.INVALID_CONFIG, "ipam.resolvConf"),
        ({"ipam": {"subnet": "10.9.0.0/24", "resolvConf": "/etc"}}, Code.INVALID_CONFIG, "ipam.resolvConf"),
        ({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}, Code.INVALID_CONFIG, "runtimeConfig.mac"),
        ({"runtimeConfig": {"ips": ["10.244.1.1"]}}, Code.INVALID_CONFIG, "runtimeConfig.ips"),
        ({"hostPrefix": False, "ipam": {"subnet": "10.9.0.0/24", "gateway": "10.8.0.1"}}, Code.KERNEL, "10.8.0.1"),
    ],
)
def test_what_fails_late_leaves_nothing(
    node: Node, place: Spaces, extra: dict[str, Any], code: Code, words: str
) -> None:
    pod = place.name("p1")
    refused(node.call("ADD", "c1", pod, config=config("1.1.0", **extra)), code, words)
    assert (node.links(), node.engine.leases.all()) == ([], [])
    with door(pod) as rtnl:
        assert not rtnl.find("eth0")
    assert node.call("ADD", "c1", pod, config=config("1.1.0")).status == 0, "the container can still be added"


@pytest.mark.parametrize("mtu", [68, 1280, 9000, 65535])
def test_any_mtu_that_links_can_have(node: Node, place: Spaces, mtu: int) -> None:
    pod = place.name("p1")
    assert node.call("ADD", "c1", pod, config=config("1.1.0", mtu=mtu)).status == 0
    with door(pod) as inside, door(node.space) as rtnl:
        links = inside.link("eth0"), rtnl.link("np0")
    assert [link.mtu for link in links if link is not None] == [mtu, mtu]


CONF = config("1.1.0", ipMasq=True, runtimeConfig={"portMappings": [{"hostPort": 80, "containerPort": 80}]})


def spoilt(node: Node, pod: str, what: str) -> None:
    """Somebody takes away one thing that ADD made."""
    with door(pod) as inside, door(node.space) as rtnl:
        (link,) = node.links()
        match what:
            case "route":
                inside.apply([delete(r) for r in inside.routes() if r.dst.prefixlen == 0])
            case "address":
                inside.apply([delete(a) for a in inside.addresses("eth0") if a.interface.version == 4])
            case "interface":
                inside.apply([delete(Link("eth0"))])
            case "pod down":
                inside.apply([Change("eth0", up=False)])
            case "node down":
                rtnl.apply([Change(link.name, up=False)])
            case "bridge":
                rtnl.apply([Change(link.name, master="")])
            case "mac":
                inside.apply([Change("eth0", mac="02:00:00:00:00:01")])
            case _:
                node.inside(lambda: Nft().run_text(what))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("route", "the route to 0.0.0.0/0"),
        ("address", "has lost its address 10.244.1.2"),
        ("interface", "eth0 is gone"),
        ("pod down", "eth0 is down"),
        ("node down", "is down"),
        ("bridge", "is not a port of np0"),
        ("mac", "has the MAC address 02:00:00:00:00:01"),
        ("flush map inet netplane-cni anyports4", "host ports 80/tcp"),
        ("flush set inet netplane-cni masq4", "ipMasq: 10.244.1.2"),
        ("flush ruleset", "10.244.1.2"),
    ],
)
def test_check_says_what_is_gone(node: Node, place: Spaces, what: str, words: str) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod, config=CONF).body
    assert node.call("CHECK", "c1", pod, config=CONF | {"prevResult": result}) == (0, {})
    spoilt(node, pod, what)
    refused(node.call("CHECK", "c1", pod, config=CONF | {"prevResult": result}), Code.CHECK_FAILED, words)
    assert node.call("DEL", "c1", pod, config=CONF) == (0, {})
    assert (node.links(), node.engine.leases.all()) == ([], [])


def test_check_without_what_add_answered(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    result = node.call("ADD", "c1", pod, config=config("1.1.0")).body
    refused(node.call("CHECK", "c1", pod, config=config("1.1.0")), Code.INVALID_CONFIG, "prevResult")
    other = {**result, "ips": []}
    refused(node.call("CHECK", "c1", pod, config=config("1.1.0", prevResult=other)), Code.CHECK_FAILED, "prevResult")
    unknown = node.call("CHECK", "c2", pod, config=config("1.1.0", prevResult=result))
    refused(unknown, Code.CHECK_FAILED, "no lease")
