"""An agent that is told to stop ends, whatever its calls wait for."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from netplane.kernel import netns
from tests.cnitools import AgentProcess, Spaces, config, environment, relays
from tests.waiting import until

pytestmark = pytest.mark.privileged


def test_an_ipam_plugin_that_never_answers_does_not_keep_the_agent(place: Spaces, tmp_path: Path) -> None:
    plugin, began = tmp_path / "plugins" / "sleepy", tmp_path / "began"
    plugin.parent.mkdir()
    plugin.write_text(f"#!/bin/sh\necho $$ > {began}\nexec sleep 3600\n")
    plugin.chmod(0o755)
    agent = AgentProcess(place.name("node"), tmp_path / "agent")
    agent.start()
    variables = environment("ADD", "c1", place.name("p1")) | {"CNI_PATH": str(plugin.parent)}
    relay = relays(tmp_path, agent.socket)["c"]
    call = netns.run_in(
        agent.space,
        lambda: subprocess.Popen([relay], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE),
    )
    assert call.stdin is not None
    try:
        call.stdin.write(json.dumps(config(ipam={"type": "sleepy"})).encode())
        call.stdin.close()
        until(began.exists, "the plugin was asked")
        # `kill` waits 20 s at most; the plugin would be waited for for 90.
        assert agent.kill(signal.SIGTERM) == 0
        assert call.wait(20) == 1
        assert call.stdout is not None
        assert json.loads(call.stdout.read())["code"] == 11
        assert "stopped" in agent.log.read_text()
    finally:
        agent.stop()
        if began.exists() and (text := began.read_text().strip()):
            subprocess.run(["kill", text], check=False, stderr=subprocess.DEVNULL)
        call.kill()
        call.wait()
        if call.stdout is not None:
            call.stdout.close()
