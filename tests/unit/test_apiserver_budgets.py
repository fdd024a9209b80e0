"""Kinds that schedulers and controllers bring along: evictions ask budgets, pods get priorities, claims classes."""

from typing import Any

import pytest

from netplane.apiserver.verbs import evicting
from tests.apiserver_app import Server, claim, run

Json = dict[str, Any]

PODS, NAMESPACE = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
PRIORITIES, CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses", "/apis/storage.k8s.io/v1/storageclasses"
NOT_NOW = "Cannot evict pod as it would violate the pod's disruption budget."
READY = {"type": "Ready", "status": "True"}
HEALTHY = {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2}


def pod(name: str, **spec: Any) -> Json:
    containers = [{"name": "c", "image": "i"}]
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": containers, **spec}}


def budget(name: str = "b", **spec: Any) -> Json:
    selector = {"matchLabels": {"app": "a"}}
    return {"metadata": {"name": name}, "spec": {"minAvailable": 2, "selector": selector, **spec}}


async def running(ask: Server, name: str, *conditions: Json) -> None:
    await ask.create(PODS, pod(name))
    status = {"status": {"phase": "Running", "conditions": list(conditions)}}
    assert (await ask.patch(f"{PODS}/{name}/status", status)).status == 200


async def evicted(ask: Server, name: str) -> tuple[int, str]:
    """The code, and the cause of a refusal."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    answer = await ask("POST", f"{PODS}/{name}/eviction", body)
    causes = (answer.json.get("details") or {}).get("causes") or [{"message": answer.json.get("message", "")}]
    assert answer.status != 429 or answer.json["message"] == NOT_NOW
    return answer.status, causes[0]["message"]


def test_a_budget_is_spent_by_evictions() -> None:
    async def test(ask: Server) -> None:
        await running(ask, "p1", READY)
        await running(ask, "p2", READY)
        await ask.create(BUDGETS, budget())
        unseen = "The disruption budget b is still being processed by the server."
        assert await evicted(ask, "p1") == (429, unseen)
        await ask.patch(f"{BUDGETS}/b/status", {"status": HEALTHY})
        assert await evicted(ask, "p1") == (201, "")
        status = (await ask("GET", f"{BUDGETS}/b")).json["status"]
        assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p1"])
        assert [(one["type"], one["reason"]) for one in status["conditions"]] == [
            ("DisruptionAllowed", "InsufficientPods")
        ]
        assert (await ask("GET", f"{PODS}/p1")).status == 404
        refused = "The disruption budget b does not allow evicting pods currently"
        assert await evicted(ask, "p2") == (429, refused)

    run(test)


@pytest.mark.parametrize(
    ("status", "policy", "code"),
    [
        ({**HEALTHY, "disruptionsAllowed": 0}, "IfHealthyBudget", 201),
        ({**HEALTHY, "disruptionsAllowed": 0, "currentHealthy": 1}, "IfHealthyBudget", 429),
        ({**HEALTHY, "disruptionsAllowed": 0, "currentHealthy": 1}, "AlwaysAllow", 201),
        ({**HEALTHY, "observedGeneration": 0}, "AlwaysAllow", 201),
    ],
)
def test_pods_that_are_not_ready_may_go(status: Json, policy: str, code: int) -> None:
    async def test(ask: Server) -> None:
        await running(ask, "p")
        await ask.create(BUDGETS, budget(unhealthyPodEvictionPolicy=policy))
        await ask.patch(f"{BUDGETS}/b/status", {"status": status})
        assert (await evicted(ask, "p"))[0] == code
        spent = (await ask("GET", f"{BUDGETS}/b")).json["status"].get("disruptedPods")
        assert not spent

    run(test)


def test_what_has_not_begun_is_evicted_whatever_its_budget_says() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("p"))
        await ask.create(BUDGETS, budget())
        assert await evicted(ask, "p") == (201, "")

    run(test)


@pytest.mark.parametrize(("status", "since"), [("True", True), ("False", False)])
def test_an_eviction_is_told_in_the_place_of_a_disruption_that_was_told_before(status: str, since: bool) -> None:
    before = {"type": "DisruptionTarget", "status": status, "reason": "PreemptionByScheduler"}
    other = {"type": "Other", "status": "True"}
    told = {"conditions": [{**before, "lastTransitionTime": "2020-01-01T00:00:00Z"}, other]}
    evicting._condemned({"status": told})
    assert [one["type"] for one in told["conditions"]] == ["DisruptionTarget", "Other"]
    found = told["conditions"][0]
    assert (found["status"], found["reason"]) == ("True", "EvictionByEvictionAPI")
    assert (found["lastTransitionTime"] == "2020-01-01T00:00:00Z") is since


def test_two_budgets_are_one_too_many() -> None:
    async def test(ask: Server) -> None:
        await running(ask, "p", READY)
        await ask.create(BUDGETS, budget("one"))
        await ask.create(BUDGETS, budget("two"))
        code, why = await evicted(ask, "p")
        assert (code, why.partition(",")[0]) == (201, "This pod has more than one PodDisruptionBudget")
        assert (await ask("GET", f"{PODS}/p")).json["status"]["phase"] == "Running"

    run(test)


def test_pods_get_the_priority_of_their_class() -> None:
    async def test(ask: Server) -> None:
        plain = await ask.create(PODS, pod("plain"))
        assert (plain["spec"]["priority"], plain["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
        await ask.create(PRIORITIES, {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
        high = await ask.create(PODS, pod("high", priorityClassName="high"))
        assert (high["spec"]["priority"], high["spec"]["preemptionPolicy"]) == (7, "Never")
        node = await ask.create(PODS, pod("node", priorityClassName="system-node-critical"))
        assert node["spec"]["priority"] == 2_000_001_000
        for given, why in (
            ({"priorityClassName": "none"}, "no PriorityClass with name none was found"),
            (
                {"priority": 3},
                "the integer value of priority (3) must not be provided in pod spec; priority admission ",
            ),
        ):
            answer = await ask("POST", PODS, pod("p", **given))
            assert answer.status == 403
            assert answer.json["message"].startswith(f'pods "p" is forbidden: {why}')
        await ask.create(PRIORITIES, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
        assert (await ask.create(PODS, pod("usual")))["spec"]["priorityClassName"] == "usual"
        second = await ask("POST", PRIORITIES, {"metadata": {"name": "other"}, "value": 5, "globalDefault": True})
        assert second.json["message"].endswith(
            "PriorityClass usual is already marked as default. Only one default can exist"
        )

    run(test)


def test_claims_get_the_default_class_and_are_protected() -> None:
    claims = f"{NAMESPACE}/persistentvolumeclaims"

    async def test(ask: Server) -> None:
        assert "storageClassName" not in (await ask.create(claims, claim("early")))["spec"]
        mark = {"storageclass.kubernetes.io/is-default-class": "true"}
        await ask.create(CLASSES, {"metadata": {"name": "fast", "annotations": mark}, "provisioner": "p"})
        made = await ask.create(claims, claim("late", dataSource={"kind": "PersistentVolumeClaim", "name": "early"}))
        assert made["spec"]["storageClassName"] == "fast"
        assert made["spec"]["dataSourceRef"]["name"] == "early"
        assert (await ask.create(claims, claim("none", storageClassName="")))["spec"]["storageClassName"] == ""
        assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        assert (await ask("DELETE", f"{claims}/late")).json["metadata"]["deletionTimestamp"]
        await ask.patch(f"{claims}/late", {"metadata": {"finalizers": None}})
        assert (await ask("GET", f"{claims}/late")).status == 404

    run(test)


def test_volumes_say_since_when_they_are_in_their_phase() -> None:
    volumes = "/api/v1/persistentvolumes"
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}

    async def test(ask: Server) -> None:
        made = await ask.create(volumes, {"metadata": {"name": "v"}, "spec": spec})
        assert made["status"]["lastPhaseTransitionTime"] == made["metadata"]["creationTimestamp"]
        then = {"phase": "Bound", "lastPhaseTransitionTime": "2020-01-01T00:00:00Z"}
        assert (await ask.patch(f"{volumes}/v/status", {"status": then})).json["status"] == then
        again = (await ask.patch(f"{volumes}/v/status", {"status": {"phase": "Released"}})).json["status"]
        assert again["lastPhaseTransitionTime"] > then["lastPhaseTransitionTime"]

    run(test)


@pytest.mark.parametrize(
    "path",
    [
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "/apis/node.k8s.io/v1/runtimeclasses",
    ],
)
def test_what_nothing_acts_on_can_be_watched_and_not_made(path: str) -> None:
    async def test(ask: Server) -> None:
        assert (await ask("GET", path)).json["items"] == []
        assert (await ask("POST", path, {"metadata": {"name": "x"}})).status == 405

    run(test)


def test_programs_find_what_they_look_for_in_kube_system() -> None:
    maps = "/api/v1/namespaces/kube-system/configmaps"

    async def test(ask: Server) -> None:
        assert (await ask("GET", f"{maps}/extension-apiserver-authentication")).status == 200
        since = (await ask("GET", f"{maps}/kube-apiserver-legacy-service-account-token-tracking")).json["data"]["since"]
        assert len(since) == len("2026-01-01")

    run(test)
