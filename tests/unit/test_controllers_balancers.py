"""Addresses from a pool for Services of type LoadBalancer, as tables."""

from typing import Any

import msgspec
import pytest

from netplane.api.objects import (
    Event,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from netplane.controllers.flags import parse_addresses
from netplane.controllers.plan import balancers, load_balancer
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Create, Patch
from netplane.errors import UsageError

NOW = "2026-01-01T00:00:00Z"
POOL = parse_addresses("192.0.2.10-192.0.2.12")


def service(name: str = "a", *, port: int = 80, share: str = "", namespace: str = "shop", **spec: Any) -> Service:
    status = spec.pop("has", ())
    annotations = {balancers.SHARE: share} if share else None
    created = spec.pop("created", NOW)
    meta = ObjectMeta(name=name, namespace=namespace, annotations=annotations, creation_timestamp=created)
    ports = [ServicePort(port=port)]
    fields = {"type": "LoadBalancer", "ip_families": ["IPv4"], "ports": ports, **spec}
    ingress = [LoadBalancerIngress(ip=ip, ip_mode="VIP") for ip in status]
    balancer = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress or None))
    return Service(metadata=meta, spec=ServiceSpec(**fields), status=balancer)


class Cluster:
    def __init__(self, *services: Service, pool: str = "192.0.2.10-192.0.2.12") -> None:
        self.world = World.of(*services, addresses=parse_addresses(pool))

    def put(self, one: Service) -> None:
        self.world.apply(self.world.services.get(one.key), one, 0.0)

    def remove(self, one: Service) -> None:
        self.world.apply(self.world.services[one.key], None, 0.0)

    def sync(self, name: str = "a", namespace: str = "shop") -> tuple[list[str], list[str]]:
        """Plan and perform; the addresses the Service has then, and the reasons of events."""
        key = f"{namespace}/{name}"
        plan = load_balancer.plan(self.world, key, NOW)
        reasons = []
        for write in plan.writes:
            if isinstance(write, Create) and isinstance(write.obj, Event):
                reasons.append(write.obj.reason)
            elif isinstance(write, Patch):
                ingress = write.patch["status"]["loadBalancer"]["ingress"] or ()
                status = ServiceStatus(
                    load_balancer=LoadBalancerStatus(
                        ingress=[LoadBalancerIngress(ip=one["ip"], ip_mode=one["ipMode"]) for one in ingress]
                    )
                )
                self.put(msgspec.structs.replace(self.world.services[key], status=status))
        assert not any(isinstance(write, Patch) for write in load_balancer.plan(self.world, key, NOW).writes)
        return [str(one) for one in balancers.ingress(self.world.services[key])], reasons


@pytest.mark.parametrize(
    ("one", "pool", "expected"),
    [
        (service(), "192.0.2.0/30", ["192.0.2.0"]),
        (service(ip_families=["IPv6", "IPv4"]), "192.0.2.1,fd00::5-fd00::9", ["fd00::5", "192.0.2.1"]),
        (service(ip_families=["IPv4", "IPv6"]), "192.0.2.1", ["192.0.2.1"]),
        (service(load_balancer_class="netplane.io/pool"), "192.0.2.1", ["192.0.2.1"]),
        (service(load_balancer_class="example.com/other"), "192.0.2.1", []),
        (service(load_balancer_class="example.com/other", has=["192.0.2.1"]), "192.0.2.1", ["192.0.2.1"]),
        (service(type="ClusterIP"), "192.0.2.1", []),
        (service(type="ClusterIP", has=["192.0.2.1"]), "192.0.2.1", []),
        (service(type="ClusterIP", has=["198.51.100.1"]), "192.0.2.1", ["198.51.100.1"]),
        (service(load_balancer_ip="192.0.2.3"), "192.0.2.0/29", ["192.0.2.3"]),
        (service(load_balancer_ip="192.0.2.3", has=["192.0.2.1"]), "192.0.2.0/29", ["192.0.2.3"]),
        (service(has=["192.0.2.5"]), "192.0.2.0/29", ["192.0.2.5"]),
        (service(has=["198.51.100.1"]), "192.0.2.0/29", ["192.0.2.0"]),  # from a pool of before
    ],
)
def test_who_gets_what(one: Service, pool: str, expected: list[str]) -> None:
    assert Cluster(one, pool=pool).sync()[0] == expected


