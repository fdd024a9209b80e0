"""`netplane verify`: what passes, what fails and how that is told, and files that cannot be used."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from netplane.errors import UsageError
from proxy.tools.verify import command


def case(**flow: Any) -> dict[str, Any]:
    return {
        "id": "web",
        "node": {
            "name": "here",
            "primaryIP": "192.0.2.1",
            "localIPs": ["192.0.2.1"],
            "podCIDRs": ["10.0.0.0/8"],
            "serviceCIDRs": "10.96.0.0/16",
        },
        "services": [
            {
                "metadata": {"namespace": "ns", "name": "web"},
                "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "nodePort": 30000}]},
            }
        ],
        "endpointSlices": [
            {
                "metadata": {"namespace": "ns", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "here"}, {"addresses": ["10.1.0.2"]}],
                "ports": [{"name": "http", "port": 8080}],
            }
        ],
        "flows": [{"src": "10.2.0.9", "dst": "10.96.0.1", "dport": 80, "verdict": "dnat", **flow}],
    }


def verify(tmp_path: Path, *cases: Any, options: tuple[str, ...] = ()) -> Result:
    file = tmp_path / "network.yaml"
    file.write_text(yaml.safe_dump({"cases": list(cases)}))
    return CliRunner().invoke(command, [str(file), *options])


def refusal(tmp_path: Path, *cases: Any) -> str:
    result = verify(tmp_path, *cases)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


BOTH = ["10.1.0.1:8080", "10.1.0.2:8080"]


@pytest.mark.parametrize(
    "flow",
    [
        {"endpoints": BOTH, "masq": False},
        {"src": "203.0.113.2", "masq": True},
        {"src": "192.0.2.1", "masq": True},
        {"src": "10.1.0.1", "masq_by_endpoint": {"10.1.0.1:8080": True, "10.1.0.2:8080": False}},
        {"src": "203.0.113.2", "dst": "192.0.2.1", "dport": 30000, "masq": True},
        {"dport": 81, "verdict": "reject"},
        {"dst": "10.96.0.9", "verdict": "drop"},
        {"dst": "198.51.100.1", "verdict": "none"},
        {"dst": "198.51.100.1", "verdict": "accept"},
    ],
)
def test_flows_that_are_as_expected_pass(tmp_path: Path, flow: dict[str, Any]) -> None:
    result = verify(tmp_path, case(**flow))
    assert result.exit_code == 0, result.output
    assert "PASS  1 flow in 1 case" in result.output


@pytest.mark.parametrize(
    ("flow", "told"),
    [
        ({"verdict": "reject"}, "verdict is dnat, expected reject"),
        ({"endpoints": BOTH[:1]}, "should not be reached and are: 10.1.0.2:8080"),
        ({"endpoints": [*BOTH, "10.1.0.3:8080"]}, "should be reached and are not: 10.1.0.3:8080"),
        ({"masq": True}, "10.1.0.1:8080 is not masqueraded, expected to be"),
        ({"src": "203.0.113.2", "masq": False}, "10.1.0.2:8080 is masqueraded, expected not to be"),
    ],
)
def test_flows_that_are_not_fail_with_the_difference_and_the_path(
    tmp_path: Path, flow: dict[str, Any], told: str
) -> None:
    result = verify(tmp_path, case(**flow))
    assert result.exit_code == 1
    assert told in result.output
    assert "dispatch: ip daddr . meta l4proto . th dport vmap @services" in result.output
    assert "FAIL  1 flow of 1" in result.output


def test_only_failures_are_listed_unless_asked(tmp_path: Path) -> None:
    assert "10.2.0.9 →" not in verify(tmp_path, case()).output
    assert "10.2.0.9 → 10.96.0.1:80/tcp" in verify(tmp_path, case(), options=("-v",)).output


def test_json_for_programs(tmp_path: Path) -> None:
    result = verify(tmp_path, case(), {**case(verdict="drop"), "id": "other"}, options=("-o", "json"))
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert (told["passed"], told["flows"], told["failed"]) == (False, 2, 1)
    assert [item["id"] for item in told["cases"]] == ["web", "other"]
    assert told["cases"][0]["flows"][0]["endpoints"] == {"10.1.0.1:8080": False, "10.1.0.2:8080": False}
    assert told["cases"][1]["flows"][0]["problems"] == ["verdict is dnat, expected drop"]


def test_junit_for_ci(tmp_path: Path) -> None:
    result = verify(tmp_path, case(name="pod to web"), {**case(verdict="drop"), "id": "other"}, options=("-o", "junit"))
    assert result.exit_code == 1
    root = ET.fromstring(result.output)
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert [test.get("name") for test in root.iter("testcase")] == ["pod to web", "10.2.0.9 → 10.96.0.1:80/tcp"]
    failure = next(root.iter("failure"))
    assert failure.get("message") == "verdict is dnat, expected drop"
    assert "dispatch:" in (failure.text or "")


def test_cases_can_be_chosen(tmp_path: Path) -> None:
    cases = (case(), {**case(verdict="drop"), "id": "other"})
    assert verify(tmp_path, *cases, options=("--case", "we")).exit_code == 0
    assert verify(tmp_path, *cases, options=("--case", "oth")).exit_code == 1
    none = verify(tmp_path, *cases, options=("--case", "nobody"))
    assert "no case" in str(none.exception)


def test_what_is_skipped_is_noted(tmp_path: Path) -> None:
    said = case()
    said["services"][0]["spec"]["externalIPs"] = ["nonsense"]
    assert "note service ns/web: externalIPs has 'nonsense'" in verify(tmp_path, said).output


def test_misspelt_fields_are_named(tmp_path: Path) -> None:
    said = case(maskerade=True)
    said["node"]["podCidr"] = "10.0.0.0/8"
    result = verify(tmp_path, said)
    assert result.exit_code == 0
    assert "node.podCidr is no field of a case" in result.output
    assert "flows.maskerade is no field of a case" in result.output
    refused = verify(tmp_path, said, options=("--strict",))
    assert isinstance(refused.exception, UsageError)
    assert "node.podCidr, flows.maskerade: no field of a case" in str(refused.exception)
    assert verify(tmp_path, case(), options=("--strict",)).exit_code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"flows": [{"src": "x", "dst": "10.96.0.1", "dport": 80, "verdict": "dnat"}]}, "flows[0].src: 'x' is no IP"),
        (
            {"flows": [{"src": "10.2.0.9", "dst": "fd00::1", "dport": 80, "verdict": "dnat"}]},
            "flows[0].dst: fd00::1 is",
        ),
        ({"flows": [{"src": "10.2.0.9", "dst": "10.96.0.1", "dport": "80", "verdict": "dnat"}]}, "flows[0].dport"),
        ({"flows": [{"src": "10.2.0.9", "dst": "10.96.0.1", "dport": 0, "verdict": "dnat"}]}, "flows[0].dport: 0 is"),
        ({"flows": [{"src": "10.2.0.9", "dst": "10.96.0.1", "dport": 80, "verdict": "maybe"}]}, "flows[0].verdict"),
        ({"flows": [{"src": "10.2.0.9", "dport": 80, "verdict": "dnat"}]}, "flows[0]: Object missing required field"),
        ({"flows": None}, "flows: Expected `array`, got `null`"),
        ({"node": {"name": "here", "localIPs": ["1.2.3"]}}, "node.localIPs[0]: '1.2.3' is no IP address"),
        ({"node": {"name": "here", "podCIDRs": "10/8"}}, "node.podCIDRs: '10/8' is no CIDR"),
        ({"family": "IPv6"}, "flows[0].dst: 10.96.0.1 is not IPv6"),
        ({"services": [{"spec": {"clusterIP": 5}}]}, "services[0].spec.clusterIP: Expected `str`, got `int`"),
    ],
)
def test_a_case_that_cannot_be_used_is_one_error_with_file_case_and_field(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    error = refusal(tmp_path, {**case(), **change})
    assert f"{tmp_path}/network.yaml: case web: {told}" in error


def test_endpoints_and_protocols_are_checked_too(tmp_path: Path) -> None:
    assert "flows[0].endpoints: '10.1.0.1' is no" in refusal(tmp_path, case(endpoints=["10.1.0.1"]))
    assert "flows[0].proto: 'ICMP'" in refusal(tmp_path, case(proto="ICMP"))
    assert "flows[0].endpoints: a flow whose verdict is drop" in refusal(
        tmp_path, case(verdict="drop", endpoints=["10.1.0.1:80"])
    )


def test_files_that_are_no_cases(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    for text, told in (
        ("- 1", "no list named `cases`"),
        ("a: [", "did not find expected node content (line 2"),
        ("cases: [7]", "case 1: Expected"),
    ):
        file.write_text(text)
        error = CliRunner().invoke(command, [str(file)]).exception
        assert isinstance(error, UsageError)
        assert error.exit_code == 2
        assert str(file) in str(error)
        assert told in str(error)
    missing = CliRunner().invoke(command, [str(tmp_path / "absent.yaml")]).exception
    assert "absent.yaml: No such file" in str(missing)


def test_a_node_whose_addresses_are_not_listed_has_its_primary_one(tmp_path: Path) -> None:
    asked = case(dst="192.0.2.1", dport=30_000, endpoints=BOTH)
    asked["node"].pop("localIPs")
    assert verify(tmp_path, asked).exit_code == 0
    asked["node"]["localIPs"] = ["192.0.2.9"]
    asked["flows"][0].update(verdict="none", endpoints=[])
    assert verify(tmp_path, asked).exit_code == 0, "an address that it has not got is somebody else's"
