"""The first hop and the agent's socket: both relays, no agent, clients that misbehave, kill -9 under load."""

import array
import contextlib
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni import frames
from cni.errors import Code
from cni.results import VERSIONS
from netplane.kernel import netns
from netplane.rtnl import Veth
from tests.cnitools import (
    AgentProcess,
    Answer,
    Spaces,
    config,
    door,
    echo,
    environment,
    relays,
    run_relay,
)
from tests.waiting import until

pytestmark = pytest.mark.privileged
STDIN = json.dumps(config()).encode()
RETRYABLE = Code.TRY_AGAIN


@pytest.fixture(params=["c", "python", "script"])
def relay(request: pytest.FixtureRequest, agent: AgentProcess, tmp_path: Path) -> Path:
    return relays(tmp_path, agent.socket)[request.param]


def veths(space: str) -> list[str]:
    with door(space) as rtnl:
        return [link.name for link in rtnl.links() if isinstance(link.kind, Veth)]


def test_a_pod_comes_and_goes_through_the_relay(relay: Path, agent: AgentProcess, place: Spaces) -> None:
    pod = place.name("p1")
    added = run_relay(relay, environment("ADD", "c1", pod), STDIN)
    assert added.status == 0
    assert added.body["ips"][0]["address"] == "10.244.1.2/32"
    checked = json.dumps(config(prevResult=added.body)).encode()
    assert run_relay(relay, environment("CHECK", "c1", pod), checked) == (0, {})
    again = run_relay(relay, environment("ADD", "c1", pod), STDIN)
    assert (again.status, again.body["code"]) == (1, Code.ALREADY_ATTACHED)
    assert run_relay(relay, environment("DEL", "c1", pod), STDIN) == (0, {})
    assert veths(agent.space) == []


