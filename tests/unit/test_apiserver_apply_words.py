"""Server-side apply in the real server's words: what it refuses, what is owned though empty, times, scale, kubectl."""

import json
from typing import Any

import pytest

from netplane.api import kinds
from netplane.api.managed import typed
from tests.apiserver_app import Server, run
from tests.applying import APPLY, apply, config

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAPS = "/api/v1/namespaces/default/configmaps"


def deployment(cpu: str = "1") -> dict[str, Any]:
    labels = {"app": "d"}
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": cpu}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "config", "problem"),
    [
        (kinds.CONFIG_MAP, {"bogus": 1}, ".bogus: field not declared in schema"),
        (kinds.CONFIG_MAP, {"data": []}, ".data: expected map, got &{[]}"),
        (kinds.CONFIG_MAP, {"data": {"a": 1}}, ".data.a: expected string, got &value.valueUnstructured{Value:1}"),
        (kinds.CONFIG_MAP, {"data": {"a": {"b": []}}},
         '.data.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"b":[]interface {}{}}}'),
        (kinds.CONFIG_MAP, {"immutable": "x"}, ".immutable: expected boolean, got &{x}"),
        (kinds.CONFIG_MAP, {"metadata": {"finalizers": ["a/b", "a/b"]}},
         '.metadata.finalizers: duplicate entries for key [="a/b"]'),
        (kinds.CONFIG_MAP, {"metadata": {"finalizers": [{}]}},
         ".metadata.finalizers: element 0: associative list without keys has an element that's a map type"),
        (kinds.CONFIG_MAP, {"metadata": {"finalizers": [None]}},
         ".metadata.finalizers: element 0: associative list without keys has an element that's an explicit null"),
        (kinds.SERVICE, {"spec": {"externalIPs": [None], "ports": [None]}},
         ".spec.ports: element 0: associative list with keys may not have a null element"),
        (kinds.SERVICE, {"spec": {"ports": [{"port": 1}, {"port": 1}]}},
         '.spec.ports: duplicate entries for key [port=1,protocol="TCP"]'),
        (kinds.SERVICE, {"spec": {"ports": [{"port": "x"}]}},
         '.spec.ports[port="x",protocol="TCP"].port: expected numeric (int or float), got string'),
        (kinds.SERVICE, {"spec": {"ports": ["x"]}},
         ".spec.ports: element 0: associative list with keys may not have non-map elements"),
        (kinds.SERVICE, {"spec": {"ports": [{"port": 1, "targetPort": []}]}},
         '.spec.ports[port=1,protocol="TCP"].targetPort: expected any scalar, got &{[]}'),
        (kinds.POD, {"spec": {"containers": "x"}}, ".spec.containers: expected list, got &{x}"),
        (kinds.POD, {"spec": {"containers": [{"name": "a", "args": ["x", 1]}]}},
         '.spec.containers[name="a"].args[1]: expected string, got &value.valueUnstructured{Value:1}'),
    ],
)  # fmt: skip
def test_what_the_schema_does_not_have(kind: kinds.Kind, config: dict[str, Any], problem: str) -> None:
    assert typed.problems(kind, config) == [problem]


def test_an_item_may_leave_out_what_its_key_would_be() -> None:
    owners = [{"name": "x"}, {"name": "y", "uid": "u"}]
    assert typed.problems(kinds.CONFIG_MAP, {"metadata": {"ownerReferences": owners}}) == []


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"a: [", 400, "error decoding YAML: error converting YAML to JSON: yaml: "),
        (b"[]", 400, "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array"),
        (b"", 400, "invalid object type: /, Kind="),
        (b'{"kind":"ConfigMap"}', 400, "invalid object type: /, Kind=ConfigMap"),
        (b'{"kind":"Pod","apiVersion":"v1"}', 400, "invalid object type: /v1, Kind=Pod"),
        (b'{"kind":"ConfigMap","apiVersion":"apps/v1"}', 400, "invalid object type: apps/v1, Kind=ConfigMap"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"managedFields":[]}}', 400,
         "metadata.managedFields must be nil"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":""}}', 400,
         "the name of the object (c based on URL) was undeterminable: name must be provided"),
        (b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"namespace":"default"},"a":1}', 500,
         "failed to create typed patch object (default/; /v1, Kind=ConfigMap): .a: field not declared in schema"),
    ],
)  # fmt: skip
def test_what_is_no_configuration(body: bytes, code: int, message: str) -> None:
    async def test(server: Server) -> None:
        answer = await server("PATCH", f"{MAPS}/c?fieldManager=m", body, content_type=APPLY)
        assert (answer.status, answer.json["message"][: len(message)]) == (code, message)

    run(test)


