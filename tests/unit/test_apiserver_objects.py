"""Create, read, update, patch and delete, as clients see them."""

import asyncio

import pytest

from netplane.apiserver.verbs import preparing
from tests.apiserver_app import Server, config, pod, run, service

SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
CONFIG = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def test_a_new_object_gets_what_only_the_server_can_say() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(CONFIG, {"metadata": {"generateName": "c-", "uid": "mine", "generation": 7}})
        metadata = made["metadata"]
        assert metadata["name"].startswith("c-")
        assert len(metadata["name"]) == 7
        assert metadata["uid"] not in ("", "mine")
        assert metadata["namespace"] == "default"
        assert metadata["generation"] == 7  # where nothing is counted, a client may
        wrong = await ask("POST", CONFIG, {"metadata": {"name": "c", "generation": -1}})
        assert "metadata.generation: Invalid value: -1: must be greater than or equal to 0" in wrong.json["message"]
        await ask.create(CONFIG, config("d"))
        again = await ask("POST", CONFIG, {"metadata": {"name": "d", "generateName": "d-"}})
        assert (again.status, again.headers["retry-after"]) == (409, "1")
        again = (await ask("GET", f"{CONFIG}/{metadata['name']}")).json
        assert again == made

    run(test)


def test_revisions_grow_and_a_no_op_keeps_them() -> None:
    async def test(ask: Server) -> None:
        first = await ask.create(CONFIG, config("c", a="1"))
        same = await ask("PUT", f"{CONFIG}/c", first)
        assert same.json["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        first["data"]["a"] = "2"
        changed = (await ask("PUT", f"{CONFIG}/c", first)).json
        assert int(changed["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
        stale = await ask("PUT", f"{CONFIG}/c", first)
        assert (stale.status, stale.json["reason"]) == (409, "Conflict")

    run(test)


def test_put_of_a_missing_object_creates_some_kinds() -> None:
    async def test(ask: Server) -> None:
        assert (await ask("PUT", f"{SERVICES}/new", service("new"))).status == 201
        assert (await ask("PUT", f"{CONFIG}/new", config("new"))).status == 404
        lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
        assert (await ask("PUT", f"{LEASES}/l", lease)).status == 201
        blind = await ask("PUT", f"{LEASES}/l", {**lease, "spec": {"holderIdentity": "you"}})
        assert blind.status == 422
        assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in blind.json["message"]

    run(test)


def test_status_and_spec_are_written_apart() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, {**pod("p"), "status": {"phase": "Running"}})
        assert (await ask("GET", f"{PODS}/p")).json["status"]["phase"] == "Pending"
        both = {"spec": {"nodeName": "n9"}, "status": {"phase": "Running", "podIP": "10.0.0.9"}}
        status = (await ask.patch(f"{PODS}/p/status", both)).json
        assert status["status"]["podIP"] == "10.0.0.9"
        assert "nodeName" not in status["spec"]
        main = (await ask.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed"}})).json
        assert (main["status"]["phase"], main["metadata"]["labels"]) == ("Running", {"a": "b"})

    run(test)


def test_generation_counts_changes_of_content() -> None:
    async def test(ask: Server) -> None:
        slice_ = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}
        assert (await ask.create(SLICES, slice_))["metadata"]["generation"] == 1
        noted = await ask.patch(f"{SLICES}/s", {"metadata": {"annotations": {"a": "b"}}})
        assert noted.json["metadata"]["generation"] == 1
        moved = await ask.patch(f"{SLICES}/s", {"endpoints": [{"addresses": ["10.0.0.2"]}]})
        assert moved.json["metadata"]["generation"] == 2

    run(test)


def test_a_pod_is_bound_once() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("p"))
        target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        assert (await ask("POST", f"{PODS}/p/binding", target)).status == 201
        bound = (await ask("GET", f"{PODS}/p")).json
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
        again = await ask("POST", f"{PODS}/p/binding", {**target, "target": {"name": "n2"}})
        assert (again.status, again.json["reason"]) == (409, "Conflict")
        assert 'already assigned to node "n1"' in again.json["message"]

    run(test)


def test_a_bound_pod_goes_when_its_kubelet_says_so() -> None:
    async def test(ask: Server) -> None:
        await ask.create(PODS, pod("free"))
        assert (await ask("DELETE", f"{PODS}/free")).status == 200
        assert (await ask("GET", f"{PODS}/free")).status == 404
        await ask.create(PODS, pod("bound", nodeName="n1", terminationGracePeriodSeconds=7))
        marked = (await ask("DELETE", f"{PODS}/bound")).json["metadata"]
        assert marked["deletionGracePeriodSeconds"] == 7
        longer = (await ask("DELETE", f"{PODS}/bound?gracePeriodSeconds=60")).json["metadata"]
        assert longer["deletionTimestamp"] == marked["deletionTimestamp"]
        shorter = (await ask("DELETE", f"{PODS}/bound", {"gracePeriodSeconds": 1})).json["metadata"]
        assert shorter["deletionGracePeriodSeconds"] == 1
        assert (await ask("DELETE", f"{PODS}/bound", {"gracePeriodSeconds": 0})).status == 200
        assert (await ask("GET", f"{PODS}/bound")).status == 404

    run(test)


def test_finalizers_hold_an_object_until_the_last_is_gone() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, {"metadata": {"name": "c", "finalizers": ["a.io/x", "b.io/y"]}})
        held = (await ask("DELETE", f"{CONFIG}/c")).json
        assert held["kind"] == "ConfigMap"
        assert held["metadata"]["deletionTimestamp"]
        assert (await ask.patch(f"{CONFIG}/c", {"metadata": {"finalizers": ["b.io/y"]}})).status == 200
        assert (await ask("GET", f"{CONFIG}/c")).status == 200
        assert (await ask.patch(f"{CONFIG}/c", {"metadata": {"finalizers": None}})).status == 200
        assert (await ask("GET", f"{CONFIG}/c")).status == 404

    run(test)


