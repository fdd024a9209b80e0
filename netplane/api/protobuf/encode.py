r"""Objects as Kubernetes' protobuf, for clients that accept nothing else (pure).

As Go writes it: fields that are not pointers even when they are empty, maps in order of their keys. A watch is a row of
frames, each a WatchEvent after its length in four bytes (big endian). Source: k8s.io/apimachinery
runtime/serializer/protobuf and streaming.
"""

import base64
import datetime
import struct
from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import protobuf
from netplane.api.protobuf import MAGIC, Field
from netplane.api.protobuf.wire import block, fixed, number

Json = dict[str, Any]


def encode(obj: Json) -> bytes:
    """A whole object, with the head that says what it is. Raises StatusError 400 for a kind without a message."""
    api_version, kind = obj["apiVersion"], obj["kind"]
    name = protobuf.message_of(api_version, kind)
    head = block(1, api_version.encode()) + block(2, kind.encode())
    return MAGIC + block(1, head) + block(2, _message(name, obj)) + block(3, b"") + block(4, b"")


def frame(event: Json) -> bytes:
    """One event of a watch."""
    raw = block(1, event["type"].encode()) + block(2, block(1, encode(event["object"])))
    return struct.pack(">I", len(raw)) + raw


def _message(name: str, obj: Json) -> bytes:
    return b"".join(_field(at, field, obj) for at, field in sorted(protobuf.fields_of(name).items()))


def _field(at: int, field: Field, obj: Json) -> bytes:
    if field.inline:
        return block(at, _message(field.type, obj))
    value = obj.get(field.name)
    if field.type.startswith("map:"):
        kind = field.type[4:]
        return b"".join(
            block(at, block(1, key.encode()) + _written(2, kind, one)) for key, one in sorted((value or {}).items())
        )
    if field.repeated:
        return b"".join(_written(at, field.type, one) for one in value or ())
    if value is None and (field.pointer or field.type in ("bytes", "json")):
        return b""
    return _written(at, field.type, value)


def _written(at: int, kind: str, value: Any) -> bytes:
    if kind in ("int", "bool"):
        return number(at, int(value or 0))
    if kind == "double":
        return fixed(at, struct.pack("<d", value or 0))
    writer = _WRITERS.get(kind)
    return block(at, writer(value) if writer is not None else _message(kind, value or {}))


def _moment(text: Any) -> bytes:
    """seconds and nanoseconds since 1970; no time is an empty message."""
    if not text:
        return b""
    when = datetime.datetime.fromisoformat(text)
    return number(1, int(when.replace(microsecond=0).timestamp())) + number(2, when.microsecond * 1000)


def _int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return number(1, 1) + number(2, 0) + block(3, value.encode())
    return number(1, 0) + number(2, value or 0) + block(3, b"")


def _duration(value: Any) -> bytes:
    return number(1, int(float(str(value or "0s").removesuffix("s")) * 1e9))


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "string": lambda value: (value or "").encode(),
    "bytes": lambda value: base64.b64decode(value or ""),
    "time": _moment,
    "microtime": _moment,
    "duration": _duration,
    "json": lambda value: block(1, orjson.dumps(value)),
    "intorstring": _int_or_string,
    "quantity": lambda value: block(1, str(value if value is not None else "").encode()),
}
