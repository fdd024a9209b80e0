"""What goes wrong is named, hurts nobody else, and is tried again: bad objects, and kernels that refuse."""

import asyncio
import contextlib
import random
from typing import Any, cast

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.api.objects import Node as NodeObject
from netplane.kernel.nft import Counted, Nft, NftError
from netplane.net.addresses import packed
from netplane.nft.elements import Transaction, Value
from netplane.nft.objects import Set, Table
from netplane.nft.types import IPV4
from netplane.obs.runner import Pace, Runner
from proxy import health
from proxy.conntrack import Cleaner
from proxy.plan import services, slices
from proxy.plan.model import READY, SERVING, Node, Options, frontend_key
from proxy.plan.skeleton import with_balancers
from proxy.plane import Plane
from proxy.sync import Syncer
from tests.cluster_model import apply_strictly

WEB = frontend_key(packed("10.96.0.1"), 6, 80)


class FakeNft:
    """A kernel that takes what the real one takes, or refuses as often as it is told to."""

    def __init__(self) -> None:
        self.held: dict[str, dict[bytes, Value]] = {}
        self.refusals = 0
        self.commits = 0
        self.listing: str | None = None

    def list_elements(self, _: Table, owner: Set) -> dict[bytes, Value]:
        return dict(self.held.setdefault(owner.name, {}))

    def list_table(self, _: Table) -> str | None:
        return self.listing

    def run_text(self, _: str) -> str:
        # A listing may have balancers to spare.
        self.listing = str(with_balancers(self.table, [f"st_{count}_10800" for count in (1, 2)]))
        return ""

    def get_counters(self, *_: object) -> dict[bytes, Counted]:
        return {}

    def commit(self, transaction: Transaction) -> int:
        self.commits += 1
        if self.refusals:
            self.refusals -= 1
            raise NftError("nftables: cannot add to it: ENOMEM")
        apply_strictly(self.held, transaction.changes)
        return 1

    table: Table


class _NoFlows:
    def flows(self, *_: object) -> list[Any]:
        return []

    def delete(self, *_: object) -> int:
        return 0


class World:
    """A syncer over a fake kernel, driven by the real runner."""

    def __init__(self) -> None:
        self.nft = FakeNft()
        self.plane = Plane(IPV4, Options(), cast(Nft, self.nft))
        self.nft.table = self.plane.table
        self.syncer = Syncer([self.plane], cast(Cleaner, _NoFlows()), Node("here"), Options(), lambda: None)
        self.now = 0.0
        self.state = health.State(lambda: self.now, patience_s=60)
        self.state.node = NodeObject()
        self.runs: list[bool] = []

    def put(self, made: Service, *items: EndpointSlice) -> None:
        self.syncer.service_changed(None, services.read(made))
        for item in items:
            self.syncer.slice_changed(None, slices.read(item, "here"))

    def work(self, full: bool) -> None:
        self.runs.append(full)
        try:
            self.syncer.apply(full)
        except NftError:
            self.state.changed()
            raise
        self.state.synced()


def service(name: str = "good", **spec: Any) -> Service:
    plain = {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}
    return msgspec.convert({"metadata": {"namespace": "ns", "name": name}, "spec": {**plain, **spec}}, Service)


def piece(*addresses: str, name: str = "good", port: int = 8080) -> EndpointSlice:
    return msgspec.convert(
        {
            "metadata": {
                "namespace": "ns",
                "name": f"{name}-1",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]} for address in addresses],
            "ports": [{"port": port}],
        },
        EndpointSlice,
    )


# Objects -----------------------------------------------------------------------------------------------------------

BAD_SERVICES = [
    service("bad", clusterIP="10.96.0.300"),
    service("bad", clusterIP="10.96.0.2", ports=[{"port": 0}]),
    service("bad", clusterIP="10.96.0.2", ports=[{"port": 70_000}]),
    service("bad", clusterIP="10.96.0.2", ports=[{"port": 80, "protocol": "CARRIER-PIGEON"}]),
    service("bad", clusterIP="10.96.0.2", ports=[{"port": 80, "nodePort": -1}]),
    service("bad", clusterIP="10.96.0.2", externalIPs=["nowhere"]),
    service("bad", clusterIP="10.96.0.2", type="LoadBalancer", loadBalancerSourceRanges=["everywhere"]),
    *(
        service(
            "bad",
            clusterIP="10.96.0.2",
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}},
        )
        for seconds in (-5, 0, 1 << 40)
    ),
]
BAD_SLICES = [piece("10.1.0.300", name="bad"), piece("fd00::1", name="bad"), piece("10.1.0.9", name="bad", port=0)]


@pytest.mark.parametrize("bad", [*BAD_SERVICES, *BAD_SLICES], ids=range(len(BAD_SERVICES) + len(BAD_SLICES)))
def test_an_object_that_should_not_be_there_is_named_and_hurts_no_other(
    bad: Service | EndpointSlice, capsys: pytest.CaptureFixture[str]
) -> None:
    it = World()
    it.put(service(), piece("10.1.0.1", "10.1.0.2"))
    if isinstance(bad, Service):
        it.put(bad, piece("10.1.0.7", name="bad"))
    else:
        it.put(service("bad", clusterIP="10.96.0.2"), bad)
    it.syncer.apply(full=True)
    frontend = it.plane.ledger.frontend(WEB)
    assert frontend is not None
    assert frontend.entry == "goto lb_2"
    assert "ns/bad" in capsys.readouterr().err
    it.put(service(), piece("10.1.0.1"))
    it.syncer.apply(full=False)
    assert it.nft.held["services"][WEB] == "goto lb_1"


