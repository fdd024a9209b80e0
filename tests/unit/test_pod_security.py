"""Pod Security: labels of namespaces, what is forbidden in pods, and how the server refuses and warns."""

from typing import Any

import pytest

from netplane.api import pod_security
from netplane.api.pod_security import PREFIX, Policy, Standard
from tests.apiserver_app import Server, run

Json = dict[str, Any]

NAMESPACES = "/api/v1/namespaces"
PODS = f"{NAMESPACES}/z/pods"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
GOOD: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PLAIN = (
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or '
    'container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
)


def spec(security: Json | None = None, pod: Json | None = None, top: Json | None = None, **container: Any) -> Json:
    one = {"name": "c", "image": "x", "securityContext": {**GOOD, **(security or {})}, **container}
    return {"containers": [one], "securityContext": pod or {}, **(top or {})}


def labels(**given: str) -> dict[str, str]:
    return {PREFIX + mode.replace("_", "-"): value for mode, value in given.items()}


@pytest.mark.parametrize(
    ("given", "enforce", "warn"),
    [
        ({}, "privileged:latest", "privileged:latest"),
        (labels(enforce="baseline"), "baseline:latest", "baseline:latest"),
        (labels(enforce="baseline", enforce_version="v1.20"), "baseline:v1.20", "baseline:v1.20"),
        (labels(enforce="restricted", warn="baseline"), "restricted:latest", "baseline:latest"),
        (labels(warn="restricted", warn_version="v1.9"), "privileged:latest", "restricted:v1.9"),
        (labels(enforce="bogus", warn="bogus"), "restricted:latest", "privileged:latest"),
    ],
)
def test_labels_name_standards(given: dict[str, str], enforce: str, warn: str) -> None:
    found, problems = pod_security.policy(given)
    assert (str(found.enforce), str(found.warn)) == (enforce, warn)
    assert len(problems) == list(given.values()).count("bogus")
    assert isinstance(found, Policy)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (spec(), ""),
        (spec(top={"hostNetwork": True, "hostIPC": True}), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (
            spec({"capabilities": {"drop": ["ALL"], "add": ["B", "A"]}}),
            'unrestricted capabilities (container "c" must not include "A", "B" in securityContext.capabilities.add)',
        ),
        (
            spec(
                top={"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}, {"name": "e", "secret": {}}]}
            ),
            'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")',
        ),
        (spec(ports=[{"hostPort": 80}, {"hostPort": 9}]), 'hostPort (container "c" uses hostPorts 80, 9)'),
        (
            spec(livenessProbe={"tcpSocket": {"host": "h"}}),
            'probe or lifecycle host (container "c" uses probe or lifecycle host "h")',
        ),
        (
            spec({"privileged": True}),
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            spec({"procMount": "Unmasked"}, top={"hostUsers": False}),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            spec({"seLinuxOptions": {"type": "t", "user": "u"}}, {"seLinuxOptions": {"type": "container_engine_t"}}),
            'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: '
            'type "t"; user may not be set)',
        ),
        (
            spec({"seccompProfile": {"type": "Unconfined"}}, {"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (spec(pod={"sysctls": [{"name": "kernel.x"}, {"name": "net.ipv4.tcp_rmem"}]}), "forbidden sysctls (kernel.x)"),
        (
            spec({"windowsOptions": {"hostProcess": True}}),
            'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
        ),
        (
            spec({"runAsNonRoot": False, "runAsUser": 0}, {"runAsUser": 0}),
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), '
            'runAsUser=0 (pod and container "c" must not set runAsUser=0)',
        ),
        (spec({"runAsNonRoot": None}, {"runAsNonRoot": True}), ""),
        (spec({"runAsNonRoot": None, "runAsUser": 0}, top={"hostUsers": False}), ""),
        (
            spec({"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
        ),
        ({"containers": [{"name": "c", "image": "x"}]}, PLAIN),
    ],
)
def test_what_is_forbidden(pod: Json, expected: str) -> None:
    assert pod_security.told(pod_security.violations(Standard("restricted"), {}, pod)) == expected
    assert pod_security.violations(Standard(), {}, pod) == []


@pytest.mark.parametrize(
    ("standard", "reasons"),
    [
        (Standard("baseline"), []),
        (Standard("restricted", "v1.7"), ["runAsNonRoot != true"]),
        (
            Standard("restricted", "v1.20"),
            ["allowPrivilegeEscalation != false", "runAsNonRoot != true", "seccompProfile"],
        ),
    ],
)
def test_versions_are_as_they_were(standard: Standard, reasons: list[str]) -> None:
    pod = {"containers": [{"name": "c", "image": "x"}]}
    assert [reason for reason, _ in pod_security.violations(standard, {}, pod)] == reasons


def test_annotations_count_where_fields_do_not() -> None:
    metadata = {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}
    found = pod_security.violations(Standard("baseline", "v1.10"), metadata, spec())
    told = 'forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined"'
    assert found == [("seccompProfile", told)]


def pod(name: str, **more: Any) -> Json:
    return {"metadata": {"name": name, **more}, "spec": {"containers": [{"name": "c", "image": "x"}]}}


async def _namespace(ask: Server, **given: str) -> None:
    await ask.create(NAMESPACES, {"metadata": {"name": "z", "labels": labels(**given)}})


def test_pods_are_refused_and_their_makers_warned_of() -> None:
    async def body(ask: Server) -> None:
        await _namespace(ask, enforce="restricted")
        refused = await ask("POST", PODS, pod("p"))
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
        words = f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {PLAIN}'
        assert refused.json["message"] == words
        template: Json = {"metadata": {"labels": {"a": "b"}}, "spec": pod("p")["spec"]}
        template["spec"]["restartPolicy"] = "Never"
        job = {"metadata": {"name": "j"}, "spec": {"template": template}}
        made = await ask("POST", "/apis/batch/v1/namespaces/z/jobs", job)
        assert made.status == 201
        assert "would violate PodSecurity" in made.headers["warning"]

    run(body)


def test_changes_that_matter_are_looked_at() -> None:
    async def body(ask: Server) -> None:
        await _namespace(ask)
        await ask.create(PODS, pod("p"))
        await ask.create(PODS, pod("q"))
        stricter = {"metadata": {"labels": labels(enforce="restricted")}}
        told = await ask("PATCH", f"{NAMESPACES}/z", stricter, content_type=MERGE)
        assert "p (and 1 other pod): allowPrivilegeEscalation != false, unrestricted" in told.headers["warning"]
        for part, change, code in (
            ("", {"metadata": {"labels": {"a": "b"}}}, 200),
            ("", {"spec": {"containers": [{"name": "c", "image": "y"}]}}, 403),
            ("/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "e", "image": "x"}]}}, 403),
            ("/status", {"status": {"phase": "Running"}}, 200),
        ):
            answer = await ask("PATCH", f"{PODS}/p{part}", change, content_type=STRATEGIC)
            assert answer.status == code, change

    run(body)


def test_labels_must_be_right_once_they_change() -> None:
    async def body(ask: Server) -> None:
        answer = await ask("POST", NAMESPACES, {"metadata": {"name": "y", "labels": labels(enforce="Baseline")}})
        assert (answer.status, answer.json["message"]) == (
            422,
            f'Namespace "y" is invalid: metadata.labels[{PREFIX}enforce]: Invalid value: "Baseline": must be one of '
            "privileged, baseline, restricted",
        )

    run(body)
