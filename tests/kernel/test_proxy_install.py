"""The proxy as it is installed: a pod's service account whose token rotates, an exec plugin, a role that suffices."""

import base64
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from netplane.client.config import SERVICE_ACCOUNT_DIR
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.nft.types import IPV4
from proxy.plan.model import Options
from proxy.plan.skeleton import skeleton
from tests.apiserver_process import Apiserver
from tests.waiting import until

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-inst-{os.getpid():x}"
ADMIN = 'admin-token,admin,1,"system:masters"\n'
ACCOUNT = "{token},system:serviceaccount:kube-system:netplane-proxy,2\n"
TABLE = skeleton(IPV4, Options())
ROLE = Path(__file__).parents[2] / "deploy" / "proxy" / "rbac.yaml"


class Node:
    """A namespace with an apiserver's listener in it, and proxies started there."""

    def __init__(self, folder: Path, fd: int, stack: ExitStack) -> None:
        self.folder = folder
        self.nft = Nft(fd)
        stack.callback(self.nft.close)
        self._stack = stack
        self.tokens = folder / "tokens.csv"
        self.admit("old")
        listener = f"{NAMESPACE}=127.0.0.1:6443"
        self.server = stack.enter_context(
            Apiserver(folder, "--token-auth-file", str(self.tokens), "--listen-netns", listener)
        )
        # What the proxy may do here is what the manifest's role says.
        self.server.kubectl("apply", "-f", str(ROLE))

    def admit(self, token: str) -> None:
        """From the next start on, the apiserver knows the proxy by this token only."""
        self.tokens.write_text(ADMIN + ACCOUNT.format(token=token))

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / "proxy.log").open("ab") as log:
            env = {**os.environ, **environment}
            env.pop("KUBECONFIG", None)
            process = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *command], env=env, stdout=log, stderr=log)
        self._stack.callback(_stop, process)
        return process

    def log(self) -> str:
        return (self.folder / "proxy.log").read_text()

    def certificate(self) -> bytes:
        document = yaml.safe_load(self.server.kubeconfig.read_text())
        return base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])

    def publish(self, name: str, address: str) -> None:
        """A service of one endpoint."""
        labels = {"kubernetes.io/service-name": name}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        item = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        }
        self.server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([service, item]))

    def endpoints(self) -> int:
        """How many of ours are in the kernel; the `kubernetes` service has one too."""
        rows = self.nft.list_elements(TABLE, TABLE.set("endpoints")) or {}
        return sum(isinstance(value, bytes) and value.startswith(b"\x0a\x01\x00") for value in rows.values())


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(20)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    netns.create(NAMESPACE)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        with netns.opened(NAMESPACE) as fd, ExitStack() as stack:
            yield Node(tmp_path, fd, stack)
    finally:
        netns.delete(NAMESPACE)


