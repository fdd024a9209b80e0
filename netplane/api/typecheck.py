"""Types and unknown fields: what Kubernetes' typed decoder would refuse or drop, found by walking the schema (pure).

The schemas come as shapes (netplane.api.shapes). Walking an ordinary Service takes some microseconds.

    unknown fields   dropped in place and named: `spec.ports[0].x`; the caller warns, refuses or keeps quiet
    nulls            dropped; in a map or list they are the zero of its elements
    empty lists      and maps that are optional: dropped, for a typed decoder writes none
    zeros            of fields that are no pointers in Go: dropped, for it cannot tell "", 0 and false from absence;
                     those that Go writes all the same are put in where they are missing
    wrong types      WrongType, in the words of Go's decoder: `json: cannot unmarshal string into Go struct field …`
    amounts          written in place as the API shows them: 0.5 is 500m, 1024Mi is 1Gi
    base64, times    the same, each in its one form
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from netplane.api import accept, base64_text, quantity, times
from netplane.api.kinds import Kind
from netplane.api.shapes import BOUNDS, Shape, of_kind

Json = dict[str, Any]

_AMOUNT = "([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)"
_LIKE_AN_AMOUNT = re.compile(r"(?=.)[+-]?[0-9]*(\.[0-9]*)?[eEinumkKMGTP]*[-+]?[0-9]*")
_OF_INLINED = re.compile("\0[A-Za-z.]*\0")


class WrongType(ValueError):
    """A value of another type than its field; the text is Go's."""


_ZERO: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("string", "bytes", "time", "microtime"), str),
    "quantity": lambda: "0",
    **dict.fromkeys(("integer", "number", "int-or-string"), int),
    "boolean": bool,
    "array": list,
}
_EMPTY: dict[str, type] = {"array": list, "map": dict}


def clean(kind: Kind, obj: Json, checked: Json | None = None, *, whole: bool = True) -> list[str]:
    """Drop unknown fields in place and return their paths. Raises WrongType.

    What `obj` shares with `checked` (the very same value of a top field) is not looked at again. `whole`: what Go
    always writes is put in.
    """
    shape = of_kind(kind)
    if checked is None:
        return clean_as(shape, obj, whole=whole)
    fresh = {name: value for name, value in obj.items() if value is not checked.get(name) or name not in checked}
    if all(accept.part(shape, name, value) for name, value in fresh.items()):
        return []
    before = set(fresh)
    unknown = clean_as(shape, fresh, whole=whole)
    for name in before - set(fresh):
        del obj[name]
    return unknown


def clean_as(shape: Shape, obj: Json, *, whole: bool = False) -> list[str]:
    """The same for what is not stored: options, bindings, evictions."""
    if accept.plainly(shape, obj):
        return []
    unknown = walk(shape, obj)
    if whole:
        _complete(shape, obj)
    return unknown


def _complete(shape: Shape, value: Any) -> None:
    """Put in what Go always writes."""
    if shape.item is not None:
        if shape.item.type in ("object", "array", "map"):
            for one in value.values() if shape.type == "map" else value:
                _complete(shape.item, one)
        return
    for name, one in value.items():
        child = shape.members[name]
        if child.type in ("object", "array", "map"):
            _complete(child, one)
    for name, zero in shape.kept.items():
        value.setdefault(name, zero)


def walk(shape: Shape, obj: Json) -> list[str]:
    """The same, looking at every part."""
    unknown: list[str] = []
    _object(shape, obj, "", unknown)
    return unknown


def _object(shape: Shape, obj: Json, path: str, unknown: list[str]) -> None:
    members = shape.members
    strangers = None
    for name, value in obj.items():
        child = members.get(name)
        if child is None:
            strangers = [name] if strangers is None else [*strangers, name]
            unknown.append(_OF_INLINED.sub("", f"{path}.{name}" if path else name))
        elif type(value) is child.py:
            if not value and name in shape.zero:
                strangers = [name] if strangers is None else [*strangers, name]
            elif child.bound and _beyond(value, child.bound):
                raise _wrong(value, shape, path, shape.told.get(name, name), child)
        elif value is None or (not value and type(value) is _EMPTY.get(child.type) and name not in shape.required):
            strangers = [name] if strangers is None else [*strangers, name]
        else:
            _value(shape, child, value, path, shape.told.get(name, name), unknown)
            if child.type in _WRITTEN:
                obj[name] = _WRITTEN[child.type](value)
    for name in strangers or ():
        del obj[name]


