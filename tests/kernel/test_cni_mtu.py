"""An underlay whose MTU changes under running pods: their connections go on, and they use what the new size allows."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cni.plan import conflist, overlay
from netplane.kernel import netns
from netplane.rtnl import Change, Link
from tests.cnitools import ask, door, echo, environment, run_relay
from tests.overlay_cluster import Cluster, clustered
from tests.waiting import until

pytestmark = pytest.mark.privileged
BULK_BYTES = 2_000_000


class Connection:
    """A TCP connection from one pod to an address of another."""

    def __init__(self, source: str, target: str, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.opened(target) as fd, netns.socket_in(fd, family, socket.SOCK_STREAM) as listener:
            listener.bind((address, port))
            listener.listen(1)
            with netns.opened(source) as other:
                self.client = netns.socket_in(other, family, socket.SOCK_STREAM)
            self.client.settimeout(10)
            self.client.connect((address, port))
            self.server, _ = listener.accept()
        self.server.settimeout(10)

    def carry(self) -> None:
        """Much data there, then back."""
        for source, target in ((self.client, self.server), (self.server, self.client)):
            sender = threading.Thread(target=source.sendall, args=(bytes(BULK_BYTES),), daemon=True)
            sender.start()
            left = BULK_BYTES
            while left:
                got = len(target.recv(min(left, 65536)))
                assert got, "the connection ended"
                left -= got
            sender.join(10)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@contextlib.contextmanager
def connected(source: str, target: str, *addresses: str, port: int = 9000) -> Iterator[list[Connection]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Connection(source, target, a, port))) for a in addresses]


def bulk(connections: list[Connection]) -> None:
    for connection in connections:
        connection.carry()


def passes(source: str, address: str, size: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(ask(source, address, kind="udp", size=size, timeout_s=0.3))
    return False


def set_underlay(cluster: Cluster, mtu: int) -> None:
    """Both nodes' interfaces, and the switch: what is longer really gets lost."""
    for number, agent in cluster.agents.items():
        with door(agent.space) as rtnl:
            rtnl.apply([Change("eth0", mtu=mtu)])
        with door(cluster.switch) as rtnl:
            rtnl.apply([Change(f"p-n{number}", mtu=mtu)])


def all_have(cluster: Cluster, mtu: int) -> bool:
    """Tunnels, bridges, and the nodes' ends of pods' links."""
    found = set()
    for agent in cluster.agents.values():
        with door(agent.space) as rtnl:
            links = rtnl.links()
        ours = (overlay.DEVICE, conflist.BRIDGE)
        found |= {link.mtu for link in links if link.name in ours or link.master == conflist.BRIDGE}
    return found == {mtu}


def pod_mtu(space: str) -> int:
    with door(space) as rtnl:
        found = rtnl.link("eth0")
    assert found is not None
    return found.mtu


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clustered(tmp_path) as found:
        yield found


def test_connections_go_on_when_the_underlay_shrinks_and_grows(cluster: Cluster) -> None:
    cluster.up()
    (a, a4, a6), (b, b4, b6), (c, c4, _) = cluster.pod(1, "a"), cluster.pod(2, "b"), cluster.pod(1, "c")
    with connected(a, b, b4, b6) as held, echo(b, b4), echo(c, c4):
        for port, mtu in ((9001, 1350), (9003, 1450), (9005, 1320)):
            set_underlay(cluster, mtu + 50)
            if mtu < 1450:  # while the agents work; when it grows, a pod could learn a size that is right no longer
                bulk(held)
            until(partial(all_have, cluster, mtu), "tunnels, bridges and pods' links follow")
            assert [pod_mtu(pod) for pod in (a, b, c)] == [mtu] * 3
            bulk(held)
            for source, target, address in ((a, b, b4), (a, b, b6), (b, a, a4), (b, a, a6)):
                with connected(source, target, address, port=port) as fresh:
                    bulk(fresh)
            for address in (b4, c4):
                assert ask(a, address, kind="udp-df", size=mtu - 28), "the largest packet, to both nodes"
                with pytest.raises(OSError, match="too long"):
                    ask(a, address, kind="udp-df", size=mtu - 27)
        set_underlay(cluster, 1500)
        bulk(held)
        until(partial(all_have, cluster, 1450), "all grow")
        bulk(held)


