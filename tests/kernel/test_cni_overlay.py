"""A cluster of two nodes, each with its real agent, joined by an underlay: packets, peers, restarts."""

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.plan import conflist, overlay
from netplane.api import kinds
from netplane.client.fake import FakeApiserver
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.rtnl import Address, Bridge, Change, Link, Veth, add
from tests.cnitools import AgentProcess, Answer, Spaces, ask, door, echo, environment, run_relay, spaces, until, wire

pytestmark = pytest.mark.privileged
MTU = 1450


class Apiserver:
    """The fake apiserver in a namespace; its store is touched from this thread through its loop."""

    def __init__(self, space: str, address: str) -> None:
        self.fake = FakeApiserver(host=address, port=8001)
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        def body() -> None:
            with netns.opened(space) as fd:
                netns.setns(fd)
            self._loop.run_until_complete(self.fake.start())
            ready.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=body, daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def __call__(self, work: Callable[[], Any]) -> Any:
        async def inside() -> Any:
            found = work()
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    def put(self, number: int, **spec: Any) -> None:
        cidrs = {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:{number}::/64"]} | spec
        addresses = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
        doc = {"metadata": {"name": f"n{number}"}, "spec": cidrs, "status": {"addresses": addresses}}
        self(lambda: self.fake.store.put(kinds.NODE, doc))

    def close(self) -> None:
        async def end() -> None:
            await self.fake.stop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Cluster:
    """Nodes n1 and n2 and the outside at a switch; one pod on each node, two on the first."""

    def __init__(self, place: Spaces, folder: Path, *flags: str) -> None:
        self.place, self.flags = place, flags
        self.switch = place.name("sw")
        with door(self.switch) as rtnl:
            rtnl.apply([add(Link("br0", Bridge(), up=True)), add(Address.of("br0", "192.0.2.254/24"))])
        self.outside = self.join("out", "192.0.2.200/24")
        self.api = Apiserver(self.switch, "192.0.2.254")
        self.agents: dict[int, AgentProcess] = {}
        for number in (1, 2):
            space = self.join(f"n{number}", f"192.0.2.{number}/24")
            agent = AgentProcess(space, folder / f"n{number}", "http://192.0.2.254:8001", f"n{number}")
            self.agents[number] = agent

    def join(self, what: str, address: str) -> str:
        space = self.place.name(what)
        with netns.opened(space) as fd, door(self.switch) as rtnl:
            rtnl.apply([add(Link(f"p-{what}", Veth("eth0", peer_netns=fd), master="br0", up=True))])
        with door(space) as rtnl:
            rtnl.apply([Change("eth0", up=True), Change("lo", up=True), add(Address.of("eth0", address))])
        return space

    def start(self, number: int) -> None:
        self.agents[number].start("--cluster-cidr", "10.244.0.0/16,fd00::/16", *self.flags)

    def up(self) -> None:
        for number in self.agents:
            self.api.put(number)
            self.start(number)
        for number in self.agents:
            until((self.agents[number].conf / conflist.FILE).exists, f"the configuration of n{number}")

    def run(self, number: int, command: str, container: str, space: str = "") -> Answer:
        """As a runtime: the plugin and its configuration out of the agent's folders."""
        agent = self.agents[number]
        found = json.loads((agent.conf / conflist.FILE).read_text())
        stdin = {"cniVersion": found["cniVersion"], "name": found["name"], **found["plugins"][0]}
        return run_relay(agent.bin / "netplane", environment(command, container, space), json.dumps(stdin).encode())

    def pod(self, number: int, what: str) -> tuple[str, str, str]:
        """(namespace, IPv4, IPv6) of a new pod."""
        space = self.place.name(what)
        answer = self.run(number, "ADD", what, space)
        assert answer.status == 0, answer
        v4, v6 = (ip["address"].split("/")[0] for ip in answer.body["ips"])
        return space, v4, v6

    def close(self) -> None:
        for agent in self.agents.values():
            agent.stop()
        self.api.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with spaces() as place:
        found = Cluster(place, tmp_path)
        try:
            found.up()
            yield found
        finally:
            found.close()


def held(space: str) -> overlay.State:
    with door(space) as rtnl:
        return overlay.observe(rtnl.links(), rtnl.addresses(), rtnl.routes(), rtnl.neighbours(), rtnl.fdb())


def test_pods_reach_pods_of_other_nodes_and_the_world(cluster: Cluster) -> None:
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    assert (a4, b4, a6, b6) == ("10.244.1.2", "10.244.2.2", "fd00:1::2", "fd00:2::2")
    with echo(b, b4), echo(b, b6, 8081):
        for kind in ("tcp", "udp"):
            assert ask(a, b4, kind=kind) == a4, "pods see each other's own addresses"
            assert ask(a, b6, 8081, kind=kind) == a6
            assert ask(cluster.agents[1].space, b4, kind=kind) == "10.244.1.1", "a node is seen by its pods' gateway"
    with echo(cluster.outside, "192.0.2.200"):
        assert ask(a, "192.0.2.200") == "192.0.2.1"
        assert ask(a, "192.0.2.200", kind="udp") == "192.0.2.1"
    with echo(a, a4):
        assert ask(cluster.agents[1].space, a4) == "10.244.1.1"
    # The MTU is right: the largest packet that may not be split arrives whole, one byte more is refused at home.
    with echo(b, b4):
        assert ask(a, b4, kind="udp-df", size=MTU - 28) == a4
        with pytest.raises(OSError, match="too long"):
            ask(a, b4, kind="udp-df", size=MTU - 27)
        assert ask(a, b4, size=200_000) == a4


def test_mtu_follows_the_underlay(tmp_path: Path) -> None:
    with spaces() as place:
        cluster = Cluster(place, tmp_path)
        try:
            with door(cluster.agents[1].space) as rtnl:
                rtnl.apply([Change("eth0", mtu=1400)])
            cluster.up()
            for number, mtu in ((1, 1350), (2, 1450)):
                space = cluster.agents[number].space
                text = json.loads((cluster.agents[number].conf / conflist.FILE).read_text())
                assert text["plugins"][0]["mtu"] == mtu
                with door(space) as rtnl:
                    links = {link.name: link.mtu for link in rtnl.links()}
                assert (links[overlay.DEVICE], links[conflist.BRIDGE]) == (mtu, mtu)
                assert "underlay" in cluster.agents[number].log.read_text()
        finally:
            cluster.close()


def test_peers_come_change_and_go(cluster: Cluster) -> None:
    space = cluster.agents[1].space
    assert len(held(space).routes) == 2
    cluster.api.put(3)
    until(lambda: len(held(space).routes) == 4, "the new peer's routes")
    assert {str(e.dst) for e in held(space).fdb} == {"192.0.2.2", "192.0.2.3"}
    cluster.api.put(3, podCIDRs=["10.244.33.0/24"])
    until(lambda: len(held(space).routes) == 3, "the changed peer's route")
    assert {str(r.dst) for r in held(space).routes} == {"10.244.2.0/24", "fd00:2::/64", "10.244.33.0/24"}
    cluster.api(lambda: cluster.api.fake.store.delete(kinds.NODE, "n3"))
    until(lambda: len(held(space).routes) == 2, "the stale peer's removal")
    assert len(held(space).fdb) == 1
    assert len(held(space).neighbours) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_change_nothing_and_interrupt_no_connection(cluster: Cluster, number: int) -> None:
    (a, _, _), (b, b4, _) = cluster.pod(1, "a"), cluster.pod(2, "b")
    agent = cluster.agents[1]
    before = held(agent.space)
    with echo(b, b4), netns.opened(a) as fd, netns.socket_in(fd, 2, 1) as client:
        client.settimeout(5)
        client.connect((b4, 8080))
        status = agent.kill(number)
        assert status == (0 if number == signal.SIGTERM else -number)
        client.send(b"while the agent is away")
        assert client.recv(100)
        assert cluster.run(1, "DEL", "never-added") == (0, {}), "DEL strands no pod"
        assert cluster.run(1, "ADD", "c9", a).body["code"] == 11
        agent.log.write_text("")
        cluster.start(1)
        until(lambda: "underlay" in agent.log.read_text(), "the first pass after the restart")
        assert cluster.run(1, "ADD", "x", cluster.place.name("x")).status == 0
        client.send(b"and after")
        assert client.recv(100)
    assert held(agent.space) == before
    assert "change=" not in agent.log.read_text(), "a restart repairs only differences, and there is none"
    assert not list(Path(f"{agent.socket}.pending").iterdir())


def test_damage_is_repaired_by_the_difference(cluster: Cluster) -> None:
    agent = cluster.agents[1]
    want = held(agent.space)
    agent.stop()
    with door(agent.space) as rtnl:
        rtnl.apply(overlay.repair(overlay.State(link=want.link, addresses=want.addresses), want))
        assert held(agent.space).routes == ()
    agent.log.write_text("")
    cluster.start(1)
    until(lambda: held(agent.space) == want, "the repair")
    assert "ip link" not in agent.log.read_text(), "the device was right and stayed"


def test_the_agent_survives_the_apiservers_restart(cluster: Cluster) -> None:
    space = cluster.agents[1].space
    cluster.api(cluster.api.fake.stop)
    assert cluster.run(1, "ADD", "a", cluster.place.name("a")).status == 0, "pods start without the apiserver"
    cluster.api(cluster.api.fake.start)
    cluster.api.put(3)
    until(lambda: len(held(space).routes) == 4, "news after the restart")


def test_a_forward_chain_that_drops_does_not_cut_pods_off(cluster: Cluster) -> None:
    agent = cluster.agents[1]
    for word in ("ip", "ip6"):
        text = f"table {word} filter {{ chain FORWARD {{ type filter hook forward priority 0; policy drop; }}; }}"
        netns.run_in(agent.space, lambda text=text: Nft().run_text(text))  # type: ignore[misc]
    (a, a4, a6), (b, b4, b6) = cluster.pod(1, "a"), cluster.pod(2, "b")
    with echo(b, b4), echo(b, b6, 8081):
        with pytest.raises(OSError, match="timed out"):
            ask(a, b4, kind="udp", timeout_s=0.3)
        agent.stop()
        cluster.start(1)
        until(lambda: "FORWARD" in agent.log.read_text(), "the rules")
        assert (ask(a, b4), ask(a, b6, 8081)) == (a4, a6)


def test_host_gateway_mode(tmp_path: Path) -> None:
    with spaces() as place:
        cluster = Cluster(place, tmp_path, "--overlay", "host-gw")
        try:
            cluster.up()
            (a, a4, _), (b, b4, _) = cluster.pod(1, "a"), cluster.pod(2, "b")
            with echo(b, b4):
                assert ask(a, b4) == a4
                assert ask(a, b4, kind="udp-df", size=1500 - 28) == a4, "no tunnel takes a part of the MTU"
            with door(cluster.agents[1].space) as rtnl:
                assert rtnl.link(overlay.DEVICE) is None
        finally:
            cluster.close()


def test_a_node_without_range_waits_and_says_so(tmp_path: Path) -> None:
    with spaces() as place:
        cluster = Cluster(place, tmp_path)
        try:
            cluster.api.put(1, podCIDRs=[])
            cluster.start(1)
            agent = cluster.agents[1]
            until(lambda: "has no podCIDR" in agent.log.read_text(), "the reason")
            assert not (agent.conf / conflist.FILE).exists()
            cluster.api.put(1)
            until((agent.conf / conflist.FILE).exists, "the configuration")
        finally:
            cluster.close()


def test_a_second_agent_with_the_same_state_is_refused(cluster: Cluster) -> None:
    first = cluster.agents[1]
    second = AgentProcess(first.space, first.folder, "http://192.0.2.254:8001", "n1")
    second.socket = first.folder / "other.sock"
    with pytest.raises(AssertionError, match="in use by another agent"):
        second.start()


def test_nothing_of_it_reaches_a_cable_of_another_kind(cluster: Cluster) -> None:
    """The lab's rule: what is not the cluster's stays as it was."""
    space = cluster.agents[1].space
    other = cluster.place.name("other")
    wire(space, "198.51.100.1/24", other, "198.51.100.2/24", "eth9")
    with echo(other, "198.51.100.2"):
        assert ask(space, "198.51.100.2") == "198.51.100.1"
