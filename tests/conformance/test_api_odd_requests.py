"""Requests that are nearly right, over the wire: status, reason and words of each refusal as the real apiserver's.

The texts are those of k8s.io/apiserver's handlers (create, update, patch, delete, get), its negotiation, and the
validation of k8s.io/apimachinery. Every refusal must be a Status.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.apiserver_process import Apiserver

NS = "/api/v1/namespaces/default"
CM, PODS, SERVICES = f"{NS}/configmaps", f"{NS}/pods", f"{NS}/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch")
)
APPLY = "application/apply-patch+yaml"
TYPES = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
NO_METHOD = "the server does not allow this method on the requested resource"
NO_RESOURCE = "the server could not find the requested resource"
REJECTED = "the server rejected our request due to an error in our request"
META = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)
SPEC = {"containers": [{"name": "c", "image": "i"}]}


def config_map(name: str = "x", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def binding(of: str = "p", **target: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": of}, "target": target}


def scale(name: str, replicas: Any) -> dict[str, Any]:
    head = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name, "namespace": "default"}}
    return {**head, "spec": {"replicas": replicas}}


def options(**given: Any) -> dict[str, Any]:
    return {"kind": "DeleteOptions", "apiVersion": "v1", **given}


MADE: list[tuple[str, dict[str, Any]]] = [
    (CM, config_map()),
    (PODS, {"metadata": {"name": "p"}, "spec": SPEC}),
    (PODS, {"metadata": {"name": "bound"}, "spec": {**SPEC, "nodeName": "n"}}),
    (
        DEPLOYMENTS,
        {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": SPEC},
            },
        },
    ),
]


class Row(NamedTuple):
    """A request, and what must come back. `body` is bytes as they are, or JSON."""

    method: str
    path: str
    body: Any
    media: str
    code: int
    reason: str
    message: str


def get(path: str, code: int, reason: str, message: str) -> Row:
    return Row("GET", path, None, "", code, reason, message)


def bad(path: str, message: str) -> Row:
    return get(path, 400, "BadRequest", message)


def list_invalid(path: str, message: str) -> Row:
    return get(path, 422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}')


def post(path: str, body: Any, code: int, reason: str, message: str, media: str = JSON) -> Row:
    return Row("POST", path, body, media, code, reason, message)


def patch(body: Any, media: str, code: int, reason: str, message: str, path: str = f"{CM}/x") -> Row:
    return Row("PATCH", path, body, media, code, reason, message)


def delete(path: str, body: Any, code: int, reason: str, message: str) -> Row:
    return Row("DELETE", path, body, JSON if body is not None else "", code, reason, message)


UNKNOWN_BODY = (
    "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error"
)
LABEL_SYNTAX = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with"
PARSE = 'strconv.ParseInt: parsing "x": invalid syntax'
RV = 'invalid resource version: resourceVersion: Invalid value: "{0}": strconv.ParseUint: parsing "{0}": invalid syntax'
TOKEN = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0"

READS = {
    "limit": bad(f"{CM}?limit=x", PARSE),
    "limit that is too large": bad(
        f"{CM}?limit=99999999999999999999", 'strconv.ParseInt: parsing "99999999999999999999": value out of range'
    ),
    "timeout": bad(f"{CM}?timeoutSeconds=x", PARSE),
    "timeout of a watch": bad(f"{CM}?watch=1&timeoutSeconds=x", PARSE),
    "continue, no token": bad(f"{CM}?continue=xx", "invalid continue token: continue key is not valid: "),
    "continue, no revision": bad(
        f"{CM}?continue={TOKEN}",
        "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion "
        "(version meta.k8s.io/v1)",
    ),
    "continue and a revision": bad(
        f"{CM}?continue={TOKEN}&resourceVersion=5", "specifying resource version is not allowed when using continue"
    ),
    "negative revision": bad(f"{CM}?resourceVersion=-1", RV.format("-1")),
    "broken revision": bad(f"{CM}?resourceVersion=1.5", RV.format("1.5")),
    "revision of a watch": bad(f"{CM}?watch=1&resourceVersion=abc", RV.format("abc")),
    "revision of a get": bad(f"{CM}/x?resourceVersion=abc", RV.format("abc")),
    "revision to come": get(
        f"{CM}/x?resourceVersion=999999999", 504, "Timeout", "Timeout: Too large resource version: 999999999, current: "
    ),
    "match without revision": list_invalid(
        f"{CM}?resourceVersionMatch=Exact",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    "unknown match": list_invalid(
        f"{CM}?resourceVersion=1&resourceVersionMatch=Foo",
        'resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
    ),
    "initial events of a list": list_invalid(
        f"{CM}?sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"
    ),
    "initial events without a match": list_invalid(
        f"{CM}?watch=1&sendInitialEvents=true",
        "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
    "initial events, exact": list_invalid(
        f"{CM}?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
        "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]',
    ),
    "match of a watch": list_invalid(
        f"{CM}?watch=1&resourceVersionMatch=Exact",
        "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
        'provided, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]',
    ),
    "field selector": bad(f"{CM}?fieldSelector=foo", "invalid selector: 'foo'; can't understand 'foo'"),
    "field": bad(
        f"{CM}?fieldSelector=foo=bar",
        '"foo" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ),
    "field of pods": bad(f"{PODS}?fieldSelector=spec.foo=bar", "field label not supported: spec.foo"),
    "label, twice equal": bad(f"{CM}?labelSelector=a=b=c", "found '=', expected: ',' or 'end of string'"),
    "label, in": bad(f"{CM}?labelSelector=a in b", "unable to parse requirement: found 'b' expected: '('"),
    "label, a key": bad(
        f"{CM}?labelSelector=-a", f'unable to parse requirement: <nil>: Invalid value: "-a": {LABEL_SYNTAX}'
    ),
    "label, commas": bad(f"{CM}?labelSelector=a,,b", "found ',', expected: identifier after ','"),
    "label, no number": bad(
        f"{CM}?labelSelector=a>x",
        'unable to parse requirement: values[0]: Invalid value: "x": '
        "for 'Gt', 'Lt' operators, the value must be an integer",
    ),
    "unknown resource": get(f"{NS}/foos", 404, "NotFound", NO_RESOURCE),
    "namespaced without a namespace": get("/api/v1/configmaps/x", 404, "NotFound", NO_RESOURCE),
    "cluster-scoped in a namespace": get(f"{NS}/nodes", 404, "NotFound", NO_RESOURCE),
    "no status": get(f"{CM}/x/status", 404, "NotFound", NO_RESOURCE),
    "a review cannot be read": get(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405, "MethodNotAllowed", NO_METHOD
    ),
}
WRITES = {
    "cbor": post(
        CM, b"x", 415, "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {TYPES}", "application/cbor",
    ),
    "empty": post(CM, b"", 400, "BadRequest", f"{UNKNOWN_BODY}: unexpected end of JSON input (<empty>)"),
    "a list": post(CM, b"[]", 400, "BadRequest", f"{UNKNOWN_BODY}: json: cannot unmarshal array into {META} (5b5d)"),
    "no name": post(
        CM, {"kind": "ConfigMap"}, 422, "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    ),
    "another namespace": post(
        CM, config_map("y", namespace="other"), 400, "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    "a revision": post(
        CM, config_map("y", resourceVersion="5"), 400, "BadRequest",
        "resourceVersion should not be set on objects to be created",
    ),
    "there already": post(CM, config_map(), 409, "AlreadyExists", 'configmaps "x" already exists'),
    "annotations of 256 KiB": post(
        CM, config_map("y", annotations={"a": "c" * 262_145}), 422, "Invalid",
        'ConfigMap "y" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes',
    ),
    "a label's value": post(
        CM, config_map("y", labels={"a": "c" * 64}), 422, "Invalid",
        f'ConfigMap "y" is invalid: metadata.labels: Invalid value: "{"c" * 64}": must be no more than 63 bytes',
    ),
    "a label's key": post(
        CM, config_map("y", labels={"a b": "c"}), 422, "Invalid",
        f'ConfigMap "y" is invalid: metadata.labels: Invalid value: "a b": {LABEL_SYNTAX}',
    ),
    "a label's type": post(
        CM, config_map("y", labels={"a": 1}), 400, "BadRequest",
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go',
    ),
    "a finalizer": post(
        CM, config_map("y", finalizers=["a/b/c"]), 422, "Invalid",
        'ConfigMap "y" is invalid: metadata.finalizers: Invalid value: "a/b/c": a qualified name must consist of',
    ),
    "an owner without uid": post(
        CM, config_map("y", ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "p"}]), 422, "Invalid",
        'ConfigMap "y" is invalid: metadata.ownerReferences.uid: Invalid value: "": must not be empty',
    ),
    "dry run of what": post(
        f"{CM}?dryRun=foo", config_map("y"), 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["foo"]: supported values: "All"',
    ),
    "a long manager": post(
        f"{CM}?fieldManager={'a' * 129}", config_map("y"), 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
    ),
    "an unprintable manager": post(
        f"{CM}?fieldManager=a%00b", config_map("y"), 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\u0000b": '
        "invalid character U+0000 (at position 1)",
    ),
    "a validation": post(
        f"{CM}?fieldValidation=foo", config_map("y"), 422, "Invalid",
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "foo": '
        'supported values: "", "Ignore", "Strict", "Warn"',
    ),
    "across namespaces": post("/api/v1/configmaps", config_map("y"), 405, "MethodNotAllowed", NO_METHOD),
    "to an object": post(f"{CM}/x", config_map(), 405, "MethodNotAllowed", NO_METHOD),
    "a binding to a pod": post(
        f"{PODS}/p/binding", binding(kind="Pod", name="n"), 422, "Invalid",
        'Binding "p" is invalid: target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
    ),
    "a binding to nothing": post(
        f"{PODS}/p/binding", binding(kind="Node"), 422, "Invalid", 'Binding "p" is invalid: target.name: Required value'
    ),
    "a binding of another": post(
        f"{PODS}/p/binding", binding("q", name="n"), 400, "BadRequest",
        "name in URL does not match name in Binding object",
    ),
    "a second binding": post(
        f"{PODS}/bound/binding", binding("bound", name="m"), 409, "Conflict",
        'Operation cannot be fulfilled on pods/binding "bound": pod bound is already assigned to node "n"',
    ),
    "an eviction of another": post(
        f"{PODS}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}},
        400, "BadRequest", "name in URL does not match name in Eviction object",
    ),
    "an eviction of nothing": post(
        f"{PODS}/zz/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "zz"}},
        404, "NotFound", 'pods "zz" not found',
    ),
}  # fmt: skip


def put(path: str, body: Any, code: int, reason: str, message: str) -> Row:
    return Row("PUT", path, body, JSON, code, reason, message)


UPDATES = {
    "another name": put(
        f"{CM}/x", config_map("other"), 400, "BadRequest",
        "the name of the object (other) does not match the name on the URL (x)",
    ),
    "no name": put(
        f"{CM}/x", {"metadata": {}}, 400, "BadRequest",
        "the name of the object (x based on URL) was undeterminable: name must be provided",
    ),
    "another namespace": put(
        f"{CM}/x", config_map(namespace="other"), 400, "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    "another uid": put(
        f"{CM}/x", config_map(uid="nope"), 409, "Conflict",
        'Operation cannot be fulfilled on configmaps "x": Precondition failed: UID in precondition: nope, UID in',
    ),
    "an old revision": put(
        f"{CM}/x", config_map(resourceVersion="1"), 409, "Conflict",
        'Operation cannot be fulfilled on configmaps "x": the object has been modified; please apply your changes to',
    ),
    "nothing there": put(f"{CM}/zz", config_map("zz"), 404, "NotFound", 'configmaps "zz" not found'),
    "a collection": put(CM, config_map(), 405, "MethodNotAllowed", NO_METHOD),
    "a scale of another": put(
        f"{DEPLOYMENTS}/d/scale", scale("e", 1), 400, "BadRequest",
        "the name of the object (e) does not match the name on the URL (d)",
    ),
    "a negative scale": put(
        f"{DEPLOYMENTS}/d/scale", scale("d", -1), 422, "Invalid",
        'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    ),
    "a scale of nothing": put(
        f"{DEPLOYMENTS}/zz/scale", scale("zz", 1), 404, "NotFound", 'deployments.apps "zz" not found'
    ),
    "finalizers of another": put(
        f"{NS}/finalize", {"metadata": {"name": "other"}}, 400, "BadRequest",
        "the name of the object (other) does not match the name on the URL (default)",
    ),
}  # fmt: skip
PATCHES = {
    "no type": patch(b"{}", JSON, 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
    "merge, cut off": patch(b"{", MERGE, 400, "BadRequest", "error decoding patch: unexpected end of JSON input"),
    "merge, a list": patch(
        b"[]", MERGE, 400, "BadRequest",
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    "merge, a wrong type": patch(
        b'{"data":{"a":1}}', MERGE, 422, "Invalid", ' "" is invalid: patch: Invalid value: "{\\"kind\\":\\"ConfigMap\\"'
    ),
    "merge, an unknown field": patch(
        b'{"foo":1}', MERGE, 422, "Invalid", ' "" is invalid: patch: Invalid value: "{',
        f"{CM}/x?fieldValidation=Strict",
    ),
    "merge, a field twice": patch(
        b'{"data":{"a":"1"},"data":{"a":"2"}}', MERGE, 422, "Invalid", ' "" is invalid: patch: Invalid value: "{',
        f"{CM}/x?fieldValidation=Strict",
    ),
    "merge, another name": patch(
        b'{"metadata":{"name":"q"}}', MERGE, 400, "BadRequest",
        "the name of the object (q) does not match the name on the URL (x)",
    ),
    "merge, nothing there": patch(b"{}", MERGE, 404, "NotFound", 'configmaps "zz" not found', f"{CM}/zz"),
    "merge, forced": patch(
        b"{}", MERGE, 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
        f"{CM}/x?force=true",
    ),
    "merge of a collection": patch(b"{}", MERGE, 405, "MethodNotAllowed", NO_METHOD, CM),
    "strategic, cut off": patch(b"{", STRATEGIC, 400, "BadRequest", "unexpected end of JSON input"),
    "strategic, a wrong type": patch(
        b'{"metadata":{"finalizers":"a"}}', STRATEGIC, 422, "Invalid",
        ' "" is invalid: patch: Invalid value: "map[metadata:map[finalizers:a]]": ',
    ),
    "json, an object": patch(
        b"{}", JSON_PATCH, 400, "BadRequest",
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    ),
    "json, a failed test": patch(b'[{"op":"test","path":"/data/a","value":"1"}]', JSON_PATCH, 422, "Invalid", REJECTED),
    "json, an unknown operation": patch(b'[{"op":"foo","path":"/data"}]', JSON_PATCH, 422, "Invalid", REJECTED),
    "json, nothing to remove": patch(b'[{"op":"remove","path":"/zz"}]', JSON_PATCH, 422, "Invalid", REJECTED),
    "apply, no manager": patch(
        b"{}", APPLY, 422, "Invalid",
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    ),
    "apply, managed fields": patch(
        config_map(managedFields=[{"manager": "a", "operation": "Apply"}]), APPLY, 400, "BadRequest",
        "metadata.managedFields must be nil", f"{CM}/x?fieldManager=m",
    ),
    "apply, another name": patch(
        config_map("q"), APPLY, 400, "BadRequest",
        "the name of the object (q) does not match the name on the URL (x)", f"{CM}/x?fieldManager=m",
    ),
    "apply, a uid of nothing": patch(
        config_map("new", uid="abc"), APPLY, 409, "Conflict",
        'Operation cannot be fulfilled on configmaps "new": uid mismatch: the provided object specified uid abc, '
        "and no existing object was found", f"{CM}/new?fieldManager=m",
    ),
}  # fmt: skip
INVALID_DELETE = 'DeleteOptions.meta.k8s.io "" is invalid: '
PROPAGATIONS = 'supported values: "Foreground", "Background", "Orphan", "nil"'
DELETES = {
    "propagation": delete(
        f"{CM}/x?propagationPolicy=foo", None, 422, "Invalid",
        f'{INVALID_DELETE}propagationPolicy: Unsupported value: "foo": {PROPAGATIONS}',
    ),
    "propagation in the body": delete(
        f"{CM}/x", options(propagationPolicy="foo"), 422, "Invalid",
        f'{INVALID_DELETE}propagationPolicy: Unsupported value: "foo": {PROPAGATIONS}',
    ),
    "both ways": delete(
        f"{CM}/x?propagationPolicy=Orphan&orphanDependents=true", None, 422, "Invalid",
        f'{INVALID_DELETE}propagationPolicy: Invalid value: "Orphan": '
        "orphanDependents and deletionPropagation cannot be both set",
    ),
    "grace": delete(f"{CM}/x?gracePeriodSeconds=x", None, 400, "BadRequest", PARSE),
    "dry run": delete(
        f"{CM}/x?dryRun=foo", None, 422, "Invalid",
        f'{INVALID_DELETE}dryRun: Unsupported value: ["foo"]: supported values: "All"',
    ),
    "dry run in the body": delete(
        f"{CM}/x", options(dryRun=["foo"]), 422, "Invalid",
        f'{INVALID_DELETE}dryRun: Unsupported value: ["foo"]: supported values: "All"',
    ),
    "another uid": delete(
        f"{CM}/x", options(preconditions={"uid": "foo"}), 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (foo) does not match',
    ),
    "another revision": delete(
        f"{CM}/x", options(preconditions={"resourceVersion": "1"}), 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "x": the ResourceVersion in the precondition (1) does not match',
    ),
    "another kind": delete(
        f"{CM}/x", {"kind": "Foo", "apiVersion": "v1"}, 400, "BadRequest",
        "decoded object cannot be converted to DeleteOptions",
    ),
    "nothing there": delete(f"{CM}/zz", None, 404, "NotFound", 'configmaps "zz" not found'),
    "all of a bad selector": delete(
        f"{CM}?labelSelector=a=b=c", None, 400, "BadRequest", "found '=', expected: ',' or 'end of string'"
    ),
    "all across namespaces": delete("/api/v1/configmaps", None, 405, "MethodNotAllowed", NO_METHOD),
    "all namespaces": delete("/api/v1/namespaces", None, 405, "MethodNotAllowed", NO_METHOD),
}  # fmt: skip
ROWS = {
    f"{group}: {name}": row
    for group, rows in (("get", READS), ("post", WRITES), ("put", UPDATES), ("patch", PATCHES), ("delete", DELETES))
    for name, row in rows.items()
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with Apiserver(tmp_path_factory.mktemp("odd")) as server, server.client() as known:
        for path, obj in MADE:
            assert known.post(path, json=obj).status_code == 201
        yield known


def ask(client: httpx2.Client, row: Row) -> httpx2.Response:
    body = row.body if isinstance(row.body, bytes) or row.body is None else json.dumps(row.body).encode()
    headers = {"Content-Type": row.media} if row.media else {}
    return client.request(row.method, row.path, content=body, headers=headers)


@pytest.mark.parametrize("name", ROWS)
def test_refused_as_the_real_server_does(client: httpx2.Client, name: str) -> None:
    row = ROWS[name]
    answer = ask(client, row)
    status = answer.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status_code)
    assert (status["code"], status.get("reason", "")) == (row.code, row.reason), status
    assert status["message"].startswith(row.message), status["message"]


def test_nothing_was_changed_by_any_of_them(client: httpx2.Client) -> None:
    before = {path: client.get(path).json()["items"] for path in (CM, PODS, DEPLOYMENTS)}
    for row in ROWS.values():
        ask(client, row)
    assert {path: client.get(path).json()["items"] for path in (CM, PODS, DEPLOYMENTS)} == before


# What is accepted although it looks odd -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [f"{CM}/", f"{CM}?limit=-1", f"{CM}?foo=bar", f"{CM}?watch=false", f"{CM}?resourceVersion=0", f"{CM}?continue=",
     f"{CM}?labelSelector=", f"{CM}?fieldSelector=metadata.name=x,,", f"{CM}?pretty=true"],
)  # fmt: skip
def test_listed_all_the_same(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["kind"]) == (200, "ConfigMapList")
    assert "x" in [one["metadata"]["name"] for one in answer.json()["items"]]


@pytest.mark.parametrize("accept", ["application/cbor", "text/html", "application/json;as=Table;v=v1;g=nope"])
def test_a_format_that_is_not_spoken_is_406(client: httpx2.Client, accept: str) -> None:
    answer = client.get(f"{CM}/x", headers={"Accept": accept})
    assert answer.status_code == 406
    assert answer.json()["message"] == f"only the following media types are accepted: {TYPES}"


def test_what_clients_may_not_set_is_taken_from_the_server(client: httpx2.Client) -> None:
    old = "2020-01-01T00:00:00Z"
    given = config_map(
        "own", uid="mine", creationTimestamp=old, generation=7, selfLink="/x", deletionTimestamp=old,
        deletionGracePeriodSeconds=5,
    )  # fmt: skip
    made = client.post(CM, json=given).json()["metadata"]
    assert made["uid"] != "mine"
    assert made["creationTimestamp"] != old
    assert not {"generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & set(made)
    client.delete(f"{CM}/own").raise_for_status()


def test_head_has_the_headers_of_get(client: httpx2.Client) -> None:
    got, head = client.get(f"{CM}/x"), client.head(f"{CM}/x")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_a_generated_name_is_told_when_it_is_wrong(client: httpx2.Client) -> None:
    status = client.post(CM, json={"metadata": {"generateName": "Bad_"}}).json()
    assert [cause["field"] for cause in status["details"]["causes"]] == ["metadata.generateName", "metadata.name"]
    made = client.post(CM, json={"metadata": {"generateName": "gen-"}}).json()["metadata"]
    assert len(made["name"]) == len("gen-") + 5
    client.delete(f"{CM}/{made['name']}").raise_for_status()


# Warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        ({"clusterIP": "None", "sessionAffinity": "ClientIP"}, "spec.SessionAffinity is ignored for headless services"),
        ({"clusterIP": "None", "externalIPs": ["192.0.2.1"]}, "spec.externalIPs is ignored for headless services"),
        ({"externalIPs": ["192.0.2.1"]},
         "spec.externalIPs is deprecated and may no longer be implemented in some clusters"),
        ({"externalName": "a.b"}, 'spec.externalName is ignored when spec.type is not \\"ExternalName\\"'),
        ({"trafficDistribution": "PreferClose"},
         'spec.trafficDistribution: \\"PreferClose\\" is deprecated; use \\"PreferSameZone\\"'),
    ],
)  # fmt: skip
def test_services_that_mean_less_than_they_say(client: httpx2.Client, spec: dict[str, Any], warning: str) -> None:
    body = {"metadata": {"name": "warned"}, "spec": {"ports": [{"port": 80}], **spec}}
    answer = client.post(f"{SERVICES}?dryRun=All", json=body)
    assert (answer.status_code, answer.headers.get("warning")) == (201, f'299 - "{warning}"')
    plain = client.post(f"{SERVICES}?dryRun=All", json={**body, "spec": {"ports": [{"port": 80}]}})
    assert "warning" not in plain.headers


def test_whoever_asks_for_endpoints_is_told_of_slices(client: httpx2.Client) -> None:
    told = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    for path in (f"{NS}/endpoints", f"{NS}/endpoints/kubernetes", f"{NS}/endpoints?watch=1&timeoutSeconds=1"):
        assert client.get(path).headers["warning"] == told
    assert "warning" not in client.get(f"{NS}/services").headers


# Subresources and grace ------------------------------------------------------------------------------------------


def test_status_and_spec_do_not_touch_each_other(client: httpx2.Client) -> None:
    path = f"{DEPLOYMENTS}/d"
    seen = client.get(path).json()
    given = {**seen, "spec": {**seen["spec"], "replicas": 9}, "status": {"replicas": 4}}
    after = client.put(f"{path}/status", json=given).json()
    assert (after["spec"], after["status"]) == (seen["spec"], {"replicas": 4})
    assert after["metadata"]["generation"] == seen["metadata"]["generation"]
    given = {**after, "spec": {**seen["spec"], "replicas": 3}, "status": {"replicas": 77}}
    main = client.put(path, json=given).json()
    assert (main["spec"]["replicas"], main["status"]) == (3, {"replicas": 4})
    assert main["metadata"]["generation"] == seen["metadata"]["generation"] + 1
    labelled = client.patch(path, content=b'{"metadata":{"labels":{"a":"b"}}}', headers={"Content-Type": MERGE}).json()
    assert labelled["metadata"]["generation"] == main["metadata"]["generation"], "labels are no content"


def test_scale_is_another_way_to_the_same_number(client: httpx2.Client) -> None:
    path = f"{DEPLOYMENTS}/d"
    assert client.put(f"{path}/scale", json=scale("d", 5)).json()["spec"] == {"replicas": 5}
    body, headers = b'{"spec":{"replicas":2}}', {"Content-Type": MERGE}
    assert client.patch(f"{path}/scale", content=body, headers=headers).json()["spec"] == {"replicas": 2}
    shown = client.get(f"{path}/scale").json()
    assert (shown["kind"], shown["apiVersion"], shown["status"]["selector"]) == ("Scale", "autoscaling/v1", "a=b")
    assert client.get(path).json()["spec"]["replicas"] == 2


def test_a_bound_pod_goes_when_its_grace_is_over(client: httpx2.Client) -> None:
    client.post(PODS, json={"metadata": {"name": "grace"}, "spec": {**SPEC, "nodeName": "n"}}).raise_for_status()
    path = f"{PODS}/grace"
    first = client.delete(path, params={"gracePeriodSeconds": "10"}).json()["metadata"]
    assert first["deletionGracePeriodSeconds"] == 10
    longer = client.delete(path, params={"gracePeriodSeconds": "20"}).json()["metadata"]
    assert longer == first, "it can only get shorter"
    shorter = client.delete(path, params={"gracePeriodSeconds": "5"}).json()["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < first["deletionTimestamp"]
    assert client.delete(path, params={"gracePeriodSeconds": "0"}).status_code == 200
    assert client.get(path).status_code == 404


def test_dry_runs_delete_nothing(client: httpx2.Client) -> None:
    client.post(CM, json=config_map("dry", labels={"dry": "yes"})).raise_for_status()
    assert client.delete(f"{CM}/dry?dryRun=All").status_code == 200
    assert client.request("DELETE", f"{CM}/dry", json=options(dryRun=["All"])).status_code == 200
    gone = client.delete(f"{CM}?labelSelector=dry%3Dyes&dryRun=All").json()
    assert [one["metadata"]["name"] for one in gone["items"]] == ["dry"]
    assert client.get(f"{CM}/dry").status_code == 200
    client.delete(f"{CM}/dry").raise_for_status()


def test_a_collection_is_deleted_in_chunks_and_by_selectors(client: httpx2.Client) -> None:
    for i in range(5):
        client.post(
            CM, json=config_map(f"many-{i}", labels={"many": "even" if i % 2 == 0 else "odd"})
        ).raise_for_status()
    one = client.delete(f"{CM}?labelSelector=many&limit=1").json()
    assert [item["metadata"]["name"] for item in one["items"]] == ["many-0"]
    client.delete(f"{CM}?labelSelector=many%3Dodd").raise_for_status()
    left = client.get(f"{CM}?labelSelector=many").json()["items"]
    assert [item["metadata"]["name"] for item in left] == ["many-2", "many-4"]
    client.delete(f"{CM}?labelSelector=many&fieldSelector=metadata.name%3Dmany-2").raise_for_status()
    assert [one["metadata"]["name"] for one in client.get(f"{CM}?labelSelector=many").json()["items"]] == ["many-4"]
    client.delete(f"{CM}?labelSelector=many").raise_for_status()


# Watches ---------------------------------------------------------------------------------------------------------


def test_labels_move_objects_in_and_out_of_a_watch(client: httpx2.Client) -> None:
    start = client.get(CM).json()["metadata"]["resourceVersion"]
    client.post(CM, json=config_map("mover")).raise_for_status()
    for labels in ({"in": "yes"}, {"in": "yes", "more": "1"}, {"in": "no"}, {"in": "yes"}):
        body = json.dumps({"metadata": {"labels": labels}})
        client.patch(f"{CM}/mover", content=body, headers={"Content-Type": MERGE}).raise_for_status()
    client.delete(f"{CM}/mover").raise_for_status()
    query = f"{CM}?watch=1&labelSelector=in%3Dyes&resourceVersion={start}&timeoutSeconds=1"
    events = [json.loads(line) for line in client.get(query).text.splitlines()]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert revisions == sorted(set(revisions))
    assert events[2]["object"]["metadata"]["labels"]["in"] == "yes", "the last state that the watcher knew"