def _value(parent: Shape, shape: Shape, value: Any, path: str, name: str, unknown: list[str]) -> None:
    kind = shape.type
    if kind == "object":
        if type(value) is not dict:
            raise _wrong(value, parent, path, name, shape)
        _object(shape, value, f"{path}.{name}" if path else name, unknown)
    elif kind == "array":
        if type(value) is not list:
            raise _wrong(value, parent, path, name, shape)
        _items(parent, shape.item, value, path, name, unknown)
    elif kind == "map":
        if type(value) is not dict:
            raise _wrong(value, parent, path, name, shape)
        assert shape.item is not None
        plain = shape.item.py
        for key, one in value.items():
            if one is None:
                value[key] = _ZERO.get(shape.item.type, dict)()
            elif type(one) is not plain:
                _value(parent, shape.item, one, path, name, unknown)
                if shape.item.type in _WRITTEN:
                    value[key] = _WRITTEN[shape.item.type](one)
    elif not _scalar(kind, value):
        raise _wrong(value, parent, path, name, shape)


def _items(parent: Shape, item: Shape | None, value: list[Any], path: str, name: str, unknown: list[str]) -> None:
    assert item is not None
    plain = item.py
    for i, one in enumerate(value):
        if type(one) is plain and not (item.bound and _beyond(one, item.bound)):
            continue
        if one is None:
            value[i] = _ZERO.get(item.type, dict)()  # a typed decoder makes an empty element of null
        else:
            _value(parent, item, one, path, f"{name}[{i}]", unknown)


def _beyond(value: Any, bound: int) -> bool:
    return not -bound <= value < bound


def _scalar(kind: str, value: Any) -> bool:
    if kind in ("string", "bytes", "time", "microtime"):
        return type(value) is str
    if kind == "integer":
        return False  # one that is right was seen to be
    if kind == "boolean":
        return type(value) is bool
    if kind == "number":
        return type(value) in (int, float)
    if kind == "int-or-string":
        return type(value) is str or (type(value) is int and not _beyond(value, BOUNDS["int32"]))
    return True


def _amount(value: Any) -> str:
    """An amount in its one form. Raises WrongType."""
    text = str(value).strip() if type(value) in (int, float, str) else ""
    if quantity.parse(text) is not None:
        return quantity.canonical(text)
    like = _LIKE_AN_AMOUNT.fullmatch(text) is not None
    raise WrongType(
        "unable to parse quantity's suffix" if like else f"quantities must match the regular expression '^{_AMOUNT}$'"
    )


def _or_wrong(canonical: Callable[[str], str]) -> Callable[[str], str]:
    """A text in its one form, or WrongType."""

    def written(text: str) -> str:
        try:
            return canonical(text)
        except ValueError as error:
            raise WrongType(str(error)) from error

    return written


_WRITTEN: dict[str, Callable[[Any], str]] = {
    "quantity": _amount,
    "bytes": _or_wrong(base64_text.canonical),
    "time": _or_wrong(times.canonical),
    "microtime": _or_wrong(partial(times.canonical, micro=True)),
}
"""What has several forms is stored in one."""


def _wrong(value: Any, parent: Shape, path: str, name: str, shape: Shape) -> WrongType:
    where = re.sub(r"\[\d+\]|\0", "", f"{path}.{name}" if path else name)
    struct = parent.go.rpartition(".")[2]
    said = _json_type(value)
    if said == "number" and shape.bound:
        said = f"number {value if isinstance(value, int) else orjson.dumps(value).decode()}"
    return WrongType(f"json: cannot unmarshal {said} into Go struct field {struct}.{where} of type {shape.go}")


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {dict: "object", list: "array", str: "string", int: "number", float: "number"}[type(value)]
