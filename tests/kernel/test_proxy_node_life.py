"""What a node and its cluster do to a running proxy: addresses come, ServiceCIDRs change, a taint, health checks."""

import asyncio
import http.client
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from netplane.api import kinds
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.net.addresses import packed
from netplane.nft.types import FAMILIES, IPV4
from proxy import program
from proxy.config import Config
from proxy.plan.model import Options, frontend_key
from proxy.plan.skeleton import skeleton
from proxy.program import Program
from tests.waiting import until_async as until

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-life-{os.getpid():x}"
TABLE = skeleton(IPV4, Options())
HEALTHZ, CHECK = 10_256, 31_500


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    netns.create(NAMESPACE)
    try:
        run("link set lo up", "address add 192.0.2.1/32 dev lo", "address add 2001:db8::1/128 dev lo")
        yield NAMESPACE
    finally:
        netns.delete(NAMESPACE)


def run(*commands: str) -> None:
    subprocess.run(["ip", "-n", NAMESPACE, "-batch", "-"], input="\n".join(commands), text=True, check=True)


class Cluster:
    """A fake apiserver and a proxy beside it; everything is asked from inside the namespace."""

    def __init__(self, fake: FakeApiserver, nft: Nft) -> None:
        self.store = fake.store
        self._nft = nft

    def elements(self, name: str) -> dict[bytes, Any]:
        return dict(self._nft.list_elements(TABLE, TABLE.set(name)) or {})

    def answers(self, address: str, port: int) -> bool:
        return frontend_key(packed(address), 6, port) in self.elements("services")


@asynccontextmanager
async def cluster(config: Config, fake: FakeApiserver) -> AsyncIterator[Cluster]:
    nft = Nft()
    try:
        async with fake:
            fake.store.put(kinds.NODE, node())
            fake.store.put(kinds.SERVICE, service())
            fake.store.put(kinds.ENDPOINT_SLICE, endpoint_slice("here"))
            made = Cluster(fake, nft)
            async with proxy(config, fake, nft) as running:
                await until(lambda: running.done() or made.answers("10.96.0.1", 80), "the first sync", 10.0)
                yield made
    finally:
        nft.run_text("flush ruleset")
        nft.close()


@asynccontextmanager
async def proxy(config: Config, fake: FakeApiserver, nft: Nft) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(Program(config, "here", Connection(fake.url), nft, FAMILIES).run())
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def node(**spec: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    return {"metadata": {"name": "here"}, "spec": spec, "status": {"addresses": addresses}}


def service() -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": "web"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "ports": [{"port": 80, "nodePort": 30_080, "protocol": "TCP"}],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": CHECK,
        },
    }


