"""What the reference's EndpointSlice controller writes, row by row. Collected only where the facts lie.

Hints alone are in test_controllers_hint_facts. Where a row names Go functions that the tables do not have (`updateSvc`,
`existingSlice`, pods as expressions), its name says what they do, and the test does that. Left out: counters of the
reference's metrics, and the rows for a feature gate that is always on here.
"""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Container,
    ContainerPort,
    EndpointPort,
    EndpointSlice,
    Node,
    ObjectMeta,
    Pod,
    ServicePort,
)
from netplane.controllers.plan import endpoint_slices, slice_objects
from netplane.controllers.plan.endpoint_slices import MANAGER
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY
from netplane.controllers.plan.world import SERVICE_NAME
from netplane.controllers.plan.writes import Create, Delete, Replace
from tests import controller_objects as made
from tests.controller_facts import BOTH_IPS, NODE, TABLES, Cluster, as_facts, named, rows, running, service

RECONCILER = TABLES / "k8s.io_endpointslice_reconciler.json"


def many(count: int, start: int = 0, *, ready: bool = True) -> list[Pod]:
    return [
        running(f"pod{i:04d}", [f"10.0.{i // 250}.{i % 250 + 1}"], ready=ready) for i in range(start, start + count)
    ]


if RECONCILER.is_file():

    @pytest.mark.parametrize("name", rows(RECONCILER, "TestReconcile1Pod#9"))
    def test_one_pod(name: str) -> None:
        row = rows(RECONCILER, "TestReconcile1Pod#9")[name]
        labels = {
            "svcv4Labels": {"foo": "bar"},
            "svcv4BadLabels": rows(RECONCILER, "TestReconcile1Pod#2"),
        }.get(row["service"].strip("$"))
        families = None if name == "no-family-service" else [*row["expectedEndpointPerSlice"]]
        headless = HEADLESS in row["expectedLabels"]
        cluster = Cluster(
            service(labels, ip_families=families, cluster_ip="None" if headless else "10.0.0.10"),
            running("pod1", BOTH_IPS),
        )
        cluster.sync()
        slices = cluster.slices
        got = {one.address_type: [as_facts(e) for e in one.endpoints or ()] for one in slices}
        assert got == row["expectedEndpointPerSlice"]
        assert all(one.metadata.labels == row["expectedLabels"] for one in slices)

    @pytest.mark.parametrize("row", rows(RECONCILER, "TestReconcileMaxEndpointsPerSlice#1"))
    def test_max_endpoints_per_slice(row: dict[str, Any]) -> None:
        cluster = Cluster(service(), *many(250))
        assert cluster.sync(row["maxEndpointsPerSlice"])["numCreated"] == row["expectedMetricValues"]["numCreated"]
        assert cluster.sizes == sorted(row["expectedSliceLengths"])

    @pytest.mark.parametrize("row", named(rows(RECONCILER, "TestReconcile1EndpointSlice#2"), "desc"))
    def test_placeholders(row: dict[str, Any]) -> None:
        cluster = Cluster(service())
        if "existing" in row:
            cluster.sync()
        if row.get("existing") == "$emptySlice":
            [one] = cluster.slices
            cluster.world.apply(one, msgspec.structs.replace(one, ports=[EndpointPort(name="x", port=1)]), 0.0)
        assert cluster.sync().items() <= row["wantMetrics"].items()

    @pytest.mark.parametrize("row", named(rows(RECONCILER, "TestReconcileEndpointSlicesRecreation#1")))
    def test_recreation(row: dict[str, Any]) -> None:
        cluster = Cluster(service(), running())
        cluster.sync()
        if not row["ownedByService"]:
            again = service()
            meta = msgspec.structs.replace(again.metadata, uid="other")
            cluster.world.apply(again, msgspec.structs.replace(again, metadata=meta), 0.0)
        assert any(cluster.sync().values()) == row["expectChanges"]

    @pytest.mark.parametrize("row", named(rows(RECONCILER, "TestReconcilerPodMissingNode#1")))
    def test_a_pod_whose_node_is_missing(row: dict[str, Any]) -> None:
        second = Node(metadata=ObjectMeta(name="node-2"))
        there = tuple(NODE for _ in row.get("existingNodes", ()))
        one = service(publish_not_ready_addresses=row["publishNotReady"])
        pods = running("pod1", ["1.2.3.4"]), running("pod2", ["1.2.3.5"], node_name="node-2")
        cluster = Cluster(one, *pods, nodes=there)
        if "existingSlice" in row:
            # Made while the nodes were there; of a pod whose node never was, nothing is known of its zone.
            bare = Node(metadata=ObjectMeta(name="node-1"))
            cluster = Cluster(one, *pods, nodes=(bare if not there else NODE, second))
            cluster.sync()
            for node in (bare if not there else NODE, second)[len(there) :]:
                cluster.world.apply(node, None, 0.0)
        expected = row["expectedMetrics"]
        assert cluster.sync().items() <= expected.items()
        assert cluster.sizes == [expected["desiredEndpoints"]]

    # Not the two rows in which one of them is nil: here that cannot be written.
    COMPARED = [row for row in rows(RECONCILER, "TestPlaceHolderSliceCompare#1") if ("x" in row) == ("y" in row)]

    @pytest.mark.parametrize("row", named(COMPARED, "desc"))
    def test_placeholders_compared(row: dict[str, Any]) -> None:
        def slice_of(raw: dict[str, Any]) -> EndpointSlice:
            meta = raw.get("ObjectMeta", {})
            created = str(meta.get("CreationTimestamp", {}).get("args", ""))
            metadata = ObjectMeta(name=meta.get("Name", ""), labels=meta.get("Labels"), creation_timestamp=created)
            return EndpointSlice(metadata=metadata, address_type=raw.get("AddressType", ""))

        assert slice_objects.same(slice_of(row.get("x", {})), slice_of(row.get("y", {}))) == row["want"]

    @pytest.mark.parametrize("row", named(rows(RECONCILER, "TestReconcilerFinalizeSvcDeletionTimestamp#1")))
    def test_a_service_on_its_way_out(row: dict[str, Any]) -> None:
        def one(name: str) -> EndpointSlice:
            return EndpointSlice(metadata=ObjectMeta(name=name, namespace="test"), address_type="IPv4")

        create, update, gone = one(""), one("to-update"), one("to-delete")
        done = slice_objects.finish(
            [create] if row["attemptCreate"] else [],
            [update] if row["attemptUpdate"] else [],
            [gone] if row.get("attemptDelete") else [],
            going=row["deletionTimestamp"] is not None,
        )
        replaced = {write.obj.metadata.name for write in done if isinstance(write, Replace)}
        deleted = {write.name for write in done if isinstance(write, Delete)}
        assert any(isinstance(write, Create) for write in done) == row["expectCreatedSlice"]
        assert ("to-update" in replaced) == row["expectUpdatedSlice"]
        assert ("to-delete" not in deleted) == row["expectDeletedSlice"]  # whether it is still there

    ZONES = [
        made.node(f"node-{i}", zone=zone, allocatable={"cpu": "1000m"})
        for i, zone in enumerate(rows(RECONCILER, "TestReconcileTopology#1"))
    ]

    def in_zones(**counts: int) -> list[Pod]:
        where = [i for i, zone in enumerate("abc") for _ in range(counts.get(zone, 0))]
        return [running(f"pod{n}", [f"10.0.1.{n + 1}"], node_name=f"node-{i}") for n, i in enumerate(where)]

    def hinted(cluster: Cluster, kind: str = "for_zones") -> tuple[dict[str, int], int]:
        """Endpoints per zone (or node) they are meant for, and how many are meant for another zone than theirs."""
        counts: dict[str, int] = {}
        crossing = 0
        for one in cluster.endpoints:
            places = (getattr(one.hints, kind) if one.hints else None) or [None]
            for place in places:
                counts[place.name if place else ""] = counts.get(place.name if place else "", 0) + 1
                crossing += bool(place) and kind == "for_zones" and place.name != one.zone
        return counts, crossing

    @pytest.mark.parametrize("row", named(rows(RECONCILER, "TestReconcileTopology#7")))
    def test_topology(row: dict[str, Any]) -> None:
        """The pods' zones are told by what comes out: 3 in zone c; 4 in a and c; with 5 in a and b, 9 in two slices."""
        count = row["expectedMetrics"]["desiredEndpoints"]
        pods = {3: in_zones(c=3), 4: in_zones(a=2, c=2), 9: in_zones(a=4, b=3, c=2)}[count]
        limit = 5 if count == 9 else 100
        one = service()
        cluster = Cluster(one, *pods, nodes=tuple(ZONES))
        cluster.sync(limit)
        if not row["topologyCacheEnabled"]:
            for node in ZONES:  # there is no switch for it here; not enough nodes have the same effect
                bare = msgspec.structs.replace(node, status=None)
                cluster.world.apply(node, bare, 0.0)
        annotated = {"service.kubernetes.io/topology-aware-hints": row["hintsAnnotation"]}
        meta = msgspec.structs.replace(one.metadata, annotations=annotated)
        cluster.world.apply(one, msgspec.structs.replace(one, metadata=meta), 0.0)
        assert cluster.sync(limit).items() <= row["expectedMetrics"].items()
        counts, crossing = hinted(cluster)
        assert counts == (row["expectedHints"] or {"": count})
        assert crossing == row["expectedCrossZoneHints"]
        assert not any(cluster.sync(limit).values())

    @pytest.mark.parametrize(
        "row",
        named(
            one
            for one in rows(RECONCILER, "TestReconcile_TrafficDistribution#3")
            if one.get("preferSameFeatureGateEnabled", True)
        ),
    )
    def test_traffic_distribution_and_topology(row: dict[str, Any]) -> None:
        policy = (row["trafficDistribution"] or "").removeprefix("ServiceTrafficDistribution") or None
        one = service(traffic_distribution=policy)
        said = {"service.kubernetes.io/topology-aware-hints": row["topologyAnnotation"]}
        one = msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, annotations=said))
        cluster = Cluster(one, *in_zones(a=1, b=3, c=2), nodes=tuple(ZONES))
        assert cluster.sync().items() <= row["wantMetrics"].items()
        counts, crossing = hinted(cluster)
        assert counts == row["wantHintsDistributionByZone"]
        assert crossing == row.get("wantEndpointsWithCrossZoneHints", 0)
        if "wantHintsDistributionByNode" in row:
            assert hinted(cluster, "for_nodes")[0] == row["wantHintsDistributionByNode"]

    @pytest.mark.parametrize(
        ("table", "labels"),
        [
            ("TestReconcileEndpointSlicesServicesLabelsUpdating", {"foo": "bar"}),
            ("TestReconcileEndpointSlicesServicesReservedLabels", rows(RECONCILER, "TestReconcile1Pod#2")),
        ],
    )
    def test_labels_of_the_service_change(table: str, labels: dict[str, str]) -> None:
        cluster = Cluster(service(), *many(250))
        cluster.sync()
        assert cluster.sizes == sorted(rows(RECONCILER, f"{table}#2"))
        cluster.world.apply(service(), service(labels), 0.0)
        foreign = not labels.keys() <= set(endpoint_slices.OURS)
        assert cluster.sync()["numUpdated"] == (3 if foreign else 0)
        assert cluster.sizes == sorted(rows(RECONCILER, f"{table}#5"))
        own = {SERVICE_NAME: "foo", MANAGED_BY: MANAGER}
        told = own | (labels if foreign else {})
        assert all(one.metadata.labels == told for one in cluster.slices)

    def test_updating() -> None:
        cluster = Cluster(service(), *many(250))
        cluster.sync()
        assert cluster.sizes == sorted(rows(RECONCILER, "TestReconcileEndpointSlicesUpdating#2"))
        assert not any(cluster.sync().values())
        one = service(ports=[ServicePort(name="http", port=80, target_port=81)])
        cluster.world.apply(service(), one, 0.0)
        assert cluster.sync() == {"numCreated": 0, "numUpdated": 3, "numDeleted": 0}
        assert cluster.sizes == sorted(rows(RECONCILER, "TestReconcileEndpointSlicesUpdating#4"))

    def test_named_ports() -> None:
        """Five numbers behind one name: a slice for each."""
        pods = [
            running(
                f"pod{i:04d}",
                [f"10.0.{i // 250}.{i % 250 + 1}"],
                containers=[Container(ports=[ContainerPort(name="http", container_port=8080 + i % 5)])],
            )
            for i in range(300)
        ]
        cluster = Cluster(service(ports=[ServicePort(target_port="http")]), *pods)
        assert cluster.sync()["numCreated"] == 5
        assert cluster.sizes == rows(RECONCILER, "TestReconcileEndpointSlicesNamedPorts#6")
        found = sorted((one.ports or [])[0].port or 0 for one in cluster.slices)
        assert found == [8080, 8081, 8082, 8083, 8084]

    def test_headless_without_ports() -> None:
        cluster = Cluster(service(ports=None, cluster_ip="None"), running())
        assert cluster.sync()["numCreated"] == 1
        [one] = cluster.slices
        assert (len(one.endpoints or ()), one.ports) == (1, [])

    def test_packing() -> None:
        """The sizes that the reference's larger fixtures end with; how they begin is told in its test names."""

        def expected(name: str) -> list[int]:
            return sorted(rows(RECONCILER, name))

        fresh = Cluster(service(), *many(250))
        fresh.sync()
        assert fresh.sizes == expected("TestReconcileManyPods#2")

        some = Cluster(service(), *many(62))
        some.sync(62)
        some.put(*many(61, 62))
        some.sync(62)
        assert some.sizes == [61, 62]
        some.put(*many(127, 123))
        assert some.sync() == {"numCreated": 1, "numUpdated": 1, "numDeleted": 0}
        assert some.sizes == expected("TestReconcileEndpointSlicesSomePreexisting#3")

        worse = Cluster(service(), *many(148))
        worse.sync(74)
        worse.put(*many(152, 148))
        assert worse.sync() == {"numCreated": 2, "numUpdated": 0, "numDeleted": 0}
        assert worse.sizes == expected("TestReconcileEndpointSlicesSomePreexistingWorseAllocation#3")

        packing = Cluster(service(), *many(80))
        packing.sync(80)
        packing.put(*many(20, 80))
        packing.sync(80)
        packing.put(*many(15, 100), *many(1, ready=False))
        assert packing.sync() == {"numCreated": 0, "numUpdated": 1, "numDeleted": 0}
        assert packing.sizes == expected("TestReconcileEndpointSlicesUpdatePacking#3")

        recycled = Cluster(service(), *many(300))
        recycled.sync()
        for pod in many(300):
            recycled.world.apply(pod, None, 0.0)
        recycled.put(*many(300, 300))
        assert recycled.sync() == {"numCreated": 0, "numUpdated": 3, "numDeleted": 0}
        assert recycled.sizes == expected("TestReconcileEndpointSlicesRecycling#2")
