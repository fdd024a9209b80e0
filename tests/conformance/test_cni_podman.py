"""podman with its CNI backend and runc calls the plugin: containers with addresses, no daemon, no cluster; with the
node agent, and with nothing else at all.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni import install
from netplane.rtnl import Veth
from tests import oci_image
from tests.cnitools import AgentProcess, door, spaces
from tests.runtime_host import Machine, machine

pytestmark = pytest.mark.privileged
IMAGE = "localhost/busybox:1"
# Small machines forbid the limits that podman asks for.
_LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000")
_CONFIG = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin}"]
network_config_dir = "{conf}"
default_network = "pods"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{folder}/tmp"
"""


class Podman:
    """podman on a machine of its own, the agent beside it unless the plugin does without."""

    def __init__(self, host: Machine, *, standalone: bool) -> None:
        self.host, self.standalone, folder = host, standalone, host.folder
        self.agent = AgentProcess(host.node, folder / "agent")
        if not standalone:
            self.agent.start()
        (folder / "containers.conf").write_text(_CONFIG.format(folder=folder, bin=self.agent.bin, conf=self.agent.conf))
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "REGISTRIES_CONFIG_PATH": os.devnull,
        }
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        if standalone:
            install.install_standalone(self.agent.bin, folder / "state")
        else:
            install.install_relay(self.agent.bin, self.agent.socket)
        plugin: dict[str, Any] = {
            "type": "netplane",
            "bridge": "np0",
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipMasq": True,
        }
        plugin["ipam"] = {"ranges": [[{"subnet": "10.88.7.0/24"}], [{"subnet": "fd00:7::/64"}]]}
        plugin["capabilities"] = {"portMappings": True}
        conflist = {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}
        install.install_conflist(self.agent.conf, json.dumps(conflist).encode())
        oci_image.write(folder / "image.tar", IMAGE)
        self("load", "--signature-policy", folder / "policy.json", "-i", folder / "image.tar")

    def __call__(self, *words: str | Path) -> str:
        folder = self.host.folder
        paths = ("--root", folder / "storage", "--runroot", "/run/podman", "--storage-driver", "vfs")
        return self.host.run("podman", *paths, *words, env=self._env).strip()

    def start(self, name: str, *words: str) -> dict[str, str]:
        """Run a container; its addresses by family."""
        self("run", "-d", "--name", name, "--cgroup-parent", self.host.cgroup, *_LIMITS, *words, IMAGE)
        networks = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"]["pods"]
        return {"ipv4": networks["IPAddress"], "ipv6": networks["GlobalIPv6Address"], "mac": networks["MacAddress"]}

    def links(self) -> list[str]:
        with door(self.host.node) as rtnl:
            return [link.name for link in rtnl.links() if isinstance(link.kind, Veth)]


@pytest.fixture(scope="module", params=["agent", "standalone"])
def podman(request: pytest.FixtureRequest) -> Iterator[Podman]:
    assert shutil.which("podman"), "podman is missing: ./run test installs it"
    with spaces() as place, machine(place) as host:
        found = Podman(host, standalone=request.param == "standalone")
        try:
            yield found
        finally:
            found.agent.stop()


def test_containers_reach_each_other_and_leave_nothing(podman: Podman) -> None:
    a, b = podman.start("a"), podman.start("b")
    assert a["ipv4"].startswith("10.88.7.")
    assert a["ipv4"] != b["ipv4"]
    for family in ("ipv4", "ipv6"):
        assert "1 packets received" in podman("exec", "a", "ping", "-c", "1", "-W", "5", b[family])
    assert len(podman.links()) == 2
    podman("rm", "-f", "-t", "0", "a", "b")
    assert podman.links() == []


def test_a_published_port_is_reached_from_the_node_and_closed_with_the_container(podman: Podman) -> None:
    server = ("--entrypoint", '["/bin/nc","-ll","-p","80","-e","/bin/echo","hello"]')
    podman.start("web", "-p", "8088:80", *server)
    address = podman.start("client")["ipv4"]
    assert address
    gateway = "10.88.7.1"
    assert podman("exec", "client", "nc", "-w", "5", gateway, "8088") == "hello"
    podman("rm", "-f", "-t", "0", "web")
    with pytest.raises(AssertionError):
        podman("exec", "client", "nc", "-w", "1", gateway, "8088")
    podman("rm", "-f", "-t", "0", "client")
    assert podman.links() == []


def test_an_address_and_a_mac_that_are_asked_for(podman: Podman) -> None:
    found = podman.start("c", "--network", "pods:ip=10.88.7.77,mac=02:11:22:33:44:55")
    assert (found["ipv4"], found["mac"]) == ("10.88.7.77", "02:11:22:33:44:55")
    podman("rm", "-f", "-t", "0", "c")
    assert podman.links() == []


def test_a_container_comes_back_after_a_restart_of_the_agent(podman: Podman) -> None:
    podman.start("d")
    if not podman.standalone:
        podman.agent.kill()
        podman.agent.start()
    podman("restart", "-t", "0", "d")
    assert len(podman.links()) == 1
    podman("rm", "-f", "-t", "0", "d")
    assert podman.links() == []
