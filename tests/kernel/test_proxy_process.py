"""`netplane-proxy` as a process: against an apiserver that comes and goes, killed, restarted, cleaned up."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.nft.types import IPV4
from proxy.plan.model import Options
from proxy.plan.skeleton import skeleton
from tests.waiting import until

pytestmark = pytest.mark.privileged
NAMESPACE = f"npt-proxy-{os.getpid():x}"
URL = "http://127.0.0.1:8080"
SERVICES = 30


class Machine:
    """A namespace with a fake apiserver and a proxy in it."""

    def __init__(self, logs: Path, fd: int) -> None:
        self.nft = Nft(fd)
        self._logs = logs
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str, under: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """A program in the namespace (and under another one); its output in a file of its name."""
        with (self._logs / name).open("ab") as log:
            command = ["ip", "netns", "exec", NAMESPACE, *under, sys.executable, "-m", *arguments]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def apiserver(self) -> subprocess.Popen[bytes]:
        """A made-up cluster."""
        return self.start(
            "apiserver", "netplane.client.fake", "--port", "8080", "--services", str(SERVICES), "--endpoints", "3"
        )

    def proxy(self, *flags: str, under: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """The proxy."""
        arguments = ("proxy", "--master", URL, "--hostname-override", "node-0", "-v4", *flags)
        return self.start("proxy", *arguments, under=under)

    def log(self, name: str) -> str:
        """What a program said."""
        return (self._logs / name).read_text()

    def rows(self) -> int:
        """Endpoints in the kernel."""
        table = skeleton(IPV4, Options())
        return len(self.nft.list_elements(table, table.set("endpoints")) or {})

    def stop_all(self) -> None:
        """Kill what still runs, by its own id."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    netns.create(NAMESPACE)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        with netns.opened(NAMESPACE) as fd:
            made = Machine(tmp_path, fd)
            try:
                yield made
            finally:
                made.stop_all()
                made.nft.close()
    finally:
        netns.delete(NAMESPACE)


def ask(method: str, path: str, body: object = None) -> Any:
    """A request from inside the namespace."""
    request = urllib.request.Request(
        path if path.startswith("http") else URL + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/merge-patch+json"},
    )

    def work() -> bytes:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: bytes = answer.read()
            return found

    return netns.run_in(NAMESPACE, work)


def answers(url: str) -> bool:
    try:
        return bool(ask("GET", url))
    except OSError:
        return False


def first_slice() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask("GET", "/apis/discovery.k8s.io/v1/endpointslices"))["items"][0]
    return found


def test_from_start_to_cleanup(machine: Machine) -> None:
    apiserver = machine.apiserver()
    proxy = machine.proxy()
    until(lambda: machine.rows() == SERVICES * 3, "every endpoint in the kernel")

    apiserver.kill()
    apiserver.wait()
    time.sleep(0.5)
    assert machine.rows() == SERVICES * 3, "without an apiserver everything stays"
    machine.apiserver()
    until(lambda: "\n" in machine.log("apiserver").strip(), "the second apiserver")

    item = first_slice()
    meta = item["metadata"]
    path = f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices/{meta['name']}"
    ask("PATCH", path, {"endpoints": item["endpoints"][:1]})
    until(lambda: machine.rows() == SERVICES * 3 - 2, "two endpoints gone")
    metrics = ask("GET", "http://127.0.0.1:10249/metrics").decode()
    assert 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 0.0' in metrics
    assert ask("GET", "http://127.0.0.1:10249/proxyMode") == b"nftables"
    assert json.loads(ask("GET", "http://127.0.0.1:10256/healthz"))["nodeEligible"] is True

    proxy.send_signal(signal.SIGTERM)
    assert proxy.wait(10) == 0
    assert "the rules stay" in machine.log("proxy")
    assert machine.rows() == SERVICES * 3 - 2

    before = machine.log("proxy").count("elements=0")
    again = machine.proxy()
    until(lambda: machine.log("proxy").count("elements=0") > before, "a restart that writes nothing")
    again.kill()
    again.wait()
    assert machine.rows() == SERVICES * 3 - 2, "killed, and the rules stay"

    for said in ("tables deleted", "there was no table to delete"):
        assert machine.proxy("--cleanup").wait(20) == 0
        assert machine.nft.tables() == []
        assert said in machine.log("proxy")


