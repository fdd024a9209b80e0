"""The planes against the real kernel: what it holds after any changes, restarts, refusals and drift."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netplane.api.objects import EndpointSlice, Service
from netplane.kernel import netns
from netplane.kernel.conntrack import Conntrack
from netplane.kernel.nft import Nft, NftError
from netplane.nft.elements import Change, Transaction
from netplane.nft.objects import canonical
from netplane.nft.types import FAMILIES, IPV4, goto
from proxy import probe
from proxy.conntrack import Cleaner
from proxy.plan.ledger import Ledger
from proxy.plan.model import ROW_SHARDS, Options
from proxy.plane import Plane, cleanup
from proxy.sync import Ranges, Report, Syncer
from tests import strategies as moves
from tests.cluster_model import Cluster, Contents, comparable

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-planes-{os.getpid():x}"


@pytest.fixture(scope="module")
def namespace() -> Iterator[int]:
    netns.create(NAMESPACE)
    try:
        with netns.opened(NAMESPACE) as fd:
            yield fd
    finally:
        netns.delete(NAMESPACE)


class World:
    """A cluster, a proxy and a kernel."""

    def __init__(self, fd: int, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster(moves.NODE)
        self.nft = Nft(fd)
        self.conntrack = Conntrack(fd)
        self.start()

    def start(self) -> None:
        """A new proxy process, as it were: it knows nothing of the kernel, and gets the cluster from its lists."""
        self.planes = [Plane(family, moves.OPTIONS, self.nft) for family in FAMILIES]
        cleaner = Cleaner(self.conntrack)
        self.syncer = Syncer(self.planes, cleaner, self.cluster.node, moves.OPTIONS, lambda: None)
        for service in self.cluster.services.values():
            self.cluster.apply(moves.PutService(service), _FromNothing(self.syncer))
        for item in self.cluster.slices.values():
            self.cluster.apply(moves.PutSlice(item), _FromNothing(self.syncer))

    def sync(self, *, full: bool = False) -> Report:
        self.syncer.node_changed(self.cluster.node)
        return asyncio.run(self.syncer.run_once(full))

    def kernel(self, plane: Plane) -> Contents:
        return {owner.name: self.nft.list_elements(plane.table, owner) or {} for owner in plane.table.sets}

    def check(self) -> None:
        """The kernel holds exactly what the ledger says, and that is what the cluster's objects ask for."""
        for plane in self.planes:
            kernel = self.kernel(plane)
            assert kernel == plane.ledger.contents()
            assert comparable(kernel) == comparable(self.cluster.from_scratch(plane.family, moves.OPTIONS))


class _FromNothing:
    """A listener that makes every event an addition, as a first list does."""

    def __init__(self, syncer: Syncer) -> None:
        self._syncer = syncer

    def service_changed(self, _: object, new: object) -> None:
        self._syncer.service_changed(None, new)  # type: ignore[arg-type]  # passes on what it was given

    def slice_changed(self, _: object, new: object) -> None:
        self._syncer.slice_changed(None, new)  # type: ignore[arg-type]  # as above


@contextmanager
def world(fd: int) -> Iterator[World]:
    made = World(fd)
    try:
        yield made
    finally:
        made.nft.run_text("flush ruleset")
        made.nft.close()
        made.conntrack.close()


def listed() -> set[str]:
    """What an administrator sees, table by table."""
    command = ["ip", "netns", "exec", NAMESPACE, "nft", "list", "ruleset"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(filter(str.strip, shown.split("\n}\n")))


def example_service(name: str = "s0", **spec: object) -> Service:
    return msgspec.convert(
        {
            "metadata": {"namespace": "ns", "name": name},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "web", "port": 80}], **spec},
        },
        Service,
    )


def endpoints(*addresses: str, name: str = "s0-0", node: str = "there") -> moves.PutSlice:
    return moves.PutSlice(
        msgspec.convert(
            {
                "metadata": {
                    "namespace": "ns",
                    "name": name,
                    "labels": {"kubernetes.io/service-name": name.partition("-")[0]},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "nodeName": node} for address in addresses],
                "ports": [{"name": "web", "port": 8080}],
            },
            EndpointSlice,
        )
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(moves.actions, max_size=18), st.booleans())
def test_any_changes_leave_in_the_kernel_what_a_fresh_start_would(
    namespace: int, actions: list[moves.Action], listing: bool
) -> None:
    with world(namespace) as it:
        it.sync(full=True)
        for action in [*actions, moves.Sync(full=False)]:
            if isinstance(action, moves.Sync):
                it.sync(full=action.full)
                it.check()
            else:
                it.cluster.apply(action, it.syncer)
        if listing:
            assert len(listed()) == 2
        assert it.sync(full=True).applied.elements == 0, "a second look finds nothing to do"


