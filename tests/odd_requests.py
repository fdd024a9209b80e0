"""Requests that are nearly right, and how the real apiserver refuses each: status, reason and words.

The texts are those of k8s.io/apiserver's handlers (create, update, patch, delete, get), its negotiation, and the
validation of k8s.io/apimachinery.
"""

from typing import Any, NamedTuple

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
        CM, config_map("y", resourceVersion="5"), 500, "",
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
    "a revision that is no number": put(
        f"{CM}/x", config_map(resourceVersion="abc"), 500, "", 'strconv.ParseUint: parsing "abc": invalid syntax',
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
