"""Patch documents: which types there are, how they are read and applied."""

from typing import Any

import orjson

from netplane.api import errors, patch
from netplane.api.kinds import Kind
from netplane.apiserver import bodies

Json = dict[str, Any]

PATCH_TYPES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/json-patch+json": "json",
}


def document(raw: bytes, way: str) -> Any:
    """The patch of a body. Raises StatusError 400."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"error decoding patch: {bodies.json_problem(raw, error.pos)}") from error
    expected = list if way == "json" else dict
    if not isinstance(found, expected):
        name = "array" if expected is list else "object"
        raise errors.bad_request(f"error decoding patch: the patch must be a JSON {name}")
    return found


def plain(old: Json, given: Any, way: str) -> Json:
    """The result of a merge patch or a JSON patch."""
    return patch.merge(old, given) if way == "merge" else patch.json_patch(old, given)


def strategic(old: Json, given: Any, kind: Kind) -> Json:
    """The result of a strategic merge patch."""
    from netplane.api import schema  # noqa: PLC0415 - loaded when the first strategic patch comes

    return patch.strategic(old, given, schema.for_kind(kind))