def test_a_namespace_only_the_caller_can_name_is_passed_along(relay: Path, place: Spaces) -> None:
    """As when the agent runs in a container: the path lies on a mount that the agent does not have."""
    pod = place.name("p1")
    bind = f"mount -t tmpfs none /mnt && touch /mnt/ns && mount --bind {netns.path(pod)} /mnt/ns"
    script = f'{bind} && exec "$0"'
    command = ["unshare", "-m", "sh", "-c", script, str(relay)]
    done = subprocess.run(
        command,
        env={**environment("ADD", "c1", "/mnt/ns"), "PATH": os.environ["PATH"]},
        input=STDIN,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    with door(pod) as rtnl:
        assert rtnl.link("eth0") is not None


def test_version_needs_no_agent_and_no_configuration(relay: Path, agent: AgentProcess) -> None:
    agent.stop()
    for stdin, version in ((b"", "1.1.0"), (b'{"cniVersion": "0.3.1"}', "0.3.1")):
        answer = run_relay(relay, {"CNI_COMMAND": "VERSION"}, stdin)
        assert answer == (0, {"cniVersion": version, "supportedVersions": list(VERSIONS)})


def test_without_an_agent_add_is_retryable_and_del_strands_nobody(
    relay: Path, agent: AgentProcess, place: Spaces
) -> None:
    pod = place.name("p1")
    assert run_relay(relay, environment("ADD", "c1", pod), STDIN).status == 0
    agent.kill()
    refused = run_relay(relay, environment("ADD", "c2", pod), STDIN)
    assert (refused.status, refused.body["code"], refused.body["cniVersion"]) == (1, RETRYABLE, "1.0.0")
    assert run_relay(relay, environment("STATUS"), STDIN).body["code"] == Code.NOT_AVAILABLE
    assert run_relay(relay, environment("CHECK", "c1", pod), STDIN).body["code"] == RETRYABLE
    assert run_relay(relay, environment("DEL", "c1", pod), STDIN) == (0, {})
    agent.start()
    until(lambda: not list(Path(f"{agent.socket}.pending").iterdir()), "the saved DEL")
    assert veths(agent.space) == []
    assert run_relay(relay, environment("ADD", "c1", pod), STDIN).status == 0


def test_saved_requests_that_are_none_are_dropped(agent: AgentProcess) -> None:
    agent.stop()
    pending = Path(f"{agent.socket}.pending")
    (pending / "1~").write_bytes(b"half")
    os.utime(pending / "1~", (0, 0))
    (pending / "2").write_bytes(b"NPC1 nonsense that is long enough")
    (pending / "3").write_bytes(b"")
    agent.start()
    until(lambda: list(pending.iterdir()) == [], "the folder is empty")


@pytest.mark.parametrize(
    ("variables", "stdin", "code", "word"),
    [
        ({}, STDIN, 4, "CNI_COMMAND"),
        ({"CNI_COMMAND": "EAT"}, STDIN, 4, "EAT"),
        ({"CNI_COMMAND": "ADD", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0"}, STDIN, 4, "CNI_CONTAINERID"),
        (environment("ADD", "../..", "/x"), STDIN, 4, "CNI_CONTAINERID"),
        (environment("ADD", "c\n1", "/x"), STDIN, 4, "CNI_CONTAINERID"),
        (environment("ADD", "c1", "/x", ifname="a/b"), STDIN, 4, "CNI_IFNAME"),
        (environment("ADD", "c1", "/x", ifname="e" * 200), STDIN, 4, "CNI_IFNAME"),
        (environment("ADD", "c1", "/x", args="A;B"), STDIN, 4, "CNI_ARGS"),
        (environment("ADD", "c1", "/x"), b"{", 6, "JSON"),
        (environment("ADD", "c1", "/x"), b"", 6, "stdin is empty"),
        (environment("ADD", "c1", "/x"), b'{"x":' * 100_000, 6, "JSON"),
        (environment("ADD", "c1", "/x"), b"[1]", 6, "configuration"),
        (environment("ADD", "c1", "/x"), b" " * ((1 << 20) + 1), 6, "larger"),
        (environment("ADD", "c1", "/x"), b'{"cniVersion":"9.9.9","name":"n"}', 1, "cniVersion"),
        (environment("ADD", "c1", "/x"), json.dumps(config(name="../..")).encode(), 7, "name"),
        (environment("ADD", "c1", "/x"), json.dumps(config(mtu="big")).encode(), 7, "mtu"),
        (environment("ADD", "c" * 70_000, "/x"), STDIN, 4, "larger"),
    ],
)
def test_bad_calls_get_an_error_in_json_that_names_what_is_wrong(
    agent: AgentProcess, tmp_path: Path, variables: dict[str, str], stdin: bytes, code: int, word: str
) -> None:
    for relay in relays(tmp_path, agent.socket).values():
        answer = run_relay(relay, variables, stdin)
        assert (answer.status, answer.body["code"]) == (1, code), answer
        assert word in answer.body["msg"] + answer.body.get("details", "")
    assert "Traceback" not in agent.log.read_text()


def test_the_environment_overrides_the_sidecar(agent: AgentProcess, tmp_path: Path) -> None:
    for relay in relays(tmp_path, Path("/nowhere.sock")).values():
        assert run_relay(relay, environment("DEL", "c1"), STDIN).body["code"] == RETRYABLE
        told = environment("DEL", "c1") | {"NETPLANE_CNI_SOCKET": str(agent.socket)}
        assert run_relay(relay, told, STDIN) == (0, {})


def test_a_sidecar_may_name_a_program_that_does_the_work_itself(agent: AgentProcess, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf \'{"verb":"%s","stdin":"%s"}\' "$CNI_COMMAND" "$(cat)"\n')
    program.chmod(0o755)
    for relay in relays(tmp_path, agent.socket).values():
        (relay.parent / ".netplane-relay").write_text(f"exec {program}\n")
        answer = run_relay(relay, environment("DEL", "c1"), b"hello")
        assert answer == (0, {"verb": "DEL", "stdin": "hello"})


def test_a_stuck_client_holds_nobody_up(agent: AgentProcess, tmp_path: Path, place: Spaces) -> None:
    stuck = [socket.socket(socket.AF_UNIX) for _ in range(64)]
    try:
        for i, client in enumerate(stuck):
            client.connect(str(agent.socket))
            client.send(frames.encode_request(frames.Request("x", environment("DEL", "c1"), STDIN))[: i * 3])
        relay = relays(tmp_path, agent.socket)["c"]
        assert run_relay(relay, environment("ADD", "c1", place.name("p1")), STDIN).status == 0
    finally:
        for client in stuck:
            client.close()


def test_frames_that_are_too_large_or_none_are_answered_and_descriptors_are_not_kept(agent: AgentProcess) -> None:
    assert agent.process is not None
    folder = Path(f"/proc/{agent.process.pid}/fd")
    before = len(list(folder.iterdir()))
    for header in (
        b"GET / HTTP/1",
        struct.pack("!4sII", b"NPC1", 1 << 30, 0),
        struct.pack("!4sII", b"NPC1", 0, 1 << 30),
    ):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client, Path("/dev/null").open() as null:
                client.connect(str(agent.socket))
                client.sendmsg(
                    [header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 3))]
                )
                status, text = frames.decode_reply(b"".join(iter(lambda client=client: client.recv(4096), b"")))  # type: ignore[misc]
                assert (status, json.loads(text)["code"]) == (1, Code.DECODING)
    until(lambda: len(list(folder.iterdir())) <= before + 1, "descriptors are closed")


def test_only_root_may_call(agent: AgentProcess, tmp_path: Path) -> None:
    mode = agent.socket.stat().st_mode & 0o777
    assert mode == 0o600
    agent.socket.chmod(0o666)
    for folder in (agent.folder, *agent.folder.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    relay = relays(tmp_path, agent.socket)["c"]
    done = subprocess.run(
        [relay], env=environment("ADD", "c1", "/x"), input=STDIN, capture_output=True, user=65534, check=False
    )
    assert json.loads(done.stdout)["code"] == RETRYABLE
    assert "may not call" in agent.log.read_text()


def test_calls_for_one_container_take_turns_and_others_do_not_wait(
    agent: AgentProcess, tmp_path: Path, place: Spaces
) -> None:
    relay, pod = relays(tmp_path, agent.socket)["c"], place.name("p1")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: run_relay(relay, environment("ADD", "c1", pod), STDIN), range(16)))
    assert sorted(answer.status for answer in answers) == [0] + [1] * 15
    assert {answer.body["code"] for answer in answers if answer.status} == {Code.ALREADY_ATTACHED}


