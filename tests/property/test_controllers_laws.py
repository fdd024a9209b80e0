"""Whatever happens to pods: slices hold each backend exactly once, stay small, and settle after one plan."""

import math
from datetime import datetime
from ipaddress import ip_network

from hypothesis import example, given, settings
from hypothesis import strategies as st

from netplane.api.objects import (
    Container,
    ContainerPort,
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    Node,
    ObjectMeta,
    Pod,
    ServicePort,
    Taint,
)
from netplane.controllers.plan import endpoint_slices, zones
from netplane.controllers.plan.disruption import UNREACHABLE
from netplane.controllers.plan.hints import Lot
from netplane.controllers.plan.ranges import Pool
from netplane.controllers.plan.world import World
from tests import controller_objects as made

KEY = "shop/web"
LIMIT = 4
SERVICE = made.service(ports=[ServicePort(name="p", port=1, target_port="p")])


def pod(number: int, ready: bool, port: int) -> Pod:
    containers = [Container(ports=[ContainerPort(name="p", container_port=port)])]
    return made.pod(f"p{number}", [f"10.0.0.{number + 1}"], ready, containers=containers)


PODS = st.builds(pod, st.integers(0, 19), st.booleans(), st.sampled_from([80, 81]))
STEPS = st.lists(st.lists(st.tuples(PODS, st.booleans()), max_size=8), max_size=8)


def endpoints(world: World) -> list[tuple[str, int | None, bool | None]]:
    return sorted(
        (one.addresses[0], (part.ports or [])[0].port, one.conditions.ready if one.conditions else None)
        for part in world.slices.values()
        for one in part.endpoints or ()
    )


@given(STEPS)
@settings(deadline=None)
def test_slices_hold_every_backend_once_and_settle(steps: list[list[tuple[Pod, bool]]]) -> None:
    cluster = made.Cluster(made.node("n"), SERVICE)
    world = cluster.world

    def writes() -> int:
        return len(cluster.perform("", KEY, endpoint_slices.plan(world, KEY, limit=LIMIT)))

    for step in steps:
        for one, present in step:
            if present or one.key in world.pods:
                world.apply(world.pods.get(one.key), one if present else None, 0.0)
        writes()
        assert writes() == 0
        expected = sorted(
            (p.status.pod_ip, p.spec.containers[0].ports[0].container_port, p.status.conditions[0].status == "True")
            for p in world.pods.values()
            if p.status and p.status.conditions and p.spec.containers[0].ports
        )
        assert endpoints(world) == expected
        assert all(size <= LIMIT for size in cluster.sizes)
        assert cluster.sizes == [0] if not expected else 0 not in cluster.sizes


@given(st.lists(st.tuples(PODS, st.booleans()), max_size=30))
def test_indices_are_what_a_search_finds(changes: list[tuple[Pod, bool]]) -> None:
    world = World.of(SERVICE, EndpointSlice(metadata=ObjectMeta(name="x", namespace="shop")))
    for one, present in changes:
        old = world.pods.get(one.key)
        if old is None and not present:
            continue
        world.apply(old, one if present else None, 0.0)
        assert {p.key for p in world.pods_of(SERVICE)} == set(world.pods)
        assert {p.key for p in world.pods_on("n")} == set(world.pods)
        assert list(world.services_of(one)) == [KEY]


ZONES = "abcd"
CPUS = st.dictionaries(st.sampled_from(ZONES[:3]), st.integers(1, 20), min_size=2)
LOTS = st.lists(st.lists(st.tuples(st.sampled_from(ZONES), st.booleans()), max_size=12), min_size=1, max_size=4)


@given(CPUS, LOTS)
@example({"a": 4, "b": 1, "c": 1}, [[("a", True)] * 5 + [("b", True)] * 2 + [("c", True)] * 2])
def test_proportions_hold_cover_every_zone_and_settle(cpus: dict[str, int], raw: list[list[tuple[str, bool]]]) -> None:
    shares = zones.shares(zones.Contribution(zone, cpu) for zone, cpu in cpus.items())
    lots = [
        Lot(
            tuple(
                Endpoint(addresses=["10.0.0.1"], zone=zone, conditions=EndpointConditions(ready=ready))
                for zone, ready in lot
            ),
            touched=True,
        )
        for lot in raw
    ]
    verdict = zones.allocate(shares, lots)
    meant = [one.hints.for_zones or [] for lot in verdict.lots for one in lot.endpoints if one.hints]
    ready = sum(ready for lot in raw for _, ready in lot)
    if verdict.problem:
        assert not meant
    else:
        assert len(meant) == ready
        counts = {zone: sum(each[0].name == zone for each in meant) for zone in shares}
        assert sum(counts.values()) == ready, "nobody is meant for a zone without nodes"
        # Every zone is given at least its part over 1.2, rounded up: what that is above the parts, others lack.
        above = sum(max(math.ceil(share * ready / 1.2) - share * ready, 0.0) for share in shares.values())
        for zone, share in shares.items():
            assert counts[zone] > share * ready - 1 - above
            assert counts[zone] < share * ready + 2
    again = zones.allocate(shares, [lot._replace(touched=False) for lot in verdict.lots])
    assert again.lots == [lot._replace(touched=False) for lot in verdict.lots]
    assert again.problem == verdict.problem


def known_node(name: str, zone: str, ready: str, marked: int, cidr: str) -> Node:
    taints = [Taint(key=UNREACHABLE, effect="NoExecute", time_added=f"2026-01-01T00:00:{marked:02}Z")] if marked else []
    return made.node(
        name,
        ready,
        zone=zone,
        taints=taints,
        pod_cidr=cidr,
        pod_cidrs=[cidr] if cidr else None,
        allocatable={"cpu": "2"},
    )


NODES = st.builds(
    known_node,
    st.sampled_from("abcdef"),
    st.sampled_from(["x", "y", ""]),
    st.sampled_from(["True", "False", "Unknown"]),
    st.integers(0, 9),
    st.sampled_from(["", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/23", "192.0.2.0/24"]),
)


@given(st.lists(st.tuples(NODES, st.booleans()), max_size=30))
def test_what_is_known_of_nodes_does_not_depend_on_the_way_there(changes: list[tuple[Node, bool]]) -> None:
    pools = [Pool(ip_network("10.0.0.0/22"), 24)]
    world = World(pools)
    for one, present in changes:
        old = world.nodes.get(one.key)
        if present and old is not None and old.spec.pod_cidr and not one.spec.pod_cidr:
            continue  # the API lets nobody take a range from a node; what was reserved for it would stay
        if old is not None or present:
            world.apply(old, one if present else None, 0.0)
        now_s = datetime.fromisoformat("2026-01-01T00:00:10Z").timestamp()
        fresh = World.of(*world.nodes.values(), pools=pools)
        assert world.health.cut_off == fresh.health.cut_off
        for zone in ("/x", "/y", "/"):
            assert world.health.wait_s(zone, now_s) == fresh.health.wait_s(zone, now_s)
        assert world.ranges.lowest_free() == fresh.ranges.lowest_free()
        assert world.zone_shares == fresh.zone_shares
