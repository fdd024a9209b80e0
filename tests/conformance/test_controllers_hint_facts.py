"""Which hints the reference's EndpointSlice controller sets, row by row. Collected only where the facts lie."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from netplane.api.objects import (
    Condition,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    ForNode,
    ForZone,
    Node,
    NodeStatus,
    ObjectMeta,
)
from netplane.controllers.plan import hints, zones
from netplane.controllers.plan.hints import Lot

FACTS = Path(__file__).parents[2] / ".." / "shared" / "facts"
TABLES = FACTS / "tables"
TOPOLOGY = TABLES / "k8s.io_endpointslice_topologycache_topologycache.json"
DISTRIBUTION = TABLES / "k8s.io_endpointslice_trafficdist_trafficdist.json"
UTILS = TABLES / "k8s.io_endpointslice_utils.json"
CASES = FACTS / "traffic_distribution.yaml"

WORDS = {
    "$InsufficientNodeInfo": zones.NO_NODE_INFO,
    "$InsufficientNumberOfEndpoints": zones.TOO_FEW,
    "$TopologyAwareHintsEnabled": zones.ENABLED,
}


def table(path: Path, name: str) -> Any:
    return next(value for key, value in json.loads(path.read_text()).items() if key.endswith(f":{name}"))


def named(rows: Any) -> list[Any]:
    return [pytest.param(row, id=row["name"]) for row in rows]


def endpoint(raw: dict[str, Any]) -> Endpoint:
    """One endpoint of either way of writing them."""
    low = {key[0].lower() + key[1:]: value for key, value in raw.items()}
    said = {key.lower(): value for key, value in (low.get("conditions") or {}).items()}
    wanted = {key[0].lower() + key[1:]: value for key, value in (low.get("hints") or {}).items()}
    return Endpoint(
        addresses=low["addresses"],
        conditions=EndpointConditions(ready=said.get("ready")),
        node_name=low.get("nodeName"),
        zone=low.get("zone"),
        hints=EndpointHints(
            for_zones=[ForZone(name=name) for name in _names(wanted.get("forZones"))] or None,
            for_nodes=[ForNode(name=name) for name in _names(wanted.get("forNodes"))] or None,
        )
        if wanted
        else None,
    )


def _names(raw: Any) -> list[str]:
    return [one.get("name") or one["Name"] for one in raw or ()]


def lots(raw: Any, *, touched: bool) -> list[Lot]:
    slices = [one.get("endpoints") or one.get("Endpoints") or [] for one in raw or ()]
    return [Lot(tuple(map(endpoint, one)), touched) for one in slices]


def contents(some: Sequence[Lot]) -> list[tuple[Endpoint, ...]]:
    return [lot.endpoints for lot in some if lot.touched]


def check_distribution(row: dict[str, Any], policy: str | None) -> None:
    before = [
        *lots(row.get("slicesToCreate"), touched=True),
        *lots(row.get("slicesToUpdate"), touched=True),
        *lots(row.get("slicesUnchanged"), touched=False),
    ]
    expected = [
        *lots(row.get("wantSlicesToCreate"), touched=True),
        *lots(row.get("wantSlicesToUpdate"), touched=True),
    ]
    after = hints.distribute(policy, before)
    assert contents(after) == contents(expected)
    untouched = [lot.endpoints for lot in after if not lot.touched]
    assert untouched == [lot.endpoints for lot in lots(row.get("wantSlicesUnchanged"), touched=False)]


if CASES.is_file():

    @pytest.mark.parametrize("row", named(yaml.safe_load(CASES.read_text())["cases"]))
    def test_traffic_distribution(row: dict[str, Any]) -> None:
        check_distribution(row, row["trafficDistribution"])


if DISTRIBUTION.is_file():

    @pytest.mark.parametrize("row", named(table(DISTRIBUTION, "TestReconcileHints#1")))
    def test_traffic_distribution_table(row: dict[str, Any]) -> None:
        policy = (row.get("trafficDistribution") or "").removeprefix("ServiceTrafficDistribution")
        check_distribution(row, policy or None)

    def test_what_is_right_is_not_copied() -> None:
        [raw] = table(DISTRIBUTION, "TestReconcileHints_doesNotMutateUnchangedSlices#1")
        before = Lot((endpoint(raw),), touched=False)
        [after] = hints.distribute("PreferClose", [before])
        assert after.touched
        assert before.endpoints == (endpoint(raw),)
        [again] = hints.distribute("PreferClose", [after._replace(touched=False)])
        assert not again.touched
        assert all(one is other for one, other in zip(again.endpoints, after.endpoints, strict=True))


if TOPOLOGY.is_file():

    @pytest.mark.parametrize("row", named(table(TOPOLOGY, "TestAddHints#1")))
    def test_proportional_hints(row: dict[str, Any]) -> None:
        shares = {zone: share for zone, share in (row["cpuRatiosByZone"] or {}).items() if zone != "_line"}
        info = row["sliceInfo"]
        before = [*lots(info.get("ToCreate"), touched=True), *lots(info.get("ToUpdate"), touched=True)]
        verdict = zones.allocate(shares, before)
        expected = [
            *lots(row["expectedSlicesToCreate"], touched=True),
            *lots(row["expectedSlicesToUpdate"], touched=True),
        ]
        assert contents(verdict.lots) == contents(expected)
        [said] = row["expectedEvents"]
        assert (verdict.problem or zones.ENABLED).startswith(WORDS[said["Message"]])
        counts: dict[str, int] = {}
        for one in (one for lot in verdict.lots for one in lot.endpoints if one.hints):
            assert one.hints is not None
            for zone in one.hints.for_zones or ():
                counts[zone.name] = counts.get(zone.name, 0) + 1
        told = (row["expectedEndpointsByAddrType"] or {}).get("AddressTypeIPv4", {})
        assert counts == {zone: count for zone, count in told.items() if zone != "_line"}

    @pytest.mark.parametrize("row", named(table(TOPOLOGY, "TestSetNodes#1")))
    def test_shares_of_zones(row: dict[str, Any]) -> None:
        nodes = []
        for raw in row["nodes"]:
            labels = {**raw.get("labels", {}), "topology.kubernetes.io/zone": raw["zone"]}
            ready = Condition(type="Ready", status=raw["ready"].removeprefix("Condition"))
            status = NodeStatus(conditions=[ready], allocatable={"cpu": raw["cpu"]})
            nodes.append(Node(metadata=ObjectMeta(name="n", labels=labels), status=status))
        parts = [part for one in nodes if (part := zones.contribution(one))]
        expected = {zone: share for zone, share in (row["expectedRatios"] or {}).items() if zone != "_line"}
        assert zones.shares(parts) == pytest.approx(expected)
        assert bool(zones.shares(parts)) == row["expectSufficientNodeInfo"]

    def test_nodes_may_come_and_go_while_hints_are_dealt() -> None:
        """The race of the reference's test cannot be: its inputs, in one plan each, in either order."""
        [raw] = table(TOPOLOGY, "TestTopologyCacheRace#1")
        [before] = lots([raw], touched=True)
        parts = [
            zones.Contribution(one["zone"], zones.milli(one["cpu"]))
            for one in table(TOPOLOGY, "TestTopologyCacheRace#2")
        ]
        assert zones.allocate({}, [before]).problem == zones.NO_NODE_INFO
        assert zones.allocate(zones.shares(parts), [before]).problem.startswith(zones.TOO_FEW)


if UTILS.is_file():

    @pytest.mark.parametrize("row", named(table(UTILS, "Test_hintsEnabled#1")))
    def test_who_wants_proportional_hints(row: dict[str, Any]) -> None:
        names = {
            "DeprecatedAnnotationTopologyAwareHints": "service.kubernetes.io/topology-aware-hints",
            "AnnotationTopologyMode": "service.kubernetes.io/topology-mode",
        }
        said = {names.get(key, key): value for key, value in row.get("annotations", {}).items() if key != "_line"}
        assert zones.wanted(said) == row["expectEnabled"]


def test_endpoints_are_values() -> None:
    one = Endpoint(addresses=["10.0.0.1"], zone="a")
    assert hints.hinted(one, None) is one
    assert hints.hinted(one, hints.for_zone("a")) == msgspec.structs.replace(one, hints=hints.for_zone("a"))