def test_a_million_endpoints_of_one_service_are_named_and_cost_the_others_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    it = World()
    it.put(service(), piece("10.1.0.1"))
    it.put(service("huge", clusterIP="10.96.0.2"))
    addresses = b"".join(number.to_bytes(4, "big") for number in range(10 << 24, (10 << 24) + 1000))
    ports = (slices.SlicePort("", 6, b"\x1f\x90\0\0"),)
    for number in range(1000):
        flags = bytes([READY | SERVING]) * 1000
        it.syncer.slice_changed(
            None, slices.Slice("ns/huge", f"ns/huge-{number}", IPV4, ports, addresses, flags, (), ())
        )
    it.syncer.apply(full=True)
    assert "service ns/huge: 1000000 endpoints" in capsys.readouterr().err
    assert it.nft.held["services"] == {WEB: "goto lb_1"}
    assert packed("10.96.0.2") in it.nft.held["cluster-ips"], "who asks for it is refused, not left waiting"


# Kernels ------------------------------------------------------------------------------------------------------------


def test_a_refused_transaction_is_repeated_in_full_after_a_backoff_and_health_says_so() -> None:
    it = World()
    it.put(service(), piece("10.1.0.1"))

    async def scenario() -> None:
        runner = Runner("test", it.work, Pace(retry_first_s=0.001, retry_longest_s=0.01))
        looping = asyncio.create_task(runner.run())
        while not it.runs or it.nft.commits < 1:
            await asyncio.sleep(0.001)
        assert it.state.healthy
        it.nft.refusals = 2
        it.put(service(), piece("10.1.0.1", "10.1.0.2"))
        runner.poke()
        while it.nft.refusals:
            await asyncio.sleep(0.001)
        while runner.policy.failures:
            await asyncio.sleep(0.001)
        looping.cancel()

    asyncio.run(scenario())
    assert it.runs == [True, False, True, True], "once as a change, then everything again until it works"
    assert it.nft.held["services"][WEB] == "goto lb_2"
    assert it.state.healthy


def test_health_is_bad_while_the_kernel_refuses_for_long_and_good_again_after() -> None:
    it = World()
    it.put(service(), piece("10.1.0.1"))
    it.work(True)
    it.nft.refusals = 2
    it.put(service(), piece("10.1.0.1", "10.1.0.2"))
    said = []
    for now in (100.0, 161.0, 162.0):
        it.now = now
        with contextlib.suppress(NftError):
            it.work(now > 100.0)
        said.append((it.state.healthz()[0], it.state.livez()[0]))
    assert said == [(200, 200), (503, 503), (200, 200)]


def test_any_pattern_of_refusals_ends_in_what_the_cluster_wants() -> None:
    dice = random.Random(7)
    it = World()
    full = True
    for turn in range(120):
        it.nft.refusals = dice.choice([0, 0, 1])
        it.put(service(), piece(*(f"10.1.0.{n}" for n in range(1, 2 + turn % 5))))
        if turn % 3 == 0:
            it.put(service("other", clusterIP="10.96.0.2", sessionAffinity=dice.choice(["None", "ClientIP"])))
            it.syncer.slice_changed(None, slices.read(piece(f"10.2.0.{1 + turn % 4}", name="other"), "here"))
        try:
            it.syncer.apply(full)
            full = False
        except NftError:
            full = True
    it.nft.refusals = 0
    it.syncer.apply(full)
    wanted = {name: held for name, held in it.plane.ledger.contents().items() if held}
    assert {name: held for name, held in it.nft.held.items() if held} == wanted


# The node ----------------------------------------------------------------------------------------------------------

OWN, POD_DEVICE = packed("192.0.2.1"), packed("fe80::1")


def test_addresses_that_matter_to_nobody_plan_nothing_again() -> None:
    world = World()
    world.put(service(), piece("10.1.0.1"))
    world.put(service("open", clusterIP="10.96.0.2", ports=[{"port": 80, "nodePort": 30080}]), piece(name="open"))
    world.syncer.node_changed(Node("here", primary=(OWN,)))
    assert world.syncer.apply(True).services == 2

    world.syncer.node_changed(Node("here", primary=(OWN,), addresses=frozenset({POD_DEVICE})))
    assert world.syncer.apply(False).services == 0, "a pod's device came"
    world.syncer.node_changed(Node("here", primary=(OWN,), addresses=frozenset({OWN})))
    assert world.syncer.apply(False).services == 1, "NodePorts answer there now"
    assert packed("192.0.2.1") in {key[:4] for key in world.nft.held["services"]}
    world.syncer.node_changed(Node("here", "zone-a", (OWN,), frozenset({OWN})))
    assert world.syncer.apply(False).services == 2
