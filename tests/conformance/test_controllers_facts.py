"""What the reference's EndpointSlice controller decides, row by row. Collected only where the facts lie.

Hints alone are in test_controllers_hint_facts. Where a row names Go functions that the tables do not have (`updateSvc`,
`existingSlice`, pods as expressions), its name says what they do, and the test does that. Left out: counters of the
reference's metrics, and the rows for a feature gate that is always on here.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Condition,
    Container,
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Node,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from netplane.controllers.plan import backends, endpoint_slices, slice_objects
from netplane.controllers.plan.endpoint_slices import MANAGER
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY
from netplane.controllers.plan.world import SERVICE_NAME, World
from netplane.controllers.plan.writes import Create, Delete, Replace

TABLES = Path(__file__).parents[2] / ".." / "shared" / "facts" / "tables"
UTILS = TABLES / "k8s.io_endpointslice_utils.json"
RECONCILER = TABLES / "k8s.io_endpointslice_reconciler.json"
KEY = "test/foo"
CONSTANTS = {
    "LabelServiceName": SERVICE_NAME,
    "LabelManagedBy": MANAGED_BY,
    "IsHeadlessService": HEADLESS,
    "$controllerName": MANAGER,
    "ProtocolTCP": "TCP",
    "IPv4Protocol": "IPv4",
    "IPv6Protocol": "IPv6",
    "AddressTypeIPv4": "IPv4",
    "AddressTypeIPv6": "IPv6",
    "$restartAlways": "Always",
    "$restartPolicyAlways": "Always",
    "ClusterIPNone": "None",
    "$namespace": "test",
    "$ns": "test",
}
NODE = Node(metadata=ObjectMeta(name="node-1", labels={"topology.kubernetes.io/zone": "us-central1-a"}))
BOTH_IPS = ["1.2.3.4", "1234::5678:0000:0000:9abc:def0"]


def rows(path: Path, name: str) -> Any:
    """One table with its constants resolved and its bookkeeping removed; empty where there are no facts."""
    if not path.is_file():
        return []
    table = next(value for key, value in json.loads(path.read_text()).items() if key.endswith(f":{name}"))
    return clean(table)


def clean(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in ("_line", "_comment")}
        return {CONSTANTS.get(key, key): clean(one) for key, one in kept.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    return CONSTANTS.get(value, value) if isinstance(value, str) else value


def container(raw: dict[str, Any]) -> Container:
    ports = [
        ContainerPort(name=one["Name"], container_port=one["ContainerPort"], protocol=one["Protocol"])
        for one in raw.get("Ports", [])
    ]
    return Container(ports=ports, restart_policy=raw.get("RestartPolicy"))


def pod_with(raw: dict[str, Any]) -> Pod:
    containers = raw.get("containers") or raw.get("Containers") or []
    sidecars = raw.get("initContainers") or raw.get("InitContainers") or []
    return Pod(spec=PodSpec(containers=[*map(container, containers)], init_containers=[*map(container, sidecars)]))


def running(name: str = "pod1", ips: list[str] | None = None, *, ready: bool = True, **spec: Any) -> Pod:
    ips = ips or ["1.2.3.5"]
    return Pod(
        metadata=ObjectMeta(name=name, namespace="test", uid=f"{name}-uid", labels={"foo": "bar"}),
        spec=PodSpec(node_name=spec.pop("node_name", "node-1"), **spec),
        status=PodStatus(
            phase="Running",
            pod_ips=[PodIP(ip=ip) for ip in ips],
            conditions=[Condition(type="Ready", status="True" if ready else "False")],
        ),
    )


def terminating(pod: Pod) -> Pod:
    meta = msgspec.structs.replace(pod.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(pod, metadata=meta)


def service(labels: dict[str, str] | None = None, **spec: Any) -> Service:
    fields = {"selector": {"foo": "bar"}, "ip_families": ["IPv4"], "cluster_ip": "10.0.0.10"}
    ports = [ServicePort(name="http", port=80, target_port=80)]
    meta = ObjectMeta(name="foo", namespace="test", uid="svc-uid", labels=labels)
    return Service(metadata=meta, spec=ServiceSpec(**{**fields, "ports": ports, **spec}))


def as_facts(one: Endpoint) -> dict[str, Any]:
    """An endpoint as the tables write it."""
    conditions, target = one.conditions, one.target_ref
    assert conditions is not None
    assert target is not None
    told = {
        "Addresses": one.addresses,
        "Conditions": {
            "Ready": conditions.ready,
            "Serving": conditions.serving,
            "Terminating": conditions.terminating,
        },
        "NodeName": one.node_name,
        "TargetRef": {"Kind": target.kind, "Namespace": target.namespace, "Name": target.name},
        "Zone": one.zone,
        "Hostname": one.hostname,
    }
    return {key: value for key, value in told.items() if value is not None}


class Cluster:
    """A world in which plans are performed."""

    def __init__(self, *objs: Any, nodes: tuple[Node, ...] = (NODE,)) -> None:
        self.world = World.of(*nodes, *objs)
        self.count = 0

    def sync(self, limit: int = 100) -> dict[str, int]:
        writes = endpoint_slices.plan(self.world, KEY, limit=limit).writes
        for write in writes:
            if isinstance(write, Create) and isinstance(write.obj, EndpointSlice):
                self.count += 1
                meta = msgspec.structs.replace(write.obj.metadata, name=f"s{self.count}")
                self.world.apply(None, msgspec.structs.replace(write.obj, metadata=meta), 0.0)
            elif isinstance(write, Replace) and isinstance(write.obj, EndpointSlice):
                self.world.apply(self.world.slices[write.obj.key], write.obj, 0.0)
            elif isinstance(write, Delete):
                self.world.apply(self.world.slices[f"{write.namespace}/{write.name}"], None, 0.0)
        return {
            "numCreated": sum(isinstance(write, Create) and isinstance(write.obj, EndpointSlice) for write in writes),
            "numUpdated": sum(isinstance(write, Replace) for write in writes),
            "numDeleted": sum(isinstance(write, Delete) for write in writes),
        }

    @property
    def sizes(self) -> list[int]:
        return sorted(len(one.endpoints or ()) for one in self.world.slices.values())

    def put(self, *pods: Pod) -> None:
        for pod in pods:
            self.world.apply(self.world.pods.get(pod.key), pod, 0.0)


def many(count: int, start: int = 0, *, ready: bool = True) -> list[Pod]:
    return [
        running(f"pod{i:04d}", [f"10.0.{i // 250}.{i % 250 + 1}"], ready=ready) for i in range(start, start + count)
    ]


def named(table: Any, key: str = "name") -> list[Any]:
    return [pytest.param(row, id=row[key]) for row in table]


if UTILS.is_file():

    @pytest.mark.parametrize("row", named(rows(UTILS, "TestFindPort#1")))
    def test_target_ports(row: dict[str, Any]) -> None:
        port = ServicePort(protocol="TCP", port=7, target_port=row["port"])
        assert backends.find_port(pod_with(row), port) == (row["expected"] if row["pass"] else None)

    @pytest.mark.parametrize("row", [pytest.param(r, id=k) for k, r in rows(UTILS, "TestGetEndpointPorts#1").items()])
    def test_endpoint_ports(row: dict[str, Any]) -> None:
        ports = [
            ServicePort(
                name=one["Name"],
                protocol=one["Protocol"],
                port=one.get("Port", 0),
                target_port=one["TargetPort"],
                app_protocol=one.get("AppProtocol"),
            )
            for one in row["service"]["Spec"]["Ports"]
        ]
        expected = [
            EndpointPort(
                name=one["Name"], protocol=one["Protocol"], port=one["Port"], app_protocol=one.get("AppProtocol")
            )
            for one in row["expectedPorts"]
        ]
        assert list(backends.ports(service(ports=ports), pod_with(row["pod"]["Spec"]))) == expected

    @pytest.mark.parametrize("row", named(rows(UTILS, "TestSupportedServiceAddressType#1")))
    def test_address_types(row: dict[str, Any]) -> None:
        spec = row["service"]["Spec"]
        one = service(cluster_ip=spec.get("ClusterIP", ""), ip_families=spec.get("IPFamilies"))
        assert sorted(backends.families(one)) == sorted(row["expectedAddressTypes"])

    PODS = {
        "$readyPod": running("Name"),
        "$unreadyPod": running("Name", ready=False),
        "$multiIPPod": running("Name", BOTH_IPS),
        "$readyPodHostname": running("Name", subdomain="foo", hostname="Hostname"),
        "$readyTerminatingPod": terminating(running("Name")),
        "$unreadyTerminatingPod": terminating(running("Name", ready=False)),
    }

    @pytest.mark.parametrize("row", named(rows(UTILS, "TestPodToEndpoint#3")))
    def test_pod_to_endpoint(row: dict[str, Any]) -> None:
        one = service(publish_not_ready_addresses=row["svc"] == "$svcPublishNotReady")
        node = NODE if row.get("node") else None
        got = as_facts(backends.endpoint(one, PODS[row["pod"]], node, "IPv4"))
        row["expectedEndpoint"]["TargetRef"].pop("UID")
        assert got == row["expectedEndpoint"]

    @pytest.mark.parametrize(
        "row",
        named([*rows(UTILS, "TestNewEndpointSlice#4"), *rows(UTILS, "TestSetEndpointSliceLabels#3")]),
    )
    def test_labels(row: dict[str, Any]) -> None:
        """The Service's own labels are those of the outcome that are not ours, with ours forged if the name says so."""
        expected = row.get("expectedLabels") or row["expectedSlice"]["ObjectMeta"]["Labels"]
        own = {key: value for key, value in expected.items() if key not in endpoint_slices.OURS}
        forged = {HEADLESS: "", SERVICE_NAME: "x", MANAGED_BY: "x"}
        one = service(own | forged, cluster_ip="None" if HEADLESS in expected else "10.0.0.10")
        assert endpoint_slices.labels_of(one) == {**expected, SERVICE_NAME: "foo"}

    def test_whose_slice_it_is() -> None:
        table = rows(UTILS, "TestServiceControllerKey#1")
        for row in table.values():
            raw = (row["endpointSlice"] or {}).get("ObjectMeta", {})
            meta = ObjectMeta(name="s", namespace=raw.get("Namespace", ""), labels=raw.get("Labels"))
            world = World.of(EndpointSlice(metadata=meta))
            assert len(world.slices_of("ns/svc")) == (row["expectedKey"] == "ns/svc")


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
        slices = list(cluster.world.slices.values())
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
            [one] = cluster.world.slices.values()
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
        def made(raw: dict[str, Any]) -> EndpointSlice:
            meta = raw.get("ObjectMeta", {})
            created = str(meta.get("CreationTimestamp", {}).get("args", ""))
            metadata = ObjectMeta(name=meta.get("Name", ""), labels=meta.get("Labels"), creation_timestamp=created)
            return EndpointSlice(metadata=metadata, address_type=raw.get("AddressType", ""))

        assert slice_objects.same(made(row.get("x", {})), made(row.get("y", {}))) == row["want"]

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
        Node(
            metadata=ObjectMeta(name=f"node-{i}", labels={"topology.kubernetes.io/zone": zone}),
            status=NodeStatus(conditions=[Condition(type="Ready", status="True")], allocatable={"cpu": "1000m"}),
        )
        for i, zone in enumerate(rows(RECONCILER, "TestReconcileTopology#1"))
    ]

    def in_zones(**counts: int) -> list[Pod]:
        where = [i for i, zone in enumerate("abc") for _ in range(counts.get(zone, 0))]
        return [running(f"pod{n}", [f"10.0.1.{n + 1}"], node_name=f"node-{i}") for n, i in enumerate(where)]

    def hinted(cluster: Cluster, kind: str = "for_zones") -> tuple[dict[str, int], int]:
        """Endpoints per zone (or node) they are meant for, and how many are meant for another zone than theirs."""
        counts: dict[str, int] = {}
        crossing = 0
        for one in (one for part in cluster.world.slices.values() for one in part.endpoints or ()):
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
        assert all(one.metadata.labels == told for one in cluster.world.slices.values())

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
        found = sorted((one.ports or [])[0].port or 0 for one in cluster.world.slices.values())
        assert found == [8080, 8081, 8082, 8083, 8084]

    def test_headless_without_ports() -> None:
        cluster = Cluster(service(ports=None, cluster_ip="None"), running())
        assert cluster.sync()["numCreated"] == 1
        [one] = cluster.world.slices.values()
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
