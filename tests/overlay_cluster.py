"""A cluster of two nodes with a real agent each, joined by an underlay; their apiserver is the fake one."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cni.plan import conflist
from netplane.api import kinds
from netplane.client.fake import FakeApiserver
from netplane.kernel import netns
from netplane.rtnl import Address, Bridge, Change, Link, Veth, add
from tests.cnitools import AgentProcess, Answer, Spaces, door, environment, run_relay, spaces
from tests.waiting import until


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


@contextlib.contextmanager
def clustered(folder: Path, *flags: str) -> Iterator[Cluster]:
    """A cluster in namespaces of its own; its agents are not started yet, and get these flags."""
    with spaces() as place, contextlib.closing(Cluster(place, folder, *flags)) as found:
        yield found
