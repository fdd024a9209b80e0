"""An OpenAPI v2 document as protobuf: the messages that kubectl reads at /openapi/v2 (pure).

Each message is a table of the members that our documents have: JSON name → (field number, how it is written). A map is
a row of {1: name, 2: value}; what begins with `x-` goes into the extensions, as {1: name, 2: {2: YAML}}, for which JSON
does. Source: the numbers in openapi.v2's message definitions (gnostic).
"""

from collections.abc import Callable
from typing import Any

import orjson

from netplane.api.protobuf.wire import block, number

Json = dict[str, Any]
Writer = Callable[[Any], bytes]
Members = dict[str, tuple[int, Writer]]


def encode(document: Json) -> bytes:
    """The message of a whole document."""
    return _message(document, _DOCUMENT, 16)


def _message(value: Json, members: Members, extensions: int) -> bytes:
    out = []
    for key, one in value.items():
        if key.startswith("x-"):
            out.append(block(extensions, block(1, key.encode()) + block(2, _any(one))))
        elif key in members:
            at, write = members[key]
            out += [_field(at, item, write) for item in (one if isinstance(one, list) else [one])]
    return b"".join(out)


def _field(at: int, value: Any, write: Writer) -> bytes:
    if isinstance(value, bool):
        return number(at, int(value))
    return block(at, write(value))


def _text(value: str) -> bytes:
    return value.encode()


def _any(value: Any) -> bytes:
    return block(2, orjson.dumps(value) + b"\n")


def _rows(at: int, write: Writer) -> Writer:
    """A map, its entries in field `at`."""
    return lambda value: b"".join(
        block(at, block(1, str(key).encode()) + block(2, write(one))) for key, one in value.items()
    )


def _inside(*path: int, write: Writer) -> Writer:
    """A value some messages deep: `path` are the fields on the way."""

    def nested(value: Any) -> bytes:
        inner = write(value)
        for at in reversed(path):
            inner = block(at, inner)
        return inner

    return nested


def _schema(value: Json) -> bytes:
    return _message(value, _SCHEMA, 31)


def _values(value: str) -> bytes:
    return block(1, value.encode())


_SCHEMA: Members = {
    "$ref": (1, _text),
    "format": (2, _text),
    "title": (3, _text),
    "description": (4, _text),
    "default": (5, _any),
    "uniqueItems": (16, _text),
    "required": (19, _text),
    "enum": (20, _any),
    "additionalProperties": (21, _inside(1, write=_schema)),
    "type": (22, _values),
    "items": (23, _inside(1, write=_schema)),
    "properties": (25, _rows(1, _schema)),
}
_BODY: Members = {
    "description": (1, _text),
    "name": (2, _text),
    "in": (3, _text),
    "required": (4, _text),
    "schema": (5, _schema),
}
# Parameters in a query may be given without a value, so their numbers are one further from the fifth on.
_PLAIN: Members = {"required": (1, _text), "in": (2, _text), "description": (3, _text), "name": (4, _text)}
_QUERY: Members = {**_PLAIN, "type": (6, _text), "format": (7, _text), "uniqueItems": (20, _text)}
_PATH: Members = {**_PLAIN, "type": (5, _text), "format": (6, _text), "uniqueItems": (19, _text)}


def _parameter(value: Json) -> bytes:
    if value["in"] == "body":
        return block(1, block(1, _message(value, _BODY, 6)))
    if value["in"] == "query":
        return block(1, block(2, block(3, _message(value, _QUERY, 23))))
    return block(1, block(2, block(4, _message(value, _PATH, 22))))


_RESPONSE: Members = {"description": (1, _text), "schema": (2, _inside(1, write=_schema))}


def _response(value: Json) -> bytes:
    return block(1, _message(value, _RESPONSE, 5))


_OPERATION: Members = {
    "tags": (1, _text),
    "description": (3, _text),
    "operationId": (5, _text),
    "produces": (6, _text),
    "consumes": (7, _text),
    "parameters": (8, _parameter),
    "responses": (9, _rows(1, _response)),
    "schemes": (10, _text),
}


def _operation(value: Json) -> bytes:
    return _message(value, _OPERATION, 13)


_ITEM: Members = {
    "get": (2, _operation),
    "put": (3, _operation),
    "post": (4, _operation),
    "delete": (5, _operation),
    "patch": (8, _operation),
    "parameters": (9, _parameter),
}
_DOCUMENT: Members = {
    "swagger": (1, _text),
    "info": (2, lambda value: _message(value, {"title": (1, _text), "version": (2, _text)}, 7)),
    "paths": (8, _rows(2, lambda value: _message(value, _ITEM, 10))),
    "definitions": (9, _rows(1, _schema)),
}
