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
