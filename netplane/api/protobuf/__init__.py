r"""Kubernetes' protobuf, read: request bodies become the objects that JSON would have given (pure; encode.py writes).

    k8s\0 + runtime.Unknown{1: {1: apiVersion, 2: kind}, 2: the object's bytes, 4: content type}

The decoder walks bytes by a table of field numbers and types (`build.py` extracts it). Go writes fields that are not
pointers even when they are empty; JSON leaves those out, and so does the decoder. Unknown numbers are skipped.
Source: the protobuf wire format; k8s.io/apimachinery runtime/serializer.
"""

import base64
import datetime
import gzip
import struct
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

from netplane.api.errors import bad_request

Json = dict[str, Any]

MAGIC = b"k8s\x00"
_META = "meta.k8s.io/v1"


class Field(NamedTuple):
    """How one field number reads. `pointer`: empty values count; `kept`: JSON shows it even when empty.

    `go` is what Go calls its type, where that has a name and is no struct.
    """

    name: str
    type: str
    repeated: bool
    inline: bool
    pointer: bool
    kept: bool
    go: str = ""


Message = dict[int, Field]


@cache
def _table() -> tuple[dict[str, str], dict[str, Message]]:
    """(apiVersion and kind → message, message → number → field)."""
    raw = orjson.loads(gzip.decompress(files(__package__).joinpath("fields.json.gz").read_bytes()))
    messages = {
        name: {
            int(number): Field(json, kind, "r" in flags, "i" in flags, "p" in flags, "k" in flags, *go)
            for number, (json, kind, flags, *go) in fields.items()
        }
        for name, fields in raw["messages"].items()
    }
    return raw["kinds"], messages


def fields_of(name: str) -> Message:
    """The fields of a message, by number."""
    return _table()[1][name]


def members(name: str) -> dict[str, Field]:
    """The fields of a message by their names, those of inlined messages among them; none for one nobody knows."""
    found: dict[str, Field] = {}
    for field in _table()[1].get(name, {}).values():
        found |= members(field.type) if field.inline else {field.name: field}
    return found


def inlined(name: str) -> dict[str, str]:
    """The fields that a message has of inlined ones, with the names of those as Go tells them: `VolumeSource.`."""
    found: dict[str, str] = {}
    for field in _table()[1].get(name, {}).values():
        if field.inline:
            below = inlined(field.type)
            of = field.type.rpartition(".")[2]
            found |= {one: f"{of}.{below.get(one, '')}" for one in members(field.type)}
    return found


def empty(api_version: str, kind: str) -> Json:
    """What Go writes of an object in which nothing is set: plain structs, and what has no omitempty."""
    kinds, _ = _table()
    name = kinds.get(f"{api_version} {kind}")
    return _empty(name) if name else {}


def _empty(name: str) -> Json:
    out: Json = {}
    for field in _table()[1].get(name, {}).values():
        if field.inline:
            out |= _empty(field.type)
        elif field.pointer or (field.type in _TIMES and field.name != "creationTimestamp"):
            out |= {field.name: None} if field.kept or not field.pointer else {}
        elif field.repeated or field.type.startswith("map:"):
            if field.kept:
                out[field.name] = None if field.repeated else {}
        elif field.type in _table()[1]:
            out[field.name] = _empty(field.type)
        elif field.kept and field.type in ZEROES:
            out[field.name] = ZEROES[field.type]
    return out


_TIMES = frozenset({"time", "microtime"})
"""Structs, which Go writes even where it is told to omit them; only when an object was made it may leave out."""
ZEROES: Json = {"string": "", "int": 0, "bool": False, "double": 0}


def decode(body: bytes) -> Json:
    """An object as JSON has it. Raises StatusError 400."""
    if not body.startswith(MAGIC):
        raise bad_request("the body is not a Kubernetes protobuf message: it does not begin with k8s\\x00")
    try:
        envelope = {number: value for number, _, value in _fields(body[len(MAGIC) :])}
        meta = {number: bytes(value).decode() for number, _, value in _fields(envelope.get(1, b""))}
        api_version, kind = meta.get(1, ""), meta.get(2, "")
        content = _message(message_of(api_version, kind), envelope.get(2, b""))
    except (IndexError, ValueError, TypeError, OverflowError, struct.error) as error:
        raise bad_request(f"the body is not a whole protobuf message: {error}") from error
    return {"kind": kind, "apiVersion": api_version, **content}


