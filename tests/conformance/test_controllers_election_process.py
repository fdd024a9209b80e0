"""Two `netplane controllers` at once: the leader is suspended, woken, killed, stopped; work goes on, never by both."""

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from tests import waiting
from tests.apiserver_process import Apiserver

FLAGS = (
    "--leader-elect", "--leader-elect-lease-duration", "3s", "--leader-elect-renew-deadline", "2s",
    "--leader-elect-retry-period", "300ms", "--cluster-cidr", "10.244.0.0/16", "--log-format", "json", "-v", "2",
)  # fmt: skip


class Candidate:
    """A process and its log."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-m", "netplane.cli", "controllers", "--kubeconfig", str(kubeconfig), *FLAGS]
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, what: str) -> int:
        return sum(line["event"] == what for line in self.lines())

    def wrote(self) -> list[str]:
        return [line["timestamp"] for line in self.lines() if line["event"] == "wrote"]


@contextmanager
def candidate(kubeconfig: Path, log: Path) -> Iterator[Candidate]:
    made = Candidate(kubeconfig, log)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()


until = partial(waiting.until, within_s=40.0)


class Nodes:
    """Work to do: each new node wants a range."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        self.made = 0

    def more(self) -> None:
        for _ in range(5):
            self.made += 1
            body = {"metadata": {"name": f"n{self.made}"}}
            assert self.client.post("/api/v1/nodes", json=body).status_code == 201

    def cidrs(self) -> list[str]:
        items = self.client.get("/api/v1/nodes").json()["items"]
        return [one["spec"]["podCIDR"] for one in items if one["spec"].get("podCIDR")]

    def all_served(self) -> bool:
        return len(self.cidrs()) == self.made

    def lease(self) -> dict[str, Any]:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/netplane-controllers"
        spec: dict[str, Any] = self.client.get(path).json()["spec"]
        return spec


def test_the_work_goes_on_and_is_never_done_by_two(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server, server.client() as client, candidate(server.kubeconfig, tmp_path / "a") as a:
        nodes = Nodes(client)
        until(lambda: a.said("leading"), "one leads")
        with candidate(server.kubeconfig, tmp_path / "b") as b:
            until(lambda: b.said("another leads"), "the other stands by")
            nodes.more()
            until(nodes.all_served, "the leader works")
            until(lambda: client.get("/api/v1/namespaces/default/serviceaccounts/default").is_success, "an account")

            a.process.send_signal(signal.SIGSTOP)
            nodes.more()
            until(nodes.all_served, "the other took over from a suspended leader")
            a.process.send_signal(signal.SIGCONT)
            until(lambda: a.said("no longer leading"), "the woken one steps down")

            b.process.kill()
            b.process.wait()
            nodes.more()
            until(nodes.all_served, "the first took over from a killed leader")
            turns = sorted([(at, "a") for at in a.wrote()] + [(at, "b") for at in b.wrote()])
            assert [who for who, _ in itertools.groupby(who for _, who in turns)] == ["a", "b", "a"]
        assert len(set(nodes.cidrs())) == nodes.made == 15
        assert nodes.lease()["leaseTransitions"] == 2
        a.process.terminate()
        assert a.process.wait(20) == 0
        assert nodes.lease()["holderIdentity"] == ""