@settings(max_examples=10, deadline=None)
@given(st.lists(moves.actions, max_size=12), st.lists(moves.actions, max_size=6))
def test_a_restart_repairs_only_the_difference(
    namespace: int, before: list[moves.Action], meanwhile: list[moves.Action]
) -> None:
    with world(namespace) as it:
        it.sync(full=True)
        for action in before:
            it.cluster.apply(action, it.syncer)
        it.sync()
        it.start()
        assert it.sync(full=True).applied.elements == 0, "nothing changed, so nothing is written"
        for action in meanwhile:
            it.cluster.apply(action, _FromNothing(it.syncer))
        it.start()
        it.sync(full=True)
        it.check()


def test_one_endpoints_change_is_a_handful_of_elements(namespace: int) -> None:
    with world(namespace) as it:
        it.cluster.apply(moves.PutService(example_service()), it.syncer)
        it.cluster.apply(endpoints(*(f"10.1.0.{i}" for i in range(1, 11))), it.syncer)
        it.sync(full=True)
        costs = []
        for addresses in (
            [*range(1, 10), 11],  # one replaced
            [*range(1, 10), 11, 12],  # one more
            [*range(2, 10), 11, 12],  # the first one gone
        ):
            it.cluster.apply(endpoints(*(f"10.1.0.{i}" for i in addresses)), it.syncer)
            costs.append(it.sync().applied.elements)
            it.check()
        assert costs == [2, 3, 5]


def test_a_refused_batch_changes_nothing_and_a_full_run_puts_things_right(namespace: int) -> None:
    with world(namespace) as it:
        it.cluster.apply(moves.PutService(example_service()), it.syncer)
        it.cluster.apply(endpoints("10.1.0.1"), it.syncer)
        it.sync(full=True)
        plane = it.planes[0]
        services = plane.table.set("services")
        (key,) = plane.ledger.contents()["services"]
        stolen = Transaction(plane.table, (Change(services, [key]),))
        it.nft.commit(stolen)
        it.cluster.apply(endpoints("10.1.0.1", "10.1.0.2"), it.syncer)
        with pytest.raises(NftError, match=r"services \{ 10\.96\.0\.1 \. tcp \. 80 \}: ENOENT"):
            it.sync()
        assert len(it.kernel(plane)["endpoints"]) == 1, "not half of a batch"
        assert it.sync(full=True).applied.elements > 0
        it.check()


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain ip netplane-proxy lb_1",
        "flush chain ip netplane-proxy prerouting",
        "insert rule ip netplane-proxy dispatch drop",
        "delete table ip netplane-proxy",
        "flush ruleset",
        "flush map ip netplane-proxy endpoints",
        "add element ip netplane-proxy cluster-ips { 10.9.9.9 }",
        "add chain ip netplane-proxy mine { type filter hook forward priority 0; policy drop; }",
        "delete table ip netplane-proxy; add table ip netplane-proxy; add set ip netplane-proxy services "
        "{ type inet_service; }",
    ],
)
def test_a_full_run_mends_what_others_broke(namespace: int, damage: str) -> None:
    with world(namespace) as it:
        it.cluster.apply(moves.PutService(example_service()), it.syncer)
        it.cluster.apply(endpoints("10.1.0.1", "10.1.0.2"), it.syncer)
        it.sync(full=True)
        good = listed()
        it.nft.run_text(damage)
        assert listed() != good
        it.start()
        it.sync(full=True)
        assert listed() == good
        assert it.sync(full=True).applied.elements == 0


def test_balancers_of_any_size_come_when_they_are_needed_and_outlive_a_restart(namespace: int) -> None:
    with world(namespace) as it:
        it.cluster.apply(moves.PutService(example_service(externalIPs=["198.51.100.1"])), it.syncer)
        it.sync(full=True)
        for count in (70, 200, 66):
            it.cluster.apply(endpoints(*(f"10.1.{i // 250}.{i % 250}" for i in range(count))), it.syncer)
            it.sync()
            it.check()
        chains = it.nft.chains(it.planes[0].table)
        assert {"lb_70", "lb_200", "lb_66"} <= set(chains)
        it.start()
        assert it.sync(full=True).applied.elements == 0
        assert it.nft.chains(it.planes[0].table) == chains


