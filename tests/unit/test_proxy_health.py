"""The proxy's node, health and metrics, without a kernel."""

import asyncio
import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netplane.api.objects import Node as NodeObject
from netplane.api.objects import NodeAddress, NodeSpec, NodeStatus, ObjectMeta, Taint
from netplane.errors import UsageError
from netplane.net.addresses import packed
from netplane.obs.health import Answer, Route, alive
from proxy import health, metrics, node
from proxy.counters import Count, ServicePort
from proxy.plan.model import Health
from proxy.triggers import Triggers

# The node -----------------------------------------------------------------------------------------------------------


def node_object(*addresses: tuple[str, str], taint: str = "", deleted: str | None = None) -> NodeObject:
    return NodeObject(
        metadata=ObjectMeta(name="n", labels={node.ZONE: "z"}, deletion_timestamp=deleted),
        spec=NodeSpec(taints=[Taint(key=taint)] if taint else None),
        status=NodeStatus(addresses=[NodeAddress(type=kind, address=text) for kind, text in addresses]),
    )


def test_the_primary_address_is_the_first_internal_one_of_each_family() -> None:
    said = node_object(
        ("Hostname", "n"),
        ("ExternalIP", "198.51.100.1"),
        ("InternalIP", "192.0.2.1"),
        ("InternalIP", "192.0.2.2"),
        ("ExternalIP", "2001:db8::1"),
        ("InternalIP", "nonsense"),
    )
    described = node.describe("n", said, frozenset(), ())
    assert described.primary == (packed("192.0.2.1"), packed("2001:db8::1"))
    assert described.zone == "z"
    assert node.describe("n", None, frozenset(), (packed("192.0.2.7"),)).primary == (packed("192.0.2.7"),)
    assert node.describe("n", node_object(), frozenset(), (packed("192.0.2.7"),)).primary == (packed("192.0.2.7"),)
    # The bind address is the primary one of its family.
    bound = node.describe("n", said, frozenset(), (packed("192.0.2.7"),))
    assert bound.primary == (packed("192.0.2.7"), packed("2001:db8::1"))


# Health -------------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_healthy_while_nothing_waits_longer_than_patience() -> None:
    clock = Clock()
    state = health.State(clock, patience_s=60)
    seen = [state.healthy]
    for step, now in ((None, 61), (state.synced, 61), (None, 1000), (state.changed, 1000), (state.changed, 1061)):
        clock.now = now
        if step is not None:
            step()
        seen.append(state.healthy)
    # At first the lists are awaited; in the end it is the oldest change that counts, not the newest.
    assert seen == [True, False, True, True, True, False]


@pytest.mark.parametrize(
    ("said", "eligible"),
    [
        (None, False),
        (node_object(), True),
        (node_object(taint="other"), True),
        (node_object(taint=health.TO_BE_DELETED), False),
        (node_object(deleted="2026-01-01T00:00:00Z"), False),
    ],
)
def test_a_node_that_is_not_there_or_about_to_go_is_alive_but_not_healthy(
    said: NodeObject | None, eligible: bool
) -> None:
    state = health.State(Clock())
    state.node = said
    status, _, body = state.healthz()
    assert status == (200 if eligible else 503)
    said_of_both = json.loads(body)
    assert list(said_of_both) == ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"]
    assert said_of_both["nodeEligible"] is eligible
    assert said_of_both["healthy"]
    assert {family: of["healthy"] for family, of in said_of_both["status"].items()} == {"IPv4": True, "IPv6": True}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z", said_of_both["lastUpdated"])
    assert "nodeEligible" not in json.loads(state.livez()[2])
    assert state.livez()[0] == 200


async def fetch(port: int) -> tuple[int, dict[str, str], Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body)


