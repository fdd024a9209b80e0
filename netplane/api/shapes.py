"""Schemas made fast for the walk over what clients send: known members by name, and what Go knows of them (pure)."""

from functools import cache
from typing import Any

from netplane.api import protobuf, schema
from netplane.api.kinds import Kind

Json = dict[str, Any]

_BY_FORMAT = {
    "int-or-string": ("int-or-string", "int32"),
    "date-time": ("time", "string"),
    "byte": ("bytes", "[]uint8"),
}
_GO_NAMES = {"string": "string", "boolean": "bool", "number": "float64"}
BOUNDS = {"int32": 2**31, "int64": 2**63}
_PLAIN: dict[str, type] = {"string": str, "boolean": bool, "integer": int}


class Shape:
    """One schema. `type` is object, map, array, a scalar type, int-or-string, quantity, time or any.

    `members` are an object's fields (some `required`), `item` the element of an array or map, `go` the Go type that
    messages name. `py` is the one Python type of a plain scalar, None for the rest; integers lie in -`bound` to
    `bound` - 1. `zero` are an object's scalars whose zero means absence, `kept` those that are never absent, with their
    zeros; `told` how messages name members that Go inlines. `accepted` is an object's type for netplane.api.accept,
    once it was asked for.
    """

    __slots__ = ("accepted", "bound", "go", "item", "kept", "members", "py", "required", "told", "type", "zero")

    def __init__(self, kind: str, go: str) -> None:
        self.type = kind
        self.py: type | None = _PLAIN.get(kind)
        self.bound = BOUNDS.get(go, 0)
        self.accepted: Any = None
        self.go = go
        self.members: dict[str, Shape] = {}
        self.item: Shape | None = None
        self.required: frozenset[str] = frozenset()
        self.zero: frozenset[str] = frozenset()
        self.kept: Json = {}
        self.told: dict[str, str] = {}


@cache
def of_kind(kind: Kind) -> Shape:
    """The shape of a served kind."""
    return _named(schema.name_for(kind.group, kind.version, kind.kind), {})


@cache
def of_name(group: str, version: str, kind: str) -> Shape:
    """The shape of anything the schemas carry."""
    return _named(schema.name_for(group, version, kind), {})


_shapes: dict[str, Shape] = {}


def _named(name: str, building: dict[str, Shape]) -> Shape:
    """The shape of a definition; definitions may refer to themselves."""
    found = _shapes.get(name) or building.get(name)
    if found is not None:
        return found
    definition = schema.definitions()[name]
    shape = building[name] = _of(definition, building, _go_type(name))
    if name.endswith(".MicroTime"):
        shape.type = "microtime"
    for member, node in definition.get("properties", {}).items():
        shape.members[member] = _member(node, building)
    shape.required = frozenset(definition.get("required", ()))
    message = ".".join(_turned(name))
    _as_in_go(shape, protobuf.members(message))
    shape.told = {one: f"\0{of}\0{one}" for one, of in protobuf.inlined(message).items() if one in shape.members}
    _shapes[name] = shape
    return shape


def _as_in_go(shape: Shape, fields: dict[str, protobuf.Field]) -> None:
    """What schemas do not say: which scalars are no pointers, and the names of types that are strings or the like."""
    fields = {name: field for name, field in fields.items() if name in shape.members}
    plain = {name: one for name, one in fields.items() if not (one.repeated or one.pointer or one.kept)}
    shape.zero = frozenset(name for name, one in plain.items() if one.type in protobuf.ZEROES)
    shape.kept = {
        name: zeroes[one.type]
        for name, one in fields.items()
        for zeroes in ((_KEPT | _ALWAYS) if one.kept else _ALWAYS,)
        if one.type in zeroes and not (one.repeated or one.pointer or name == "creationTimestamp")
    }
    shape.kept |= {name: None for name, one in fields.items() if one.kept and one.pointer and not one.repeated}
    for name, field in fields.items():
        member = shape.members[name]
        member.go = field.go or member.go
        if field.go.startswith("[]") and member.item is not None:
            member.item.go = field.go.removeprefix("[]")
        if field.type.startswith("map:") and member.item is not None and member.item.type == "array":
            member.item.go = _go_type(field.type)  # a list with a name of its own: ExtraValue
            member.go = f"map[string]{member.item.go}"


_KEPT: Json = {**protobuf.ZEROES, "intorstring": 0}
_ALWAYS: Json = {"time": None, "microtime": None, "quantity": "0"}
"""Zeros of structs, which Go writes even where it is told to omit them."""


def _turned(name: str) -> list[str]:
    """io.k8s.api.core.v1.Pod as protobuf has it: k8s.io.api.core.v1.Pod."""
    first, second, *rest = name.split(".")
    return [second, first, *rest]


def _go_type(name: str) -> str:
    *_, package, kind = name.split(".")
    return f"{package}.{kind}"


def _member(node: Json, building: dict[str, Shape]) -> Shape:
    name = schema.reference(node)
    return _named(name, building) if name else _of(node, building, "")


def _of(node: Json, building: dict[str, Shape], go: str) -> Shape:
    form, kind = node.get("format", ""), node.get("type", "")
    if form in _BY_FORMAT:
        return Shape(*_BY_FORMAT[form])
    if "oneOf" in node:
        return Shape("quantity", "resource.Quantity")
    if kind == "object" and "properties" in node:
        return Shape("object", go)
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        shape = Shape("map", "")
        shape.item = _member(node["additionalProperties"], building)
        shape.go = f"map[string]{shape.item.go}"
        return shape
    if kind == "array":
        shape = Shape("array", "")
        shape.item = _member(node["items"], building)
        shape.go = f"[]{shape.item.go}"
        return shape
    if kind == "integer":
        return Shape("integer", form or "int64")
    return Shape(kind, _GO_NAMES[kind]) if kind in _GO_NAMES else Shape("any", "")
