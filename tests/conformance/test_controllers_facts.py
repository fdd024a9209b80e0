"""What the reference's EndpointSlice controller decides, row by row. Collected only where the facts lie.

Left out, because hints are not set yet: topology hints, traffic distribution, hintsEnabled. Left out, because the rows
name Go functions that the tables do not carry: label updates by `updateSvc`, metrics, finalization.
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
    Node,
    ObjectMeta,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from netplane.controllers.plan import backends, endpoint_slices
from netplane.controllers.plan.endpoint_slices import HEADLESS, MANAGED_BY, MANAGER
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
        writes = endpoint_slices.plan(self.world, KEY, limit).writes
        for write in writes:
            if isinstance(write, Create):
                self.count += 1
                meta = msgspec.structs.replace(write.obj.metadata, name=f"s{self.count}")
                self.world.apply(None, msgspec.structs.replace(write.obj, metadata=meta), 0.0)
            elif isinstance(write, Replace):
                self.world.apply(self.world.slices[write.obj.key], write.obj, 0.0)
            elif isinstance(write, Delete):
                self.world.apply(self.world.slices[f"{write.namespace}/{write.name}"], None, 0.0)
        return {
            "numCreated": sum(isinstance(write, Create) for write in writes),
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

    @pytest.mark.parametrize(
        "row", named(r for r in rows(RECONCILER, "TestReconcilerPodMissingNode#1") if "existingSlice" not in r)
    )
    def test_a_pod_whose_node_is_missing(row: dict[str, Any]) -> None:
        cluster = Cluster(
            service(publish_not_ready_addresses=row["publishNotReady"]),
            running("pod1", ["1.2.3.4"]),
            running("pod2", ["1.2.3.5"], node_name="node-2"),
        )
        counts = cluster.sync()
        assert counts["numCreated"] == row["expectedMetrics"]["numCreated"]
        assert cluster.sizes == [row["expectedMetrics"]["desiredEndpoints"]]

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
