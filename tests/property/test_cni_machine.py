"""Any sequence of ADD, DEL, CHECK, GC, crashes at any step, restarts and reboots, against the kernel and a model:
no address twice, nothing leaked, DEL always succeeds, pods that were added stay attached.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cni.errors import Code
from cni.plan.bandwidth import device
from netplane.kernel.nft import Nft
from netplane.rtnl import Ifb, Link, delete
from tests.cnitools import Node, Spaces, config, door, patrol
from tests.crashing_node import FUSE, Crash, CrashingNode, fused

pytestmark = pytest.mark.privileged

CONTAINERS = st.sampled_from([f"c{i}" for i in range(6)])
STEPS = st.integers(0, 24)
PORTS = st.sampled_from([None, 80, 81])
LIMITED = 81  # who has this port also has a rate limit, and so a device of its own
# Room for four pods only, so that exhaustion is met as well.
CONFIG = config(
    "1.1.0",
    macspoofchk=True,
    ipam={"ranges": [[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.10", "rangeEnd": "10.244.1.13"}]]},
)


class Machine(RuleBasedStateMachine):
    """The model: which containers were told they are attached, and with which address."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Spaces()
        self.folder = Path(tempfile.mkdtemp(prefix="npt-cni-"))
        self.attached: dict[str, str] = {}
        self.results: dict[str, Any] = {}
        self.ports: dict[str, int | None] = {}
        self.unsure: set[str] = set()  # crashed in the middle: the runtime must DEL before it may ADD
        self.boots = 0

    @initialize()
    def begin(self) -> None:
        FUSE.left = None
        self.node = CrashingNode(self.place.name("node"), self.folder)
        self.pods = {f"c{i}": self.place.name(f"p{i}") for i in range(6)}

    def call(self, command: str, container: str = "", crash_after: int | None = None, **extra: Any) -> Any:
        """The answer; None when the process died on the way, and was started again."""
        self.node.now_s += 1.0
        FUSE.left = crash_after
        space = self.pods.get(container, "")
        try:
            return self.node.call(command, container, space, config=CONFIG | extra)
        except Crash:
            return None
        finally:
            FUSE.left = None

    def restart(self) -> None:
        """What a start must have made of whatever was left: every lease active, with its link."""
        self.node.restart()
        leases, links = self.node.engine.leases.all(), {link.name for link in self.node.links()}
        assert {lease.state for lease in leases} <= {"active"}
        assert {lease.link for lease in leases} == links

    @rule(container=CONTAINERS, port=PORTS)
    def add(self, container: str, port: int | None) -> None:
        answer = self.call("ADD", container, runtimeConfig=_mapping(port))
        if container in self.attached or container in self.unsure:
            assert answer.status == 1 or container in self.unsure
        if answer.status == 0:
            address = answer.body["ips"][0]["address"]
            assert address not in self.attached.values(), "no address twice"
            self.attached[container] = address
            self.results[container] = answer.body
            self.ports[container] = port
            self.unsure.discard(container)
        elif container not in self.attached and container not in self.unsure:
            if answer.body["code"] == Code.PORT_IN_USE:
                assert port in self.ports.values(), "a port is refused only while somebody has it"
            else:
                assert answer.body["code"] == Code.ADDRESSES_EXHAUSTED
                assert len(self.attached) + len(self.unsure) >= 4

    @rule(container=CONTAINERS)
    def remove(self, container: str) -> None:
        answer = self.call("DEL", container)
        assert answer == (0, {}), "DEL always succeeds"
        self.attached.pop(container, None)
        self.unsure.discard(container)

    @rule(container=CONTAINERS)
    def check(self, container: str) -> None:
        result = self.results.get(container, {"cniVersion": "1.1.0"})
        answer = self.call("CHECK", container, prevResult=result)
        assert (answer.status == 0) == (container in self.attached) or container in self.unsure

    @rule(keep=st.sets(CONTAINERS))
    def collect(self, keep: set[str]) -> None:
        valid = [{"containerID": container, "ifname": "eth0"} for container in keep]
        extra: dict[str, Any] = {"cni.dev/valid-attachments": valid}
        assert self.call("GC", **extra) == (0, {})
        for container in {*self.attached, *self.unsure} - keep:
            self.attached.pop(container, None)
            self.unsure.discard(container)

    @rule(container=CONTAINERS, steps=STEPS, command=st.sampled_from(["ADD", "DEL"]), port=PORTS)
    def crash(self, container: str, steps: int, command: str, port: int | None) -> None:
        answer = self.call(command, container, crash_after=steps, runtimeConfig=_mapping(port))
        if command == "ADD" and container not in self.attached:
            self.ports[container] = port
        self.restart()
        if answer is None:
            if command == "DEL" or container not in self.attached:
                self.attached.pop(container, None)
                self.unsure.add(container)
        elif command == "DEL":
            self.attached.pop(container, None)
            self.unsure.discard(container)
        elif answer.status == 0:
            self.attached[container] = answer.body["ips"][0]["address"]
            self.results[container] = answer.body
            self.unsure.discard(container)

    @rule()
    def plain_restart(self) -> None:
        self.restart()

    @rule(container=CONTAINERS)
    def pod_vanishes(self, container: str) -> None:
        """The runtime removed the namespace, and only later says DEL."""
        with door(self.pods[container]) as rtnl:
            if rtnl.link("eth0") is not None:
                rtnl.apply([delete(Link("eth0"))])
        if container in self.attached:
            self.attached.pop(container)
            self.unsure.add(container)

    def patrol(self) -> None:
        patrol(self.node)

    @rule()
    def patrolled(self) -> None:
        """Whoever vanished is forgotten without a DEL, and what was told to runtimes stays."""
        self.patrol()
        links = {link.name for link in self.node.links()}
        assert {lease.link for lease in self.node.engine.leases.all()} == links

    @rule(steps=STEPS)
    def crash_on_patrol(self, steps: int) -> None:
        FUSE.left = steps
        try:
            self.patrol()
        except Crash:
            pass
        finally:
            FUSE.left = None
        self.restart()

    @rule()
    def firewall_flushed(self) -> None:
        """Somebody flushes everything; a patrol puts it back."""
        self.node.inside(lambda: Nft().run_text("flush ruleset"))
        self.patrol()

    @precondition(lambda self: self.attached)
    @rule()
    def reboot(self) -> None:
        with door(self.node.space) as rtnl:
            rtnl.apply([delete(link) for link in self.node.links()])
        self.boots += 1
        self.node.restart(f"boot-{self.boots + 1}")
        self.attached.clear()
        self.unsure.clear()

    @invariant()
    def leases_and_links_agree(self) -> None:
        if not hasattr(self, "node"):
            return
        leases = self.node.engine.leases.all()
        addresses = [str(a) for lease in leases for a in lease.addresses]
        assert len(addresses) == len(set(addresses))
        held = {lease.key.container for lease in leases}
        assert set(self.attached) <= held <= {*self.attached, *self.unsure}
        links = {link.name for link in self.node.links()}
        by_container = {lease.key.container: lease for lease in leases}
        assert {by_container[c].link for c in self.attached} <= links, "who was added stays attached"
        assert links <= {lease.link for lease in leases}, "no link without a lease"
        for container, address in self.attached.items():
            assert _has(self.pods[container], address)
        told = {self.ports[c] for c in self.attached} - {None}
        leased = {port.host_port for port in self.node.engine.leases.ports()}
        assert told <= leased <= set(self.ports.values()), "who was added keeps its port"
        assert _mapped(self.node) == leased, "no element without a lease"
        held = _held(self.node)
        assert held >= {by_container[c].link for c in self.attached}, "who was added is guarded"
        assert held <= {lease.link for lease in leases}, "no guard without a lease"
        shapers = _shapers(self.node)
        assert shapers >= {device(by_container[c].key) for c in self.attached if self.ports[c] == LIMITED}
        assert shapers <= {device(lease.key) for lease in leases}, "no device without a lease"

    def teardown(self) -> None:
        try:
            for container in getattr(self, "pods", {}):
                assert self.call("DEL", container) == (0, {})
            if hasattr(self, "node"):
                assert self.node.links() == []
                assert self.node.engine.leases.all() == []
                assert not _mapped(self.node)
                assert not _shapers(self.node)
                assert not _held(self.node)
                self.node.close()
        finally:
            self.place.close()
            shutil.rmtree(self.folder)


