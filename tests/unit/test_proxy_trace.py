"""`netplane trace` offline: path, verdict, chosen endpoints, and the reason for every endpoint that was left out."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from netplane.errors import UsageError
from netplane.nft.types import FAMILIES, Family
from proxy.plan import recognise
from proxy.plan.model import Options
from proxy.plan.skeleton import skeleton
from proxy.tools.trace import command, parse
from tests import proxy_objects

POD, NODE, OUTSIDE = "10.244.1.5", "192.0.2.1", "203.0.113.9"
READY_HERE, READY_THERE = "10.244.1.7:8080", "10.244.2.9:8080"


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    return proxy_objects.write(tmp_path)


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--objects", str(file), *proxy_objects.FLAGS])


def traced(file: Path, *arguments: str) -> dict[str, Any]:
    result = run(file, *arguments, "-o", "json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.output)
    return told


def left_out(told: dict[str, Any]) -> dict[str, str]:
    return {item["endpoint"]: item["reason"] for item in told["leftOut"]}


def test_every_endpoint_is_chosen_or_has_its_reason(manifests: Path) -> None:
    told = traced(manifests, POD, "10.96.0.10:80")
    assert (told["service"], told["frontend"], told["policy"]) == ("shop/web:http", "ClusterIP", "Cluster")
    assert told["verdict"] == "dnat"
    assert told["endpoints"] == [{"endpoint": e, "masquerade": False} for e in (READY_HERE, READY_THERE)]
    assert left_out(told) == {
        "10.244.2.10:8080": "not ready",
        "10.244.2.11:8080": "terminating: used only when no endpoint is ready",
        "10.244.2.12:8080": "terminating, and answers no more",
    }
    assert [step["chain"] for step in told["steps"]][:3] == ["prerouting", "dispatch", "lb_2"]
    assert [step["note"] for step in told["steps"]][:3] == ["", "goto lb_2", "accept"]  # no note repeats its rule


@pytest.mark.parametrize(
    ("source", "destination", "frontend", "policy", "endpoints", "masquerade"),
    [
        (POD, "10.96.0.11:80", "ClusterIP", "Local", [READY_HERE], False),
        (OUTSIDE, f"{NODE}:30081", "NodePort", "Local", [READY_HERE], False),
        (POD, f"{NODE}:30081", "NodePort", "Cluster", [READY_HERE, READY_THERE], False),
        (NODE, f"{NODE}:30081", "NodePort", "Cluster", [READY_HERE, READY_THERE], True),
        (OUTSIDE, f"{NODE}:30080", "NodePort", "Cluster", [READY_HERE, READY_THERE], True),
        (OUTSIDE, "10.96.0.12:80", "ClusterIP", "Cluster", [READY_HERE, READY_THERE], True),
    ],
)
def test_policies_and_masquerade(
    manifests: Path, source: str, destination: str, frontend: str, policy: str, endpoints: list[str], masquerade: bool
) -> None:
    told = traced(manifests, source, destination)
    assert (told["frontend"], told["policy"], told["masquerade"]) == (frontend, policy, masquerade)
    assert [item["endpoint"] for item in told["endpoints"]] == endpoints
    if policy == "Local":
        assert left_out(told)[READY_THERE] == "not on this node, and the policy is Local"


@pytest.mark.parametrize(
    ("destination", "verdict", "why"),
    [
        ("10.96.0.13:80", "reject", "no endpoint that answers"),
        ("10.96.0.10:81", "reject", "no port of the service is asked"),
        ("10.96.0.99:80", "drop", "no service has it"),
        ("198.51.100.1:80", "none", "no service has this frontend"),
    ],
)
def test_what_is_not_sent_anywhere_says_why(manifests: Path, destination: str, verdict: str, why: str) -> None:
    told = traced(manifests, POD, destination)
    assert told["verdict"] == verdict
    assert why in told["why"]
    assert told["endpoints"] == []


MORE = """
---
apiVersion: v1
kind: Service
metadata: {name: %(name)s, namespace: shop}
spec: %(spec)s
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %(name)s-1, namespace: shop, labels: {kubernetes.io/service-name: %(name)s}}
addressType: %(type)s
endpoints: %(endpoints)s
ports: %(ports)s
"""


def added(file: Path, **said: str) -> Path:
    spec = "{clusterIP: 10.96.0.20, ports: [{name: http, port: 80}]}"
    plain = {"name": "more", "type": "IPv4", "ports": "[{name: http, port: 8080}]", "spec": spec}
    file.write_text(file.read_text() + MORE % {**plain, **said})
    return file


def test_hints(manifests: Path) -> None:
    zones = "{addresses: [10.244.%d.20], nodeName: n%d, hints: {forZones: [{name: %s}]}}"
    added(manifests, endpoints=f"[{zones % (1, 1, 'a')}, {zones % (2, 2, 'b')}]")
    told = traced(manifests, POD, "10.96.0.20:80")
    assert left_out(told) == {"10.244.2.20:8080": "hint: for zone b; this node is in a"}


def test_node_hints(manifests: Path) -> None:
    nodes = "{addresses: [10.244.%d.20], hints: {forNodes: [{name: n%d}]}}"
    added(manifests, endpoints=f"[{nodes % (1, 1)}, {nodes % (2, 2)}]")
    assert left_out(traced(manifests, POD, "10.96.0.20:80")) == {"10.244.2.20:8080": "hint: for node n2; this is n1"}


def test_other_family_and_other_ports(manifests: Path) -> None:
    added(manifests, type="IPv6", endpoints='[{addresses: ["fd00::1"]}]')
    more = added(manifests, name="odd", spec="{clusterIP: 10.96.0.21, ports: [{name: http, port: 80}]}",
                 endpoints="[{addresses: [10.244.1.30]}]", ports="[{name: other, port: 8080}]")  # fmt: skip
    assert left_out(traced(more, POD, "10.96.0.20:80")) == {"fd00::1": "IPv6: the packet is IPv4"}
    odd = traced(more, POD, "10.96.0.21:80")
    assert left_out(odd) == {"10.244.1.30": "its slice has no port named 'http' of this protocol"}
    assert odd["verdict"] == "reject"


def test_source_ranges(manifests: Path) -> None:
    added(
        manifests,
        endpoints="[{addresses: [10.244.1.20]}]",
        spec="{type: LoadBalancer, clusterIP: 10.96.0.20, ports: [{name: http, port: 80}], "
        "loadBalancerSourceRanges: [203.0.113.0/25]}\nstatus: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}",
    )
    inside, outside = (
        traced(manifests, OUTSIDE, "198.51.100.7:80"),
        traced(manifests, "203.0.113.200", "198.51.100.7:80"),
    )
    assert (inside["frontend"], inside["verdict"]) == ("load balancer IP", "dnat")
    assert outside["verdict"] == "drop"
    assert "none of the loadBalancerSourceRanges" in outside["why"]


def test_text_for_people(manifests: Path) -> None:
    output = run(manifests, OUTSIDE, f"{NODE}:30081").output
    for line in (
        "203.0.113.9 → 192.0.2.1:30081/tcp",
        "service   shop/near:http, asked at its NodePort; traffic policy Local",
        "verdict   dnat: the only endpoint it may go to",
        "→ 10.244.1.7:8080   source kept  Pod near-a, node n1",
        "✗ 10.244.2.10:8080  not ready",
    ):
        assert line in output
    assert "\x1b" not in output, "plain in a pipe"


@pytest.mark.parametrize(
    ("source", "destination", "told"),
    [
        ("10.0.0.1", "10.96.0.1", "'10.96.0.1' is no destination"),
        ("10.0.0.1", "10.96.0.1:0", "is no destination"),
        ("10.0.0.1", "10.96.0.1:80/icmp", "is no destination"),
        ("x", "10.96.0.1:80", "'x' does not appear to be"),
        ("10.0.0.1", "[fd00::1]:80", "different families"),
    ],
)
def test_arguments_that_cannot_be_used(source: str, destination: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parse(source, destination)


def test_destinations_of_both_families() -> None:
    assert str(parse("10.0.0.1", "10.96.0.1:53/UDP")) == "10.0.0.1 → 10.96.0.1:53/udp"
    assert str(parse("fd00::1", "[fd00:96::1]:443")) == "fd00::1 → fd00:96::1:443/tcp"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(masquerade_bit=1 << 20, detect_local="ClusterCIDR"),
        Options(masquerade_all=True),
        Options(masquerade_all=True, detect_local="BridgeInterface", local="cni0"),
        Options(detect_local="InterfaceNamePrefix", local="veth"),
    ],
)
def test_the_options_of_a_loaded_table_are_read_off_its_listing(family: Family, options: Options) -> None:
    assert recognise.options(str(skeleton(family, options))) == options


@pytest.mark.parametrize("written", ["010.244.001.7", "::ffff:10.244.1.7"])
def test_an_endpoint_in_an_old_notation_is_named_as_rules_have_it(manifests: Path, written: str) -> None:
    text = manifests.read_text().replace("addresses: [10.244.1.7]", f'addresses: ["{written}"]')
    manifests.write_text(text)
    told = traced(manifests, POD, "10.96.0.10:80")
    assert [item["endpoint"] for item in told["endpoints"]] == [READY_HERE, READY_THERE]
    assert READY_HERE not in left_out(told)
