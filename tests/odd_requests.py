"""Requests that are nearly right, and how the real apiserver refuses each: status, reason and words.

The texts are those of k8s.io/apiserver's handlers (create, update, patch, delete, get), its negotiation, and the
validation of k8s.io/apimachinery. Writes are in tests/odd_writes.py.
"""

from tests.odd_rows import (
    CM,
    LABEL_SYNTAX,
    NO_METHOD,
    NO_RESOURCE,
    NS,
    PODS,
    bad,
    delete,
    get,
    list_invalid,
    options,
)
from tests.odd_writes import PATCHES, UPDATES, WRITES

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
        f"{CM}?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJzdGFydCI6ImEifQ",
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
        'no kind "Foo" is registered for version "v1" in scheme '
        '"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"',
    ),
    "a wrong type": delete(
        f"{CM}/x", {"gracePeriodSeconds": "0"}, 400, "BadRequest",
        "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
    ),
    "no JSON": delete(
        f"{CM}/x", b"{]", 400, "BadRequest",
        "couldn't get version/kind; json parse error: invalid character ']' looking for beginning of object key string",
    ),
    "an empty grace": delete(
        f"{CM}/x?gracePeriodSeconds=", None, 400, "BadRequest", 'strconv.ParseInt: parsing "": invalid syntax'
    ),
    "an empty propagation": delete(
        f"{CM}/x?propagationPolicy=", None, 422, "Invalid",
        f'{INVALID_DELETE}propagationPolicy: Unsupported value: "": {PROPAGATIONS}',
    ),
    "dry run twice": delete(
        f"{CM}/x?dryRun=All&dryRun=foo", None, 422, "Invalid",
        f'{INVALID_DELETE}dryRun: Unsupported value: ["All","foo"]: supported values: "All"',
    ),
    "an empty uid": delete(
        f"{CM}/x", options(preconditions={"uid": ""}), 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition () does not match',
    ),
    "another uid in the query": delete(
        f"{CM}/x?uid=foo", None, 409, "Conflict",
        'Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (foo) does not match',
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