def test_health_check_node_ports_open_answer_and_close() -> None:
    async def scenario() -> None:
        checks = health.NodePortChecks(health.State(Clock()))
        port = 31_977
        await checks.update({"ns/web": Health("ns/web", port, 2)}, ["127.0.0.1"])
        status, headers, body = await fetch(port)
        assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "2")
        assert body == {
            "service": {"namespace": "ns", "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }
        await checks.update({"ns/web": Health("ns/web", port, 0)}, ["127.0.0.1"])
        assert (await fetch(port))[0] == 503
        await checks.close()
        with pytest.raises(ConnectionRefusedError):
            await fetch(port)

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_served_once_it_is_free_unless_that_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        where = f"127.0.0.1:{taken.sockets[0].getsockname()[1]}"
        with pytest.raises(UsageError, match=f"healthzBindAddress: cannot listen on {where}"):
            health.Door(where, "healthzBindAddress", 1, hard=True)
        door = health.Door(where, "healthzBindAddress", 1, hard=False)
        assert "cannot listen" in capsys.readouterr().err
        serving = asyncio.create_task(door.serve({"/livez": alive}, retry_s=0.01))
        await asyncio.sleep(0.05)
        taken.close()
        await taken.wait_closed()
        async with asyncio.timeout(10):
            while (status := await asked(where)) != 200:
                await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        door.close()
        assert (status, await asked(where)) == (200, 0)

    asyncio.run(scenario())


async def asked(where: str) -> int:
    """The status of /livez there; 0 when nobody answers."""
    host, _, port = where.partition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = await reader.readline()
    except OSError:
        return 0
    writer.close()
    return int(head.split()[1]) if head else 0


def test_no_address_is_no_door_and_a_bad_one_is_always_an_error() -> None:
    async def nobody_comes() -> None:
        door = health.Door("", "metricsBindAddress", 1, hard=True)
        await door.serve({})
        door.close()

    asyncio.run(nobody_comes())
    with pytest.raises(UsageError, match="metricsBindAddress is"):
        health.Door("127.0.0.1:99999", "metricsBindAddress", 1, hard=False)


def test_a_health_check_port_that_is_taken_is_tried_at_every_sync_and_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        checks = health.NodePortChecks(health.State(Clock()))
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        for _ in range(3):
            await checks.update({"ns/web": Health("ns/web", port, 1)}, ["127.0.0.1"])
        assert capsys.readouterr().err.count("cannot be opened") == 1
        await checks.update({})
        await checks.update({"ns/web": Health("ns/web", port, 1)}, ["127.0.0.1"])
        assert capsys.readouterr().err.count("cannot be opened") == 1, "it was gone in between"
        taken.close()
        await taken.wait_closed()
        await checks.update({"ns/web": Health("ns/web", port, 1)}, ["127.0.0.1"])
        assert (await fetch(port))[0] == 200
        await checks.close()

    asyncio.run(scenario())


def test_metrics_have_the_references_names() -> None:
    stats = metrics.Stats()
    stats.sync_s.observe(0.002)
    stats.sync_s.observe(5.0)
    stats.elements_written = 7
    stats.requested("GET", "apiserver:6443", 200, 0.3)

    async def by_service() -> dict[ServicePort, Count]:
        return {ServicePort("ns", f"s{n}", 'a"b', "tcp"): Count(n, 1, 2, 0, 3) for n in range(1200)}

    stats.by_service = by_service
    status, _, body = asyncio.run(_answer(metrics.route(stats)))
    text = body.decode()
    assert status == 200
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 2.0' in text
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.0032"} 1.0' in text
    assert "netplane_proxy_elements_written_total 7.0" in text
    assert "kubeproxy_sync_proxy_rules_last_timestamp_seconds" in text
    assert 'rest_client_request_duration_seconds_bucket{host="apiserver:6443",le="0.5",verb="GET"} 1.0' in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families["netplane_service_connections"].samples) == 1200
    (sample, *_) = [s for s in families["netplane_service_drops"].samples if s.labels["service"] == "s7"]
    assert (sample.labels["port"], sample.labels["reason"], sample.value) == ('a"b', "no-local-endpoints", 2.0)


async def _answer(route: Route) -> Answer:
    answer = route()
    return answer if isinstance(answer, tuple) else await answer


def test_network_programming_counts_what_changed_since_the_start() -> None:
    triggers = Triggers(1000.0)
    triggers.seen("ns/a", "1970-01-01T00:16:41Z")
    triggers.seen("ns/a", "1970-01-01T00:16:42.5Z")
    triggers.seen("ns/b", "1970-01-01T00:16:39Z")  # before
    triggers.seen("ns/c", "1970-01-01T00:16:41Z")
    triggers.seen("ns/d", None)
    triggers.seen("ns/d", "soon")
    triggers.gone("ns/c")
    assert triggers.take(1003.0) == [2.0, 0.5]
    assert triggers.take(1004.0) == []


def test_metrics_tell_what_is_asked_and_answered() -> None:
    stats = metrics.Stats(["IPv4", "IPv6"])
    stats.requested("GET", "10.96.0.1:443", 200, 0.01)
    stats.network_s.observe(1.5)
    stats.service_changes = 3
    stats.without_local = lambda: {("IPv6", "external"): 2}
    state = health.State(Clock())
    state.node = node_object()
    routes = health.metric_routes(state, stats, b"{}")
    health.routes(state, stats, b"{}")["/healthz"]()
    # On the port of metrics it only says that somebody answers, and is not counted.
    assert asyncio.run(_answer(routes["/healthz"]))[2] == b"ok"
    text = asyncio.run(_answer(routes["/metrics"]))[2].decode()
    for line in (
        'rest_client_requests_total{code="200",host="10.96.0.1:443",method="GET"} 1.0',
        'kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv6",le="2.0"} 1.0',
        'kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv6",le="1.0"} 0.0',
        "kubeproxy_sync_proxy_rules_service_changes_pending 3.0",
        'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv6",traffic_policy="external"} 2.0',
        'kubeproxy_proxy_healthz_total{code="200"} 1.0',
        'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv6"} 0.0',
    ):
        assert line in text
