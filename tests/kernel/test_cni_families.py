"""Pods of one family or both over an underlay of one family or both, with real packets; what cannot work is refused."""

from pathlib import Path

import pytest

from cni.plan import conflist, overlay
from netplane.api import kinds
from netplane.rtnl import Address, replace
from tests.cnitools import ask, door, echo
from tests.overlay_cluster import Cluster, clustered
from tests.waiting import until

pytestmark = pytest.mark.privileged
PODS = {4: "10.244.{}.0/24", 6: "fd00:{}::/64"}
NODES = {4: "192.0.2.{}", 6: "2001:db8::{}"}
# By mode, families of the underlay (the first is the one a tunnel runs over), families of pods.
WORK = [
    ("vxlan", "4", "4"),
    ("vxlan", "4", "6"),
    ("vxlan", "6", "4"),
    ("vxlan", "46", "46"),
    ("vxlan", "64", "46"),
    ("vxlan", "64", "64"),
    ("host-gw", "4", "4"),
    ("host-gw", "6", "6"),
    ("host-gw", "46", "6"),
    ("host-gw", "46", "46"),
    ("host-gw", "64", "64"),
]
REFUSED = [("4", "6", "fd00:1::/64"), ("6", "4", "10.244.1.0/24"), ("4", "46", "fd00:1::/64")]


def put(cluster: Cluster, number: int, underlay: str, pods: str) -> None:
    """The node's object; its interface has addresses of both families in any case."""
    with door(cluster.agents[number].space) as rtnl:
        rtnl.apply([replace(Address.of("eth0", f"2001:db8::{number}/64", nodad=True))])
    addresses = [{"type": "InternalIP", "address": NODES[int(f)].format(number)} for f in underlay]
    spec = {"podCIDRs": [PODS[int(f)].format(number) for f in pods]}
    doc = {"metadata": {"name": f"n{number}"}, "spec": spec, "status": {"addresses": addresses}}
    cluster.api(lambda: cluster.api.fake.store.put(kinds.NODE, doc))


def pod(cluster: Cluster, number: int) -> tuple[str, list[str]]:
    """(namespace, addresses) of a new pod."""
    space = cluster.place.name(f"c{number}")
    answer = cluster.run(number, "ADD", f"c{number}", space)
    assert answer.status == 0, answer
    return space, [ip["address"].split("/")[0] for ip in answer.body["ips"]]


@pytest.mark.parametrize(("mode", "underlay", "pods"), WORK)
def test_pods_reach_one_another(tmp_path: Path, mode: str, underlay: str, pods: str) -> None:
    with clustered(tmp_path, "--overlay", mode) as cluster:
        for number in cluster.agents:
            put(cluster, number, underlay, pods)
            cluster.start(number)
        for number, agent in cluster.agents.items():
            until((agent.conf / conflist.FILE).exists, f"the configuration of n{number}")
        (a, own), (b, theirs) = pod(cluster, 1), pod(cluster, 2)
        assert [6 if ":" in address else 4 for address in own] == [int(f) for f in pods]
        for source, target in zip(own, theirs, strict=True):
            with echo(b, target):
                until(lambda target=target: bool(reached(a, target)), "n1 knows n2's pods")  # type: ignore[misc]
                assert ask(a, target, kind="udp") == source
                assert ask(a, target, size=200_000) == source, "whole segments"
                if (mode, source[:3]) == ("host-gw", "10."):
                    assert ask(a, target, kind="udp-df", size=1500 - 28) == source, "no tunnel takes its part"
        with door(cluster.agents[1].space) as rtnl:
            assert (rtnl.link(overlay.DEVICE) is None) == (mode == "host-gw")
        assert "out of reach" not in cluster.agents[1].log.read_text()


def reached(space: str, address: str) -> str:
    try:
        return ask(space, address, timeout_s=0.2)  # sooner than TCP asks again by itself
    except OSError:
        return ""


@pytest.mark.parametrize(("underlay", "pods", "named"), REFUSED)
def test_plain_routes_without_a_next_hop_of_the_pods_family_are_refused(
    tmp_path: Path, underlay: str, pods: str, named: str
) -> None:
    with clustered(tmp_path, "--overlay", "host-gw") as cluster:
        put(cluster, 1, underlay, pods)
        cluster.start(1)
        agent = cluster.agents[1]
        reason = f"--overlay host-gw: n1 has no address of the family of its pods {named}"
        until(lambda: reason in agent.log.read_text(), "the reason")
        assert not (agent.conf / conflist.FILE).exists(), "the runtime takes no pods"
        put(cluster, 1, "46", pods)
        until((agent.conf / conflist.FILE).exists, "the configuration, once the Node has both addresses")


def test_a_peer_that_the_tunnel_cannot_reach_is_named(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        put(cluster, 1, "4", "46")
        put(cluster, 2, "6", "46")
        cluster.start(1)
        log = cluster.agents[1].log
        told = "n2 has no address by which its pods 10.244.2.0/24, fd00:2::/64 can be reached"
        until(lambda: told in log.read_text(), "the peer's name")
