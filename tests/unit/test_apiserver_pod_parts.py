"""pods/ephemeralcontainers and pods/resize: parts of a pod that are written apart."""

from typing import Any

import pytest

from tests.apiserver_app import Answer, Server, pod, run

PODS = "/api/v1/namespaces/default/pods"
AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}


def debug(**fields: Any) -> dict[str, Any]:
    return {"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox", **fields}]}}


def resources(name: str = "c", **given: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": name, "resources": given}]}}


def refusal(answer: Answer) -> str:
    assert answer.status == 422, answer.body
    return str(answer.json["message"]).partition(": ")[2]


def test_a_container_to_look_around_comes_and_stays() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("a"))
        part = f"{PODS}/a/ephemeralcontainers"
        made = (await ask.patch(part, debug(targetContainerName="c"), "strategic")).json
        assert [one["name"] for one in made["spec"]["ephemeralContainers"]] == ["d"]
        assert made["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "Always"
        assert made["metadata"]["generation"] == 2
        assert [one.get("subresource") for one in made["metadata"]["managedFields"]] == [None, "ephemeralcontainers"]
        changed = refusal(await ask.patch(part, debug(image="other"), "strategic"))
        why = 'Forbidden: existing ephemeral containers "d" may not be changed'
        assert changed.startswith(f"spec.ephemeralContainers: {why}\n@@ -1,6 +1,6 @@\n")
        assert '- "Image": "busybox",\n+ "Image": "other",\n' in changed
        gone = await ask.patch(part, {"spec": {"ephemeralContainers": []}})
        assert refusal(gone) == (
            'spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed\n'
        )
        assert (await ask("GET", part)).json == (await ask("GET", f"{PODS}/a")).json

    run(test)


def test_all_else_stays_as_it_was() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("a"))
        patch = {**debug(), "metadata": {"labels": {"a": "b"}}}
        patch["spec"]["nodeName"] = "n"
        made = (await ask.patch(f"{PODS}/a/ephemeralcontainers", patch, "strategic")).json
        assert "labels" not in made["metadata"]
        assert "nodeName" not in made["spec"]
        resized = (await ask.patch(f"{PODS}/a/resize", {"spec": {"nodeName": "n"}})).json
        assert resized["metadata"]["generation"] == made["metadata"]["generation"]

    run(test)


def test_resources_change_in_their_own_place_only() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("r", containers=[{"name": "c", "image": "i", "resources": AMOUNTS}]))
        patch = resources(requests={"cpu": "150m"})
        assert "pod updates may not change fields" in refusal(await ask.patch(f"{PODS}/r", patch, "strategic"))
        made = (await ask.patch(f"{PODS}/r/resize", patch, "strategic")).json
        assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "150m", "memory": "64Mi"}
        assert made["metadata"]["generation"] == 2

    run(test)


RESIZES = [
    (
        resources(limits={"memory": "32Mi"}),
        'spec.containers[0].resources.requests: Invalid value: "64Mi": must be less than or equal to memory limit of '
        "32Mi",
    ),
    (
        resources(requests=None, limits={"cpu": None}),
        "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
    ),
    (
        resources(limits={"cpu": "100m"}),
        'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
    ),
    (resources(limits={"example.com/x": "1"}), "spec: Forbidden: only cpu and memory resources are mutable"),
    (
        resources("other", limits={"cpu": "1"}),
        "spec.containers: Forbidden: containers may not be added or removed on resize",
    ),
]


@pytest.mark.parametrize(("patch", "expected"), RESIZES)
def test_what_a_resize_may_not_do(patch: dict[str, Any], expected: str) -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("r", containers=[{"name": "c", "image": "i", "resources": AMOUNTS}]))
        assert expected in refusal(await ask.patch(f"{PODS}/r/resize", patch, "strategic"))

    run(test)


def test_pods_that_are_never_resized() -> None:
    async def test(ask: Server) -> None:
        static = pod("s", nodeName="n")
        static["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
        await ask.create(PODS, static)
        await ask.create(PODS, pod("w", os={"name": "windows"}))
        patch = resources(requests={"cpu": "1"})
        refused = await ask.patch(f"{PODS}/s/resize", patch, "strategic")
        assert refusal(refused) == ": Forbidden: static pods cannot be resized"
        refused = await ask.patch(f"{PODS}/w/resize", patch, "strategic")
        assert refusal(refused) == ": Forbidden: windows pods cannot be resized"
        refused = await ask.patch(f"{PODS}/s/ephemeralcontainers", debug(), "strategic")
        assert refusal(refused) == ": Forbidden: static pods do not support ephemeral containers"

    run(test)
