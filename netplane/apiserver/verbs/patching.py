"""Patch documents: which types there are, how they are read and applied."""

from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import errors, go_json, patch
from netplane.api.kinds import Kind
from netplane.api.strategic import go_map as strategic_text
from netplane.apiserver.wire import bodies

Json = dict[str, Any]

PATCH_TYPES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/json-patch+json": "json",
}


def document(raw: bytes, way: str) -> Any:
    """The patch of a body. Raises StatusError 400."""
    try:
        found = bodies.json_document(raw)
    except go_json.GoJSONError as error:
        raise errors.bad_request(str(error) if way == "strategic" else f"error decoding patch: {error}") from error
    if way == "merge" and found is None:
        raise errors.bad_request("Invalid JSON Patch")
    if way == "merge" and not isinstance(found, dict):
        return found
    if found is None:
        return [] if way == "json" else {}
    expected, go_type = (list, "[]handlers.jsonPatchOp") if way == "json" else (dict, "map[string]interface {}")
    if not isinstance(found, expected):
        why = f"json: cannot unmarshal {patch.go_kind(found)} into Go value of type {go_type}"
        raise errors.bad_request(why if way == "strategic" else f"error decoding patch: {why}")
    return found


def unknown(ops: list[Any]) -> list[str]:
    """What is wrong with a JSON patch that means nothing: members that operations do not have."""
    return [
        f'json patch unknown field "[{i}].{name}"' for i, op in enumerate(ops) for name in op if name not in _OPERATION
    ]


_OPERATION = frozenset({"op", "path", "from", "value"})


def shower(way: str, given: Any, new: Json) -> Callable[[], str]:
    """How a patch is quoted when its result is wrong: a strategic one as it came, the others by what they made."""
    return (lambda: strategic_text(given)) if way == "strategic" else (lambda: orjson.dumps(new).decode())


def plain(old: Json, given: Any, way: str) -> Json:
    """The result of a merge patch or a JSON patch."""
    return patch.merge(old, given) if way == "merge" else patch.json_patch(old, given)


def strategic(old: Json, given: Any, kind: Kind) -> Json:
    """The result of a strategic merge patch, which cannot say that an object is of another kind."""
    from netplane.api import schema  # noqa: PLC0415 - loaded when the first strategic patch comes

    made = patch.strategic(old, given, schema.for_kind(kind))
    return {**made, "kind": old["kind"], "apiVersion": old["apiVersion"]} if made else made
