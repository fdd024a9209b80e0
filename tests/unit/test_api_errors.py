"""Status objects, word for word, and field errors in their forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from netplane.api import errors, fields
from netplane.api.errors import StatusError

GOLDEN = Path(__file__).parents[2] / "../shared/facts/api_golden.json"
PRECONDITION = errors.uid_precondition("nope", "3cdc483b-7bda-4a92-9311-7a112d543685")

# Recorded row -> the error that says the same.
RECORDED: dict[str, StatusError] = {
    "svc-404": errors.not_found("", "services", "zz"),
    "ns-404-create": errors.not_found("", "namespaces", "nono"),
    "unknown-resource": errors.no_such_resource(),
    "method-na": errors.method_not_allowed(),
    "svc-dup": errors.already_exists("", "services", "a"),
    "put-conflict": errors.conflict("", "services", "a"),
    "del-precond": errors.conflict("", "Service", "a", PRECONDITION),
    "badtoken": errors.unauthorized(),
    "noauth": errors.forbidden(
        "",
        "services",
        "",
        'User "system:anonymous" cannot list resource "services" in API group "" in the namespace "g1"',
    ),
    "patch-bad-ct": errors.unsupported_patch_type(),
    "list-rvfuture": errors.too_large_resource_version(99999999, 50168),
    "svc-unknown-field-strict": errors.strict_decoding(
        "Service", "v1", ['unknown field "spec.bogus"', 'unknown field "spec.ports[0].x"']
    ),
    "svc-no-ct": errors.unsupported_media_type(
        ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
    ),
    "ssa-nomgr": errors.invalid(
        "meta.k8s.io", "PatchOptions", "", [fields.required("fieldManager", "is required for apply patch")]
    ),
}


def recorded() -> dict[str, Any]:
    rows = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else []
    return {row["name"]: row["response"] for row in rows if row["name"] in RECORDED}


@pytest.mark.parametrize(("name", "answer"), recorded().items())
def test_recorded_refusals(name: str, answer: Any) -> None:
    assert RECORDED[name].status() == answer


@pytest.mark.parametrize(
    ("error", "text", "reason"),
    [
        (fields.required("a.b"), "a.b: Required value", "FieldValueRequired"),
        (fields.required("a", "why"), "a: Required value: why", "FieldValueRequired"),
        (fields.invalid("a", "x", "why"), 'a: Invalid value: "x": why', "FieldValueInvalid"),
        (fields.invalid("a", 7, "why"), "a: Invalid value: 7: why", "FieldValueInvalid"),
        (fields.invalid("a", True, "why"), "a: Invalid value: true: why", "FieldValueInvalid"),
        (fields.invalid("a", None, "why"), "a: Invalid value: null: why", "FieldValueInvalid"),
        (fields.invalid("a", ["x", "<"], "why"), 'a: Invalid value: ["x","\\u003c"]: why', "FieldValueInvalid"),
        (
            fields.not_supported("a", "x", {"c", "b"}),
            'a: Unsupported value: "x": supported values: "b", "c"',
            "FieldValueNotSupported",
        ),
        (fields.not_supported("a", "x", ("c", "b")), 'a: Unsupported value: "x": supported values: "c", "b"', None),
        (fields.duplicate("a", "x"), 'a: Duplicate value: "x"', "FieldValueDuplicate"),
        (fields.forbidden("a", "why"), "a: Forbidden: why", "FieldValueForbidden"),
        (fields.not_found("a", "x"), 'a: Not found: "x"', "FieldValueNotFound"),
        (fields.too_long("a", 9), "a: Too long: may not be more than 9 bytes", "FieldValueTooLong"),
        (fields.too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items", "FieldValueTooMany"),
        (fields.internal("a", "why"), "a: Internal error: why", "InternalError"),
    ],
)
def test_field_errors(error: fields.FieldError, text: str, reason: str | None) -> None:
    assert str(error) == text
    assert error.cause()["message"] == text.partition(": ")[2]
    assert reason in (None, error.cause()["reason"])


def test_grouped_kinds_are_named_with_their_group() -> None:
    error = errors.not_found("discovery.k8s.io", "endpointslices", "x")
    assert error.message == 'endpointslices.discovery.k8s.io "x" not found'
    assert error.details == {"name": "x", "group": "discovery.k8s.io", "kind": "endpointslices"}


def test_repeated_errors_are_listed_once_and_caused_each() -> None:
    twice = [fields.required("a"), fields.required("a"), fields.required("b")]
    error = errors.invalid("", "Pod", "p", twice)
    assert error.message == 'Pod "p" is invalid: [a: Required value, b: Required value]'
    assert error.details is not None
    assert len(error.details["causes"]) == 3


def test_a_status_survives_the_wire() -> None:
    for error in (errors.expired(), errors.too_many_requests("slow down", 7), errors.gone(3, 9), errors.internal("x")):
        back = errors.from_json(json.loads(json.dumps(error.status())))
        assert back.status() == error.status()
    assert errors.gone(3, 9).message == "too old resource version: 3 (9)"