@pytest.mark.parametrize(
    ("one", "pool"),
    [
        (service(load_balancer_ip="198.51.100.1"), "192.0.2.0/29"),
        (service(load_balancer_ip="fd00::1"), "192.0.2.0/29"),
        (service(load_balancer_ip="nonsense"), "192.0.2.0/29"),
        (service(ip_families=["IPv6"]), "192.0.2.0/29"),
        (service(ip_families=["IPv4", "IPv6"], ip_family_policy="RequireDualStack", load_balancer_ip="fd00::9"),
         "192.0.2.1,fd00::1"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told_and_nothing_given_instead(one: Service, pool: str) -> None:
    assert Cluster(one, pool=pool).sync() == ([], [load_balancer.FAILED])


def test_an_exhausted_pool_and_an_address_that_is_free_again() -> None:
    cluster = Cluster(service("a"), service("b"), pool="192.0.2.1")
    assert cluster.sync("a") == (["192.0.2.1"], [load_balancer.ASSIGNED])
    assert cluster.sync("b") == ([], [load_balancer.FAILED])
    assert cluster.world.balancers.wanting == {"shop/b"}
    cluster.remove(service("a"))
    assert cluster.sync("b")[0] == ["192.0.2.1"]
    assert cluster.world.balancers.wanting == set()


def test_a_write_whose_answer_was_lost_is_not_given_to_another() -> None:
    cluster = Cluster(service("a"), service("b"))
    plan = load_balancer.plan(cluster.world, "shop/a", NOW)
    assert plan.reserve == ("192.0.2.10",)
    cluster.world.balancers.hold("shop/a", map(balancers.address, plan.reserve))
    assert cluster.sync("b")[0] == ["192.0.2.11"]
    assert cluster.sync("a")[0] == ["192.0.2.10"]


def test_sharing_needs_one_namespace_one_key_and_different_ports() -> None:
    cluster = Cluster(
        service("a", share="k"),
        service("b", share="k", port=443),
        service("c", share="k", port=80),
        service("d", share="other", port=8080),
        service("e", port=9090),
        service("a", share="k", port=1, namespace="else"),
        pool="192.0.2.0/24",
    )
    assert cluster.sync("a")[0] == ["192.0.2.0"]
    assert cluster.sync("b")[0] == ["192.0.2.0"]
    assert cluster.sync("c")[0] == ["192.0.2.1"]
    assert cluster.sync("d")[0] == ["192.0.2.2"]
    assert cluster.sync("e")[0] == ["192.0.2.3"]
    assert cluster.sync("a", "else")[0] == ["192.0.2.4"]


def test_local_traffic_is_shared_only_by_the_same_pods() -> None:
    local: dict[str, Any] = {"external_traffic_policy": "Local", "share": "k"}
    cluster = Cluster(
        service("a", selector={"app": "a"}, **local),
        service("b", port=1, selector={"app": "b"}, **local),
        service("c", port=2, selector={"app": "a"}, **local),
    )
    assert [cluster.sync(name)[0] for name in "abc"] == [["192.0.2.10"], ["192.0.2.11"], ["192.0.2.10"]]


def test_of_two_that_have_one_address_the_older_keeps_it() -> None:
    old = service("z", has=["192.0.2.10"], created="2025-01-01T00:00:00Z")
    cluster = Cluster(service("a", has=["192.0.2.10"]), old)
    assert cluster.sync("z")[0] == ["192.0.2.10"]
    assert cluster.sync("a")[0] == ["192.0.2.11"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.1/24", "has host bits set"),
        ("192.0.2.9-192.0.2.1", "is no range"),
        ("192.0.2.1-fd00::1", "is no range"),
        ("ten", "--load-balancer-pool"),
        ("192.0.2.0/28,192.0.2.15", "overlap"),
    ],
)
def test_bad_pools_name_the_flag(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        parse_addresses(text)
    assert "--load-balancer-pool" in str(refused.value)
