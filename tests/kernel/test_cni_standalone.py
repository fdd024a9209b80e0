"""What is special without an agent: calls side by side, one that was killed, a store that an agent holds."""

import fcntl
import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from cni import install, standalone
from cni.command import command
from cni.errors import Code
from labs.runtime import Attachment, CniRuntime
from netplane.kernel import netns
from tests.cnitools import (
    Spaces,
    StandaloneNode,
    ask,
    config,
    echo,
    environment,
    relays,
    run_relay,
)
from tests.waiting import until

pytestmark = pytest.mark.privileged


@pytest.fixture
def node(place: Spaces, tmp_path: Path) -> Iterator[StandaloneNode]:
    found = StandaloneNode(place.name("node"), tmp_path)
    yield found
    found.close()


def test_both_relays_hand_over_to_the_same_work(node: StandaloneNode, place: Spaces, tmp_path: Path) -> None:
    found = relays(tmp_path / "relays", Path("/nowhere.sock"))
    for kind, program in (("c", found["c"].read_bytes()), ("python", install.python_relay())):
        relay = found[kind]
        install.install_standalone(relay.parent, node.state_dir, program=program)
        pod, stdin = place.name(kind), json.dumps(config()).encode()
        answer = node.inside(lambda r=relay, p=pod, s=stdin: run_relay(r, environment("ADD", p, p), s))  # type: ignore[misc]
        assert answer.status == 0, answer
    assert len(node.engine.leases.all()) == 2


def test_calls_side_by_side_get_addresses_of_their_own(node: StandaloneNode, place: Spaces) -> None:
    pods = [place.name(f"p{i}") for i in range(6)]
    program, stdin = node.bin / "netplane", json.dumps(config()).encode()

    def add(pod: str) -> str:
        answer = netns.run_in(node.space, lambda: run_relay(program, environment("ADD", pod, pod), stdin))
        assert answer.status == 0, answer
        return str(answer.body["ips"][0]["address"])

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(add, pods))) == 6
    assert len(node.links()) == len(node.engine.leases.all()) == 6


def test_a_killed_call_leaves_nothing_to_the_next(node: StandaloneNode, place: Spaces) -> None:
    pods = [place.name(f"p{i}") for i in range(5)]
    program, stdin = node.bin / "netplane", json.dumps(config()).encode()
    for i, pod in enumerate(pods[:4]):
        started = netns.run_in(
            node.space,
            lambda pod=pod: subprocess.Popen(  # type: ignore[misc]
                [program], env=environment("ADD", pod, pod), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            ),
        )
        assert started.stdin is not None
        started.stdin.write(stdin)
        started.stdin.close()
        if i:
            until(lambda n=i: len(node.engine.leases.all()) > 0, "an address is reserved")  # type: ignore[misc]
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert node.call("ADD", pods[4], pods[4]).status == 0
    leases = node.engine.leases.all()
    assert {lease.state for lease in leases} == {"active"}
    assert {lease.link for lease in leases} == {link.name for link in node.links()}
    for pod in pods:
        assert node.call("DEL", pod) == (0, {})
    assert (node.links(), node.engine.leases.all()) == ([], [])


def test_a_store_that_an_agent_holds_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Spaces
) -> None:
    monkeypatch.setattr(standalone, "LOCK_TIMEOUT_S", 0.1)
    stdin = json.dumps(config()).encode()
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, text = standalone.run(tmp_path, "netplane", environment("DEL", "c1"), stdin)
    assert (status, json.loads(text)["code"]) == (1, Code.TRY_AGAIN)
    assert "netplane-agent" in json.loads(text)["details"]
    space = place.name("node")
    assert netns.run_in(space, lambda: standalone.run(tmp_path, "netplane", environment("DEL", "c1"), stdin)) == (
        0,
        b"",
    )


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stdin = json.dumps(config()).encode()
    status, text = standalone.run(tmp_path / "file", "netplane", environment("DEL", "c1"), stdin)
    assert (status, json.loads(text)["code"]) == (1, Code.IO)
    assert str(tmp_path / "file") in json.loads(text)["msg"]


def test_install_and_uninstall(tmp_path: Path) -> None:
    folder, conf = tmp_path / "bin", tmp_path / "net.d"
    install.install_standalone(folder, tmp_path / "state")
    assert (folder / ".netplane-relay").read_text() == f"exec {folder}/.netplane-standalone\n"
    install.install_relay(folder, Path("/x.sock"))
    files = {".netplane-relay", "loopback", "netplane", *install.CHAINED}
    assert {path.name for path in folder.iterdir()} == files
    install.install_standalone(folder, tmp_path / "state")
    install.uninstall(folder, conf)
    assert list(folder.iterdir()) == []


def test_install_may_write_a_network_for_a_machine_of_its_own(
    node: StandaloneNode, place: Spaces, tmp_path: Path
) -> None:
    """What `netplane cni install --standalone --subnet` writes is all a runtime needs."""
    flags = ["--bin-dir", str(node.bin), "--state-dir", str(node.state_dir), "--conf-dir", str(tmp_path / "net.d")]
    subnets = ["--subnet", "10.88.0.0/16", "--subnet", "fd00:88::/64"]
    done = CliRunner().invoke(command, ["install", "--standalone", *flags, *subnets])
    assert done.exit_code == 0, done.output
    runtime = CniRuntime(node.space, node.bin, tmp_path / "net.d", tmp_path / "cache")
    pods = [Attachment(f"c{i}", str(netns.path(place.name(f"p{i}")))) for i in range(2)]
    for pod in pods:
        runtime.add(pod)
        runtime.check(pod)
    with echo(place.made[-1], "10.88.0.3"), echo(place.made[-1], "fd00:88::3"):
        assert ask(place.made[-2], "10.88.0.3") == "10.88.0.2"
        assert ask(place.made[-2], "fd00:88::3") == "fd00:88::2"
    for pod in pods:
        runtime.delete(pod)
    assert (node.links(), node.engine.leases.all()) == ([], [])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--subnet", "10.88.0.0/16"], "--standalone"),
        (["--standalone", "--subnet", "10.88.0.1/16"], "--subnet: 10.88.0.1/16"),
        (["--standalone", "--subnet", "10.88.0.0/31"], "too small"),
        (["--standalone", "--subnet", "10.1.0.0/16", "--subnet", "10.2.0.0/16"], "at most one IPv4"),
    ],
)
def test_install_refuses_what_makes_no_network(tmp_path: Path, flags: list[str], words: str) -> None:
    done = CliRunner().invoke(command, ["install", "--bin-dir", str(tmp_path / "bin"), *flags])
    assert done.exit_code != 0
    assert words in str(done.exception)
    assert not (tmp_path / "bin").exists()
