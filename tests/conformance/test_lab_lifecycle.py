"""Labs come and go: two side by side, killed ones cleared, the root namespace as it was, bad input refused."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from labs import cluster, probe, processes, state, wiring
from labs.topology import LABS_DIR
from netplane.api.objects import ConfigMap
from netplane.kernel import netns
from tests import labtools

pytestmark = pytest.mark.privileged


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [labtools.NETPLANE, "lab", *args], capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )


def test_two_labs_live_side_by_side_and_leave_the_root_namespace_as_it_was() -> None:
    before = labtools.root_network()
    one, two = labtools.unique_name(), labtools.unique_name()
    with labtools.lab_up(one, "--nodes", "1") as first, labtools.lab_up(two, "--nodes", "2") as second:
        assert labtools.root_network() == before
        for lab in (first, second):
            answers = probe.count(lab.outside, "http", lab.nodes[0].address, 30080, 10)
            assert answers.ok, answers
        assert run("down", one).returncode == 0
        assert probe.count(second.outside, "http", second.nodes[0].address, 30080, 10).ok
    assert labtools.root_network() == before
    for name in (one, two):
        assert list(wiring.leftovers(name)) == []


def test_a_killed_lab_is_cleared_by_the_next_one() -> None:
    name = labtools.unique_name()
    with labtools.lab_up(name, "--nodes", "1") as lab:
        found = [(pid, processes.start_time(pid)) for pid in processes.marked(lab.folder)]
        supervisor = cluster.supervisor_pid(lab.folder)
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
        labtools.until(lambda: cluster.running(name) is None, "the lab counts as killed")
        assert run("status", name).returncode == 1
        with labtools.lab_up(name, "--nodes", "1") as again:
            assert not [pid for pid, started in found if started and processes.start_time(pid) == started]
            assert probe.count(again.outside, "http", again.nodes[0].address, 30080, 10).ok
    assert list(wiring.leftovers(name)) == []


def test_check_verifies_and_takes_the_lab_down() -> None:
    name = labtools.unique_name()
    try:
        done = run("up", name, "--nodes", "2", "--check", "-o", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert result["report"]["problems"] == []
        assert {view["origin"] for view in result["report"]["views"]} == {"pod client", "node-1", "outside"}
        assert list(wiring.leftovers(name)) == []
    finally:
        wiring.remove(name)


def test_an_interrupted_up_leaves_nothing() -> None:
    name = labtools.unique_name()
    try:
        starting = subprocess.Popen([labtools.NETPLANE, "lab", "up", name], stderr=subprocess.PIPE, text=True)
        labtools.until((LABS_DIR / name / "kubeconfig").exists, "it has begun")
        busy = run("up", name)
        assert busy.returncode == 2
        assert f"another command is at work on lab {name}" in busy.stderr
        starting.send_signal(signal.SIGINT)
        starting.communicate(timeout=60)
        assert starting.returncode != 0
        assert list(wiring.leftovers(name)) == []
    finally:
        wiring.remove(name)


def test_a_running_lab_takes_more_manifests_and_is_not_taken_down_by_a_check(tmp_path: Path) -> None:
    name = labtools.unique_name()
    manifest = tmp_path / "more.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata: {a: b}\n")
    with labtools.lab_up(name, "--nodes", "1") as lab:
        assert run("up", name, "-f", str(manifest)).returncode == 0
        assert labtools.ask(lab, lambda api: api.get(ConfigMap, "more", "default")).data == {"a": "b"}
        checked = run("up", name, "--check", "-o", "json")
        assert checked.returncode == 0
        assert json.loads(checked.stdout)["left_up"] is True
        assert cluster.running(name) == lab
        other = run("up", name, "--nodes", "2")
        assert other.returncode == 2
        assert "is up with 1 nodes, not 2" in other.stderr
        manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndat: {a: b}\n")
        wrong = run("up", name, "-f", str(manifest))
        assert wrong.returncode == 2
        assert "ConfigMap more: " in wrong.stderr
        assert 'unknown field "dat"' in wrong.stderr


def test_status_exec_and_logs() -> None:
    name = labtools.unique_name()
    with labtools.lab_up(name, "--nodes", "1") as lab:
        seen = json.loads(run("status", name, "-o", "json").stdout)
        assert {p["name"] for p in seen["pods"]} == {"client", *(f"web-{i}" for i in range(1, 6))}
        assert all(p["alive"] for p in seen["programs"])
        spaces = {p["name"]: p["netns"] for p in seen["pods"]}
        assert spaces["client"] == labtools.space_of(lab, labtools.pods(lab)["client"])
        listing = run("exec", "--lab", name, "client", "--", "ip", "-o", "addr", "show", "eth0").stdout
        assert labtools.pods(lab)["client"].status.pod_ip in listing  # type: ignore[union-attr]
        assert "node-1" in run("logs", "--lab", name, "kubelet").stdout
        assert "apiserver" in run("logs", "--lab", name).stdout.split()
        missing = run("exec", "--lab", name, "nobody", "--", "true")
        assert missing.returncode == 2
        assert "no pod or machine 'nobody'" in missing.stderr
        assert "client, web-1" in missing.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("up", "Not-A-Name"), "lab name 'Not-A-Name' cannot be used"),
        (("up", "tbad", "--nodes", "0"), "--nodes 0 cannot be"),
        (("up", "tbad", "-f", "/nonexistent.yaml"), "manifest /nonexistent.yaml"),
        (("status", "tnosuch"), "there is no lab 'tnosuch'"),
        (("exec", "--lab", "tnosuch", "client", "--", "true"), "there is no lab 'tnosuch'"),
    ],
)
def test_bad_input_is_told_in_one_error_and_makes_nothing(args: tuple[str, ...], message: str) -> None:
    try:
        done = run(*args)
        leftovers = list(wiring.leftovers("tbad"))
    finally:
        wiring.remove("tbad")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers == []
    assert not netns.names("np-tbad-")
    assert not {"tbad", "tnosuch", "Not-A-Name"} & set(state.names())
    assert not (LABS_DIR / "tbad").exists()