@pytest.mark.parametrize(
    ("rev", "created", "why"),
    [
        ("x", 201, 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("٣", 201, 'strconv.ParseUint: parsing "٣": invalid syntax'),
        ("9" * 5000, 201, f'strconv.ParseUint: parsing "{"9" * 5000}": value out of range'),
        ("7", 500, "the object has been modified"),
    ],
    ids=["letters", "other digits", "thousands of digits", "another version"],
)
def test_versions_are_numbers_of_64_bits(rev: str, created: int, why: str) -> None:
    async def test(ask: Server) -> None:
        assert (await ask("POST", CONFIG, {"metadata": {"name": "d", "resourceVersion": rev}})).status == created
        await ask.create(CONFIG, config("c"))
        wrong = await ask("PUT", f"{CONFIG}/c", {"metadata": {"name": "c", "resourceVersion": rev}})
        assert (wrong.status, why in wrong.json["message"]) == (409 if rev == "7" else 500, True)

    run(test)


def test_delete_answers_and_preconditions() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(CONFIG, config("c"))
        wrong = await ask("DELETE", f"{CONFIG}/c", {"preconditions": {"resourceVersion": "1"}})
        assert wrong.status == 409
        dry = await ask("DELETE", f"{CONFIG}/c?dryRun=All")
        assert dry.status == 200
        done = (await ask("DELETE", f"{CONFIG}/c", {"preconditions": {"uid": made["metadata"]["uid"]}})).json
        assert (done["status"], done["details"]["uid"]) == ("Success", made["metadata"]["uid"])
        assert (await ask("DELETE", f"{CONFIG}/c")).status == 404

    run(test)


def test_a_body_of_a_deletion_speaks_for_the_query() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, config("a"))
        dry = await ask("DELETE", f"{CONFIG}/a?dryRun=All&gracePeriodSeconds=x", {"dryRun": ["All"]})
        assert (dry.status, (await ask("GET", f"{CONFIG}/a")).status) == (200, 200)
        assert (await ask("DELETE", f"{CONFIG}/a?dryRun=All", {})).json["status"] == "Success"
        assert (await ask("GET", f"{CONFIG}/a")).status == 404

    run(test)


def test_delete_collection_takes_what_the_selector_names() -> None:
    async def test(ask: Server) -> None:
        for i in range(5):
            labels = {"even": "yes" if i % 2 == 0 else "no"}
            await ask.create(CONFIG, {"metadata": {"name": f"c{i}", "labels": labels}})
        gone = (await ask("DELETE", f"{CONFIG}?labelSelector=even%3Dyes")).json
        assert [item["metadata"]["name"] for item in gone["items"]] == ["c0", "c2", "c4"]
        left = (await ask("GET", CONFIG)).json
        assert [item["metadata"]["name"] for item in left["items"]] == ["c1", "c3"]

    run(test)


def test_dry_run_stores_and_takes_nothing() -> None:
    async def test(ask: Server) -> None:
        before = await ask.store.current_rev()
        free = [await ask("POST", f"{SERVICES}?dryRun=All", service("s", type="NodePort")) for _ in range(200)]
        assert {answer.status for answer in free} == {201}
        assert await ask.store.current_rev() == before
        assert (await ask("GET", f"{SERVICES}/s")).status == 404

    run(test)


def test_concurrent_patches_all_count() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, config("c"))
        patches = [ask.patch(f"{CONFIG}/c", {"data": {f"k{i}": "x"}}) for i in range(30)]
        assert {answer.status for answer in await asyncio.gather(*patches)} == {200}
        assert len((await ask("GET", f"{CONFIG}/c")).json["data"]) == 30

    run(test)


def test_namespaces_open_and_close() -> None:
    async def test(ask: Server) -> None:
        missing = await ask("POST", "/api/v1/namespaces/nowhere/configmaps", config("c"))
        assert missing.json["message"] == 'namespaces "nowhere" not found'
        await ask.create("/api/v1/namespaces", {"metadata": {"name": "ns"}})
        going = (await ask("DELETE", "/api/v1/namespaces/ns")).json
        assert going["status"]["phase"] == "Terminating"
        refused = await ask("POST", "/api/v1/namespaces/ns/configmaps", config("c"))
        assert refused.status == 403
        assert refused.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        body = {"metadata": {"name": "ns"}, "spec": {"finalizers": []}}
        assert (await ask("PUT", "/api/v1/namespaces/ns/finalize", body)).status == 200
        assert (await ask("GET", "/api/v1/namespaces/ns")).status == 404

    run(test)


def test_a_generated_name_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aaaaa", "aaaaa", "aaaaa", "bbbbb", *["aaaaa"] * 20])
    monkeypatch.setattr(preparing, "generated_name", lambda base: base + next(drawn))

    async def test(ask: Server) -> None:
        body = {"metadata": {"generateName": "c-"}}
        assert (await ask.create(CONFIG, body))["metadata"]["name"] == "c-aaaaa"
        assert (await ask.create(CONFIG, body))["metadata"]["name"] == "c-bbbbb"
        refused = (await ask("POST", CONFIG, body)).json
        assert (refused["code"], refused["details"]["retryAfterSeconds"]) == (409, 1)

    run(test)
