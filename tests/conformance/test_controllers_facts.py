"""What the reference's EndpointSlice controller makes of a pod and a Service, row by row.

Collected only where the facts lie. What it writes is in test_controllers_reconciler_facts.
"""

from typing import Any

import pytest

from netplane.api.objects import (
    Container,
    ContainerPort,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Pod,
    PodSpec,
    ServicePort,
)
from netplane.controllers.plan import backends, endpoint_slices
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY
from netplane.controllers.plan.world import SERVICE_NAME, World
from tests.controller_facts import BOTH_IPS, NODE, TABLES, as_facts, named, rows, running, service
from tests.controller_objects import ending as terminating

UTILS = TABLES / "k8s.io_endpointslice_utils.json"


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
