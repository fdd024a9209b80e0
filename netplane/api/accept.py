"""Schemas as types that C code checks: whether an object is plainly right, in a sixth of the time a walk takes (pure).

Accepted is what has no unknown field, no null, no empty list or map that is optional, no zero that means absence, no
wrong type and no amount that may have to be written in another way: nothing to drop, to change or to say. What is not
accepted may still be right; netplane.api.typecheck walks it and knows.
"""

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from netplane.api.shapes import Shape

_DAY = r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_TIME = rf"^[1-9][0-9]{{3}}-{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"

_SEXTET = "[A-Za-z0-9+/]"
_BASE64 = rf"^(?:{_SEXTET}{{4}})*(?:{_SEXTET}[AQgw]==|{_SEXTET}{{2}}[AEIMQUYcgkosw048]=)?\Z"

_SCALARS: dict[str, Any] = {
    "string": str,
    "bytes": Annotated[str, msgspec.Meta(pattern=_BASE64)],
    "boolean": bool,
    "number": int | float,
    "int-or-string": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | str,
    "quantity": Annotated[str, msgspec.Meta(pattern=r"^(?:0|[1-9][0-9]{0,2}(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?)\Z")],
    "time": Annotated[str, msgspec.Meta(pattern=rf"{_TIME}Z\Z")],
    "microtime": Annotated[str, msgspec.Meta(pattern=rf"{_TIME}\.[0-9]{{6}}Z\Z")],
    "any": Any,
}
_NOT_EMPTY = msgspec.Meta(min_length=1)


class _Yes:
    """The type of true: false means nothing where it is as good as absent."""


def _yes(kind: type, value: Any) -> Any:
    if value is not True:
        raise ValueError(f"{kind} is true")
    return value


_NONZERO: dict[str, Any] = {
    "string": Annotated[str, _NOT_EMPTY],
    "boolean": _Yes,
    "integer": Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)],
    "number": Annotated[float, msgspec.Meta(gt=0)],
}
"""Scalars whose zero is dropped; rare ones that are right are left to the walk."""
_numbers = itertools.count()


def plainly(shape: "Shape", obj: dict[str, Any]) -> bool:
    """Whether there is nothing to say about `obj`, of an object's shape."""
    if shape.accepted is None:
        try:
            shape.accepted = _struct(shape, {})
        except _Endless:
            shape.accepted = _Nothing
    try:
        msgspec.convert(obj, shape.accepted, dec_hook=_yes)
    except msgspec.ValidationError:
        return False
    return True


def part(shape: "Shape", name: str, value: Any) -> bool:
    """The same of one member of an object, whatever the others are."""
    member = shape.members.get(name)
    if member is None:
        return False
    wanted = _parts.get((shape, name))
    if wanted is None:
        try:
            wanted = _field(shape, name, member, {})
        except _Endless:
            wanted = _Nothing
        _parts[shape, name] = wanted
    try:
        msgspec.convert(value, wanted, dec_hook=_yes)
    except msgspec.ValidationError:
        return False
    return True


_parts: "dict[tuple[Shape, str], Any]" = {}


class _Endless(Exception):
    """A definition that refers to itself."""


class _Nothing(msgspec.Struct):
    """The type of no object."""

    never: Annotated[int, msgspec.Meta(gt=0, lt=0)]


def _struct(shape: "Shape", building: "dict[Shape, None]") -> Any:
    if shape.accepted is not None:
        return shape.accepted
    if shape in building:
        raise _Endless
    below = {**building, shape: None}
    names: dict[str, str] = {}
    fields: list[Any] = []
    for i, (name, member) in enumerate(shape.members.items()):
        names[f"f{i}"] = name
        kind = _field(shape, name, member, below)
        fields.append((f"f{i}", kind) if name in shape.kept else (f"f{i}", kind, None))
    made = msgspec.defstruct(
        f"Accepted{next(_numbers)}", fields, rename=names, forbid_unknown_fields=True, gc=False, kw_only=True
    )
    shape.accepted = made
    return made


def _field(shape: "Shape", name: str, member: "Shape", building: "dict[Shape, None]") -> Any:
    """The type of what a member may be where it is there."""
    kind = _type(member, building, optional=name not in shape.required)
    if name in shape.kept:
        return kind | None if shape.kept[name] is None else kind
    return _NONZERO[member.type] if name in shape.zero else kind


def _type(shape: "Shape", building: "dict[Shape, None]", *, optional: bool) -> Any:
    if shape.type == "integer":
        return Annotated[int, msgspec.Meta(ge=-shape.bound, le=shape.bound - 1)]
    if shape.type in _SCALARS:
        return _SCALARS[shape.type]
    if shape.type == "object":
        return _struct(shape, building)
    assert shape.item is not None
    item = _type(shape.item, building, optional=True)
    several: Any = list.__class_getitem__(item) if shape.type == "array" else dict.__class_getitem__((str, item))
    return Annotated[several, _NOT_EMPTY] if optional else several
