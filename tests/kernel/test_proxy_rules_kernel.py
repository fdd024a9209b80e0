"""`netplane-proxy plan` loads with `nft -f`; `diff` finds what was tampered with; neither touches anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import proxy_objects
from tests.cnitools import Spaces

pytestmark = pytest.mark.privileged


@pytest.fixture
def node(place: Spaces) -> str:
    """With the address that its Node object tells: only an address that it has answers NodePorts."""
    name = place.name("rules")
    inside(name, "ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    return name


def inside(node: str, *argv: object, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", node, *map(str, argv)]
    return subprocess.run(command, input=text, text=True, capture_output=True)


def proxy(node: str, verb: str, file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("netplane-proxy")
    return inside(node, program, verb, "--objects", file, *proxy_objects.FLAGS, *flags)


def nft(node: str, script: str) -> str:
    done = inside(node, "nft", "-f", "-", text=script)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plan_loads_and_then_nothing_differs(node: str, tmp_path: Path) -> None:
    file = proxy_objects.write(tmp_path)
    nft(node, proxy(node, "plan", file).stdout)
    before = inside(node, "nft", "list", "ruleset").stdout
    assert "10.244.2.9 . 8080" in before
    same = proxy(node, "diff", file)
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout.count("as it should be") == 2
    assert inside(node, "nft", "list", "ruleset").stdout == before, "diff and plan touch nothing"


def test_diff_names_what_was_tampered_with(node: str, tmp_path: Path) -> None:
    file = proxy_objects.write(tmp_path)
    missing = proxy(node, "diff", file)
    assert missing.returncode == 1
    assert "the whole table" in missing.stdout
    nft(node, proxy(node, "plan", file).stdout)
    nft(
        node,
        "delete element ip netplane-proxy endpoints { 10.96.0.10 . tcp . 80 . 1 : 10.244.2.9 . 8080 }\n"
        "delete element ip netplane-proxy services { 10.96.0.13 . tcp . 80 : goto do-reject }\n"
        "add rule ip netplane-proxy dispatch accept\n",
    )
    found = proxy(node, "diff", file, "-o", "json")
    assert found.returncode == 1, found.stderr
    tables = {item["table"]: item["differences"] for item in json.loads(found.stdout)}
    assert tables["ip6 netplane-proxy"] == []
    assert [(item["what"], item["have"], item["want"]) for item in tables["ip netplane-proxy"]] == [
        ("chain dispatch", "accept", ""),
        ("shop/web  10.96.0.10:80/tcp", "", "10.244.2.9:8080"),
        ("shop/none  10.96.0.13:80/tcp", "", "goto do-reject"),
    ]
