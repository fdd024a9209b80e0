"""All controllers together, against the fake apiserver over HTTP."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from ipaddress import ip_network
from typing import Any
from unittest.mock import patch

from netplane.api import kinds
from netplane.api.errors import StatusError
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver
from netplane.controllers.controllers import Options, build, empty_world
from netplane.controllers.flags import parse_addresses
from netplane.controllers.plan.ranges import Pool
from netplane.controllers.runtime import Runtime
from tests.waiting import until_async as until

OPTIONS = Options(pools=(Pool(ip_network("10.244.0.0/22"), 24),), grace_s=1.0)
Doc = dict[str, Any]


def node(name: str) -> Doc:
    return {"metadata": {"name": name}, "spec": {}, "status": {}}


def lease(name: str, renewed: str) -> Doc:
    return {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": renewed}}


def service(name: str = "web") -> Doc:
    spec = {
        "selector": {"app": name},
        "clusterIP": "10.96.0.10",
        "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def pod(name: str, app: str = "web") -> Doc:
    meta = {"name": name, "namespace": "shop", "labels": {"app": app}}
    return {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "x"}]}, "status": {"phase": "Pending"}}


def running(ip: str, ready: str = "True") -> Doc:
    return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]}


class Cluster:
    def __init__(self, fake: FakeApiserver) -> None:
        self.fake = fake
        self.store = fake.store

    def all(self, kind: kinds.Kind) -> list[Doc]:
        return [self.store.get(kind, key) for key in self.store.collections.get(kind.path(), {})]

    def get(self, kind: kinds.Kind, key: str) -> Doc:
        with suppress(StatusError):
            return self.store.get(kind, key)
        return {}

    def ready_addresses(self) -> list[str]:
        slices = self.all(kinds.ENDPOINT_SLICE)
        return [e["addresses"][0] for one in slices for e in one["endpoints"] if e["conditions"]["ready"]]

    def node_of(self, name: str) -> str:
        return str(self.get(kinds.POD, f"shop/{name}").get("spec", {}).get("nodeName", ""))

    def ready(self, name: str) -> str:
        conditions = self.get(kinds.NODE, name).get("status", {}).get("conditions", [])
        return next((c["status"] for c in conditions if c["type"] == "Ready"), "")

    def start_pod(self, name: str, ip: str) -> None:
        self.store.patch(kinds.POD, f"shop/{name}", {"status": running(ip)}, "status")


def scenario(body: Callable[[Cluster], Coroutine[Any, Any, None]], options: Options = OPTIONS) -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
            task = asyncio.create_task(Runtime(api, build(options), world=empty_world(options)).run())
            try:
                await body(Cluster(fake))
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    asyncio.run(main())


async def two_nodes(cluster: Cluster) -> None:
    for name in ("n1", "n2"):
        cluster.store.put(kinds.NODE, node(name))
        cluster.store.put(kinds.LEASE, lease(name, "1"))
    await until(lambda: cluster.ready("n1") == cluster.ready("n2") == "True")


def test_from_a_pod_to_an_endpoint() -> None:
    async def body(cluster: Cluster) -> None:
        await two_nodes(cluster)
        cluster.store.put(kinds.SERVICE, service())
        for name in ("web-1", "web-2"):
            cluster.store.put(kinds.POD, pod(name))
        await until(lambda: {cluster.node_of("web-1"), cluster.node_of("web-2")} == {"n1", "n2"})
        cluster.start_pod("web-1", "10.244.0.2")
        cluster.start_pod("web-2", "10.244.1.2")
        await until(lambda: sorted(cluster.ready_addresses()) == ["10.244.0.2", "10.244.1.2"])
        await until(lambda: cluster.get(kinds.ENDPOINTS, "shop/web").get("subsets", [{}])[0].get("addresses"))
        cluster.store.remove(kinds.POD, "shop/web-1")
        await until(lambda: cluster.ready_addresses() == ["10.244.1.2"])
        cluster.store.remove(kinds.SERVICE, "shop/web")
        await until(lambda: not cluster.all(kinds.ENDPOINT_SLICE) and not cluster.all(kinds.ENDPOINTS))

    scenario(body, Options(grace_s=60.0))


def test_every_node_has_its_own_range_and_the_fifth_of_four_an_event() -> None:
    async def body(cluster: Cluster) -> None:
        for i in range(5):
            cluster.store.put(kinds.NODE, node(f"n{i}"))
        await until(lambda: [e["reason"] for e in cluster.all(kinds.EVENT)] == ["CIDRNotAvailable"])
        cidrs = [n["spec"].get("podCIDR") for n in cluster.all(kinds.NODE)]
        assert len({c for c in cidrs if c}) == 4
        lacking = next(n["metadata"]["name"] for n in cluster.all(kinds.NODE) if not n["spec"].get("podCIDR"))
        other = next(n for n in cluster.all(kinds.NODE) if n["spec"].get("podCIDR"))
        cluster.store.remove(kinds.NODE, other["metadata"]["name"])
        await until(lambda: cluster.get(kinds.NODE, lacking)["spec"].get("podCIDR") == other["spec"]["podCIDR"])

    scenario(body)


def test_a_silent_node_is_unknown_tainted_and_its_pods_leave_the_slices_until_it_speaks_again() -> None:
    async def body(cluster: Cluster) -> None:
        await two_nodes(cluster)
        cluster.store.put(kinds.SERVICE, service())
        one = pod("web-1")
        one["spec"]["nodeName"] = "n1"
        cluster.store.put(kinds.POD, {**one, "status": running("10.244.0.2")})
        await until(lambda: cluster.ready_addresses() == ["10.244.0.2"])
        await until(lambda: cluster.ready("n1") == "Unknown")
        await until(lambda: cluster.ready_addresses() == [])
        taints = cluster.get(kinds.NODE, "n1")["spec"]["taints"]
        assert {t["key"] for t in taints} == {"node.kubernetes.io/unreachable"}
        cluster.store.put(kinds.LEASE, lease("n1", "2"))
        await until(lambda: cluster.ready("n1") == "True" and not cluster.get(kinds.NODE, "n1")["spec"].get("taints"))

    scenario(body)


def test_what_fits_nowhere_is_told_once_and_placed_when_a_node_comes() -> None:
    async def body(cluster: Cluster) -> None:
        picky = pod("web-1")
        picky["spec"]["nodeSelector"] = {"disk": "ssd"}
        await two_nodes(cluster)
        cluster.store.put(kinds.POD, picky)
        await until(lambda: [e["reason"] for e in cluster.all(kinds.EVENT)] == ["FailedScheduling"])
        conditions = cluster.get(kinds.POD, "shop/web-1")["status"].get("conditions", [])
        labelled = node("n3")
        labelled["metadata"]["labels"] = {"disk": "ssd"}
        cluster.store.put(kinds.NODE, labelled)
        cluster.store.put(kinds.LEASE, lease("n3", "1"))
        await until(lambda: cluster.node_of("web-1") == "n3")
        assert all(c["type"] == "PodScheduled" for c in conditions)

    scenario(body, Options(grace_s=60.0))


def test_the_apiserver_may_die_and_come_back() -> None:
    async def body(cluster: Cluster) -> None:
        await two_nodes(cluster)
        cluster.store.put(kinds.SERVICE, service())
        await cluster.fake.stop()
        one = pod("web-1")
        one["spec"]["nodeName"] = "n1"
        cluster.store.put(kinds.POD, {**one, "status": running("10.244.0.2")})
        await cluster.fake.start()
        await until(lambda: cluster.ready_addresses() == ["10.244.0.2"])
        assert len(cluster.all(kinds.ENDPOINT_SLICE)) == 1

    scenario(body, Options(grace_s=60.0))


def namespace(name: str) -> Doc:
    return {"metadata": {"name": name}, "spec": {}, "status": {"phase": "Active"}}


def test_a_namespace_gets_its_account_and_certificates_and_gets_them_back() -> None:
    async def body(cluster: Cluster) -> None:
        cluster.store.put(kinds.NAMESPACE, namespace("shop"))
        account, bundle = "shop/default", "shop/kube-root-ca.crt"
        await until(lambda: cluster.get(kinds.SERVICE_ACCOUNT, account) and cluster.get(kinds.CONFIG_MAP, bundle))
        assert cluster.get(kinds.CONFIG_MAP, bundle)["data"] == {"ca.crt": "PEM"}
        cluster.store.patch(kinds.CONFIG_MAP, bundle, {"data": {"ca.crt": "FORGED"}})
        await until(lambda: cluster.get(kinds.CONFIG_MAP, bundle)["data"] == {"ca.crt": "PEM"})
        cluster.store.remove(kinds.SERVICE_ACCOUNT, account)
        cluster.store.remove(kinds.CONFIG_MAP, bundle)
        await until(lambda: cluster.get(kinds.SERVICE_ACCOUNT, account) and cluster.get(kinds.CONFIG_MAP, bundle))

    scenario(body, Options(root_ca="PEM"))


def test_load_balancers_share_a_pool_of_two_and_the_third_waits_for_the_first() -> None:
    def balancer(name: str) -> Doc:
        doc = service(name)
        doc["spec"]["type"] = "LoadBalancer"
        return doc

    def addresses(cluster: Cluster) -> dict[str, list[str]]:
        found = {one["metadata"]["name"]: one.get("status") or {} for one in cluster.all(kinds.SERVICE)}
        return {
            name: [each["ip"] for each in status.get("loadBalancer", {}).get("ingress") or ()]
            for name, status in found.items()
        }

    async def body(cluster: Cluster) -> None:
        for name in ("a", "b", "c"):
            cluster.store.put(kinds.SERVICE, balancer(name))
        await until(lambda: "AddressAllocationFailed" in [e["reason"] for e in cluster.all(kinds.EVENT)])
        await until(lambda: sum(map(bool, addresses(cluster).values())) == 2)
        given = [one for each in addresses(cluster).values() for one in each]
        assert sorted(given) == ["192.0.2.1", "192.0.2.2"]
        lucky = next(name for name, some in addresses(cluster).items() if some)
        freed = addresses(cluster)[lucky]
        last = next(name for name, some in addresses(cluster).items() if not some)
        cluster.store.remove(kinds.SERVICE, f"shop/{lucky}")
        await until(lambda: addresses(cluster)[last] == freed)

    scenario(body, Options(addresses=parse_addresses("192.0.2.1-192.0.2.2")))


def test_pods_leave_a_silent_node_when_their_patience_ends() -> None:
    async def body(cluster: Cluster) -> None:
        await two_nodes(cluster)
        for name, seconds in (("hasty", 0), ("patient", 300)):
            one = pod(name)
            forever = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
            one["spec"] |= {"nodeName": "n1", "tolerations": [{**forever, "tolerationSeconds": seconds}]}
            cluster.store.put(kinds.POD, {**one, "status": running("10.244.0.2")})
        beating = asyncio.create_task(beat(cluster, "n2"))
        await until(lambda: cluster.get(kinds.POD, "shop/hasty")["metadata"].get("deletionTimestamp"))
        beating.cancel()
        assert "deletionTimestamp" not in cluster.get(kinds.POD, "shop/patient")["metadata"]
        taints = cluster.get(kinds.NODE, "n1")["spec"]["taints"]
        assert {taint["effect"] for taint in taints} == {"NoSchedule", "NoExecute"}
        assert "TaintManagerEviction" in [event["reason"] for event in cluster.all(kinds.EVENT)]

    with patch("netplane.controllers.plan.node_taints.SETTLE_S", 0.0):
        scenario(body, Options(grace_s=0.3))


async def beat(cluster: Cluster, name: str) -> None:
    for count in range(10**6):
        cluster.store.put(kinds.LEASE, lease(name, f"beat {count}"))
        await asyncio.sleep(0.05)


def test_endpoints_by_hand_are_mirrored_and_followed() -> None:
    async def body(cluster: Cluster) -> None:
        one = service("db")
        del one["spec"]["selector"]
        cluster.store.put(kinds.SERVICE, one)
        subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432}]}]
        by_hand = {"metadata": {"name": "db", "namespace": "shop"}, "subsets": subsets}
        cluster.store.put(kinds.ENDPOINTS, by_hand)
        await until(lambda: cluster.ready_addresses() == ["192.0.2.1"])
        cluster.store.patch(kinds.ENDPOINTS, "shop/db", {"subsets": None})
        await until(lambda: cluster.all(kinds.ENDPOINT_SLICE) == [])

    scenario(body)


def test_slices_tell_since_when_what_they_say_is_so() -> None:
    name = "endpoints.kubernetes.io/last-change-trigger-time"

    async def body(cluster: Cluster) -> None:
        def told() -> str:
            [one] = cluster.all(kinds.ENDPOINT_SLICE) or [{"metadata": {}}]
            return str(one["metadata"].get("annotations", {}).get(name, ""))

        await two_nodes(cluster)
        born = service()
        born["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        cluster.store.put(kinds.SERVICE, born)
        await until(lambda: told() == "2026-01-01T00:00:00Z")
        one = pod("web-1")
        one["spec"]["nodeName"] = "n1"
        status = running("10.244.0.2")
        status["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:07Z"
        cluster.store.put(kinds.POD, {**one, "status": status})
        await until(lambda: told() == "2026-01-01T00:00:07Z")

    scenario(body, Options(grace_s=60.0))


def test_nothing_is_written_when_the_term_is_over() -> None:
    async def main() -> None:
        async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
            fake.store.put(kinds.NODE, node("n"))
            runtime = Runtime(api, build(OPTIONS), world=empty_world(OPTIONS), may_write=lambda: False)
            task = asyncio.create_task(runtime.run())
            await until(lambda: runtime.queues["pod-cidr"].retries > 2)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert {method for method, _ in fake.requests} == {"GET"}
            assert runtime.writes == 0

    asyncio.run(main())


def test_slices_are_as_large_as_they_may_be() -> None:
    async def body(cluster: Cluster) -> None:
        await two_nodes(cluster)
        cluster.store.put(kinds.SERVICE, service())
        for i in range(5):
            one = pod(f"web-{i}")
            one["spec"]["nodeName"] = "n1"
            cluster.store.put(kinds.POD, {**one, "status": running(f"10.244.0.{i + 2}")})
        await until(lambda: len(cluster.ready_addresses()) == 5)
        assert all(len(one["endpoints"]) <= 2 for one in cluster.all(kinds.ENDPOINT_SLICE))

    scenario(body, Options(grace_s=60.0, slice_limit=2))