def entries(obj: Any) -> list[tuple[str, Any, bool]]:
    return [(one["manager"], one["fieldsV1"], "time" in one) for one in obj["metadata"]["managedFields"]]


def test_what_is_empty_is_owned_and_what_changes_nothing_has_no_time() -> None:
    async def test(server: Server) -> None:
        await apply(server, f"{MAPS}/c", "m1", config(a="1"))
        same = (await apply(server, f"{MAPS}/c", "m2", config(a="1"))).json
        tree: dict[str, Any] = {"f:data": {"f:a": {}}}
        assert entries(same) == [("m2", tree, False), ("m1", tree, True)]
        bare = (await apply(server, f"{MAPS}/c", "m2", config())).json
        assert entries(bare) == [("m2", {"f:data": {}}, False), ("m1", tree, True)]
        gone = {"metadata": {"name": "c", "managedFields": []}, "data": {"a": "1"}}
        assert "managedFields" not in (await server("PUT", f"{MAPS}/c", gone)).json["metadata"]

    run(test)


def test_amounts_are_compared_as_they_were_said() -> None:
    async def test(server: Server) -> None:
        made = await server.create(f"{DEPLOYMENTS}?fieldManager=m1", deployment())
        wanted = deployment("1000m")
        assert made["kind"] == "Deployment"
        answer = await apply(server, f"{DEPLOYMENTS}/d", "m2", wanted)
        assert [one["field"] for one in answer.json["details"]["causes"]] == [
            '.spec.template.spec.containers[name="c"].resources.limits.cpu'
        ]

    run(test)


def test_kubectl_keeps_its_note_of_what_it_applied() -> None:
    async def test(server: Server) -> None:
        noted = {"metadata": {"name": "c", "annotations": {LAST_APPLIED: "{}"}}, "data": {"a": "1"}}
        await server.create(f"{MAPS}?fieldManager=kubectl-client-side-apply", noted)
        for manager, expected in (("kubectl", {"a": "<2>"}), ("other", {"a": "<2>"})):
            made = await apply(server, f"{MAPS}/c", manager, config(a="<2>"), "&force=true")
            note = made.json["metadata"]["annotations"][LAST_APPLIED]
            assert json.loads(note)["data"] == expected
            assert note.endswith('"metadata":{"name":"c"}}\n')
            assert "\\u003c2\\u003e" in note

    run(test)


def test_a_scale_is_owned_and_fought_for() -> None:
    async def test(server: Server) -> None:
        await server.create(f"{DEPLOYMENTS}?fieldManager=m1", deployment())
        path = f"{DEPLOYMENTS}/d/scale"
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d"}, "spec": {"replicas": 5}}
        assert (await server("PUT", f"{path}?fieldManager=hpa", scale)).status == 200
        first = (await server("GET", f"{DEPLOYMENTS}/d")).json["metadata"]["managedFields"][0]
        assert (first["manager"], first["subresource"], first["fieldsV1"], "time" in first) == (
            "hpa", "scale", {"f:spec": {"f:replicas": {}}}, False,
        )  # fmt: skip
        other = {**scale, "spec": {"replicas": 6}}
        refused = await apply(server, path, "m2", other)
        assert refused.json["message"] == (
            'Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" '
            "using autoscaling/v1: .spec.replicas"
        )
        assert (await apply(server, path, "m2", other, "&force=true")).json["spec"] == {"replicas": 6}
        odd = await server("PUT", f"{path}?fieldValidation=Strict", {**scale, "spec": {"bogus": 1}})
        assert odd.json["message"].endswith('strict decoding error: unknown field "spec.bogus"')
        elsewhere = {**scale, "metadata": {"name": "d", "namespace": "x"}}
        assert (
            "the namespace of the provided object does not match"
            in (await server("PUT", path, elsewhere)).json["message"]
        )

    run(test)
