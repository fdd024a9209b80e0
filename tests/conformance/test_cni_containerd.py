"""containerd with runc calls the plugin: pods through the Container Runtime Interface, as a kubelet makes them."""

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import grpc
import pytest

from cni import install
from cni.plan import conflist
from netplane.rtnl import Link, Veth
from tests import oci_image
from tests.cnitools import AgentProcess, door, spaces
from tests.cri import Cri
from tests.runtime_host import Machine, machine
from tests.waiting import until

pytestmark = pytest.mark.privileged
IMAGE = "netplane.test/busybox:1"
_CONFIG = """
version = 2
root = "{folder}/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{folder}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin}"
    conf_dir = "{conf}"
"""


class Containerd:
    """containerd on a machine of its own, the agent beside it."""

    def __init__(self, host: Machine) -> None:
        self.host, self.folder = host, host.folder
        self.agent = AgentProcess(host.node, self.folder / "agent")
        self.agent.start()
        self.log = self.folder / "containerd.log"
        values = {"folder": self.folder, "image": IMAGE, "bin": self.agent.bin, "conf": self.agent.conf}
        (self.folder / "config.toml").write_text(_CONFIG.format(**values))
        self.process = host.popen("containerd", "-c", self.folder / "config.toml", log=self.log)
        self.cri = Cri(self.folder / "c.sock")
        until(self._answers, "containerd answers", 60)
        oci_image.write(self.folder / "image.tar", IMAGE)
        self.ctr("-n", "k8s.io", "images", "import", self.folder / "image.tar")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return bool(self.cri("Version", timeout_s=5).runtime_name)
        except grpc.RpcError:
            return False

    def ctr(self, *words: str | Path) -> str:
        return self.host.run("ctr", "--address", self.folder / "c.sock", *words)

    def network_ready(self) -> bool:
        """What a kubelet sees as the node's NetworkReady."""
        conditions = {c.type: c.status for c in self.cri("Status").status.conditions}
        return bool(conditions["NetworkReady"])

    def configure(self, *cidrs: str) -> None:
        """The network's configuration, as the agent writes it for a node with these pod ranges."""
        install.install_relay(self.agent.bin, self.agent.socket)
        install.install_conflist(self.agent.conf, conflist.conflist([ip_network(c) for c in cidrs], 1450))
        until(self.network_ready, "containerd sees the network")

    def pod_config(self, name: str, *ports: tuple[int, int]) -> dict[str, Any]:
        """`ports` are (host port, container port)."""
        return {
            "port_mappings": [{"host_port": host, "container_port": port} for host, port in ports],
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
            "hostname": name,
            "log_directory": str(self.folder / "logs"),
            "linux": {"cgroup_parent": self.host.cgroup},
        }

    def run_pod(self, name: str, *ports: tuple[int, int]) -> str:
        """A pod sandbox's identifier."""
        return str(self.cri("RunPodSandbox", config=self.pod_config(name, *ports)).pod_sandbox_id)

    def addresses(self, pod: str) -> list[str]:
        network = self.cri("PodSandboxStatus", pod_sandbox_id=pod).status.network
        return [network.ip, *(more.ip for more in network.additional_ips)]

    def container(self, pod: str, name: str, *command: str) -> str:
        """A running container in a pod: its identifier."""
        config: dict[str, Any] = {"metadata": {"name": "main"}, "image": {"image": IMAGE}, "log_path": f"{name}.log"}
        config["command"] = command or ["/bin/sleep", "100000"]
        made = self.cri("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=self.pod_config(name))
        self.cri("StartContainer", container_id=made.container_id)
        return str(made.container_id)

    def execute(self, container: str, *command: str) -> str:
        done = self.cri("ExecSync", container_id=container, cmd=command, timeout=20)
        assert done.exit_code == 0, (done.stdout, done.stderr)
        return str(done.stdout.decode())

    def remove_pod(self, pod: str) -> None:
        self.cri("StopPodSandbox", pod_sandbox_id=pod)
        self.cri("RemovePodSandbox", pod_sandbox_id=pod)

    def pod_links(self) -> list[Link]:
        with door(self.host.node) as rtnl:
            return [link for link in rtnl.links() if isinstance(link.kind, Veth)]

    def close(self) -> None:
        self.cri.close()
        self.process.terminate()
        self.process.wait(20)
        self.agent.stop()


@pytest.fixture(scope="module")
def runtime() -> Iterator[Containerd]:
    assert shutil.which("containerd"), "containerd is missing: ./run test installs it"
    with spaces() as place, machine(place) as host:
        found = Containerd(host)
        try:
            yield found
        finally:
            found.close()


def test_the_node_is_ready_once_the_configuration_is_there(runtime: Containerd) -> None:
    assert not runtime.network_ready()
    runtime.configure("10.244.1.0/24", "fd00:1::/64")
    assert runtime.network_ready()


def test_pods_have_addresses_reach_each_other_and_leave_nothing(runtime: Containerd) -> None:
    runtime.configure("10.244.1.0/24", "fd00:1::/64")
    pods = {name: runtime.run_pod(name) for name in ("a", "b")}
    addresses = {name: runtime.addresses(pod) for name, pod in pods.items()}
    assert len({ip for ips in addresses.values() for ip in ips}) == 4, "two families, no address twice"
    containers = {name: runtime.container(pod, name) for name, pod in pods.items()}
    for target in addresses["b"]:
        assert "1 packets received" in runtime.execute(containers["a"], "ping", "-c", "1", "-W", "5", target)
    assert "1 packets received" in runtime.execute(containers["b"], "ping", "-c", "1", addresses["a"][0])
    assert len(runtime.pod_links()) == 2
    for pod in pods.values():
        runtime.remove_pod(pod)
    assert runtime.pod_links() == []
    assert leases(runtime) == []
    assert runtime.host.run("ls", "/run/netns").split() == []


def test_a_host_port_is_reached_from_the_node_and_from_a_pod_until_its_pod_goes(runtime: Containerd) -> None:
    runtime.configure("10.244.1.0/24", "fd00:1::/64")
    web, client = runtime.run_pod("web", (8087, 80)), runtime.run_pod("client")
    runtime.container(web, "web", "/bin/nc", "-ll", "-p", "80", "-e", "/bin/echo", "hello")
    caller = runtime.container(client, "client")
    asked = ("nc", "-w", "5", "10.244.1.1", "8087")
    assert runtime.execute(caller, *asked) == "hello\n"
    for address in ("10.244.1.1", "127.0.0.1"):
        assert runtime.host.run("busybox", "nc", "-w", "5", address, "8087") == "hello\n"
    runtime.remove_pod(web)
    with pytest.raises(AssertionError):
        runtime.execute(caller, *asked)
    runtime.remove_pod(client)
    assert runtime.pod_links() == []


def test_a_pod_that_is_stopped_while_the_agent_is_away_is_cleaned_up_later(runtime: Containerd) -> None:
    runtime.configure("10.244.1.0/24", "fd00:1::/64")
    pod = runtime.run_pod("c")
    runtime.agent.kill()
    runtime.remove_pod(pod)
    with pytest.raises(grpc.RpcError, match="does not answer"):
        runtime.run_pod("d")
    runtime.agent.start()
    until(lambda: runtime.pod_links() == [] and leases(runtime) == [], "the saved DEL is done")
    again = runtime.run_pod("d")
    assert len(runtime.addresses(again)) == 2
    runtime.remove_pod(again)
    assert runtime.pod_links() == []


def test_many_pods_at_once(runtime: Containerd) -> None:
    runtime.configure("10.244.1.0/24", "fd00:1::/64")
    with ThreadPoolExecutor(4) as pool:
        pods = list(pool.map(runtime.run_pod, [f"m{i}" for i in range(8)]))
        found = [ip for ips in pool.map(runtime.addresses, pods) for ip in ips]
        assert len(set(found)) == 16
        list(pool.map(runtime.remove_pod, pods))
    assert runtime.pod_links() == []
    assert leases(runtime) == []


def leases(runtime: Containerd) -> list[Any]:
    with closing(sqlite3.connect(f"file:{runtime.agent.folder}/leases.db?mode=ro", uri=True)) as db:
        return db.execute("SELECT * FROM attachments").fetchall()