def endpoint_slice(where: str, **annotations: str) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": "web"}
    return {
        "metadata": {"namespace": "ns", "name": "web-1", "labels": labels, "annotations": annotations},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": where, "conditions": {"ready": True}}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    }


def ask(path: str, port: int = HEALTHZ, host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


async def asked(path: str, port: int = HEALTHZ, host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    return await asyncio.to_thread(netns.run_in, NAMESPACE, lambda: ask(path, port, host))


async def answered(status: int, path: str, port: int = HEALTHZ, host: str = "127.0.0.1") -> bytes:
    """The answer, once it has this status."""
    async with asyncio.timeout(5):
        while (answer := await asked(path, port, host))[0] != status:
            await asyncio.sleep(0.01)
    return answer[2]


def inside(namespace: str, scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    netns.run_in(namespace, lambda: asyncio.run(main()))


def test_node_ports_follow_the_nodes_addresses_at_once(namespace: str) -> None:
    async def scenario() -> None:
        async with cluster(Config(node_port_addresses=["192.0.2.0/24"]), FakeApiserver()) as it:
            await until(lambda: it.answers("192.0.2.1", 30_080), "the address that was there", 10.0)
            for turn in range(3):
                run("address add 192.0.2.77/32 dev lo", "address add 198.51.100.7/32 dev lo")
                await until(lambda: it.answers("192.0.2.77", 30_080), f"a new address, {turn}", 2.0)
                assert not it.answers("198.51.100.7", 30_080), "no address of the ranges"
                run("address del 192.0.2.77/32 dev lo", "address del 198.51.100.7/32 dev lo")
                await until(lambda: not it.answers("192.0.2.77", 30_080), f"an address that went, {turn}", 2.0)

    inside(namespace, scenario)


class WithoutServiceCidrs(FakeApiserver):
    """An older apiserver: it has no such resource, until it is upgraded."""

    upgraded = False

    def _answer(self, asked: Any) -> tuple[int, bytes]:
        if asked.kind is kinds.SERVICE_CIDR and not self.upgraded:
            return 404, b'{"kind":"Status","status":"Failure","reason":"NotFound","code":404}'
        return super()._answer(asked)


def test_a_server_without_service_cidrs_is_served_and_one_with_them_is_followed_at_once(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SERVICE_CIDR_PROBE_S", 0.05)

    def cidr(name: str, *cidrs: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}

    async def scenario() -> None:
        fake = WithoutServiceCidrs()
        async with cluster(Config(), fake) as it:
            assert it.elements("service-cidrs") == {}
            assert it.elements("endpoints"), "the services are served all the same"
            it.store.put(kinds.SERVICE_CIDR, cidr("kubernetes", "10.96.0.0/16"))
            fake.upgraded = True
            await until(lambda: len(it.elements("service-cidrs")) == 1, "the server can do it now", 10.0)
            it.store.put(kinds.SERVICE_CIDR, cidr("more", "10.200.0.0/16", "fd00:96::/112"))
            await until(lambda: len(it.elements("service-cidrs")) == 2, "a second range", 2.0)
            it.store.remove(kinds.SERVICE_CIDR, "more")
            await until(lambda: len(it.elements("service-cidrs")) == 1, "it goes again", 2.0)

    inside(namespace, scenario)


class SlowRanges(FakeApiserver):
    """Says what ServiceCIDRs there are long after everything else."""

    async def _request(self, head: bytes, *rest: Any) -> None:
        if b"servicecidrs" in head.splitlines()[0]:
            await asyncio.sleep(0.3)
        await super()._request(head, *rest)


def test_a_restart_writes_nothing_however_late_it_learns_of_the_service_ranges(namespace: str) -> None:
    async def scenario() -> None:
        fake, nft = SlowRanges(), Nft()
        ranges = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/112"]}}
        try:
            async with fake:
                fake.store.put(kinds.NODE, node())
                fake.store.put(kinds.SERVICE, service())
                fake.store.put(kinds.ENDPOINT_SLICE, endpoint_slice("here"))
                fake.store.put(kinds.SERVICE_CIDR, ranges)
                it = Cluster(fake, nft)
                async with proxy(Config(), fake, nft):
                    await until(lambda: it.answers("10.96.0.1", 80), "the first sync", 10.0)
                    assert it.elements("service-cidrs"), "known from the first sync on"
                async with proxy(Config(), fake, nft):
                    text, deadline = "", asyncio.get_running_loop().time() + 10
                    while 'sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1.0' not in text:
                        assert asyncio.get_running_loop().time() < deadline, text
                        await asyncio.sleep(0.05)
                        with suppress(OSError):
                            text = (await asked("/metrics", 10_249))[2].decode()
                    assert "netplane_proxy_elements_written_total 0.0" in text
        finally:
            nft.run_text("flush ruleset")
            nft.close()

    inside(namespace, scenario)


def test_health_of_proxy_node_and_service(namespace: str) -> None:
    async def scenario() -> None:
        async with cluster(Config(), FakeApiserver()) as it:
            status, headers, body = await asked("/healthz")
            said = json.loads(body)
            assert (status, headers["content-type"]) == (200, "application/json")
            assert set(said) == {"lastUpdated", "currentTime", "nodeEligible", "healthy", "status"}
            assert said["lastUpdated"] == said["currentTime"]
            assert set(json.loads((await asked("/livez"))[2])) == set(said) - {"nodeEligible"}
            assert (await asked("/healthz", 10_249))[2] == b"ok"

            # The check listens where NodePorts answer: at the node's primary address.
            status, headers, body = await asked("/", CHECK, "192.0.2.1")
            assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "1")
            assert json.loads(body) == {
                "service": {"namespace": "ns", "name": "web"},
                "localEndpoints": 1,
                "serviceProxyHealthy": True,
            }
            with pytest.raises(ConnectionRefusedError):
                await asked("/", CHECK, "127.0.0.1")

            it.store.put(kinds.ENDPOINT_SLICE, endpoint_slice("elsewhere"))
            await answered(503, "/", CHECK, "192.0.2.1")

            tainted = node(taints=[{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}])
            it.store.put(kinds.NODE, tainted)
            assert json.loads(await answered(503, "/healthz"))["nodeEligible"] is False
            assert (await asked("/livez"))[0] == 200
            it.store.remove(kinds.NODE, "here")
            await answered(503, "/healthz")
            it.store.put(kinds.NODE, node())
            await answered(200, "/healthz")

    inside(namespace, scenario)


def test_metrics_and_configuration_of_a_running_proxy(namespace: str) -> None:
    async def scenario() -> None:
        async with cluster(Config(cluster_cidr="10.1.0.0/16"), FakeApiserver()) as it:
            annotation = {"endpoints.kubernetes.io/last-change-trigger-time": "2099-01-01T00:00:00Z"}
            it.store.put(kinds.ENDPOINT_SLICE, endpoint_slice("elsewhere", **annotation))
            wanted = (
                'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1.0',
                'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 1.0',
                'rest_client_requests_total{code="200",host="127.0.0.1:',
                'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv6"} 1.0',
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0.0",
                'kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} ',
            )
            text, deadline = "", asyncio.get_running_loop().time() + 5
            while not all(line in text for line in wanted):
                assert asyncio.get_running_loop().time() < deadline, text
                await asyncio.sleep(0.05)
                text = (await asked("/metrics", 10_249))[2].decode()
            shown = json.loads((await asked("/configz", 10_249))[2])["kubeproxy.config.k8s.io"]
            assert (shown["mode"], shown["clusterCIDR"]) == ("nftables", "10.1.0.0/16")

    inside(namespace, scenario)


def test_a_family_without_pod_cidrs_masquerades_nothing_of_its_own(namespace: str) -> None:
    async def scenario() -> None:
        async with cluster(Config(cluster_cidr="10.1.0.0/16"), FakeApiserver()):
            nft = Nft()
            v4, v6 = (nft.run_text(f"list chain {family.nft} netplane-proxy prerouting") for family in FAMILIES)
            nft.close()
            assert "ip saddr != 10.1.0.0/16" in v4
            assert "saddr" not in v6

    inside(namespace, scenario)


def test_a_family_whose_pod_cidr_comes_later_is_followed(namespace: str) -> None:
    """A node that becomes dual-stack, or gets another CIDR: rules change, and nothing that is served is touched."""

    async def scenario() -> None:
        async with cluster(Config(detect_local_mode="NodeCIDR"), FakeApiserver()) as it:
            nft = Nft()

            def says(v4: str, v6: str) -> bool:
                hooks = [nft.run_text(f"list chain {family.nft} netplane-proxy prerouting") for family in FAMILIES]
                return all(
                    f"saddr != {cidr} " in rules if cidr else "saddr" not in rules
                    for cidr, rules in zip((v4, v6), hooks, strict=True)
                )

            try:
                for v4, v6 in (("", ""), ("10.1.7.0/24", ""), ("10.1.7.0/24", "fd00:1:7::/64"), ("10.1.8.0/24", "")):
                    it.store.put(kinds.NODE, node(podCIDRs=[cidr for cidr in (v4, v6) if cidr]))
                    await until(lambda v4=v4, v6=v6: says(v4, v6), f"rules for {v4!r} and {v6!r}", 10.0)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
                    assert it.answers("10.96.0.1", 80)
                it.store.delete(kinds.NODE, "here")
                it.store.put(kinds.SERVICE, service() | {"metadata": {"namespace": "ns", "name": "after"}})
                await asyncio.sleep(0.2)
                assert says("10.1.8.0/24", ""), "a node that is gone says nothing new"
            finally:
                nft.close()

    inside(namespace, scenario)
