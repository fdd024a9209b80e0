"""The whole walk with real packets: a three-node lab, the real kubectl, and everything killed in turn."""

import asyncio
import json
import math
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from labs import cluster, probe, processes, wiring
from labs.topology import Lab
from netplane.api.conditions import is_ready
from netplane.api.objects import EndpointSlice, Pod
from netplane.client.api import Api
from netplane.kernel import netns
from tests import labtools

pytestmark = pytest.mark.privileged

# A right program fails the evenness test with this probability.
ERROR_RATE = 1e-6


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labtools.lab_up(labtools.unique_name()) as made:
        yield made


def kubectl(lab: Lab, *args: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["kubectl", *args],
        input=stdin,
        env={**os.environ, "KUBECONFIG": str(lab.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
    return done.stdout


def chi_square_limit(cells: int, error_rate: float) -> float:
    """The value a chi-square statistic of `cells` - 1 (an even number of) degrees of freedom exceeds at this rate."""
    half = (cells - 1) // 2
    low, high = 0.0, 1000.0
    for _ in range(100):
        x = (low + high) / 2
        tail = math.exp(-x / 2) * sum((x / 2) ** i / math.factorial(i) for i in range(half))
        low, high = (x, high) if tail > error_rate else (low, x)
    return high


def test_pods_reach_each_other_on_one_node_and_across_nodes(lab: Lab) -> None:
    found = labtools.pods(lab)
    client = found["client"]
    backends = [pod for name, pod in found.items() if name.startswith("web-")]
    assert {pod.spec.node_name for pod in backends} == {node.name for node in lab.nodes}
    assert any(pod.spec.node_name == client.spec.node_name for pod in backends)
    assert any(pod.spec.node_name != client.spec.node_name for pod in backends)
    for pod in backends:
        assert pod.status is not None
        answers = probe.count(labtools.space_of(lab, client), "http", pod.status.pod_ip, 8080, 3)
        assert answers.by_pod == {pod.metadata.name: 3}, answers
        # Pods see each other's own addresses: nothing between them is translated.
        assert client.status is not None
        assert answers.clients == [client.status.pod_ip]


@pytest.mark.parametrize("kind", ["http", "tcp", "udp"])
@pytest.mark.parametrize("origin", ["pod", "node"])
def test_cluster_ip_answers(lab: Lab, origin: str, kind: str) -> None:
    service = labtools.service(lab)
    port = {"http": 80, "tcp": 7, "udp": 7}[kind]
    space = labtools.space_of(lab, labtools.pods(lab)["client"]) if origin == "pod" else lab.nodes[1].netns
    answers = probe.count(space, kind, service.spec.cluster_ip, port, 60)
    assert answers.ok, answers
    assert set(answers.by_pod) <= {f"web-{i}" for i in range(1, 6)}


@pytest.mark.parametrize(("kind", "port"), [("http", 30080), ("tcp", 30007), ("udp", 30007)])
def test_node_port_answers_outside_through_every_node(lab: Lab, kind: str, port: int) -> None:
    for node in lab.nodes:
        answers = probe.count(lab.outside, kind, node.address, port, 40)
        assert answers.ok, (node.name, answers)


def test_every_endpoint_gets_its_share(lab: Lab) -> None:
    service = labtools.service(lab)
    total = 1000
    answers = probe.count(
        labtools.space_of(lab, labtools.pods(lab)["client"]), "tcp", service.spec.cluster_ip, 7, total
    )
    assert sum(answers.by_pod.values()) == total, answers
    expected = total / 5
    statistic = sum((answers.by_pod.get(f"web-{i}", 0) - expected) ** 2 / expected for i in range(1, 6))
    assert statistic < chi_square_limit(5, ERROR_RATE), answers


def test_a_pod_reaches_itself_through_its_service(lab: Lab) -> None:
    service = labtools.service(lab)
    pod = labtools.pods(lab)["web-1"]
    seen: Counter[str] = Counter()
    for kind, port in (("http", 80), ("udp", 7)):
        answers = probe.count(labtools.space_of(lab, pod), kind, service.spec.cluster_ip, port, 100)
        assert answers.ok, (kind, answers)
        seen.update(answers.by_pod)
        # Of 5 endpoints a fair choice leaves one out in 100 asks with a probability of 0.8^100 = 2e-10.
        assert answers.by_pod.get("web-1", 0) > 0, (kind, answers)


@pytest.mark.parametrize("on", [True, False])
def test_an_endpoint_on_the_clients_own_bridge_answers(lab: Lab, on: bool) -> None:
    found = labtools.pods(lab)
    client = found["client"]
    neighbours = {n for n, p in found.items() if n.startswith("web-") and p.spec.node_name == client.spec.node_name}
    node = labtools.node_of(lab, client)
    wiring.set_bridge_nf_call(node, on)
    try:
        for kind, port in (("http", 80), ("udp", 7)):
            answers = probe.count(
                labtools.space_of(lab, client), kind, labtools.service(lab).spec.cluster_ip, port, 100
            )
            assert answers.ok, (kind, answers)
            assert neighbours <= set(answers.by_pod), (kind, answers)
    finally:
        wiring.set_bridge_nf_call(node, True)


def test_pods_reach_the_apiserver_through_its_service(lab: Lab) -> None:
    client = labtools.pods(lab)["client"]
    context = ssl._create_unverified_context()

    def version() -> bytes:
        with urllib.request.urlopen("https://10.96.0.1/version", timeout=5, context=context) as answer:
            return bytes(answer.read())

    for space in (labtools.space_of(lab, client), lab.nodes[0].netns):
        assert b'"gitVersion"' in netns.run_in(space, version)
    kubectl(lab, "delete", "service", "kubernetes")
    labtools.until(lambda: "10.96.0.1" in kubectl(lab, "get", "services", "--no-headers"), "it comes back")
    labtools.until(lambda: probe.connects(lab.nodes[0].netns, "10.96.0.1", 443), "it answers again")


def test_a_service_without_endpoints_refuses_at_once(lab: Lab) -> None:
    kubectl(lab, "create", "service", "clusterip", "empty", "--tcp=80:80")
    try:
        address = labtools.service(lab, "empty").spec.cluster_ip
        space = labtools.space_of(lab, labtools.pods(lab)["client"])
        for where in (space, lab.nodes[0].netns):

            def refused(where: str = where) -> bool:
                return probe.count(where, "http", address, 80, 1, 2.0).failed == {"ConnectionRefusedError": 1}

            labtools.until(refused, "the empty Service refuses")
            # A refusal, not a timeout: the reset is the kernel's answer to the first packet.
            answers = probe.count(where, "http", address, 80, 10, 5.0)
            assert answers.failed == {"ConnectionRefusedError": 10}, answers
    finally:
        kubectl(lab, "delete", "service", "empty")


def test_deleting_a_pod_moves_new_connections_within_a_second(lab: Lab) -> None:
    service = labtools.service(lab)
    space = labtools.space_of(lab, labtools.pods(lab)["client"])
    victim = "web-5"
    manifest = kubectl(lab, "get", "pod", victim, "-o", "json")
    began = time.monotonic()
    kubectl(lab, "delete", "pod", victim, "--wait=false")
    time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
    answers = probe.count(space, "tcp", service.spec.cluster_ip, 7, 200)
    assert answers.ok, answers
    assert victim not in answers.by_pod
    labtools.until(lambda: victim not in labtools.pods(lab), "the pod is gone")
    assert not [s for s in netns.names(lab.prefix) if s.endswith(_uid_of(manifest)[:13])]
    _make_again(lab, victim)


def _uid_of(manifest: str) -> str:
    uid: str = json.loads(manifest)["metadata"]["uid"]
    return uid


def _make_again(lab: Lab, name: str) -> None:
    (obj,) = [o for o in cluster.read_manifests(cluster.FIRST_WALK) if o["metadata"]["name"] == name]
    labtools.ask(lab, lambda api: cluster.apply(api, [obj]))
    labtools.until(lambda: name in (p := labtools.pods(lab)) and is_ready(p[name]), f"{name} ready")

    async def has_five(api: Api) -> bool:
        slices = (await api.list(EndpointSlice, "default", label_selector="kubernetes.io/service-name=web")).items
        ready = [e for s in slices for e in s.endpoints or [] if e.conditions and e.conditions.ready]
        return len(ready) == 5

    labtools.until(lambda: labtools.ask(lab, has_five), "five endpoints")


def test_killing_everything_in_turn_breaks_no_connection_and_loses_nothing(lab: Lab) -> None:
    service = labtools.service(lab)
    found = labtools.pods(lab)
    client_space = labtools.space_of(lab, found["client"])
    before = {name: (p.metadata.uid, p.status.pod_ip if p.status else "") for name, p in found.items()}
    talks = [labtools.Conversation(client_space, service.spec.cluster_ip, 7) for _ in range(10)]
    talks += [labtools.Conversation(lab.outside, node.address, 30007) for node in lab.nodes]
    try:
        names = ["apiserver", *(f"{kind}-{node.name}" for node in lab.nodes for kind in ("agent", "proxy")), "kubelet"]
        for name in names:
            labtools.kill_and_await_restart(lab, name)
            assert all(talk.still_there() for talk in talks), name
            assert probe.count(client_space, "tcp", service.spec.cluster_ip, 7, 20).ok, name
        labtools.until(lambda: labtools.healthy(lab), "the API answers and the nodes are ready")
        after = {n: (p.metadata.uid, p.status.pod_ip if p.status else "") for n, p in labtools.pods(lab).items()}
        assert after == before
        assert labtools.service(lab).spec.cluster_ip == service.spec.cluster_ip
        _the_restarted_programs_work(lab)
        assert all(talk.still_there() for talk in talks)
    finally:
        for talk in talks:
            talk.close()


def _the_restarted_programs_work(lab: Lab) -> None:
    """A new pod and a new Service pass through all of them."""
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: late, labels: {app: late}}
spec:
  containers: [{name: echo, image: netplane/echo, args: ["--http", "8080"]}]
---
apiVersion: v1
kind: Service
metadata: {name: late}
spec: {selector: {app: late}, ports: [{port: 80, targetPort: 8080}]}
"""
    kubectl(lab, "apply", "-f", "-", stdin=manifest)
    space = labtools.space_of(lab, labtools.pods(lab)["client"])
    address = labtools.service(lab, "late").spec.cluster_ip
    labtools.until(lambda: probe.count(space, "http", address, 80, 1, 0.5).ok, "the late Service answers")
    kubectl(lab, "delete", "service/late", "pod/late")


CRASHING = """
apiVersion: v1
kind: Pod
metadata: {name: crash, labels: {app: crash}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: none, command: [sh, -c, "sleep 0.2 & sleep 1000 & sleep 0.1; exit 3"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: nothing}
spec:
  containers: [{name: c, image: none, command: [/nonexistent]}]
---
apiVersion: v1
kind: Pod
metadata: {name: image}
spec:
  containers: [{name: c, image: nginx}]
"""


def test_pods_that_cannot_run_say_why_and_leave_nothing(lab: Lab) -> None:
    kubectl(lab, "apply", "-f", "-", stdin=CRASHING)
    reasons = {"crash": "CrashLoopBackOff", "nothing": "RunContainerError", "image": "ErrImagePull"}
    for name, reason in reasons.items():

        def shown(name: str = name, reason: str = reason) -> bool:
            return reason in kubectl(lab, "get", "pod", name, "--no-headers")

        labtools.until(shown, f"{name} shows {reason}")
    crash = labtools.pods(lab)["crash"]
    assert not is_ready(crash)
    assert crash.status is not None
    assert (crash.status.container_statuses or [])[0]["lastState"]["terminated"]["exitCode"] == 3
    labtools.until(lambda: "labs have processes, not images" in kubectl(lab, "describe", "pod", "image"), "an event")
    inside = processes.in_namespace(labtools.space_of(lab, crash))
    assert inside, "a child outlived its shell"
    kubectl(lab, "delete", "pod", *reasons, "--timeout=20s")
    labtools.until(lambda: not any(map(processes.start_time, inside)), "nothing of them runs")


def test_a_silent_node_is_noticed_and_comes_back(lab: Lab) -> None:
    space = labtools.space_of(lab, labtools.pods(lab)["client"])
    address = labtools.service(lab).spec.cluster_ip
    pid, _ = labtools.program(lab, "kubelet")
    os.kill(pid, signal.SIGSTOP)
    try:
        labtools.until(lambda: set(labtools.node_conditions(lab)) == {"Unknown"}, "nodes are Unknown")
        labtools.until(lambda: not any(map(is_ready, labtools.pods(lab).values())), "pods are not ready")
    finally:
        os.kill(pid, signal.SIGCONT)
    labtools.until(lambda: set(labtools.node_conditions(lab)) == {"True"}, "nodes are ready")
    labtools.until(lambda: all(map(is_ready, labtools.pods(lab).values())), "pods are ready")
    labtools.until(lambda: probe.count(space, "http", address, 80, 10).ok, "the Service answers")


def test_kubectl_tells_the_truth(lab: Lab) -> None:
    rows = [line.split() for line in kubectl(lab, "get", "pods", "-o", "wide", "--no-headers").splitlines()]
    found = labtools.pods(lab)
    assert {row[0] for row in rows} == set(found)
    for row in rows:
        pod: Pod = found[row[0]]
        assert pod.status is not None
        assert row[1:3] == ["1/1", "Running"]
        assert row[5:7] == [pod.status.pod_ip, pod.spec.node_name]
        with netns.opened(labtools.space_of(lab, pod)) as fd:
            listing = netns.run_in(
                f"/proc/self/fd/{fd}",
                lambda: subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout,
            )
        assert pod.status.pod_ip in listing
    assert "web-1" in kubectl(lab, "describe", "pod", "web-1")
    assert asyncio.run(_ready_nodes(lab)) == len(lab.nodes)


async def _ready_nodes(lab: Lab) -> int:
    from labs import inspect

    return sum(node.ready for node in (await inspect.look(lab)).nodes)
