"""`netplane trace` on a node: the kernel's rules say what the plan's say, and strangers' rules are named."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netplane.kernel import netns
from tests import proxy_objects

pytestmark = pytest.mark.privileged
NODE = f"npt-{os.getpid():x}-trace"
BIN = Path(sys.executable).parent


@pytest.fixture
def node() -> Iterator[str]:
    netns.create(NODE)
    try:
        subprocess.run(["ip", "-n", NODE, "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        yield NODE
    finally:
        netns.delete(NODE)


def inside(node: str, *argv: object, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", node, *map(str, argv)]
    return subprocess.run(command, input=text, text=True, capture_output=True)


def traced(node: str, *arguments: object) -> dict[str, Any]:
    done = inside(node, BIN / "netplane", "trace", *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def load(node: str, tmp_path: Path) -> Path:
    file = proxy_objects.write(tmp_path)
    plan = inside(node, BIN / "netplane-proxy", "plan", "--objects", file, *proxy_objects.FLAGS)
    assert plan.returncode == 0, plan.stderr
    assert inside(node, "nft", "-f", "-", text=plan.stdout).returncode == 0
    return file


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("10.244.1.5", "10.96.0.10:80"),
        ("10.244.1.5", "10.96.0.12:80"),
        ("203.0.113.9", "192.0.2.1:30081"),
        ("192.0.2.1", "192.0.2.1:30080"),
        ("10.244.1.5", "10.96.0.13:80"),
        ("10.244.1.5", "10.96.0.99:80"),
    ],
)
def test_what_is_loaded_is_traced_as_what_was_planned(node: str, tmp_path: Path, source: str, destination: str) -> None:
    file = load(node, tmp_path)
    live = traced(node, source, destination)
    planned = traced(node, source, destination, "--objects", file, *proxy_objects.FLAGS)
    assert live["rules"].startswith("the kernel's rules")
    for field in ("verdict", "endpoints", "masquerade", "steps"):
        assert live[field] == planned[field]
    assert live["strangeRules"] == []


def test_a_strangers_rule_is_named(node: str, tmp_path: Path) -> None:
    load(node, tmp_path)
    inside(node, "nft", "add rule ip netplane-proxy dispatch counter")
    found = traced(node, "10.244.1.5", "10.96.0.10:80")["strangeRules"]
    assert [item["what"] for item in found] == ["chain dispatch"]


def test_without_a_table_it_says_so(node: str) -> None:
    done = inside(node, BIN / "netplane", "trace", "10.0.0.1", "10.96.0.1:80")
    assert done.returncode == 1
    assert "there is no table ip netplane-proxy in this network namespace" in done.stderr


# Live -----------------------------------------------------------------------------------------------------------

POD = f"npt-{os.getpid():x}-pod"


@pytest.fixture
def pod(node: str) -> Iterator[str]:
    """A pod of the node, with every endpoint's address beside its own; the node has a default route through it."""
    netns.create(POD)
    try:
        addresses = ("10.244.1.5", "10.244.1.7", "10.244.2.9")
        batches = {
            node: [
                "link set lo up",
                f"link add pod type veth peer name eth0 netns {POD}",
                "address add 169.254.1.1/32 dev pod",
                "link set pod up",
                "route add 10.244.0.0/16 dev pod",
                "route add default via 10.244.1.5",
            ],
            POD: [
                "link set lo up",
                "link set eth0 up",
                *(f"address add {address}/32 dev eth0" for address in addresses),
                "route add 169.254.1.1 dev eth0",
                "route add default via 169.254.1.1",
            ],
        }
        for name, lines in batches.items():
            subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(lines), text=True, check=True)
        inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield POD
    finally:
        netns.delete(POD)


@pytest.mark.parametrize(
    ("source", "destination", "outcome"),
    [
        ("10.244.1.5", "10.96.0.10:80", "dnat"),
        ("10.244.1.7", "10.96.0.11:80", "dnat"),
        ("10.244.1.5", "10.96.0.12:80", "dnat"),
        ("10.244.1.5", "192.0.2.1:30080", "dnat"),
        ("192.0.2.1", "10.96.0.10:80", "dnat"),
        ("10.244.1.5", "10.96.0.13:80", "reject"),
        ("10.244.1.5", "10.96.0.10:53/udp", "reject"),
        ("10.244.1.5", "10.96.0.10:53/sctp", "reject"),
        ("10.244.1.5", "10.96.0.99:80", "drop"),
        ("10.244.1.5", "198.51.100.1:80/udp", "none"),
    ],
)
def test_a_real_packet_takes_the_traced_way(
    node: str, pod: str, tmp_path: Path, source: str, destination: str, outcome: str
) -> None:
    load(node, tmp_path)
    sender = () if source == "192.0.2.1" else ("--from-netns", pod)
    told = traced(node, source, destination, "--live", *sender)
    assert told["verdict"] == told["live"]["outcome"] == outcome
    assert told["live"]["agrees"], told["live"]["disagreements"]
    if outcome == "dnat":
        assert told["live"]["endpoint"] in {item["endpoint"] for item in told["endpoints"]}
    assert "netplane-trace" not in inside(node, "nft", "list", "tables").stdout, "our table is gone"


def test_a_kernel_that_does_otherwise_is_told(node: str, pod: str, tmp_path: Path) -> None:
    file = load(node, tmp_path)
    inside(node, "nft", "insert rule ip netplane-proxy dispatch drop")
    flags = ("--live", "--from-netns", pod, "--objects", file, *proxy_objects.FLAGS)
    done = inside(node, BIN / "netplane", "trace", "10.244.1.5", "10.96.0.10:80", *flags)
    assert done.returncode == 1
    assert "differ    the kernel's verdict is drop, the tracer's dnat" in done.stdout


def test_a_packet_that_does_not_come_is_an_error_and_leaves_nothing(node: str, pod: str, tmp_path: Path) -> None:
    load(node, tmp_path)
    done = inside(node, BIN / "netplane", "trace", "10.244.1.5", "10.96.0.10:80", "--live", "--wait", "0.3")
    assert done.returncode == 1
    assert "no such packet passed this network namespace within 0.3 s" in done.stderr
    assert "netplane-trace" not in inside(node, "nft", "list", "tables").stdout


def test_a_tracer_that_is_killed_leaves_nothing(node: str, pod: str, tmp_path: Path) -> None:
    load(node, tmp_path)
    argv = ["ip", "netns", "exec", node, str(BIN / "netplane"), "trace", "10.244.1.5", "10.96.0.10:80", "--live"]
    with subprocess.Popen([*argv, "--wait", "60"]) as process:
        while "netplane-trace" not in inside(node, "nft", "list", "tables").stdout:
            assert process.poll() is None
        process.kill()
        process.wait()
    assert "netplane-trace" not in inside(node, "nft", "list", "tables").stdout


def test_a_source_that_is_not_there(node: str, pod: str, tmp_path: Path) -> None:
    load(node, tmp_path)
    done = inside(node, BIN / "netplane", "trace", "10.244.9.9", "10.96.0.10:80", "--live", "--from-netns", pod)
    assert done.returncode == 2
    assert f"10.244.9.9 cannot send from {pod}" in done.stderr
