"""The reference's decisions, replayed through the pure plan and tracer. Collected only where the facts lie."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from netplane.api.objects import EndpointSlice, Service
from netplane.nft import types
from netplane.nft.packet import packet
from netplane.nft.trace import Ruleset
from proxy.plan import offline, topology
from proxy.plan.flows import Expected, Seen, stale
from proxy.plan.model import LOCAL, READY, SERVING, TERMINATING, Endpoint, Node, Options, frontend_key

FACTS = Path(__file__).parents[2] / ".." / "shared" / "facts"
FAMILIES = {family.name: family for family in types.FAMILIES}


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((FACTS / name).read_text(), yaml.CSafeLoader)
    return found


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def cidrs(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else tuple(re.findall(r"[0-9a-f.:]+/\d+", str(value or "")))


def build(case: dict[str, Any]) -> Ruleset:
    said, family = case["node"], FAMILIES[case["family"]]
    pods = cidrs(said["podCIDR(detectLocal=ClusterCIDR)"])
    if "no_LocalTrafficDetector" in case["id"]:
        pods = ()
    node = Node(
        said["name"],
        said["topologyLabels"].get("topology.kubernetes.io/zone", ""),
        (packed(said["primaryIP"]),),
        frozenset(map(packed, said["localIPs"])),
    )
    options = Options(
        masquerade_all=said["masqueradeAll"],
        detect_local="ClusterCIDR" if pods else "",
        node_port_addresses=cidrs(said["nodePortAddresses"]),
    )
    ledger, problems = offline.plan(
        msgspec.convert(case["services"], list[Service]),
        msgspec.convert(case["endpointSlices"], list[EndpointSlice]),
        family,
        node,
        options,
        service_cidrs=cidrs(said["serviceCIDRs"]),
        pod_cidrs=pods,
    )
    assert problems == []
    return offline.ruleset(ledger, node)


def check(case: dict[str, Any], rules: Ruleset, flow: dict[str, Any]) -> None:
    # Its own addresses and every load balancer VIP a test sends from are the host's: such packets meet the output hook.
    source = packed(flow["src"])
    mine = source in rules.local_addresses or flow["src"] == flow["dst"]
    trace = rules.trace(packet(flow["src"], flow["dst"], flow["dport"], flow["proto"].lower(), local=mine))
    assert trace.outcome == flow["verdict"], trace
    assert trace.holes == 0, trace
    if flow["verdict"] != "dnat":
        return
    assert sorted(map(str, trace.endpoints)) == sorted(flow["endpoints"]), trace
    masqueraded = {str(endpoint): endpoint.masquerade for endpoint in trace.endpoints}
    if "masq_by_endpoint" in flow:
        assert masqueraded == flow["masq_by_endpoint"], trace
    elif case["origin"] == "upstream-unit-test":
        # These rows look at the first listed endpoint only.
        assert masqueraded[flow["endpoints"][0]] == flow["masq"], trace
    else:
        assert set(masqueraded.values()) == {flow["masq"]}, trace


if FACTS.is_dir():
    PACKETS = load("service_packets.yaml")["cases"]
    TOPOLOGY = load("endpoint_topology.yaml")["cases"]
    UDP = load("udp_conntrack.yaml")

    @pytest.mark.parametrize("case", PACKETS, ids=[f"{i}-{case['id']}" for i, case in enumerate(PACKETS)])
    def test_first_packets_go_where_the_reference_sends_them(case: dict[str, Any]) -> None:
        rules = build(case)
        for flow in case["flows"]:
            check(case, rules, flow)

    @pytest.mark.parametrize("case", TOPOLOGY, ids=[case["name"] for case in TOPOLOGY])
    def test_endpoints_are_chosen_as_the_reference_chooses(case: dict[str, Any]) -> None:
        service = case["service"]
        outside = bool(service["nodePort"])
        chosen = topology.usable(
            [
                Endpoint(
                    e["endpoint"].encode(),
                    e["ready"] * READY | e["serving"] * SERVING | e["terminating"] * TERMINATING | e["local"] * LOCAL,
                    tuple(e.get("zoneHints", ())),
                    tuple(e.get("nodeHints", ())),
                )
                for e in case["endpoints"]
            ],
            case["nodeName"],
            case["nodeLabels"].get("topology.kubernetes.io/zone", ""),
            cluster=not service["internalPolicyLocal"] or outside,
            local=service["internalPolicyLocal"] or (service["externalPolicyLocal"] and outside),
            node_hints=case["preferSameTrafficDistributionGate"],
        )
        expected = case["expect"]
        assert [e.data.decode() for e in chosen.cluster or ()] == (expected["cluster"] or [])
        assert [e.data.decode() for e in chosen.local or ()] == (expected["local"] or [])
        assert chosen.any == expected["hasAnyEndpoints"]

    def conntrack_world() -> dict[bytes, Expected]:
        service = UDP["service"]
        addresses = [service["clusterIP"], *service["externalIPs"], service["loadBalancerIP"]]
        endpoints = [(packed(e["ip"]) + e["port"].to_bytes(2, "big"), e["serving"]) for e in UDP["endpoints"]]
        expected = Expected(frozenset(d for d, serving in endpoints if serving), frozenset(d for d, _ in endpoints))
        found = {}
        for port in service["ports"]:
            protocol = types.PROTOCOLS[port["protocol"].lower()]
            for address in addresses:
                found[frontend_key(packed(address), protocol, port["port"])] = expected
            if "nodePort" in port:
                found[frontend_key(packed("192.0.2.1"), protocol, port["nodePort"])] = expected
        return found

    @pytest.mark.parametrize(
        "entry", UDP["entries"], ids=[f"{i}-{e['proto']}-{e['why']}" for i, e in enumerate(UDP["entries"])]
    )
    def test_stale_flows_are_the_references_but_for_the_two_it_has_wrong(entry: dict[str, Any]) -> None:
        protocol = types.PROTOCOLS[entry["proto"].lower()]
        to = "192.0.2.1" if entry["orig_dst"] == "any-local-node-ip" else entry["orig_dst"]
        port = entry["reply_sport"] or entry["orig_dport"]
        seen = Seen(
            frontend_key(packed(to), protocol, entry["orig_dport"]),
            packed(entry["reply_src"]) + port.to_bytes(2, "big"),
            entry["reply_src"] != entry["orig_dst"],
        )
        expect = entry["expect"]
        if entry["proto"] == "TCP" and entry["why"] == "deleted endpoint":
            expect = "delete"  # the reference leaves clients of a deleted endpoint hanging
        deleted = list(stale([("flow", seen)], protocol, conntrack_world()))
        assert ("delete" if deleted else "keep") == expect
