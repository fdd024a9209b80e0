"""The patch types of the API: document and patch in, new document out; neither argument is changed.

Merge patch (RFC 7386): null deletes, objects merge, everything else replaces.
JSON patch (RFC 6902): a list of operations, in json_patch.py.
Strategic merge is in strategic.py.
"""

from typing import Any

from netplane.api import json_patch as rfc6902
from netplane.api.errors import StatusError, bad_request, unprocessable
from netplane.api.strategic import apply as strategic

__all__ = ["MAX_OPERATIONS", "json_patch", "merge", "strategic"]

Json = dict[str, Any]

MAX_OPERATIONS = 10_000
"""More operations than this in one JSON patch are refused (as the real server does)."""


def merge(doc: Json, patch: Any) -> Json:
    """Apply a JSON merge patch. Raises StatusError (400) for a patch that is not an object."""
    if not isinstance(patch, dict):
        into = "Go value of type map[string]interface {}"
        raise bad_request(f"error decoding patch: json: cannot unmarshal {go_kind(patch)} into {into}")
    return _merged(doc, patch)


def _merged(doc: Any, patch: Json) -> Json:
    out = dict(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            out[key] = _merged(out.get(key), value)
        else:
            out[key] = value
    return out


def json_patch(doc: Json, ops: Any) -> Json:
    """Apply a JSON patch.

    Raises StatusError: 400 for what is no patch, 413 for too long a one, 422 when it cannot be applied to this document
    (a failed `test` included).
    """
    if not isinstance(ops, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {go_kind(ops)} into Go value of type []handlers.jsonPatchOp"
        )
    if len(ops) > MAX_OPERATIONS:
        why = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")
    for op in ops:
        if not isinstance(op, dict):
            why = f"json: cannot unmarshal {go_kind(op)} into Go value of type handlers.jsonPatchOp"
            raise bad_request(f"error decoding patch: {why}")
    try:
        out = rfc6902.apply(doc, ops)
    except rfc6902.PatchError as error:
        raise unprocessable() from error
    if not isinstance(out, dict):
        raise unprocessable()
    return out


def go_kind(value: Any) -> str:
    """The JSON type of a value, as error messages name it."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