def test_in_a_pod_with_a_token_that_rotates(node: Node, tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes(node.certificate())
    (account / "namespace").write_text("kube-system")
    (account / "token").write_text("old")
    node.publish("first", "10.1.0.1")
    # A mount namespace of its own has the pod's files where every pod has them.
    run = Path(SERVICE_ACCOUNT_DIR).parents[2]
    mounts = (
        f"mount -t tmpfs tmpfs {run} && mkdir -p {SERVICE_ACCOUNT_DIR} && mount --bind {account} {SERVICE_ACCOUNT_DIR}"
    )
    proxy = f"exec {sys.executable} -m proxy --hostname-override=n1 -v4"
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    process = node.start("sh", "-ec", f"{mounts} && {proxy}", **where)
    until(lambda: node.endpoints() == 1, lambda: f"the first service\n{node.log()}")

    # The kubelet writes a new token; the apiserver forgets the old one.
    (account / "token").write_text("new")
    node.admit("new")
    node.server.terminate()
    node.server.start()
    node.publish("second", "10.1.0.2")
    until(lambda: node.endpoints() == 2, lambda: f"the second service, with the new token\n{node.log()}")
    assert process.poll() is None


PLUGIN = """#!/bin/sh
echo x >> {runs}
cat <<EOF
{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "$(cat {token})"}}}}
EOF
"""


def test_with_a_kubeconfig_whose_credentials_a_plugin_makes(node: Node, tmp_path: Path) -> None:
    plugin, token, runs = tmp_path / "plugin", tmp_path / "token", tmp_path / "runs"
    plugin.write_text(PLUGIN.format(runs=runs, token=token))
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    token.write_text("old")
    document = yaml.safe_load(node.server.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    api_version = "client.authentication.k8s.io/v1"
    document["users"][0]["user"] = {
        "exec": {"apiVersion": api_version, "command": str(plugin), "interactiveMode": "Never"}
    }
    kubeconfig = tmp_path / "plugin.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    node.publish("first", "10.1.0.1")
    node.start(sys.executable, "-m", "proxy", "--kubeconfig", str(kubeconfig), "--hostname-override=n1", "-v4")
    until(lambda: node.endpoints() == 1, lambda: f"the first service\n{node.log()}")
    asked = runs.read_text().count("x")
    assert asked == 1, "once for all requests"

    token.write_text("new")
    node.admit("new")
    node.server.terminate()
    node.server.start()
    node.publish("second", "10.1.0.2")
    until(lambda: node.endpoints() == 2, lambda: f"the second service, with what the plugin says now\n{node.log()}")
    assert runs.read_text().count("x") > asked


def test_pods_are_told_by_the_nodes_pod_cidrs_which_are_waited_for(node: Node) -> None:
    kubeconfig = node.folder / "inside.kubeconfig"
    document = yaml.safe_load(node.server.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    kubeconfig.write_text(yaml.safe_dump(document))
    flags = ("--kubeconfig", str(kubeconfig), "--hostname-override=n1", "--detect-local-mode=NodeCIDR")
    node.start(sys.executable, "-m", "proxy", *flags)
    until(lambda: "waiting for the node's pod CIDRs" in node.log(), lambda: f"no such node yet\n{node.log()}")
    assert node.nft.tables() == []
    cidrs = {"podCIDR": "10.1.7.0/24", "podCIDRs": ["10.1.7.0/24"]}
    said = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": cidrs}
    node.server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(said))
    until(lambda: "synced" in node.log(), lambda: f"the first sync\n{node.log()}")
    assert len(node.nft.list_elements(TABLE, TABLE.set("pod-cidrs")) or {}) == 1
    assert "ip saddr != 10.1.7.0/24 " in node.nft.run_text("list chain ip netplane-proxy prerouting")
    assert "saddr" not in node.nft.run_text("list chain ip6 netplane-proxy prerouting")


def test_the_role_allows_what_the_proxy_asks_and_no_more(node: Node) -> None:
    """The requests of a running proxy, as its metrics count them by path, are those of the manifest's role."""
    role = next(d for d in yaml.safe_load_all(ROLE.read_text()) if d["kind"] == "ClusterRole")
    allowed = {(group, resource) for r in role["rules"] for group in r["apiGroups"] for resource in r["resources"]}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}

    kubeconfig = node.folder / "account.kubeconfig"
    document = yaml.safe_load(node.server.kubeconfig.read_text())
    with FakeBehind(node) as fake:
        document["clusters"][0]["cluster"] = {"server": "http://127.0.0.1:8080"}
        kubeconfig.write_text(yaml.safe_dump(document))
        node.start(sys.executable, "-m", "proxy", "--kubeconfig", str(kubeconfig), "--hostname-override=n1", "-v4")
        until(lambda: "synced" in node.log(), lambda: f"the first sync\n{node.log()}")
        until(lambda: len(fake.asked()) >= len(allowed), lambda: f"every kind was asked for\n{node.log()}")
        assert fake.asked() == allowed


class FakeBehind:
    """A fake apiserver in the namespace, in a thread; tells which kinds were asked for."""

    def __init__(self, node: Node) -> None:
        self._requests: list[tuple[str, str]] = []

    def __enter__(self) -> "FakeBehind":
        import asyncio
        import threading

        from netplane.client.fake import FakeApiserver

        self._stop = threading.Event()
        started = threading.Event()

        async def serve() -> None:
            async with FakeApiserver(port=8080) as fake:
                self._requests = fake.requests
                started.set()
                await asyncio.to_thread(self._stop.wait)

        self._thread = threading.Thread(target=netns.run_in, args=(NAMESPACE, lambda: asyncio.run(serve())))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def asked(self) -> set[tuple[str, str]]:
        found = set()
        for method, target in list(self._requests):
            assert method == "GET"
            parts = target.partition("?")[0].strip("/").split("/")
            found.add(("", parts[2]) if parts[0] == "api" else (parts[1], parts[3]))
        return found
