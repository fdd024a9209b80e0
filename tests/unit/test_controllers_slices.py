"""EndpointSlices of a Service: which slices are written, and how the endpoints are packed."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Container,
    ContainerPort,
    EndpointSlice,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    ServicePort,
)
from netplane.controllers.plan import backends, endpoint_slices
from netplane.controllers.plan.endpoint_slices import MANAGER
from netplane.controllers.plan.slice_objects import HEADLESS, MANAGED_BY
from netplane.controllers.plan.world import SERVICE_NAME
from netplane.controllers.plan.writes import Write
from tests import controller_objects as made
from tests.controller_objects import letters as kinds
from tests.controller_objects import service

KEY = "shop/web"


def pod(i: int, *, ready: bool = True, ips: Iterable[str] = (), containers: list[Container] | None = None) -> Pod:
    addresses = list(ips) or [f"10.0.{i // 250}.{i % 250 + 1}"]
    return made.pod(f"web-{i:04d}", addresses, ready, on="n1", containers=containers or [])


def pods(count: int, start: int = 0) -> list[Pod]:
    return [pod(i) for i in range(start, start + count)]


class Cluster(made.Cluster):
    def __init__(self, *objs: Any) -> None:
        super().__init__(made.node("n1", zone="a"), *objs)

    def sync(self, limit: int = 100) -> list[Write]:
        """Plan, perform, and see that a second plan has nothing to do."""
        writes = self.perform(endpoint_slices.NAME, KEY, endpoint_slices.plan(self.world, KEY, limit=limit))
        assert endpoint_slices.plan(self.world, KEY, limit=limit).writes == ()
        return writes


def test_a_slice_carries_what_readers_look_for() -> None:
    cluster = Cluster(service(), pod(1))
    assert kinds(cluster.sync()) == "C"
    [one] = cluster.slices
    assert one.address_type == "IPv4"
    assert one.metadata.generate_name == "web-"
    assert one.metadata.labels == {SERVICE_NAME: "web", MANAGED_BY: MANAGER}
    [owner] = one.metadata.owner_references or []
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Service", "web", "uid-web", True)
    [endpoint] = one.endpoints or []
    assert endpoint.addresses == ["10.0.0.2"]
    assert (endpoint.node_name, endpoint.zone) == ("n1", "a")
    assert endpoint.target_ref is not None
    assert (endpoint.target_ref.kind, endpoint.target_ref.name, endpoint.target_ref.uid) == (
        "Pod",
        "web-0001",
        "uid-web-0001",
    )
    [port] = one.ports or []
    assert (port.name, port.port, port.protocol) == ("http", 8080, "TCP")


@pytest.mark.parametrize(
    ("ready", "deleting", "publish", "expected"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (False, False, True, (True, False, False)),
        (True, True, False, (False, True, True)),
        (False, True, False, (False, False, True)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions(ready: bool, deleting: bool, publish: bool, expected: tuple[bool, bool, bool]) -> None:
    one = pod(1, ready=ready)
    if deleting:
        one = msgspec.structs.replace(
            one, metadata=msgspec.structs.replace(one.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
        )
    cluster = Cluster(service(publish_not_ready_addresses=publish), one)
    cluster.sync()
    conditions = cluster.endpoints[0].conditions
    assert conditions is not None
    assert (conditions.ready, conditions.serving, conditions.terminating) == expected


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_and_pods_without_address_are_no_endpoints(phase: str) -> None:
    status = PodStatus(phase=phase, pod_ip="10.0.0.2")
    done = msgspec.structs.replace(pod(1), status=status)
    bare = msgspec.structs.replace(pod(2), status=PodStatus(phase="Pending"))
    cluster = Cluster(service(), done, bare)
    cluster.sync()
    assert cluster.sizes == [0]


def test_services_without_selector_and_external_names_are_left_alone() -> None:
    for spec in ({"selector": None}, {"type": "ExternalName"}):
        cluster = Cluster(service(**spec), pod(1))
        assert cluster.sync() == []


def test_no_endpoints_is_one_empty_slice_that_becomes_the_first_full_one() -> None:
    cluster = Cluster(service())
    assert kinds(cluster.sync()) == "C"
    assert cluster.sizes == [0]
    cluster.put(pod(1))
    assert kinds(cluster.sync()) == "R"
    cluster.remove(pod(1))
    assert kinds(cluster.sync()) == "R"
    assert cluster.sizes == [0]
    assert cluster.slices[0].ports == []


def test_one_endpoint_more_less_or_changed_is_one_write() -> None:
    cluster = Cluster(service(), *pods(250))
    assert kinds(cluster.sync()) == "CCC"
    assert cluster.sizes == [100, 100, 50]
    cluster.put(pod(7, ready=False))
    assert kinds(cluster.sync()) == "R"
    cluster.put(pod(250))
    assert kinds(cluster.sync()) == "R"
    cluster.remove(pod(3))
    assert kinds(cluster.sync()) == "R"
    assert sorted(cluster.sizes) == [51, 99, 100]


def test_new_endpoints_fill_slices_that_are_written_anyway() -> None:
    cluster = Cluster(service(), *pods(200))
    cluster.sync()
    cluster.remove(*pods(40))
    cluster.put(*pods(30, start=1000))
    assert kinds(cluster.sync()) == "R"
    assert sorted(cluster.sizes) == [90, 100]


def test_a_rolling_replacement_of_all_recycles_the_slices() -> None:
    cluster = Cluster(service(), *pods(300))
    cluster.sync()
    cluster.remove(*pods(300))
    cluster.put(*pods(300, start=1000))
    assert kinds(cluster.sync()) == "RRR"
    assert cluster.sizes == [100, 100, 100]


def test_named_target_ports_split_pods_by_number() -> None:
    def with_port(i: int, number: int) -> Pod:
        return pod(i, containers=[Container(ports=[ContainerPort(name="web", container_port=number)])])

    cluster = Cluster(
        service(ports=[ServicePort(name="http", port=80, target_port="web")]), with_port(1, 8080), with_port(2, 9090)
    )
    cluster.sync()
    found = {(one.ports or [])[0].port: [e.addresses[0] for e in one.endpoints or ()] for one in cluster.slices}
    assert found == {8080: ["10.0.0.2"], 9090: ["10.0.0.3"]}


def test_dual_stack_has_slices_for_each_family_and_drops_one_that_is_no_longer_wanted() -> None:
    both = pod(1, ips=["10.0.0.1", "fd00:0:0:0::1"])
    cluster = Cluster(service(ip_families=["IPv4", "IPv6"]), both, pod(2))
    cluster.sync()
    found = {one.address_type: [e.addresses[0] for e in one.endpoints or ()] for one in cluster.slices}
    assert found == {"IPv4": ["10.0.0.1", "10.0.0.3"], "IPv6": ["fd00::1"]}
    cluster.put(service(ip_families=["IPv4"]))
    assert kinds(cluster.sync()) == "D"


def test_the_services_labels_are_copied_but_not_the_reserved_ones() -> None:
    evil = service(cluster_ip="None")
    labels = {"tier": "x", SERVICE_NAME: "other", MANAGED_BY: "me", HEADLESS: "no"}
    meta = msgspec.structs.replace(evil.metadata, labels=labels)
    cluster = Cluster(msgspec.structs.replace(evil, metadata=meta))
    cluster.sync()
    assert cluster.slices[0].metadata.labels == {"tier": "x", SERVICE_NAME: "web", MANAGED_BY: MANAGER, HEADLESS: ""}
    cluster.put(service())
    assert kinds(cluster.sync()) == "R"
    assert cluster.slices[0].metadata.labels == {SERVICE_NAME: "web", MANAGED_BY: MANAGER}


def test_slices_of_an_earlier_service_of_the_name_are_replaced_and_other_managers_slices_never_touched() -> None:
    cluster = Cluster(service(), pod(1))
    cluster.sync()
    foreign = EndpointSlice(
        metadata=ObjectMeta(name="foreign", namespace="shop", labels={SERVICE_NAME: "web", MANAGED_BY: "someone"}),
        address_type="IPv4",
    )
    cluster.put(foreign)
    again = service()
    cluster.put(msgspec.structs.replace(again, metadata=msgspec.structs.replace(again.metadata, uid="new-uid")))
    assert kinds(cluster.sync()) == "CD"
    cluster.remove(cluster.world.services[KEY])
    assert kinds(cluster.sync()) == "D"
    assert cluster.slices == [foreign]


def test_a_service_on_its_way_out_gets_no_new_slices() -> None:
    leaving = service()
    meta = msgspec.structs.replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    cluster = Cluster(msgspec.structs.replace(leaving, metadata=meta), pod(1))
    assert endpoint_slices.plan(cluster.world, KEY).writes == ()


def test_a_pod_whose_node_is_unknown_waits_for_it_unless_unready_pods_are_wanted() -> None:
    stray = msgspec.structs.replace(pod(1), spec=PodSpec(node_name="n9"))
    cluster = Cluster(service(), stray)
    cluster.sync()
    assert cluster.sizes == [0]
    cluster.put(service(publish_not_ready_addresses=True))
    cluster.sync()
    assert cluster.sizes == [1]


def test_the_hostname_is_told_only_under_its_own_service() -> None:
    for subdomain, expected in (("web", "host"), ("other", "")):
        spec = PodSpec(node_name="n1", hostname="host", subdomain=subdomain)
        assert backends.hostname(service(), msgspec.structs.replace(pod(1), spec=spec)) == expected
