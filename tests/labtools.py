"""What the lab's tests share: a lab brought up by the command, its API, and a way to keep a connection open."""

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from labs import inspect, processes, state, supervisor, verify, wiring
from labs.topology import Lab, LabNode
from netplane.api.objects import Node, Pod, Service
from netplane.client import config
from netplane.client.api import Api
from netplane.kernel import netns
from tests import waiting

T = TypeVar("T")
NETPLANE = str(Path(sys.executable).with_name("netplane"))


def unique_name() -> str:
    """A lab name nobody else uses."""
    return "t" + secrets.token_hex(4)


@contextlib.contextmanager
def lab_up(name: str, *args: str) -> Iterator[Lab]:
    """`netplane lab up`, and at the end nothing of it is left whatever happened."""
    try:
        done = subprocess.run([NETPLANE, "lab", "up", name, *args], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_logs(name)}"
        yield state.by_name(name)
    finally:
        wiring.remove(name)


def _logs(name: str) -> str:
    folder = Path("/run/netplane/labs") / name / "logs"
    return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-1500:]}" for p in sorted(folder.glob("*.log")))


def ask(lab: Lab, work: Callable[[Api], Awaitable[T]]) -> T:
    """Run one piece of API work."""

    async def body() -> T:
        async with Api(config.load(str(lab.kubeconfig))) as api:
            return await work(api)

    return asyncio.run(body())


def pods(lab: Lab) -> dict[str, Pod]:
    """Pods of the default namespace by name."""
    return {pod.metadata.name: pod for pod in ask(lab, lambda api: api.list(Pod, "default")).items}


def service(lab: Lab, name: str = "web") -> Service:
    """One Service of the default namespace."""
    return ask(lab, lambda api: api.get(Service, name, "default"))


def space_of(lab: Lab, pod: Pod) -> str:
    """A pod's network namespace."""
    return verify.pod_netns(lab.node(pod.spec.node_name), pod)


def node_of(lab: Lab, pod: Pod) -> LabNode:
    """The node a pod runs on."""
    return lab.node(pod.spec.node_name)


until = partial(waiting.until, within_s=30.0)


class Conversation:
    """An open TCP connection from inside a namespace to an echo server, to see whether it lives."""

    def __init__(self, space: str, address: str, port: int) -> None:
        self.sock = netns.run_in(space, lambda: socket.create_connection((address, port), timeout=3))
        self._file = self.sock.makefile("rb")
        self.server: dict[str, str] = json.loads(self._file.readline())

    def still_there(self) -> bool:
        """Send a line and see it come back."""
        line = secrets.token_hex(8).encode() + b"\n"
        self.sock.sendall(line)
        return self._file.readline() == line

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.sock.close()


def program(lab: Lab, name: str) -> tuple[int, int]:
    """(pid, start time) of a program of the lab."""
    return next((pid, started) for each, pid, started in supervisor.program_pids(lab) if each == name)


def kill_and_await_restart(lab: Lab, name: str) -> None:
    """Kill -9 a program and wait until its supervisor has started it again."""
    pid, started = program(lab, name)
    processes.kill(pid, started, signal.SIGKILL)

    def restarted() -> bool:
        new_pid, new_started = program(lab, name)
        return (new_pid, new_started) != (pid, started) and processes.start_time(new_pid) == new_started

    until(restarted, f"{name} started again")


def healthy(lab: Lab) -> bool:
    """Whether the API answers and every node is ready."""
    seen = asyncio.run(inspect.look(lab))
    return not seen.trouble and len(seen.nodes) == lab.node_count and all(node.ready for node in seen.nodes)


def root_network() -> dict[str, Any]:
    """What the root namespace has: links, addresses, routes, neighbours' devices, rules, nftables."""
    commands = ("ip -o link", "ip -o addr", "ip route show table all", "ip rule", "nft list ruleset")
    return {c: subprocess.run(c.split(), capture_output=True, text=True, check=True).stdout for c in commands}


def node_conditions(lab: Lab) -> list[str]:
    """The Ready condition of every node: True, False or Unknown."""
    nodes = ask(lab, lambda api: api.list(Node)).items
    return [c.status for n in nodes for c in (n.status.conditions if n.status else None) or [] if c.type == "Ready"]
