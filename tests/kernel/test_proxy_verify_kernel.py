"""`netplane verify --kernel`: real packets say the same as the tracer, and say so when an expectation is wrong."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from netplane.kernel import netns
from proxy.tools import sctp
from proxy.tools.kernel import tries
from proxy.tools.verify import command

pytestmark = pytest.mark.privileged
PACKETS = Path(__file__).parents[2] / ".." / "shared" / "facts" / "service_packets.yaml"


def case(flows: list[dict[str, Any]], version: int = 4) -> dict[str, Any]:
    v4 = version == 4
    pod, vip, node = ("10.1.0.", "10.96.0.1", "192.0.2.1") if v4 else ("fd00:1::", "fd00:96::1", "2001:db8::1")
    ports = [{"name": p, "port": n, "protocol": p} for p, n in (("TCP", 80), ("UDP", 53), ("SCTP", 3868))]
    return {
        "id": f"v{version}",
        "node": {
            "name": "here",
            "primaryIP": node,
            "localIPs": [node],
            "podCIDRs": ["10.0.0.0/8", "fd00::/16"],
            "serviceCIDRs": ["10.96.0.0/16", "fd00:96::/112"],
        },
        "services": [
            {
                "metadata": {"namespace": "ns", "name": "web"},
                "spec": {"clusterIP": vip, "ports": [{**ports[0], "nodePort": 30000}, *ports[1:]]},
            }
        ],
        "endpointSlices": [
            {
                "metadata": {"namespace": "ns", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": f"IPv{version}",
                "endpoints": [{"addresses": [f"{pod}{n}"], "nodeName": "here"} for n in (1, 2)],
                "ports": ports,
            }
        ],
        "flows": flows,
    }


def verify(tmp_path: Path, *cases: Any) -> tuple[Result, dict[str, Any]]:
    file = tmp_path / "network.yaml"
    file.write_text(yaml.safe_dump({"cases": list(cases)}))
    result = CliRunner().invoke(command, [str(file), "--kernel", "-o", "json"])
    return result, json.loads(result.output) if result.output else {}


def flow(version: int, source: str, port: int = 80, proto: str = "TCP", **expected: Any) -> dict[str, Any]:
    vip = "10.96.0.1" if version == 4 else "fd00:96::1"
    return {"src": source, "dst": vip, "dport": port, "proto": proto, **expected}


def reached(version: int, port: int) -> list[str]:
    return [f"10.1.0.{n}:{port}" if version == 4 else f"[fd00:1::{n}]:{port}" for n in (1, 2)]


SOURCES = {4: ("10.2.0.9", "203.0.113.2", "192.0.2.1"), 6: ("fd00:2::9", "2600:5200::2", "2001:db8::1")}


@pytest.mark.parametrize("version", [4, 6])
def test_every_protocol_reaches_every_endpoint_with_the_source_it_should_have(tmp_path: Path, version: int) -> None:
    flows = [
        flow(version, source, port, proto, verdict="dnat", endpoints=reached(version, port), masq=masq)
        for source, masq in zip(SOURCES[version], (False, True, True), strict=True)
        for port, proto in ((80, "TCP"), (53, "UDP"), (3868, "SCTP"))
    ]
    refused = [flow(version, SOURCES[version][0], 81, proto, verdict="reject") for proto in ("TCP", "UDP", "SCTP")]
    own = reached(version, 80)
    hairpin = flow(
        version,
        "10.1.0.1" if version == 4 else "fd00:1::1",
        verdict="dnat",
        masq_by_endpoint={own[0]: True, own[1]: False},
    )
    dropped = {**refused[0], "dst": "10.96.0.9" if version == 4 else "fd00:96::9", "verdict": "drop"}
    untouched = {**refused[0], "dst": "198.51.100.9" if version == 4 else "2001:db8:f::9", "verdict": "none"}
    result, told = verify(tmp_path, case([*flows, *refused, hairpin, dropped, untouched], version))
    assert result.exit_code == 0, result.output
    assert told["by"] == "kernel"
    assert told["flows"] == 15
    assert not netns.names(f"npv-{os.getpid():x}-")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"verdict": "reject"}, "verdict is dnat, expected reject"),
        ({"verdict": "drop"}, "verdict is dnat, expected drop"),
        ({"verdict": "dnat", "endpoints": ["10.1.0.1:80"]}, "should not be reached and are: 10.1.0.2:80"),
        ({"verdict": "dnat", "endpoints": [*reached(4, 80), "10.1.0.3:80"]}, "are not: 10.1.0.3:80"),
        ({"verdict": "dnat", "masq": True}, "is not masqueraded, expected to be"),
        ({"dport": 81, "verdict": "dnat"}, "verdict is reject, expected dnat"),
        ({"dport": 81, "verdict": "none"}, "verdict is reject, expected none"),
        ({"dst": "10.96.0.9", "verdict": "reject"}, "verdict is drop, expected reject"),
        ({"dst": "198.51.100.9", "verdict": "drop"}, "verdict is none, expected drop"),
    ],
)
def test_wrong_expectations_fail(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    said = {**flow(4, "10.2.0.9"), **wrong}
    result, report = verify(tmp_path, case([said]))
    assert result.exit_code == 1, result.output
    assert any(told in problem for problem in report["cases"][0]["flows"][0]["problems"]), result.output


@pytest.mark.parametrize("version", [4, 6])
def test_what_no_answer_tells_is_read_from_the_kernels_own_record(tmp_path: Path, version: int) -> None:
    """A pod that is led to itself with its own source hears nothing; a masqueraded node keeps its address."""
    made = case([], version)
    node, pod = made["node"]["primaryIP"], "10.1.0.1" if version == 4 else "fd00:1::1"
    vip = made["services"][0]["spec"]["clusterIP"]
    own = {"addresses": [node], "nodeName": "here"}
    away = {"addresses": [pod], "nodeName": "there"}
    made["endpointSlices"][0]["endpoints"] = [own]
    to_node = f"{node}:80" if version == 4 else f"[{node}]:80"
    to_pod = f"{pod}:80" if version == 4 else f"[{pod}]:80"
    for endpoint, source, target, truth in ((own, node, to_node, True), (away, pod, to_pod, False)):
        made["endpointSlices"][0]["endpoints"] = [endpoint]
        for said in (truth, not truth):
            asked = {"src": source, "dst": vip, "dport": 80, "verdict": "dnat", "endpoints": [target], "masq": said}
            result, told = verify(tmp_path, {**made, "flows": [asked]})
            assert result.exit_code == (said != truth), result.output
            assert ("masqueraded, expected" in json.dumps(told)) == (said != truth)


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    left = f"npv-{ended.pid:x}-h0"
    netns.create(left)
    try:
        result, _ = verify(tmp_path, case([flow(4, "10.2.0.9", 81, verdict="reject")]))
        assert result.exit_code == 0, result.output
        assert not netns.exists(left)
    finally:
        netns.delete(left)


def test_addresses_that_are_none_are_noted_and_left_out(tmp_path: Path) -> None:
    said = case([flow(4, "10.2.0.9", verdict="dnat", endpoints=reached(4, 80))])
    said["endpointSlices"][0]["endpoints"].append({"addresses": ["nonsense"]})
    result, told = verify(tmp_path, said)
    assert result.exit_code == 0, result.output
    assert "'nonsense' is no IPv4 address" in told["cases"][0]["notes"][0]


def test_too_many_hosts_are_refused(tmp_path: Path) -> None:
    many = [flow(4, f"10.2.{n // 200}.{n % 200 + 1}", 81, verdict="reject") for n in range(600)]
    result, _ = verify(tmp_path, case(many))
    assert "602 sources and endpoints, each a network namespace" in str(result.exception)


def test_enough_tries_show_every_endpoint() -> None:
    assert tries(0) == tries(1) == 1
    assert tries(2) == 31
    assert 300 < tries(15) < 400


def test_sctp_packets_are_whole() -> None:
    # RFC 3720, B.4: the CRC32c of 32 zeros.
    assert sctp.crc32c(bytes(32)) == 0x8A9136AA
    for packet in (sctp.Packet(1234, 3868, 0, 77), sctp.Packet(3868, 1234, 77, 1, b"10.1.0.1:3868 10.2.0.9")):
        assert sctp.decode(sctp.encode(packet)) == packet
    assert sctp.decode(b"short") is None


if PACKETS.is_file():

    def test_the_kernel_does_what_the_reference_decided() -> None:
        result = CliRunner().invoke(command, [str(PACKETS), "--kernel"])
        assert result.exit_code == 0, result.output
