"""Rate limits: what a token bucket lets through of a burst, in both directions, and what is left behind."""

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni import shaping
from cni.errors import Code
from netplane.kernel import netns
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.net import netlink
from netplane.rtnl import Classifier, Ifb, Link, TokenBucket, Veth, delete
from tests.cnitools import Answer, Node, Spaces, config, door
from tests.waiting import until

pytestmark = pytest.mark.privileged
# 10 kB/s and 4 kB at once: of 100 kB sent in one go a handful passes, the rest finds the queue full.
SLOW = {"ingressRate": 80_000, "ingressBurst": 32_000, "egressRate": 80_000, "egressBurst": 32_000}
SENT, SIZE = 100, 1000
QUIET_S = 0.5  # what a slow queue holds comes every 0.1 s
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def received(sender: str, receiver: str, address: str) -> int:
    """How many of SENT datagrams of 1000 bytes, sent at once, arrive before there is silence for QUIET_S."""
    with netns.opened(sender) as here, netns.opened(receiver) as there:
        out = netns.socket_in(here, socket.AF_INET, socket.SOCK_DGRAM)
        into = netns.socket_in(there, socket.AF_INET, socket.SOCK_DGRAM)
    with out, into:
        into.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        into.bind((address, 9))
        into.settimeout(0.1)
        until(lambda: passes(out, into, address), "the way is open: a new port of a bridge takes a moment")
        into.settimeout(QUIET_S)
        for _ in range(SENT):
            out.sendto(b"x" * SIZE, (address, 9))
        count = 0
        with contextlib.suppress(TimeoutError):
            while count < SENT:
                count += len(into.recv(2000)) == SIZE
        return count


def passes(out: socket.socket, into: socket.socket, address: str) -> bool:
    """Whether a small datagram arrives."""
    out.sendto(b"?", (address, 9))
    try:
        return into.recv(2000) == b"?"
    except TimeoutError:
        return False


def native(node: Node, place: Spaces, name: str, **limits: int) -> str:
    pod = place.name(name)
    answer = node.call("ADD", name, pod, config=config("1.1.0", runtimeConfig={"bandwidth": limits}))
    assert answer.status == 0, answer.body
    return str(answer.body["ips"][0]["address"].split("/")[0])


def static(node: Node, place: Spaces, name: str, **limits: int) -> str:
    pod = place.name(name)
    answer = node.call("ADD", name, pod, config=config("1.1.0", **limits))
    assert answer.status == 0, answer.body
    return str(answer.body["ips"][0]["address"].split("/")[0])


def chained(node: Node, place: Spaces, name: str, **limits: int) -> str:
    pod = place.name(name)
    first = node.call("ADD", name, pod, config=config("1.1.0"))
    assert plugin(node, "ADD", name, pod, first.body, **limits) == first
    return str(first.body["ips"][0]["address"].split("/")[0])


def plugin(node: Node, verb: str, name: str, pod: str, result: Any, **more: Any) -> Answer:
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "netplane-bandwidth", "prevResult": result}
    return node.call(verb, name, pod, config=conf | more)


Way = Callable[..., str]


@pytest.mark.parametrize("way", [native, static, chained])
def test_a_burst_passes_only_as_far_as_the_bucket_goes(node: Node, place: Spaces, way: Way) -> None:
    address = way(node, place, "p1", **SLOW)
    pod = place.made[-1]
    assert 0 < received(node.space, pod, address) < SENT / 2, "to the pod"
    assert 0 < received(pod, node.space, "10.244.1.1") < SENT / 2, "from the pod"
    native(node, place, "p2")
    assert received(place.made[-1], node.space, "10.244.1.1") == SENT, "others are not slowed"
    assert node.call("DEL", "p1", config=config("1.1.0")) == (0, {})
    assert ifbs(node) == []


def ifbs(node: Node) -> list[Link]:
    with door(node.space) as rtnl:
        return [link for link in rtnl.links() if isinstance(link.kind, Ifb)]


def test_one_direction_alone(node: Node, place: Spaces) -> None:
    address = native(node, place, "p1", ingressRate=80_000, ingressBurst=32_000)
    assert received(node.space, place.made[-1], address) < SENT / 2
    assert received(place.made[-1], node.space, "10.244.1.1") == SENT
    assert ifbs(node) == []


