"""kube-proxy's tables of health checks and of flows to clean up, replayed. Collected only where the facts lie."""

import asyncio
import json

import pytest

from netplane.api.objects import Node as NodeObject
from netplane.net.addresses import packed
from netplane.nft.types import IPV4, PROTOCOLS
from proxy import health
from proxy.plan import nodeports
from proxy.plan.flows import TCP, UDP, Expected, Seen, stale
from proxy.plan.model import Health, Node, Options, frontend_key
from tests.tracker_facts import (
    TABLES,
    table,
)

if TABLES.is_dir():
    # Health ------------------------------------------------------------------------------------------------------

    HEALTH = table("pkg_proxy_healthcheck_healthcheck", "healthcheck")

    def numbers(step: int) -> dict[str, int]:
        said = HEALTH[f"TestServer#{step}"]
        return {f"ns/{key.strip('$')}": n for key, n in said.items() if key.startswith("$")}

    def test_health_checks_follow_services_and_endpoints() -> None:
        """The table's steps: services with their ports (2, 7, 9) and counts of endpoints (3 to 6, 8, 10, 11)."""
        state = health.State(lambda: 0.0)
        checks = health.NodePortChecks(state)

        async def ask(ports: dict[str, int], counts: dict[str, int]) -> dict[str, bytes]:
            # No hosts: what would be answered is looked at, no port is opened.
            await checks.update({s: Health(s, port, counts.get(s, 0)) for s, port in ports.items()}, [])
            return {service: checks.answer(port) for service, port in ports.items()}

        async def scenario() -> None:
            for ports, steps in ((2, (0, 3, 4, 5, 6)), (7, (0, 8)), (9, (8, 10, 11))):
                for step in steps:
                    counts = numbers(step) if step else {}
                    for service, answer in (await ask(numbers(ports), counts)).items():
                        check(answer, service, counts.get(service, 0))
            assert checks.answer(9376).startswith(b"HTTP/1.1 404")

        def check(answer: bytes, service: str, count: int) -> None:
            head, _, body = answer.decode().partition("\r\n\r\n")
            assert head.split()[1] == ("200" if count else "503")
            lines = head.split("\r\n")
            for test, header in ((1, "Content-Type"), (2, "X-Content-Type-Options")):
                assert f"{header}: {HEALTH[f'tHandler#{test}'][0]}" in lines
            assert f"X-Load-Balancing-Endpoint-Weight: {count}" in lines
            assert json.loads(body)["service"]["name"] == service.partition("/")[2]
            assert json.loads(body)["localEndpoints"] == count

        asyncio.run(scenario())

    def test_health_checks_listen_where_node_ports_answer() -> None:
        (cidr,) = HEALTH["TestServerWithSelectiveListeningAddress#1"]
        here = Node("n", "", (), frozenset(map(packed, ("127.0.0.1", "192.0.2.1"))))
        assert nodeports.health_hosts([IPV4], here, Options(node_port_addresses=(cidr,))) == ("127.0.0.1",)
        assert nodeports.health_hosts([IPV4], here, Options(node_port_addresses=())) == ("",)

    @pytest.mark.parametrize("late", [False, True])
    def test_both_families_sync_in_one_run(late: bool) -> None:
        """The table's 14 steps tell the families apart; one run writes both here, so the older change counts."""
        clock = [0.0]
        state = health.State(lambda: clock[0], patience_s=10)
        state.node = NodeObject()
        state.synced()
        state.changed()
        clock[0] = 20.0 if late else 5.0
        state.changed()
        assert (state.healthz()[0], state.livez()[0]) == ((503, 503) if late else (200, 200))
        state.synced()
        assert (state.healthz()[0], state.livez()[0]) == (200, 200)

    # Flows -------------------------------------------------------------------------------------------------------

    FLOWS = table("pkg_proxy_conntrack_cleanup", "cleanup")

    @pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
    def test_every_flow_of_the_clean_up_table(protocol: str) -> None:
        """Every frontend and endpoint of the table; TCP to an endpoint in no slice is ended here, unlike there."""
        word = {key: value for key, value in FLOWS.items() if key.startswith("test")}
        number = PROTOCOLS[protocol]
        known = {name: packed(word[name]) for name in ("testServingEndpointIP", "testNonServingEndpointIP")}
        port = word["testEndpointPort"].to_bytes(2, "big") + b"\0\0"
        rows = {name: address + port for name, address in known.items()}
        expected = Expected(frozenset({rows["testServingEndpointIP"]}), frozenset(rows.values()))
        addresses = [packed(word[name.strip("$")]) for name in FLOWS["TestCleanStaleEntries#8"]]
        served = {frontend_key(a, number, word["testServicePort"]): expected for a in addresses}
        for address in addresses:
            for name in FLOWS["TestCleanStaleEntries#9"]:
                for asked in FLOWS["TestCleanStaleEntries#12"]:
                    endpoint = packed(word[name.strip("$")]) + port
                    seen = Seen(frontend_key(address, number, word[asked.strip("$")]), endpoint, True)
                    ended = list(stale([("flow", seen)], number, served)) == ["flow"]
                    ours = asked == "$testServicePort"
                    bad = {UDP: name != "$testServingEndpointIP", TCP: name == "$testDeletedEndpointIP"}
                    assert ended == (ours and bad.get(number, False))
