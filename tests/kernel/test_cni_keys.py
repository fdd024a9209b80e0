"""The reference bridge's other keys, and chains: what they do to packets, and what the result says."""

import json
from typing import Any

import pytest

from cni.errors import Code
from netplane.kernel import sysctl
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Bridge, Change, Link, Route, add
from tests.cnitools import Node, Spaces, ask, config, default_route, door, echo, wire

pytestmark = pytest.mark.privileged


def pods(node: Node, place: Spaces, conf: dict[str, Any], count: int = 2) -> list[str]:
    """Pods c0, c1, … with addresses .2, .3, … Returns their namespaces."""
    names = [place.name(f"p{i}") for i in range(count)]
    for i, name in enumerate(names):
        answer = node.call("ADD", f"c{i}", name, config=conf)
        assert answer.status == 0, answer.body
    return names


@pytest.mark.parametrize("force", [True, False])
def test_force_address_replaces_what_the_bridge_had(node: Node, place: Spaces, force: bool) -> None:
    before = ["192.168.7.1/24", "10.244.1.200/24", "fd00:1::77/64", "fd00:9::1/64"]
    with door(node.space) as rtnl:
        rtnl.apply([add(Link("np0", Bridge())), *(add(Address.of("np0", a, nodad=":" in a)) for a in before)])
    dual = {"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]}
    pods(node, place, config(ipam=dual, forceAddress=force), 1)
    with door(node.space) as rtnl:
        have = {a.interface.with_prefixlen for a in rtnl.addresses("np0") if a.scope != "link"}
    mine = {"10.244.1.1/24", "fd00:1::1/64"}
    assert have == (mine | {"fd00:9::1/64"} if force else mine | set(before))


def test_masquerade_has_exceptions(node: Node, place: Spaces) -> None:
    outside = place.name("out")
    wire(node.space, "203.0.113.1/24", outside, "203.0.113.9/24", "up0")
    default_route(outside, "203.0.113.1")
    with door(outside) as rtnl:
        rtnl.apply([add(Address.of("lo", "198.51.100.9/32"))])
    with door(node.space) as rtnl:
        rtnl.apply([add(Route.of("198.51.100.0/24", via="203.0.113.9"))])
    exceptions = ["198.51.100.0/25", "198.51.100.0/24", "2001:db8::/32"]
    (pod,) = pods(node, place, config(ipMasq=True, ipMasqExceptions=exceptions), 1)
    with echo(outside, "203.0.113.9"), echo(outside, "198.51.100.9"):
        assert ask(pod, "203.0.113.9") == "203.0.113.1"
        assert ask(pod, "198.51.100.9") == "10.244.1.2"


def test_isolated_pods_do_not_hear_each_other(node: Node, place: Spaces) -> None:
    plain = config(hostPrefix=False, portIsolation=True)
    one, two = pods(node, place, plain)
    with echo(two, "10.244.1.3"), echo(node.space, "10.244.1.1"):
        assert ask(one, "10.244.1.1") == "10.244.1.2"
        with pytest.raises(OSError, match=r"timed out|No route to host"):
            ask(one, "10.244.1.3", timeout_s=1.0)


def test_promiscuous(node: Node, place: Spaces) -> None:
    pods(node, place, config(promiscMode=True, hairpinMode=False), 1)
    with door(node.space) as rtnl:
        bridge = rtnl.link("np0")
    assert bridge is not None
    assert bridge.promisc


@pytest.mark.parametrize(
    ("extra", "code", "word"),
    [
        ({"promiscMode": True, "hairpinMode": True}, Code.INVALID_CONFIG, "hairpinMode"),
        ({"ipMasqExceptions": ["all"]}, Code.INVALID_CONFIG, "ipMasqExceptions[0]"),
        ({"vlan": 4095}, Code.INVALID_CONFIG, "vlan"),
        ({"vlanTrunk": [{"minID": 7}]}, Code.INVALID_CONFIG, "vlanTrunk[0].maxID"),
        ({"disableContainerInterface": True}, Code.INVALID_CONFIG, "disableContainerInterface"),
    ],
)
def test_what_cannot_be_done_is_said(node: Node, place: Spaces, extra: dict[str, Any], code: Code, word: str) -> None:
    answer = node.call("ADD", "c1", place.name("p1"), config=config(**extra))
    assert (answer.body["code"], answer.body["msg"].startswith(word)) == (code, True), answer.body
    assert node.call("DEL", "c1", config=config(**extra)) == (0, {})


@pytest.mark.parametrize("prefix", [True, False], ids=["hostPrefix", "subnet prefix"])
def test_a_forward_chain_that_drops_does_not_cut_pods_off(node: Node, place: Spaces, prefix: bool) -> None:
    """As `iptables -P FORWARD DROP` leaves it, before or between the pods' ADDs; other networks are let through too."""
    drop = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    node.inside(lambda: Nft().run_text(drop))
    node.inside(lambda: sysctl.write("net/bridge/bridge-nf-call-iptables", 1))
    one, two = pods(node, place, config(hostPrefix=prefix))
    third = place.name("p9")
    elsewhere = config(name="other", bridge="np1", ipam={"subnet": "10.9.0.0/24"})
    assert node.call("ADD", "c9", third, config=elsewhere).status == 0
    with echo(two, "10.244.1.3"):
        assert ask(one, "10.244.1.3") == "10.244.1.2"
        assert ask(third, "10.244.1.3") == "10.9.0.2"
    listing = node.inside(lambda: Nft().run_text("list chain ip filter FORWARD"))
    assert listing.count("accept comment") == 4, "two rules for each range, however many pods"


# Chains ----------------------------------------------------------------------------------------------------------


def test_a_second_interface_joins_the_result_of_the_first(node: Node, place: Spaces) -> None:
    """As a list of two such plugins makes it: interfaces are counted on, and each finds its own part in CHECK."""
    pod = place.name("p1")
    first = node.call("ADD", "c1", pod, config=config("1.1.0")).body
    other = config("1.1.0", name="other", bridge="np1", isDefaultGateway=False, ipam={"subnet": "10.9.0.0/24"})
    both = node.call("ADD", "c1", pod, ifname="net1", config=other | {"prevResult": first}).body
    assert [i["name"] for i in both["interfaces"]][::3] == ["np0", "np1"]
    assert [(ip["address"], ip["interface"]) for ip in both["ips"]] == [("10.244.1.2/32", 2), ("10.9.0.2/32", 5)]
    assert node.call("CHECK", "c1", pod, config=config("1.1.0", prevResult=both)) == (0, {})
    assert node.call("CHECK", "c1", pod, ifname="net1", config=other | {"prevResult": both}) == (0, {})


def test_a_result_that_cannot_be_read_leaves_nothing(node: Node, place: Spaces) -> None:
    broken = config("1.1.0", prevResult={"cniVersion": "1.1.0", "ips": [{"address": "x"}]})
    answer = node.call("ADD", "c1", place.name("p1"), config=broken)
    assert (answer.body["code"], "prevResult" in answer.body["msg"]) == (Code.INVALID_CONFIG, True)
    assert (node.links(), node.engine.leases.all()) == ([], [])


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_all_plugins_in_one_list_with_one_that_changes_things_after_them(
    node: Node, place: Spaces, version: str
) -> None:
    pod, wishes = place.name("p1"), {"portMappings": [{"hostPort": 80, "containerPort": 8080}]}
    rates = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
    chain = [
        config(version),
        {"cniVersion": version, "name": "net", "type": "netplane-portmap", "runtimeConfig": wishes},
        {"cniVersion": version, "name": "net", "type": "netplane-bandwidth", **rates},
    ]
    result: dict[str, Any] = {}
    for plugin in chain:
        answer = node.call("ADD", "c1", pod, config=plugin | ({"prevResult": result} if result else {}))
        assert answer.status == 0, answer.body
        result = answer.body
    assert result["cniVersion"] == version
    with door(pod) as rtnl:
        rtnl.apply([Change("eth0", mac="02:00:00:00:00:09", mtu=1300)])
    changed = json.loads(json.dumps(result).replace("0a:58:0a:f4:01:02", "02:00:00:00:00:09"))
    if version != "0.3.1":
        for plugin in chain:
            assert node.call("CHECK", "c1", pod, config=plugin | {"prevResult": changed}) == (0, {})
    with echo(pod, "10.244.1.2"):
        assert ask(node.space, "10.244.1.1", 80)
    for plugin in reversed(chain):
        assert node.call("DEL", "c1", pod, config=plugin | {"prevResult": changed}) == (0, {})
    assert (node.links(), node.engine.leases.all(), node.engine.leases.ports()) == ([], [], [])


def test_keys_of_the_list_and_unknown_ones_are_left_alone(node: Node, place: Spaces) -> None:
    """disableCheck and disableGC are the runtime's to obey; a plugin must not trip over them."""
    more: dict[str, Any] = {
        "disableCheck": True,
        "disableGC": True,
        "cniVersions": ["1.0.0"],
        "capabilities": {"x": True},
        "y": None,
    }
    assert node.call("ADD", "c1", place.name("p1"), config=config(**more)).status == 0


def test_loopback_passes_on_what_it_was_given(node: Node, place: Spaces) -> None:
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": "lo", "sandbox": "/x"}], "ips": [], "own": "kept"}
    loopback = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback", "prevResult": before}
    assert node.call("ADD", "c1", place.name("p1"), config=loopback, ifname="lo").body == before