def test_check_compares_rates(node: Node, place: Spaces) -> None:
    pod = place.name("p1")
    conf = config("1.1.0", runtimeConfig={"bandwidth": SLOW})
    result = node.call("ADD", "p1", pod, config=conf).body
    assert node.call("CHECK", "p1", pod, config=conf | {"prevResult": result}) == (0, {})
    assert plugin(node, "CHECK", "p1", pod, result, **SLOW) == (0, {})
    other = plugin(node, "CHECK", "p1", pod, result, **(SLOW | {"ingressRate": 160_000}))
    assert other.body["code"] == Code.CHECK_FAILED
    assert "80000 bit/s, not 160000" in other.body["msg"]
    with door(node.space) as rtnl:
        rtnl.apply([delete(link) for link in ifbs(node)])
    assert "no limit" in node.call("CHECK", "p1", pod, config=conf | {"prevResult": result}).body["msg"]


def test_gc_and_a_restart_remove_devices_of_pods_that_are_gone(node: Node, place: Spaces) -> None:
    chained(node, place, "p1", **SLOW)
    native(node, place, "p2", **SLOW)
    native(node, place, "p3", **SLOW)
    gone, kept = place.made[-1], len(ifbs(node))
    assert kept == 3
    alive = [{"containerID": c, "ifname": "eth0"} for c in ("p2", "p3")]
    assert plugin(node, "GC", "", "", None, **{"cni.dev/valid-attachments": alive}) == (0, {})
    assert len(ifbs(node)) == 2
    with door(gone) as rtnl:
        rtnl.apply([delete(Link("eth0"))])
    node.restart()
    assert len(ifbs(node)) == 1
    assert node.call("GC", config=config("1.1.0", **{"cni.dev/valid-attachments": []})) == (0, {})
    assert (ifbs(node), node.links()) == ([], [])


def test_a_result_without_a_veth_of_the_node_is_refused(node: Node, place: Spaces) -> None:
    result = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}, {"name": "nowhere"}], "ips": []}
    answer = plugin(node, "ADD", "p1", place.name("p1"), result, **SLOW)
    assert (answer.body["code"], "veth pair" in answer.body["msg"]) == (Code.INVALID_CONFIG, True)
    assert plugin(node, "ADD", "p1", place.name("q1"), result) == (0, result), "nothing asked, nothing needed"


def test_a_kernel_that_lacks_it_is_named_and_nothing_is_left(
    place: Spaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(place.name("node"), tmp_path)
    real = Rtnl.apply

    def without_tbf(self: Rtnl, requests: Any, *, undo: bool = True) -> None:
        todo = list(requests)
        if any(isinstance(getattr(r, "value", None), TokenBucket) for r in todo):
            raise KernelError(str(todo[0]), netlink.Failure(errno.ENOENT, "Specified qdisc kind is unknown", None))
        real(self, todo, undo=undo)

    monkeypatch.setattr(Rtnl, "apply", without_tbf)
    answer = node.call("ADD", "p1", place.name("p1"), config=config("1.1.0", runtimeConfig={"bandwidth": SLOW}))
    assert answer.body["code"] == Code.UNSUPPORTED_BY_KERNEL
    assert "sch_tbf" in answer.body["details"]
    assert (node.links(), node.engine.leases.all(), ifbs(node)) == ([], [], [])
    with door(node.space) as rtnl:
        assert not [link for link in rtnl.links() if isinstance(link.kind, Veth)]
    node.close()


@pytest.mark.parametrize("order", [("u32",), ("matchall", "u32"), ("bpf",), ("matchall", "bpf")], ids="-".join)
def test_any_classifier_that_the_kernel_has_will_do(
    place: Spaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[Classifier, ...]
) -> None:
    """A kernel without matchall refuses it, and the next one is tried, and kept."""
    monkeypatch.setattr(shaping, "CLASSIFIERS", order)
    node = Node(place.name("node"), tmp_path)
    address = native(node, place, "p1", **SLOW)
    assert received(place.made[-1], node.space, "10.244.1.1") < SENT / 2
    assert received(node.space, place.made[-1], address) < SENT / 2
    native(node, place, "p2", **SLOW)
    assert len(ifbs(node)) == 2
    for pod in ("p1", "p2"):
        assert node.call("DEL", pod, config=config("1.1.0")) == (0, {})
    assert (ifbs(node), node.links()) == ([], [])
    node.close()
