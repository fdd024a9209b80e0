"""JSON texts inside of objects, decoded into types as Go's encoding/json does it.

Fields are found whatever the case of their names, what is not known is passed over, and null is the zero value.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from netplane.api import go_json, times
from netplane.api.typecheck import WrongType

Json = dict[str, Any]


class Type(NamedTuple):
    """A type of Go. `of` is what Python makes of its JSON, `fields` are a struct's, `item` is the element of a list."""

    go: str
    of: type[Any]
    fields: Mapping[str, "Type"] = {}
    item: "Type | None" = None
    check: Callable[[str], object] | None = None

    @property
    def name(self) -> str:
        """Without its package."""
        return self.go.rpartition(".")[2]


STRING, BOOL, MAP = Type("string", str), Type("bool", bool), Type("map[string]interface {}", dict)
TIME = Type("string", str, check=times.canonical)
_IN_JSON = {dict: "object", list: "array", str: "string", bool: "bool"}


def struct(go: str, **fields: Type) -> Type:
    """A struct by its fields' names in JSON."""
    return Type(go, dict, fields)


def list_of(item: Type) -> Type:
    """A list of one type."""
    return Type(f"[]{item.go}", list, item=item)


def loads(text: bytes, wanted: Type) -> Any:
    """A text as a value of a type. Raises ValueError, in Go's words."""
    return _value(go_json.loads(text), wanted, "", "")


def _value(value: Any, wanted: Type, around: str, path: str) -> Any:
    """`around` is the innermost struct, `path` the fields that lead to the value."""
    if value is None:
        return wanted.of()
    if not isinstance(value, wanted.of):
        where = f"struct field {around}.{path}" if path else "value"
        said = _IN_JSON.get(type(value), "number")
        raise WrongType(f"json: cannot unmarshal {said} into Go {where} of type {wanted.go}")
    if wanted.item is not None:
        return [_value(one, wanted.item, around, path) for one in value]
    if wanted.check is not None:
        wanted.check(value)
    return _struct(value, wanted, path) if wanted.fields else value


def _struct(value: Json, wanted: Type, path: str) -> Json:
    names = {name.lower(): name for name in wanted.fields}
    found: Json = {}
    for key, one in value.items():
        name = names.get(key.lower())
        if name is not None and one is not None:
            found[name] = _value(one, wanted.fields[name], wanted.name, f"{path}.{name}" if path else name)
    return found
