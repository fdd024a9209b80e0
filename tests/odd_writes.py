"""Writes that are nearly right (POST, PUT, PATCH), and how the real apiserver refuses each."""

from tests.odd_rows import (
    APPLY,
    CM,
    DEPLOYMENTS,
    JSON,
    JSON_PATCH,
    LABEL_SYNTAX,
    MERGE,
    META,
    NO_METHOD,
    NS,
    PODS,
    REJECTED,
    STRATEGIC,
    TYPES,
    binding,
    config_map,
    patch,
    post,
    put,
    scale,
)

UNKNOWN_BODY = (
    "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error"
)

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
        'ConfigMap "y" is invalid: metadata.finalizers: Invalid value: "a/b/c": a valid label key must consist of',
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
        'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\x00b": '
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
        f"{PODS}/p/binding", binding(kind="Pod", name="n"), 500, "",
        'target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
    ),
    "a binding to nothing": post(
        f"{PODS}/p/binding", binding(kind="Node"), 500, "", "target.name: Required value"
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
        'Operation cannot be fulfilled on configmaps "x": StorageError: invalid object, Code: 4, '
        "Key: /registry/configmaps/default/x, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
        "UID in precondition: nope, UID in object meta: ",
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
