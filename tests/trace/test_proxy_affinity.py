"""Session affinity through the tracer: who is remembered goes where he went, who is not may go anywhere."""

import ipaddress

import msgspec
import pytest

from netplane.api.objects import EndpointSlice, Service
from netplane.nft import types
from netplane.nft.packet import client_slot, packet
from netplane.nft.trace import Ruleset
from netplane.nft.types import CLASSID, FAMILIES, IPV6, Family
from proxy.plan import offline
from proxy.plan.ledger import Ledger
from proxy.plan.model import Node, Options

ADDRESSES = {
    4: ("10.96.0.1", "198.51.100.1", "10.1.0.{}", "203.0.113.7"),
    6: ("fd00:96::1", "2001:db8:f::1", "fd00:1::{}", "2600::7"),
}


def plan(family: Family, count: int, **spec: object) -> Ledger:
    cluster_ip, external_ip, pattern, _ = ADDRESSES[family.version]
    service = {
        "metadata": {"namespace": "ns", "name": "s"},
        "spec": {
            "clusterIP": cluster_ip,
            "externalIPs": [external_ip],
            "sessionAffinity": "ClientIP",
            "ports": [{"port": 80}],
            **spec,
        },
    }
    nodes = {n: "here" if n == 1 else "there" for n in range(1, count + 1)}
    items = {
        "metadata": {"namespace": "ns", "name": "s-0", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": family.name,
        "endpoints": [{"addresses": [pattern.format(n)], "nodeName": node} for n, node in nodes.items()],
        "ports": [{"port": 8080}],
    }
    made = msgspec.convert(service, Service), msgspec.convert(items, EndpointSlice)
    ledger, problems = offline.plan([made[0]], [made[1]], family, Node("here"), Options())
    assert problems == []
    return ledger


def remembering(ledger: Ledger, client: str, handle: bytes) -> Ruleset:
    port = CLASSID.pack(int.from_bytes(handle, "little") & 0xFFFF0000)
    rules = offline.ruleset(ledger, Node("here"))
    memory = {port + client_slot(ipaddress.ip_address(client).packed): handle}
    return rules._replace(elements={**rules.elements, "affinity": memory})


def reached(rules: Ruleset, source: str, destination: str) -> set[str]:
    trace = rules.trace(packet(source, destination, 80))
    assert trace.holes == 0
    return {endpoint.address for endpoint in trace.endpoints}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_client_that_is_remembered_reaches_one_endpoint_through_every_frontend(family: Family) -> None:
    cluster_ip, external_ip, pattern, client = ADDRESSES[family.version]
    ledger = plan(family, 4)
    everyone = {pattern.format(n) for n in range(1, 5)}
    rules = offline.ruleset(ledger, Node("here"))
    for handle_key, row in ledger.contents()["sticky-endpoints"].items():
        assert isinstance(row, bytes)
        endpoint = types.text(ledger.table.set("endpoints").key[:1], row)
        knowing = remembering(ledger, client, handle_key[-4:])
        for address in (cluster_ip, external_ip):
            assert reached(rules, client, address) == everyone
            assert reached(knowing, client, address) == {endpoint}
            assert reached(knowing, pattern.format(9), address) == everyone, "another client"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_memory_of_an_endpoint_that_went_leads_to_a_new_pick(family: Family) -> None:
    cluster_ip, _, pattern, client = ADDRESSES[family.version]
    knowing = remembering(plan(family, 3), client, CLASSID.pack(0x1_0063))
    assert reached(knowing, client, cluster_ip) == {pattern.format(n) for n in (1, 2, 3)}


def test_a_local_policy_does_not_follow_a_memory_off_the_node() -> None:
    _, external_ip, pattern, client = ADDRESSES[4]
    ledger = plan(types.IPV4, 3, externalTrafficPolicy="Local", type="LoadBalancer")
    for handle_key in ledger.contents()["sticky-endpoints"]:
        knowing = remembering(ledger, client, handle_key[-4:])
        assert reached(knowing, client, external_ip) == {pattern.format(1)}


def test_the_timeout_is_in_the_chains_name_and_rules() -> None:
    spec = {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90}}}
    ledger = plan(types.IPV4, 2, **spec)
    assert "goto st_2_90" in ledger.verdicts()
    (chain,) = (c for c in offline.ruleset(ledger, Node("here")).table.chains if c.name == "st_2_90")
    assert "timeout 1m30s" in "\n".join(chain.lines(types.IPV4))


def test_clients_of_one_32_bit_hash_are_two_clients() -> None:
    """These two have the same first hash; one's endpoint is not the other's."""
    one, other = "2001:db8:1:0:f2ed:c141:0:1491", "2001:db8:1:0:4b4d:4b4b:0:97bb"
    slots = [client_slot(ipaddress.ip_address(text).packed) for text in (one, other)]
    assert slots[0][:4] == slots[1][:4]
    ledger = plan(IPV6, 3)
    handle = next(iter(ledger.contents()["sticky-ids"].values()))
    assert isinstance(handle, bytes)
    rules = remembering(ledger, one, handle)
    assert len(reached(rules, one, "fd00:96::1")) == 1
    assert len(reached(rules, other, "fd00:96::1")) == 3