def test_rows_in_several_maps_survive_a_restart_damage_and_a_reload_of_the_listing(namespace: int) -> None:
    with world(namespace) as it:

        def small_shards() -> None:
            it.start()
            for plane in it.planes:
                plane.ledger = Ledger(plane.table, shard_rows=3)

        for n in range(1, 6):
            it.cluster.apply(moves.PutService(example_service(f"s{n}", clusterIP=f"10.96.0.{n}")), it.syncer)
            it.cluster.apply(endpoints(f"10.1.{n}.1", f"10.1.{n}.2", name=f"s{n}-0"), it.syncer)
        small_shards()
        it.sync(full=True)
        it.check()
        plane = it.planes[0]
        assert [len(it.kernel(plane)[name]) for name in ROW_SHARDS[:4]] == [4, 4, 2, 0]
        assert {"lb_2_1", "lb_2_2"} <= set(it.nft.chains(plane.table))
        it.start()
        assert it.sync(full=True).applied.elements == 0, "rows stay where they are, whatever is full now"
        small_shards()
        assert it.sync(full=True).applied.elements == 0
        good = listed()

        plane = it.planes[0]
        it.nft.run_text("flush map ip netplane-proxy endpoints-1")
        assert plane.mend(["endpoints-1"], rules=False).elements == 4
        it.nft.run_text("delete table ip netplane-proxy")
        plane.mend(None, rules=True)
        assert listed() == good
        command = ["ip", "netns", "exec", NAMESPACE, "nft"]
        text = subprocess.run([*command, "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        it.nft.run_text(f"flush ruleset\n{canonical(text)}")
        assert it.sync(full=True).applied.elements == 0

        # One service grows, another goes: the room it left is used again.
        it.cluster.apply(endpoints("10.1.1.1", "10.1.1.2", "10.1.1.3", name="s1-0"), it.syncer)
        it.cluster.apply(moves.Delete("service", "s3"), it.syncer)
        it.cluster.apply(moves.PutService(example_service("s7", clusterIP="10.96.0.7")), it.syncer)
        it.cluster.apply(endpoints("10.1.7.1", name="s7-0"), it.syncer)
        it.sync()
        it.check()
        sizes = [len(it.kernel(plane)[name]) for name in ROW_SHARDS]
        assert sum(sizes[:3]) == sum(sizes) == 10


def test_ranges_follow_the_cluster(namespace: int) -> None:
    with world(namespace) as it:
        it.sync(full=True)
        for ranges in (Ranges(("10.96.0.0/16", "fd00:96::/112"), ("10.0.0.0/8",)), Ranges(("10.96.0.0/12",)), Ranges()):
            it.syncer.ranges_changed(ranges)
            it.sync()
            for plane in it.planes:
                assert it.kernel(plane) == plane.ledger.contents()
        assert it.kernel(it.planes[0])["service-cidrs"] == {}


def test_other_tables_are_left_alone_and_cleanup_leaves_nothing_of_ours(namespace: int) -> None:
    with world(namespace) as it:
        it.nft.run_text("add table ip strangers; add chain ip strangers c")
        before = listed()
        it.sync(full=True)
        assert [cleanup(family, it.nft) for family in FAMILIES] == [True, True]
        assert listed() == before
        assert cleanup(IPV4, it.nft) is False


def test_the_probe_takes_this_kernel_and_leaves_no_trace(namespace: int) -> None:
    with world(namespace) as it:
        assert probe.usable_families(it.nft, FAMILIES, Options()) == list(FAMILIES)
        assert it.nft.tables() == []


def test_the_probe_writes_nothing_where_the_rules_are(namespace: int) -> None:
    with world(namespace) as it:
        it.sync(full=True)
        with it.nft.events() as events:
            events.sock.setblocking(False)
            assert probe.usable_families(it.nft, FAMILIES, moves.OPTIONS) == list(FAMILIES)
            with pytest.raises(BlockingIOError):
                events.sock.recv(1)


def test_a_verdict_to_a_chain_that_is_not_there_is_refused_whole(namespace: int) -> None:
    with world(namespace) as it:
        it.sync(full=True)
        plane = it.planes[0]
        services = plane.table.set("services")
        key = bytes(12)
        with pytest.raises(NftError, match="ENOENT"):
            it.nft.commit(Transaction(plane.table, (Change(services, (), [(key, goto("lb_9999"))]),)))
        assert it.kernel(plane)["services"] == {}
