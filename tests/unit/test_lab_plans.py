"""Labs: names, arguments, statuses and manifests, without touching anything."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labs import cluster, programs, state, status, topology
from labs.topology import Lab
from netplane import cli
from netplane.api.objects import Condition, Container, ObjectMeta, Pod, PodSpec, PodStatus
from netplane.errors import UsageError

LAB = Lab("blue", 3, 16443)


def test_two_labs_share_no_namespace_and_no_file() -> None:
    other = Lab("bluer", 3, 16444)
    spaces = {LAB.underlay, LAB.outside, *(n.netns for n in LAB.nodes)}
    assert not {s for s in spaces if s.startswith(other.prefix)}
    assert not {s for s in (other.underlay, other.outside, *(n.netns for n in other.nodes)) if s.startswith(LAB.prefix)}
    assert LAB.folder != other.folder


def test_nodes_have_addresses_of_their_own() -> None:
    lab = Lab("big", topology.MAX_NODES, 1)
    addresses = {node.address for node in lab.nodes} | {lab.gateway, lab.outside_address}
    assert len(addresses) == topology.MAX_NODES + 2


@pytest.mark.parametrize("name", ["", "Blue", "1st", "a-b", "../x", "a" * 13, "a/b", "a b"])
def test_names_that_cannot_be_part_of_a_namespace_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        topology.checked_name(name)


@pytest.mark.parametrize("count", [0, -1, topology.MAX_NODES + 1])
def test_node_counts_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match="--nodes"):
        cluster.plan("blue", count)


def test_every_node_runs_an_agent_and_a_proxy_in_its_own_namespace() -> None:
    found = {(p.name, p.netns) for p in programs.all_programs(LAB)}
    for node in LAB.nodes:
        assert (f"agent-{node.name}", node.netns) in found
        assert (f"proxy-{node.name}", node.netns) in found
    assert {p.name for p in programs.all_programs(LAB) if not p.netns} == {"apiserver", "controllers", "kubelet"}


def test_echo_containers_run_the_built_in_server_and_others_their_command() -> None:
    echo = status.command_line(Container(name="c", image="netplane/echo:1", args=["--http", "80"]))
    assert echo[-3:] == [str(status.ECHO_PROGRAM), "--http", "80"]
    assert status.command_line(Container(name="c", image="x", command=["sleep"], args=["9"])) == ["sleep", "9"]
    with pytest.raises(status.ImageUnknown, match=r"container c: image 'nginx'"):
        status.command_line(Container(name="c", image="nginx"))


def _pod(**meta: Any) -> Pod:
    old = Condition(type="Ready", status="True", last_transition_time="2026-01-01T00:00:00Z")
    return Pod(
        metadata=ObjectMeta(name="p", **meta),
        spec=PodSpec(containers=[Container(name="c", image="i")]),
        status=PodStatus(conditions=[old]),
    )


RUNNING = status.ContainerState("c", running=True, ready=True, started_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("states", "addresses", "meta", "phase", "ready"),
    [
        ([RUNNING], ["10.0.0.1"], {}, "Running", "True"),
        ([RUNNING], [], {}, "Running", "False"),
        ([RUNNING], ["10.0.0.1"], {"deletion_timestamp": "2026-01-01T00:00:01Z"}, "Running", "False"),
        ([status.ContainerState("c", running=True)], ["10.0.0.1"], {}, "Running", "False"),
        ([status.ContainerState("c", message="no address left")], [], {}, "Pending", "False"),
        ([status.ContainerState("c", exit_code=0)], ["10.0.0.1"], {}, "Succeeded", "False"),
        ([status.ContainerState("c", exit_code=3)], ["10.0.0.1"], {}, "Failed", "False"),
    ],
)
def test_pod_status(
    states: list[status.ContainerState], addresses: list[str], meta: dict[str, Any], phase: str, ready: str
) -> None:
    made = status.pod_status(_pod(**meta), states, addresses, host_ip="192.0.2.1", now="2026-02-02T00:00:00Z")
    (condition,) = [c for c in made["conditions"] if c["type"] == "Ready"]
    assert (made["phase"], condition["status"]) == (phase, ready)
    assert ("podIP" in made) == bool(addresses)
    # A condition that still holds keeps the time it began to.
    assert condition["lastTransitionTime"] == ("2026-01-01T00:00:00Z" if ready == "True" else "2026-02-02T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("- 1", r"document 1: field metadata\.name"),
        ("kind: Pod\napiVersion: v1\nmetadata: {}", r"document 1: field metadata\.name"),
        ("kind: Pod\napiVersion: v2\nmetadata: {name: x}", "v2 Pod is not served"),
        ("kind: Robot\napiVersion: v1\nmetadata: {name: x}", "v1 Robot is not served"),
    ],
)
def test_malformed_manifests_name_the_file_and_the_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        list(cluster.read_manifests(path))


def test_the_first_walk_is_well_formed() -> None:
    objects = list(cluster.read_manifests(cluster.FIRST_WALK))
    assert [o["kind"] for o in objects].count("Pod") == 6


def test_hints_can_be_typed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("netplane", "./run"):
        monkeypatch.setenv("NETPLANE_CALLED_AS", program)
        with pytest.raises(UsageError) as caught:
            state.load(tmp_path / "blue")
        assert caught.value.hint.endswith(f"make one: {program} lab up")
        assert f"Usage: {program} lab exec [OPTIONS] WHERE -- COMMAND..." in usage(program, "lab", "exec", "--help")


def usage(program: str, *words: str) -> str:
    return CliRunner().invoke(cli.cli, words, prog_name=program).output
