"""The labs' runtime as a caller of CNI: order, environment, cached results, undoing, errors."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labs import processes
from labs.runtime import Attachment, CniFailed, CniRuntime
from netplane.kernel import netns

pytestmark = pytest.mark.privileged

# Records what it was asked, in a file beside itself, and answers as its configuration says.
PLUGIN = """#!/bin/sh
conf=$(cat)
name=$(basename "$0")
printf '%s %s %s %s\\n' "$CNI_COMMAND" "$name" "$CNI_CONTAINERID" "$conf" >>"$(dirname "$0")/calls"
if [ -e "$(dirname "$0")/fail-$name" ] && [ "$CNI_COMMAND" = ADD ]; then
    echo '{"code": 7, "msg": "no", "details": "said the test"}'
    exit 1
fi
[ "$CNI_COMMAND" = ADD ] && printf '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.%s/32"}]}' "${#name}"
exit 0
"""


@pytest.fixture
def node() -> Iterator[str]:
    name = f"npt-{secrets.token_hex(4)}"
    netns.create(name)
    yield name
    netns.delete(name)


@pytest.fixture
def runtime(node: str, tmp_path: Path) -> CniRuntime:
    bin_dir, conf_dir = tmp_path / "bin", tmp_path / "net.d"
    bin_dir.mkdir()
    conf_dir.mkdir()
    for plugin in ("one", "three"):
        (bin_dir / plugin).write_text(PLUGIN)
        (bin_dir / plugin).chmod(0o755)
    conf = {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "one", "a": 1}, {"type": "three"}]}
    (conf_dir / "10-n.conflist").write_text(json.dumps(conf))
    (conf_dir / "99-other.conflist").write_text("not read")
    return CniRuntime(node, bin_dir, conf_dir, tmp_path / "cache")


ATTACHMENT = Attachment("c1", "/run/netns/x", args="K8S_POD_NAME=p")


def calls(runtime: CniRuntime) -> list[tuple[str, str, dict[str, object]]]:
    found = []
    for line in (runtime.bin_dir / "calls").read_text().splitlines():
        command, plugin, _, conf = line.split(" ", 3)
        found.append((command, plugin, json.loads(conf)))
    return found


def test_add_chains_results_and_del_runs_backwards_with_the_last_one(runtime: CniRuntime) -> None:
    result = runtime.add(ATTACHMENT)
    assert result["ips"] == [{"address": "10.0.0.5/32"}]
    runtime.delete(ATTACHMENT)
    runtime.delete(ATTACHMENT)
    seen = calls(runtime)
    assert [(c, p) for c, p, _ in seen[:4]] == [("ADD", "one"), ("ADD", "three"), ("DEL", "three"), ("DEL", "one")]
    assert "prevResult" not in seen[0][2]
    assert seen[0][2] == {"cniVersion": "1.0.0", "name": "n", "type": "one", "a": 1}
    assert seen[1][2]["prevResult"] == {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.3/32"}]}
    assert seen[2][2]["prevResult"] == result
    assert [(c, p) for c, p, _ in seen[4:]] == [("DEL", "three"), ("DEL", "one")]


def test_a_failed_add_is_undone_and_told_in_the_plugins_words(runtime: CniRuntime) -> None:
    (runtime.bin_dir / "fail-three").touch()
    with pytest.raises(CniFailed, match=r"three: error 7: no \(said the test\)"):
        runtime.add(ATTACHMENT)
    assert [(c, p) for c, p, _ in calls(runtime)][2:] == [("DEL", "three"), ("DEL", "one")]


def test_del_uses_the_configuration_of_its_add(runtime: CniRuntime) -> None:
    runtime.add(ATTACHMENT)
    (runtime.conf_dir / "10-n.conflist").unlink()
    assert not runtime.conf_dir.joinpath("10-n.conflist").exists()
    runtime.delete(ATTACHMENT)
    assert [(c, p) for c, p, _ in calls(runtime)][2:] == [("DEL", "three"), ("DEL", "one")]


def test_a_missing_plugin_and_a_missing_configuration_are_named(runtime: CniRuntime) -> None:
    (runtime.bin_dir / "one").unlink()
    with pytest.raises(CniFailed, match=r"one: No such file"):
        runtime.add(ATTACHMENT)
    for path in runtime.conf_dir.iterdir():
        path.unlink()
    assert not runtime.ready()
    with pytest.raises(CniFailed, match="no network configuration"):
        runtime.add(ATTACHMENT)


def test_processes_are_started_in_their_namespace_and_found_by_their_mark(node: str, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    child = processes.start(
        ["sh", "-c", "sleep 100 & sleep 100"], lab_folder=folder, log=tmp_path / "log", netns_name=node
    )
    try:
        started = processes.start_time(child.pid)
        assert started is not None
        assert Path(f"/proc/{child.pid}/ns/net").stat().st_ino == netns.path(node).stat().st_ino
        assert child.pid in processes.marked(folder)
        processes.kill(child.pid, started + 1)
        assert child.poll() is None
    finally:
        processes.end_all(folder, grace_s=0.5)
        child.wait(timeout=5)
    assert processes.marked(folder) == []
    assert processes.start_time(child.pid) is None


def test_echo_answers_on_every_protocol(node: str, tmp_path: Path) -> None:
    from labs import probe
    from labs.status import ECHO_IMAGE, command_line
    from netplane.api.objects import Container
    from netplane.kernel.rtnl import Rtnl
    from netplane.rtnl import Change

    with netns.opened(node) as fd, Rtnl(fd) as rt:
        rt.apply([Change("lo", up=True)])
    args = ["--http", "80", "--tcp", "7", "--udp", "7"]
    argv = command_line(Container(name="c", image=ECHO_IMAGE, args=args))
    read_end, write_end = os.pipe()
    child = processes.start(
        argv,
        lab_folder=tmp_path,
        log=tmp_path / "log",
        netns_name=node,
        env={"POD_NAME": "p", "NODE_NAME": "n", "NOTIFY_FD": str(write_end)},
        pass_fds=[write_end],
    )
    os.close(write_end)
    try:
        assert os.read(read_end, 10) == b"ready\n"
        for kind, port in (("http", 80), ("tcp", 7), ("udp", 7)):
            answers = probe.count(node, kind, "127.0.0.1", port, 3)
            assert answers.by_pod == {"p": 3}, (kind, answers)
            assert answers.clients == ["127.0.0.1"]
    finally:
        os.close(read_end)
        processes.end_all(tmp_path, grace_s=0.5)
        child.wait(timeout=5)


def test_echo_refuses_arguments_it_does_not_know() -> None:
    from labs.status import ECHO_PROGRAM

    done = subprocess.run(["python3", str(ECHO_PROGRAM), "--sctp", "7"], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert "unknown argument '--sctp'" in done.stderr
