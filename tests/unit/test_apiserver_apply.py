"""managedFields and server-side apply: who owns what, what is taken away, who is in whose way."""

from typing import Any

from tests.apiserver_app import Server, run
from tests.applying import APPLY, apply, config

SERVICES = "/api/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
PORT = 'k:{"port":80,"protocol":"TCP"}'


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def owners(obj: Any) -> dict[tuple[str, str], Any]:
    return {(one["manager"], one["operation"]): one["fieldsV1"] for one in obj["metadata"]["managedFields"]}


def test_apply_makes_owns_and_takes_away() -> None:
    async def test(server: Server) -> None:
        first = await apply(server, f"{MAPS}/c", "m1", config(a="1", b="2"))
        assert first.status == 201, first.body
        assert owners(first.json) == {("m1", "Apply"): {"f:data": {"f:a": {}, "f:b": {}}}}
        again = await apply(server, f"{MAPS}/c", "m1", config(a="1", b="2"))
        assert again.status == 200
        assert again.json["metadata"]["resourceVersion"] == first.json["metadata"]["resourceVersion"]
        less = await apply(server, f"{MAPS}/c", "m1", config(a="1"))
        assert less.json["data"] == {"a": "1"}
        both = await apply(server, f"{MAPS}/c", "m2", config(a="1", z="9"))
        assert both.json["data"] == {"a": "1", "z": "9"}
        left = await apply(server, f"{MAPS}/c", "m1", config(q="0"))
        assert left.json["data"] == {"a": "1", "q": "0", "z": "9"}, "m2 still owns a"

    run(test)


def test_another_value_for_what_another_owns_is_a_conflict() -> None:
    async def test(server: Server) -> None:
        await apply(server, f"{MAPS}/c", "m1", config(a="1", b="1"))
        one = await apply(server, f"{MAPS}/c", "m2", config(a="2"))
        assert (one.status, one.json["reason"]) == (409, "Conflict")
        assert one.json["message"] == 'Apply failed with 1 conflict: conflict with "m1": .data.a'
        assert one.json["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.a"}
        ]
        two = await apply(server, f"{MAPS}/c", "m2", config(a="2", b="2"))
        assert two.json["message"] == 'Apply failed with 2 conflicts: conflicts with "m1":\n- .data.a\n- .data.b'
        forced = await apply(server, f"{MAPS}/c", "m2", config(a="2"), "&force=true")
        assert forced.json["data"] == {"a": "2", "b": "1"}
        assert owners(forced.json) == {
            ("m1", "Apply"): {"f:data": {"f:b": {}}},
            ("m2", "Apply"): {"f:data": {"f:a": {}}},
        }

    run(test)


def test_updates_own_what_they_set_and_conflict_with_appliers() -> None:
    async def test(server: Server) -> None:
        await apply(server, f"{SERVICES}/s", "m1", service(ports=[{"port": 80, "name": "x"}], selector={"k": "1"}))
        patch = {"spec": {"selector": {"k": "2"}}, "metadata": {"labels": {"l": "v"}}}
        changed = await server("PATCH", f"{SERVICES}/s", patch, content_type="application/merge-patch+json",
                               user_agent="someone/1.0")  # fmt: skip
        found = owners(changed.json)
        assert found["m1", "Apply"] == {"f:spec": {"f:ports": {PORT: {".": {}, "f:name": {}, "f:port": {}}}}}
        labels: dict[str, Any] = {"f:labels": {".": {}, "f:l": {}}}
        assert found["someone", "Update"] == {"f:metadata": labels, "f:spec": {"f:selector": {}}}
        refused = await apply(server, f"{SERVICES}/s", "m1", service(ports=[{"port": 80}], selector={"k": "1"}))
        assert 'conflict with "someone" using v1: .spec.selector' in refused.json["message"]

    run(test)


def test_an_item_of_a_list_goes_by_its_key() -> None:
    async def test(server: Server) -> None:
        two = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
        await apply(server, f"{SERVICES}/s", "m1", service(ports=two))
        made = await apply(server, f"{SERVICES}/s", "m2", service(ports=[{"port": 82, "name": "c"}]))
        assert [port["port"] for port in made.json["spec"]["ports"]] == [80, 81, 82]
        left = await apply(server, f"{SERVICES}/s", "m1", service(ports=[{"port": 81, "name": "b"}]))
        assert [(port["port"], port["targetPort"]) for port in left.json["spec"]["ports"]] == [(81, 81), (82, 82)]
        assert left.json["spec"]["clusterIP"] == made.json["spec"]["clusterIP"]

    run(test)


def test_labels_that_are_no_longer_applied_go() -> None:
    async def test(server: Server) -> None:
        body = config(a="1")
        await apply(server, f"{MAPS}/c", "m1", {**body, "metadata": {"name": "c", "labels": {"x": "y"}}})
        left = await apply(server, f"{MAPS}/c", "m1", body)
        assert "labels" not in left.json["metadata"]
        assert left.json["metadata"]["name"] == "c"

    run(test)


def test_the_status_has_owners_of_its_own() -> None:
    async def test(server: Server) -> None:
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await server.create(PODS, pod)
        status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"}}
        answer = await apply(server, f"{PODS}/p/status", "kubelet", status)
        assert answer.status == 200, answer.body
        entry = next(one for one in answer.json["metadata"]["managedFields"] if one["manager"] == "kubelet")
        assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})
        assert answer.json["status"]["phase"] == "Running"

    run(test)


def test_what_nobody_tracked_belongs_to_who_was_there_before() -> None:
    async def test(server: Server) -> None:
        await server.create(MAPS, config(a="1"))
        forgotten = await server.patch(f"{MAPS}/c", {"metadata": {"managedFields": [{}]}})
        assert "managedFields" not in forgotten.json["metadata"]
        refused = await apply(server, f"{MAPS}/c", "m1", config(a="2"))
        assert 'conflict with "before-first-apply" using v1: .data.a' in refused.json["message"]

    run(test)


def test_kubectls_own_past_is_no_conflict() -> None:
    async def test(server: Server) -> None:
        last = '{"data":{"a":"1"}}'
        annotation = {"kubectl.kubernetes.io/last-applied-configuration": last}
        made = {**config(a="1"), "metadata": {"name": "c", "annotations": annotation}}
        await server("POST", f"{MAPS}?fieldManager=kubectl-client-side-apply", made)
        other = await apply(server, f"{MAPS}/c", "other", config(a="2"))
        assert other.status == 409
        mine = await apply(server, f"{MAPS}/c", "kubectl", config(a="2"))
        assert mine.status == 200, mine.body
        assert mine.json["data"] == {"a": "2"}

    run(test)


def test_what_an_apply_must_say() -> None:
    async def test(server: Server) -> None:
        nobody = await server("PATCH", f"{MAPS}/c", config(), content_type=APPLY)
        assert nobody.status == 422
        assert "fieldManager: Required value: is required for apply patch" in nobody.json["message"]
        forced = await server("PATCH", f"{MAPS}/c?force=true", {}, content_type="application/merge-patch+json")
        assert "may not be specified for non-apply patch" in forced.json["message"]
        other = await apply(server, f"{MAPS}/d", "m", config())
        assert "does not match the name on the URL" in other.json["message"]
        unknown = await apply(server, f"{MAPS}/c", "m", {**config(), "nope": 1}, "&fieldValidation=Strict")
        assert (unknown.status, unknown.json["message"]) == (
            500,
            "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .nope: field not declared in schema",
        )

    run(test)