class Talk(threading.Thread):
    """Asks a pod's echo server over one connection, again and again; an answer that does not come ends it."""

    def __init__(self, space: str, address: str) -> None:
        super().__init__(daemon=True)
        with netns.opened(space) as fd:
            self._client = netns.socket_in(fd, socket.AF_INET, socket.SOCK_STREAM)
        self._client.settimeout(10)
        self._client.connect((address, 8080))
        self.answers, self.stop = 0, threading.Event()

    def run(self) -> None:
        with self._client:
            while not self.stop.wait(0.005):
                self._client.send(b"?")
                assert self._client.recv(100)
                self.answers += 1

    def goes_on(self) -> None:
        before = self.answers
        until(lambda: self.answers >= before + 10, "more answers")


@contextlib.contextmanager
def talking(space: str, address: str) -> Iterator[Talk]:
    talk = Talk(space, address)
    talk.start()
    try:
        yield talk
    finally:
        talk.stop.set()
        talk.join()


def test_kill_in_the_middle_of_many_adds_loses_and_leaks_nothing(
    agent: AgentProcess, tmp_path: Path, place: Spaces
) -> None:
    """Every ADD answers success or a retryable error; after a restart and the runtimes' DELs nothing is left.

    Two pods that ran before talk all the time, also while there is no agent.
    """
    relay = relays(tmp_path, agent.socket)["c"]
    pods = {f"c{i}": place.name(f"p{i}") for i in range(100)}
    running = [place.name(name) for name in ("r1", "r2")]
    addresses = [
        run_relay(relay, environment("ADD", pod, pod), STDIN).body["ips"][0]["address"].split("/")[0] for pod in running
    ]

    def add(container: str) -> Answer:
        return run_relay(relay, environment("ADD", container, pods[container]), STDIN)

    with echo(running[1], addresses[1]), talking(running[0], addresses[1]) as talk, ThreadPoolExecutor(100) as pool:
        answers = {container: pool.submit(add, container) for container in pods}
        until(lambda: len(veths(agent.space)) >= 20, "some are wired", 30)
        agent.kill()
        talk.goes_on()
        agent.start()
        found = {container: future.result() for container, future in answers.items()}
        talk.goes_on()
    codes = {answer.body.get("code") for answer in found.values() if answer.status}
    assert codes <= {RETRYABLE}
    good = [answer.body["ips"][0]["address"] for answer in found.values() if answer.status == 0]
    assert len(good) == len(set(good))
    # What succeeded is attached, and what failed can be deleted and added again, as runtimes do.
    for container, answer in found.items():
        if answer.status:
            assert run_relay(relay, environment("DEL", container, pods[container]), STDIN) == (0, {})
            retried = add(container)
            assert retried.status == 0, retried
            good.append(retried.body["ips"][0]["address"])
    assert len({*good, *addresses}) == 102
    assert len(veths(agent.space)) == 102
    pods |= {pod: pod for pod in running}
    with ThreadPoolExecutor(16) as pool:
        gone = list(pool.map(lambda c: run_relay(relay, environment("DEL", c, pods[c]), STDIN), pods))
    assert all(answer == (0, {}) for answer in gone)
    assert veths(agent.space) == []