def test_a_killed_proxy_catches_up_with_what_it_missed(machine: Machine) -> None:
    machine.apiserver()
    proxy = machine.proxy()
    until(lambda: "synced" in machine.log("proxy"), "the first sync")
    proxy.kill()
    proxy.wait()
    meta = first_slice()["metadata"]
    ask("DELETE", f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices/{meta['name']}")
    machine.proxy()
    until(lambda: machine.rows() == SERVICES * 3 - 3, "what was missed")
    until(lambda: machine.log("proxy").count("synced") == 2, "the second proxy's first sync")
    written = int(machine.log("proxy").rpartition("elements=")[2].split()[0])
    assert 5 <= written <= 6, "three rows gone, a verdict replaced, perhaps a hairpin gone, and no more"


def test_what_cannot_work_is_said_before_anything_is_touched(machine: Machine) -> None:
    machine.nft.run_text("add table ip kube-proxy")
    assert machine.proxy().wait(20) == 1
    assert "another service proxy" in machine.log("proxy")
    assert machine.nft.tables() == ["ip kube-proxy"]
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "proxy", "--master", URL]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "run as root" in refused.stderr


def test_told_to_take_over_it_replaces_kube_proxys_tables_once_its_own_are_whole(machine: Machine) -> None:
    machine.nft.run_text("add table ip kube-proxy; add table ip6 kube-proxy; add table ip strangers")
    machine.apiserver()
    machine.proxy("--take-over")
    until(lambda: "kube-proxy's tables removed" in machine.log("proxy"), "the take-over")
    assert set(machine.nft.tables()) == {"ip strangers", "ip netplane-proxy", "ip6 netplane-proxy"}
    assert machine.rows() == SERVICES * 3


def test_a_port_that_is_taken_ends_it_only_where_another_proxys_rules_are(machine: Machine) -> None:
    machine.apiserver()
    machine.start("holder", "http.server", "--bind", "127.0.0.1", "10249")
    until(lambda: answers("http://127.0.0.1:10249/"), "who has the port of metrics")
    proxy = machine.proxy()
    until(lambda: machine.rows() == SERVICES * 3, "every endpoint in the kernel all the same")
    assert "metricsBindAddress: cannot listen on 127.0.0.1:10249" in machine.log("proxy")
    proxy.kill()
    proxy.wait()
    machine.nft.run_text("add table ip kube-proxy")
    assert machine.proxy("--take-over").wait(20) != 0, "whoever has those rules may still be there"
    assert "ip kube-proxy" in machine.nft.tables()


def test_a_changed_configuration_file_ends_it_and_the_rules_stay(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    path.write_text(head + "mode: ipvs\nconfigSyncPeriod: 15m\n")
    machine.apiserver()
    proxy = machine.proxy("--config", str(path))
    until(lambda: machine.rows() == SERVICES * 3, "every endpoint in the kernel")
    for field in ("mode", "configSyncPeriod"):
        assert re.search(rf"field has no effect here.*field={field} ", machine.log("proxy"))
    path.write_text(head + "mode: nftables\n")
    assert proxy.wait(20) == 1
    assert "configuration file was updated" in machine.log("proxy")
    assert machine.rows() == SERVICES * 3


def test_what_is_wrong_with_a_configuration_is_told_at_once_and_nothing_is_touched(machine: Machine) -> None:
    assert machine.proxy("--bind-address=here", "--nodeport-addresses=a", "--oom-score-adj=5000").wait(20) == 2
    said = machine.log("proxy")
    for field in ("BindAddress", "NodePortAddresses[0]", "OOMScoreAdj"):
        assert f"{field}: Invalid value" in said
    assert machine.nft.tables() == []


def test_the_capabilities_of_the_manifest_are_enough(machine: Machine) -> None:
    deploy = Path(__file__).parents[2] / "deploy" / "proxy" / "daemonset.yaml"
    (container,) = yaml.safe_load(deploy.read_text())["spec"]["template"]["spec"]["containers"]
    added = container["securityContext"]["capabilities"]["add"]
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    kept = ",".join(f"+{name.lower()}" for name in added)
    machine.nft.run_text("add table ip kube-proxy")
    machine.apiserver()
    proxy = machine.proxy("--take-over", under=("setpriv", f"--bounding-set=-all,{kept}", f"--inh-caps=-all,{kept}"))
    until(lambda: "kube-proxy's tables removed" in machine.log("proxy"), "the take-over")
    until(lambda: machine.rows() == SERVICES * 3, "every endpoint in the kernel")
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    assert f"CapEff:\t{(1 << 12 | 1 << 13):016x}" in status, "NET_ADMIN and NET_RAW"
    assert "warning" not in machine.log("proxy")