def _has(space: str, address: str) -> bool:
    with door(space) as rtnl:
        found: Sequence[Any] = rtnl.addresses("eth0")
    return address in [a.interface.with_prefixlen for a in found]


def _mapping(port: int | None) -> dict[str, Any]:
    if not port:
        return {}
    limits = {"egressRate": 8_000_000, "egressBurst": 80_000} if port == LIMITED else {}
    return {"portMappings": [{"hostPort": port, "containerPort": 80}], "bandwidth": limits}


def _shapers(node: Node) -> set[str]:
    with door(node.space) as rtnl:
        return {link.name for link in rtnl.links() if isinstance(link.kind, Ifb)}


def _held(node: Node) -> set[str]:
    """Links that may send from one MAC address only."""
    with closing(node.inside(Nft)) as nft:
        if "bridge netplane-cni" not in nft.tables():
            return set()
    text = node.inside(lambda: Nft().run_text("list set bridge netplane-cni guarded"))
    return set(re.findall(r'"(veth\w+)" comment', text))


def _mapped(node: Node) -> set[int]:
    """Host ports the kernel has, in either family."""
    with closing(node.inside(Nft)) as nft:
        if "inet netplane-cni" not in nft.tables():
            return set()
    text = node.inside(lambda: Nft().run_text("list table inet netplane-cni"))
    return {int(port) for port in re.findall(r"tcp \. (\d+) comment", text)}


@pytest.fixture(autouse=True)
def _fused(monkeypatch: pytest.MonkeyPatch) -> None:
    fused(monkeypatch)


def test_any_sequence_leaks_nothing() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
