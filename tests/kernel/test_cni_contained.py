"""The agent as its DaemonSet runs it: mounts and processes of its own, a root it cannot write to, no way to the paths
of pods' namespaces. The relays are the host's; all they share are the folders of the manifest.
"""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from netplane.kernel import netns
from tests import cnitools
from tests.cnitools import AgentProcess, Answer, Spaces, ask, config, door, echo, environment, relays, run_relay

pytestmark = pytest.mark.privileged

RATES = {"egressRate": 80_000_000, "egressBurst": 8_000_000}
CONF = config(
    "1.1.0",
    ipMasq=True,
    macspoofchk=True,
    runtimeConfig={"portMappings": [{"hostPort": 80, "containerPort": 8080}], "bandwidth": RATES},
)


class ContainedAgent(AgentProcess):
    """`start` runs it behind `unshare`; its own process is that one's child."""

    def __init__(self, space: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(space, folder)
        shared = shlex.quote(str(folder))
        steps = (
            f"mount --bind {shared} {shared}",  # the manifest's volumes
            "mount -t tmpfs none /run/netns",  # the host's namespaces are not in a container
            "mount -o remount,bind,ro /",  # readOnlyRootFilesystem
            'exec "$0" "$@"',
        )
        program = folder / "contained"
        inner = f"sh -c {shlex.quote(' && '.join(steps))} {cnitools.AGENT}"
        program.write_text(f'#!/bin/sh\nexec unshare --mount --pid --fork --mount-proc {inner} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setattr(cnitools, "AGENT", str(program))

    def own_pid(self) -> int:
        assert self.process is not None
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.own_pid(), signal.SIGTERM)
            self.process.wait(cnitools.WAIT_S)


@pytest.mark.parametrize("kind", ["c", "python"])
def test_an_agent_in_a_container_serves_the_hosts_relay(
    place: Spaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The namespace comes as a descriptor; whatever the path means to the agent is not asked."""
    node, pod = place.name("node"), place.name("p1")
    agent = ContainedAgent(node, tmp_path, monkeypatch)
    agent.start()
    try:
        relay = relays(tmp_path, agent.socket)[kind]

        def call(command: str, space: str = pod, **more: object) -> Answer:
            stdin = json.dumps(CONF | more).encode()
            return netns.run_in(node, lambda: run_relay(relay, environment(command, "c1", space), stdin))

        assert not Path(f"/proc/{agent.own_pid()}/root/{netns.path(pod)}").exists(), "the agent is really shut in"
        added = call("ADD")
        assert added.status == 0, added.body
        assert added.body["interfaces"][2]["sandbox"] == str(netns.path(pod)), "as the runtime knows it"
        with echo(pod, "10.244.1.2"):
            assert ask(node, "10.244.1.1", 80)
        assert call("CHECK", prevResult=added.body) == (0, {})
        assert call("DEL") == (0, {})
        with door(pod) as inside, door(node) as rtnl:
            assert not inside.find("eth0")
            assert [link.name for link in rtnl.links() if link.alias] == []
    finally:
        agent.stop()