def message_of(api_version: str, kind: str) -> str:
    """The message of a kind; options and Status are the same in every group. Raises StatusError 400."""
    kinds, _ = _table()
    common = kind.endswith("Options") or kind == "Status"
    name = kinds.get(f"{api_version} {kind}") or (kinds.get(f"{_META} {kind}") if common else None)
    if name is None:
        raise bad_request(f'no kind "{kind}" is registered for version "{api_version}"')
    return name


def _fields(data: bytes | memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field: an integer, or bytes. Raises ValueError, IndexError."""
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = _varint(view, at)
        elif wire in _SIZES:
            size, at = (_SIZES[wire], at) if wire != 2 else _varint(view, at)
            if at + size > len(view):
                raise ValueError(f"field {number} ends after the message")
            value, at = view[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} is not known")
        yield number, wire, value


_SIZES = {1: 8, 2: 0, 5: 4}


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _message(name: str, data: bytes | memoryview) -> Json:
    fields = _table()[1][name]
    out: Json = {}
    for number, wire, raw in _fields(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.type.startswith("map:"):
            out.setdefault(field.name, {}).update(_entry(field.type[4:], raw))
        elif field.repeated:
            out.setdefault(field.name, []).extend(_values(field, wire, raw))
        else:
            _set(out, field, _value(field.type, raw))
    return out


def _set(out: Json, field: Field, value: Any) -> None:
    if field.inline:
        out.update(value)
    elif value is None or (value in _EMPTY and not (field.pointer or field.kept)):
        return
    else:
        out[field.name] = value


_EMPTY = ("", 0, False)


def _values(field: Field, wire: int, raw: Any) -> list[Any]:
    """One element, or a packed run of numbers."""
    if wire == 2 and field.type in ("int", "bool"):
        out, at = [], 0
        while at < len(raw):
            number, at = _varint(raw, at)
            out.append(_value(field.type, number))
        return out
    return [_value(field.type, raw)]


def _entry(kind: str, raw: memoryview) -> Json:
    parts = {number: value for number, _, value in _fields(raw)}
    default: Any = 0 if kind in ("int", "bool") else b""
    return {_string(parts.get(1, b"")): _value(kind, parts.get(2, default))}


def _value(kind: str, raw: Any) -> Any:
    reader = _READERS.get(kind)
    if reader is None:
        return _message(kind, raw)
    if kind not in ("int", "bool") and isinstance(raw, int):
        raise ValueError(f"a number where {kind} is expected")
    return reader(raw)


def _string(raw: bytes | memoryview) -> str:
    return bytes(raw).decode()


def _integer(raw: int) -> int:
    """int32 and int64 share the varint of 64 bits, negative numbers in two's complement."""
    return raw - (1 << 64) if raw >> 63 else raw


def _time(raw: memoryview) -> str | None:
    """seconds and nanoseconds since 1970; the zero time is an empty message."""
    parts = {number: value for number, _, value in _fields(raw)}
    return _moment(parts).isoformat(timespec="seconds") + "Z" if parts else None


def _micro_time(raw: memoryview) -> str | None:
    parts = {number: value for number, _, value in _fields(raw)}
    return _moment(parts).isoformat(timespec="microseconds") + "Z" if parts else None


def _moment(parts: dict[int, int]) -> datetime.datetime:
    """In UTC, without saying so."""
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(
        seconds=_integer(parts.get(1, 0)), microseconds=parts.get(2, 0) // 1000
    )


def _int_or_string(raw: memoryview) -> int | str:
    parts = {number: value for number, _, value in _fields(raw)}
    return _string(parts.get(3, b"")) if parts.get(1) == 1 else _integer(parts.get(2, 0))


def _first(raw: memoryview) -> Any:
    return next((value for number, _, value in _fields(raw) if number == 1), b"")


def _duration(raw: memoryview) -> str:
    """Go prints durations as 1h2m3s; whole seconds are enough to be read back."""
    return f"{_integer(_first(raw) or 0) / 1e9:g}s"


def _json(raw: memoryview) -> Any:
    data = bytes(_first(raw))
    return orjson.loads(data) if data else None


def _double(raw: memoryview) -> float:
    value: float = struct.unpack("<d", raw)[0]
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "bytes": lambda raw: base64.b64encode(raw).decode(),
    "bool": bool,
    "int": _integer,
    "double": _double,
    "time": _time,
    "microtime": _micro_time,
    "duration": _duration,
    "json": _json,
    "intorstring": _int_or_string,
    "quantity": lambda raw: _string(_first(raw)),
}
