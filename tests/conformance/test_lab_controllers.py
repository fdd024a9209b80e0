"""The controllers in a whole cluster: addresses of the pool that really answer, and work that survives their deaths."""

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from labs import probe
from labs.topology import Lab
from tests import labtools, waiting

pytestmark = pytest.mark.privileged
WEB = {f"web-{i}" for i in range(1, 6)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labtools.lab_up(labtools.unique_name()) as made:
        yield made


def kubectl(lab: Lab, *args: str) -> str:
    env = {**os.environ, "KUBECONFIG": str(lab.kubeconfig)}
    done = subprocess.run(["kubectl", *args], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
    return done.stdout


until = partial(waiting.until, within_s=60.0)


def address(lab: Lab, name: str) -> str:
    return kubectl(lab, "get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")


def endpoints(lab: Lab, name: str) -> set[str]:
    path = "jsonpath={.items[*].endpoints[*].targetRef.name}"
    return set(kubectl(lab, "get", "endpointslices", "-l", f"kubernetes.io/service-name={name}", "-o", path).split())


def test_an_address_of_the_pool_answers_outside_and_inside_and_is_given_on(lab: Lab) -> None:
    for name in ("first", "second"):
        kubectl(lab, "expose", "pod", "web-1", "--name", name, "--type", "LoadBalancer", "--port", "80",
                "--target-port", "8080")  # fmt: skip
        until(lambda name=name: address(lab, name), "an address")  # type: ignore[misc]  # bound now, takes nothing
    first, second = address(lab, "first"), address(lab, "second")
    assert first != second
    client = labtools.space_of(lab, labtools.pods(lab)["client"])
    for space in (lab.outside, lab.nodes[1].netns, client):
        until(lambda space=space: probe.count(space, "http", first, 80, 1).ok, "an answer")  # type: ignore[misc]
        answers = probe.count(space, "http", first, 80, 20)
        assert answers.ok, (space, answers)
        assert set(answers.by_pod) <= WEB
    kubectl(lab, "delete", "service", "first")
    kubectl(lab, "expose", "pod", "web-1", "--name", "third", "--type", "LoadBalancer", "--port", "80")
    until(lambda: address(lab, "third") == first, "the address that is free again")
    assert address(lab, "second") == second


def test_pods_come_and_go_while_the_controllers_are_killed(lab: Lab) -> None:
    for i in range(3):
        kubectl(lab, "run", f"late-{i}", "--image", "netplane/echo", "--labels", "app=web", "--", "--http", "8080")
        kill(lab, "controllers")
        kubectl(lab, "delete", "pod", f"web-{i + 1}", "--force", "--grace-period=0")
    expected = {"web-4", "web-5", "late-0", "late-1", "late-2"}
    until(lambda: endpoints(lab, "web") == expected, "the slices say who is there")
    answers = probe.count(lab.outside, "http", lab.nodes[0].address, 30080, 40)
    until(lambda: probe.count(lab.outside, "http", lab.nodes[0].address, 30080, 40).ok, f"answers: {answers}")
    assert len(kubectl(lab, "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "name").split()) == 1


def kill(lab: Lab, program: str) -> None:
    """Its supervisor starts it again."""
    record = lab.folder / "run" / f"{program}.pid"

    def pid() -> int:
        return int(record.read_text().split()[0]) if record.exists() else 0

    before = pid()
    os.kill(before, signal.SIGKILL)
    until(lambda: pid() not in (0, before), f"{program} is started again")