def test_an_underlay_too_small_for_ipv6_is_told_and_changes_nothing(cluster: Cluster) -> None:
    cluster.up()
    (a, _, _), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    with connected(a, b, b4, b6) as held:
        set_underlay(cluster, 1300)
        log = cluster.agents[1].log
        until(lambda: "eth0 takes packets of 1300 bytes: 1250 are left for pods" in log.read_text(), "the reason")
        bulk(held)
        assert (pod_mtu(a), all_have(cluster, 1450)) == (1450, True)


def hidden_pod(cluster: Cluster, what: str, path: Path) -> tuple[str, str, str]:
    """A pod on the first node whose namespace's path means nothing to the agent once ADD is done."""
    space = cluster.place.name(what)
    path.touch()
    subprocess.run(["mount", "--bind", netns.path(space), path], check=True)
    try:
        answer = cluster.run(1, "ADD", what, str(path))
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
    assert answer.status == 0, answer
    v4, v6 = (ip["address"].split("/")[0] for ip in answer.body["ips"])
    return space, v4, v6


def test_pods_that_cannot_be_entered_learn_a_smaller_mtu_from_the_node(cluster: Cluster, tmp_path: Path) -> None:
    cluster.up()
    a, _, _ = hidden_pod(cluster, "a", tmp_path / "ns")
    b, b4, b6 = cluster.pod(2, "b")
    with connected(a, b, b4, b6) as held:
        set_underlay(cluster, 1400)
        until(lambda: pod_mtu(b) == 1350, "the pod that can be")
        until(lambda: "a running pod keeps its MTU" in cluster.agents[1].log.read_text(), "the other one")
        assert pod_mtu(a) == 1450
        bulk(held)
        with connected(a, b, b4, b6, port=9001) as fresh:
            bulk(fresh)


def test_no_bridge_passes_on_more_than_a_pod_takes_that_cannot_be_entered(cluster: Cluster, tmp_path: Path) -> None:
    set_underlay(cluster, 1400)
    cluster.up()
    a, a4, _ = hidden_pod(cluster, "a", tmp_path / "ns")
    space = cluster.agents[1].space
    set_underlay(cluster, 1500)
    conf = cluster.agents[1].conf / conflist.FILE
    until(lambda: '"mtu": 1450' in conf.read_text(), "new pods have the new MTU")
    c, _, _ = cluster.pod(1, "c")
    with door(space) as rtnl:
        mtus = {name: (rtnl.link(name) or Link("")).mtu for name in (overlay.DEVICE, conflist.BRIDGE)}
    assert (pod_mtu(a), pod_mtu(c)) == (1350, 1450)
    assert mtus == {overlay.DEVICE: 1450, conflist.BRIDGE: 1350}, "no ADD with the new MTU lifts the bridge"
    with echo(a, a4):
        until(lambda: passes(c, a4, 1422), "packets that are too long for it get there, once their sender was told")


def test_a_limited_pod_sends_and_receives_larger_packets_too(cluster: Cluster) -> None:
    set_underlay(cluster, 1400)
    cluster.up()
    agent, a = cluster.agents[1], cluster.place.name("a")
    plugin = json.loads((agent.conf / conflist.FILE).read_text())["plugins"][0]
    limits = {"ingressRate": 10**8, "ingressBurst": 8, "egressRate": 10**8, "egressBurst": 8}
    stdin = {"cniVersion": "1.0.0", "name": conflist.NETWORK, **plugin, "runtimeConfig": {"bandwidth": limits}}
    answer = run_relay(agent.bin / "netplane", environment("ADD", "a", a), json.dumps(stdin).encode())
    assert answer.status == 0, answer
    a4, _ = (ip["address"].split("/")[0] for ip in answer.body["ips"])
    b, b4, _ = cluster.pod(2, "b")
    set_underlay(cluster, 1500)
    until(partial(all_have, cluster, 1450), "all grow")
    with echo(a, a4), echo(b, b4):
        assert ask(a, b4, kind="udp-df", size=1422) == a4
        assert ask(b, a4, kind="udp-df", size=1422) == b4
