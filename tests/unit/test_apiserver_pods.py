"""What the server makes of pods: what fields imply, what their nodes give them, how they go."""

from typing import Any

import pytest

from netplane.api import kinds
from netplane.apiserver.admission.strategies import STRATEGIES
from tests.apiserver_app import Server, Watching, pod, run

PODS, NODES = "/api/v1/namespaces/default/pods", "/api/v1/nodes"
NODE: dict[str, Any] = {
    "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "other": "x"}},
    "status": {"allocatable": {"cpu": "1", "memory": "1Gi"}},
}


def test_gates_hold_a_pod_from_the_start() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(PODS, pod("a", schedulingGates=[{"name": "x.io/g"}]))
        condition = made["status"]["conditions"][0]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "PodScheduled",
            "False",
            "SchedulingGated",
        )

    run(test)


def test_a_pods_own_labels_select_others() -> None:
    async def test(ask: Server) -> None:
        term = {"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["a", "no"], "mismatchLabelKeys": ["b"]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        given = pod("a", affinity={"podAffinity": required})
        given["metadata"]["labels"] = {"a": "1", "b": "2"}
        made = await ask.create(PODS, given)
        terms = made["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert terms[0]["labelSelector"]["matchExpressions"] == [
            {"key": "a", "operator": "In", "values": ["1"]},
            {"key": "b", "operator": "NotIn", "values": ["2"]},
        ]

    run(test)


def test_what_an_annotation_says_its_field_says_too() -> None:
    async def test(ask: Server) -> None:
        key = "container.apparmor.security.beta.kubernetes.io/c"
        given = pod("a")
        given["metadata"]["annotations"] = {key: "localhost/p"}
        answer = await ask("POST", PODS, given)
        profile = {"type": "Localhost", "localhostProfile": "p"}
        assert answer.json["spec"]["containers"][0]["securityContext"] == {"appArmorProfile": profile}
        assert f"metadata.annotations[{key}]: deprecated since v1.30" in answer.headers["warning"]

    run(test)


def test_features_that_are_off_are_left_out() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(
            PODS,
            pod(
                "a",
                containers=[{"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGTERM"}}],
                volumes=[{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}],
            ),
        )
        assert "lifecycle" not in made["spec"]["containers"][0]
        assert made["spec"]["volumes"][0]["projected"]["sources"] == [{}]

    run(test)


@pytest.mark.parametrize("seconds", [10**12, 2**63 - 1])
def test_a_grace_beyond_all_times_ends_some_day_and_can_be_shortened(seconds: int) -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("a", nodeName="n", terminationGracePeriodSeconds=seconds))
        marked = (await ask("DELETE", f"{PODS}/a")).json["metadata"]
        assert (marked["deletionGracePeriodSeconds"], marked["deletionTimestamp"] > "2300") == (seconds, True)
        less = (await ask("DELETE", f"{PODS}/a?gracePeriodSeconds={seconds - 1}")).json["metadata"]
        assert less["deletionGracePeriodSeconds"] == seconds - 1
        soon = (await ask("DELETE", f"{PODS}/a?gracePeriodSeconds=30")).json["metadata"]
        assert (soon["deletionGracePeriodSeconds"], soon["deletionTimestamp"] < "2300") == (30, True)

    run(test)


def test_a_pod_has_the_zone_of_its_node() -> None:
    async def test(ask: Server) -> None:
        await ask.create(NODES, NODE)
        placed = await ask.create(PODS, pod("a", nodeName="n"))
        assert placed["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}
        await ask.create(PODS, pod("b"))
        target = {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": "n"}}
        assert (await ask("POST", f"{PODS}/b/binding", target)).status == 201
        bound = (await ask("GET", f"{PODS}/b")).json
        assert bound["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}

    run(test)


@pytest.mark.parametrize(
    ("node", "cpu", "why"),
    [
        ("gone", "1", 'node "gone" not found'),
        ("n", "2", "node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000"),
        ("w", "1", 'pod resize is only supported on linux nodes, node "w" is "windows"'),
    ],
)
def test_resources_that_a_node_cannot_give(node: str, cpu: str, why: str) -> None:
    async def test(ask: Server) -> None:
        await ask.create(NODES, NODE)
        await ask.create(NODES, {"metadata": {"name": "w", "labels": {"kubernetes.io/os": "windows"}}})
        amounts = {"requests": {"cpu": "100m"}}
        await ask.create(PODS, pod("a", nodeName=node, containers=[{"name": "c", "image": "i", "resources": amounts}]))
        patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}
        refused = await ask.patch(f"{PODS}/a/resize", patch, "strategic")
        assert (refused.status, refused.json["message"]) == (403, f'pods "a" is forbidden: {why}')

    run(test)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "x"}, 'pod rejected: RuntimeClass "x" not found'),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"serviceAccountName": "a/b"},
            "error looking up service account default/a/b: invalid resource name \"a/b\": [may not contain '/']",
        ),
    ],
)
def test_pods_that_are_not_let_in(spec: dict[str, Any], why: str) -> None:
    async def test(ask: Server) -> None:
        refused = await ask("POST", PODS, pod("a", **spec))
        assert (refused.status, refused.json["message"]) == (403, f'pods "a" is forbidden: {why}')

    run(test)


def test_a_pod_is_marked_before_it_goes() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(PODS, pod("a"))
        watch = Watching(ask, f"{PODS}?watch=true&resourceVersion={made['metadata']['resourceVersion']}")
        gone = (await ask("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 5})).json["metadata"]
        assert (gone["deletionGracePeriodSeconds"], gone["generation"]) == (0, 2)
        lines = await watch.until(2)
        assert [line["type"] for line in lines] == ["MODIFIED", "DELETED"]
        assert all("deletionTimestamp" in line["object"]["metadata"] for line in lines)
        await watch.end()

    run(test)


def test_the_time_to_go_only_becomes_shorter() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("a", nodeName="n"))
        asked = [None, 60, 10, -1]
        seconds, generations = [], []
        for one in asked:
            body = {} if one is None else {"gracePeriodSeconds": one}
            metadata = (await ask("DELETE", f"{PODS}/a", body)).json["metadata"]
            seconds.append(metadata["deletionGracePeriodSeconds"])
            generations.append(metadata["generation"])
        assert (seconds, generations) == ([30, 30, 10, 1], [2, 2, 2, 2])
        assert (await ask("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})).status == 200
        assert (await ask("GET", f"{PODS}/a")).status == 404

    run(test)


def test_a_status_does_not_forget_of_which_generation_it_speaks() -> None:
    strategy, ready = STRATEGIES[kinds.POD], {"type": "Ready", "status": "True"}
    old: dict[str, Any] = {"metadata": {}, "spec": {}, "status": {"observedGeneration": 3, "conditions": []}}
    old["status"]["conditions"] = [{**ready, "observedGeneration": 3}]
    new: dict[str, Any] = {"metadata": {}, "spec": {}, "status": {"conditions": [ready, dict(ready)]}}
    strategy.prepare_status(new, old)
    assert new["status"]["observedGeneration"] == 3
    assert [one.get("observedGeneration") for one in new["status"]["conditions"]] == [3, None]
