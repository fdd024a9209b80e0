"""Hints and trigger times of EndpointSlices: our own tables."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    Event,
    ForNode,
    ForZone,
    Node,
    Pod,
    PodStatus,
    Service,
)
from netplane.controllers import touched
from netplane.controllers.plan import endpoint_slices, hints, triggers, zones
from netplane.controllers.plan.hints import Lot
from netplane.controllers.plan.slice_objects import TRIGGER_TIME
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Create
from tests import controller_objects as made

KEY = "shop/web"
AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def endpoint(zone: str | None = "a", *, ready: bool | None = True, hint: str = "", node: str | None = "n") -> Endpoint:
    conditions = EndpointConditions(ready=ready)
    return Endpoint(
        addresses=["10.0.0.1"], conditions=conditions, zone=zone, node_name=node, hints=for_zone(hint) if hint else None
    )


def for_zone(zone: str) -> EndpointHints:
    return EndpointHints(for_zones=[ForZone(name=zone)])


@pytest.mark.parametrize(
    ("policy", "one", "expected"),
    [
        (None, endpoint(hint="a"), None),
        ("Unheard", endpoint(hint="a"), None),
        ("PreferClose", endpoint(), for_zone("a")),
        ("PreferSameZone", endpoint(hint="b"), for_zone("a")),
        ("PreferSameZone", endpoint(None), None),
        ("PreferSameZone", endpoint(ready=False), None),
        ("PreferSameZone", endpoint(ready=None), None),
        ("PreferSameNode", endpoint(), EndpointHints(for_zones=[ForZone(name="a")], for_nodes=[ForNode(name="n")])),
        ("PreferSameNode", endpoint(None), EndpointHints(for_nodes=[ForNode(name="n")])),
        ("PreferSameNode", endpoint(node=None), for_zone("a")),
    ],
)
def test_distribution(policy: str | None, one: Endpoint, expected: EndpointHints | None) -> None:
    [lot] = hints.distribute(policy, [Lot((one,), touched=False)])
    assert lot.endpoints[0].hints == expected
    assert lot.touched == (one.hints != expected)


def dealt(shares: dict[str, float], *groups: str, touched: bool = True) -> tuple[list[str], str]:
    """Zones of endpoints, a word per slice → the zones they are meant for, and what is wrong."""
    lots = [Lot(tuple(endpoint(zone) for zone in group), touched) for group in groups]
    verdict = zones.allocate(shares, lots)
    told = [
        "".join(one.hints.for_zones[0].name if one.hints and one.hints.for_zones else "-" for one in lot.endpoints)
        for lot in verdict.lots
    ]
    return told, verdict.problem


HALVES = {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("shares", "groups", "expected", "problem"),
    [
        (HALVES, ["ab"], ["ab"], ""),
        (HALVES, ["aaaa"], ["bbaa"], ""),
        (HALVES, ["aaab"], ["baab"], ""),
        (HALVES, ["aa", "ab"], ["ba", "ab"], ""),
        ({"a": 0.75, "b": 0.25}, ["aaab"], ["aaab"], ""),
        (HALVES, ["a"], ["-"], "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        ({"a": 0.34, "b": 0.33, "c": 0.33}, ["abca"], ["----"], zones.OVERLOADED + " (4 endpoints, 3 zones)"),
        ({}, ["ab"], ["--"], zones.NO_NODE_INFO),
        (HALVES, ["cccc"], ["aabb"], ""),  # a zone that has no nodes any more
    ],
)
def test_proportions(shares: dict[str, float], groups: list[str], expected: list[str], problem: str) -> None:
    assert dealt(shares, *groups) == (expected, problem)


def test_an_endpoint_without_a_zone_spoils_it() -> None:
    lot = Lot((endpoint("a"), endpoint("b"), endpoint("a"), endpoint(None)), touched=True)
    assert zones.allocate(HALVES, [lot]).problem == zones.NO_ZONE


def test_what_fits_stays_and_what_is_too_much_is_dealt_anew() -> None:
    good = Lot((endpoint("a", hint="a"), endpoint("a", hint="b")), touched=False)
    verdict = zones.allocate(HALVES, [good])
    assert verdict.lots == [good]
    crowded = Lot(tuple(endpoint("a", hint="a") for _ in range(4)), touched=False)
    [after] = zones.allocate(HALVES, [crowded]).lots
    assert after.touched
    assert sorted(one.hints.for_zones[0].name for one in after.endpoints if one.hints and one.hints.for_zones) == [
        "a", "a", "b", "b",
    ]  # fmt: skip
    strange = Lot((endpoint("a", hint="z"), endpoint("b", hint="b")), touched=False)
    [after] = zones.allocate(HALVES, [strange]).lots
    assert after.touched


@pytest.mark.parametrize(
    ("text", "expected"), [("4", 4000), ("1500m", 1500), ("0.5", 500), (2, 2000), ("", 0), ("x", 0), ("m", 0)]
)
def test_quantities_of_cpu(text: Any, expected: int) -> None:
    assert zones.milli(text) == expected


# in a plan


def node(zone: str, *, cpu: str = "1", ready: str = "True", labels: dict[str, str] | None = None) -> Node:
    return made.node(f"n-{zone}", ready, zone=zone, labels=labels, allocatable={"cpu": cpu})


def pod(number: int, zone: str, since: str = "2026-01-01T00:00:00Z") -> Pod:
    return made.pod(f"p{number}", [f"10.0.0.{number + 1}"], on=f"n-{zone}", since=since)


def service(annotations: dict[str, str] | None = None, **spec: Any) -> Service:
    return made.service(annotations=annotations, **spec)


class Cluster(made.Cluster):
    def sync(self) -> tuple[int, list[str]]:
        """How many slices were written, and the reasons of events."""
        writes = self.perform(endpoint_slices.NAME, KEY, endpoint_slices.plan(self.world, KEY))
        told = [write.obj for write in writes if isinstance(write, Create) and isinstance(write.obj, Event)]
        assert endpoint_slices.plan(self.world, KEY).writes == ()
        return len(writes) - len(told), [one.reason for one in told]

    def zones(self) -> str:
        hinted = (one.hints.for_zones[0].name if one.hints and one.hints.for_zones else "-" for one in self.endpoints)
        return "".join(sorted(hinted))

    def triggers(self) -> list[str]:
        return [(one.metadata.annotations or {}).get(TRIGGER_TIME, "") for one in self.world.slices.values()]


def test_proportional_hints_come_and_go_with_what_they_need_and_say_so() -> None:
    cluster = Cluster(node("a"), node("b"), service(AUTO), *(pod(i, "a") for i in range(4)))
    assert cluster.sync() == (1, ["TopologyAwareHintsEnabled"])
    assert cluster.zones() == "aabb"
    cluster.put(node("b", ready="Unknown"))
    assert cluster.sync() == (1, ["TopologyAwareHintsDisabled"])
    assert cluster.zones() == "----"
    assert cluster.sync() == (0, [])
    cluster.put(node("b"))
    assert cluster.sync() == (1, ["TopologyAwareHintsEnabled"])
    cluster.put(service())
    assert cluster.sync() == (1, ["TopologyAwareHintsDisabled"])
    assert cluster.zones() == "----"


def test_the_annotation_goes_before_the_field_and_the_field_needs_no_nodes() -> None:
    both = service(AUTO, traffic_distribution="PreferSameZone")
    cluster = Cluster(node("a"), node("b"), both, *(pod(i, "a") for i in range(4)))
    cluster.sync()
    assert cluster.zones() == "aabb"
    cluster.put(service(traffic_distribution="PreferSameZone"))
    cluster.sync()
    assert cluster.zones() == "aaaa"


def test_a_restart_tells_nothing_that_was_told() -> None:
    cluster = Cluster(node("a"), node("b"), service(AUTO), *(pod(i, "a") for i in range(4)))
    cluster.sync()
    cluster.world.memory.clear()
    assert cluster.sync() == (0, [])


def test_services_with_proportions_are_looked_at_when_a_zone_changes_its_size() -> None:
    world = World.of(node("a"), node("b"), service(AUTO))
    for new, expected in ((node("b", cpu="2"), [KEY]), (node("b", cpu="2", labels={"x": "y"}), []), (None, [KEY])):
        old = world.nodes["n-b"]
        world.apply(old, new, 0.0)
        assert list(touched.of_slices(world, old, new)) == expected
    world.apply(world.services[KEY], service(), 0.0)
    old = world.nodes["n-a"]
    world.apply(old, None, 0.0)
    assert list(touched.of_slices(world, old, None)) == []


def test_slices_tell_the_oldest_change_that_they_bring() -> None:
    cluster = Cluster(node("a"), service())
    cluster.sync()
    assert cluster.triggers() == ["2025-12-31T00:00:00Z"]
    cluster.put(pod(1, "a", "2026-01-01T00:00:05Z"), pod(2, "a", "2026-01-01T00:00:03Z"))
    cluster.sync()
    assert cluster.triggers() == ["2026-01-01T00:00:03Z"]
    cluster.put(pod(1, "a", "2026-01-01T00:00:09Z"))
    assert cluster.sync() == (0, [])  # ready again since: nothing that a slice says
    cluster.put(msgspec.structs.replace(pod(2, "a", "2026-01-01T00:00:03Z"), status=PodStatus(phase="Failed")))
    cluster.sync()
    assert cluster.triggers() == [""]


def test_trigger_times() -> None:
    one, pods = service(), [pod(1, "a", "2026-01-01T00:00:05Z")]
    first = triggers.since(None, one, pods)
    assert (first.time, first.seen) == ("2025-12-31T00:00:00Z", {"p1": "2026-01-01T00:00:05Z"})
    assert triggers.since(first.seen, one, pods).time == ""
    assert triggers.since(first.seen, one, [*pods, pod(2, "a", "2026-01-01T00:00:01Z")]).time == "2026-01-01T00:00:01Z"


def test_a_slice_that_was_made_twice_because_an_answer_was_lost_is_made_good() -> None:
    cluster = Cluster(node("a"), service(), pod(1, "a"), pod(2, "a"))
    [write] = endpoint_slices.plan(cluster.world, KEY).writes
    assert isinstance(write, Create)
    for name in ("first", "second"):
        meta = msgspec.structs.replace(write.obj.metadata, name=name)
        one = msgspec.structs.replace(write.obj, metadata=meta)
        assert isinstance(one, EndpointSlice)
        cluster.put(one)
    assert cluster.sync() == (1, [])
    [left] = cluster.world.slices.values()
    assert len(left.endpoints or ()) == 2
