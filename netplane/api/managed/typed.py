"""What an applied configuration may not say: fields that the schema does not have, other types, items twice (pure).

Apply reads a configuration by the schema before any decoder sees it, so it words its refusals in its own way, with the
path in front. Source: the validation of structured-merge-diff's typed values.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from netplane.api import schema
from netplane.api.kinds import Kind
from netplane.api.strategic import go_map

Json = dict[str, Any]

_NUMERIC, _SCALARS = (int, float), (int, float, str, bool)
_MISSING: Json = {}


def problems(kind: Kind, config: Json) -> list[str]:
    """Everything that is wrong with a configuration of this kind, without its nulls."""
    return list(_value(schema.for_kind(kind), config, ""))


def _value(node: Json, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return  # no type refuses it
    node = schema.resolve(node)
    kind = node.get("type", "")
    if "oneOf" in node or node.get("format") == "date-time":
        if not isinstance(value, _SCALARS):
            yield _at(path, f"expected any scalar, got {_printed(value)}")
    elif kind == "array":
        yield from _list(node, value, path)
    elif kind == "object":
        yield from _map(node, value, path)
    elif kind:
        yield from _scalar(kind, value, path)


def _at(path: str, why: str) -> str:
    return f"{path}: {why}" if path else why


def _scalar(kind: str, value: Any, path: str) -> Iterator[str]:
    if kind == "string" and not isinstance(value, str):
        yield _at(path, f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}")
    elif kind == "boolean" and not isinstance(value, bool):
        yield _at(path, f"expected boolean, got {_printed(value)}")
    elif kind in ("integer", "number") and (not isinstance(value, _NUMERIC) or isinstance(value, bool)):
        yield _at(path, f"expected numeric (int or float), got {_go_type(value)}")


def _map(node: Json, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _at(path, f"expected map, got {_printed(value)}")
        return
    known, others = node.get("properties"), node.get("additionalProperties")
    if known is None and not isinstance(others, dict):
        return  # anything goes
    for name, one in value.items():
        below = (known or {}).get(name, others)
        if not isinstance(below, dict):
            yield _at(f"{path}.{name}", "field not declared in schema")
            return
        yield from _value(below, one, f"{path}.{name}")


def _list(node: Json, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield _at(path, f"expected list, got {_printed(value)}")
        return
    seen = set[str]()
    for i, one in enumerate(value):
        step, why = _step(node, i, one)
        if why:
            yield _at(path, f"element {i}: {why}")
            return
        if step in seen:
            yield _at(path, f"duplicate entries for key {step}")
        seen.add(step)
        yield from _value(node["items"], one, path + step)


def _step(node: Json, i: int, item: Any) -> tuple[str, str]:
    """How an item of a list is named in a path; or why it cannot be."""
    way = node.get("x-kubernetes-list-type", "atomic")
    if way == "map":
        return _keyed(node["x-kubernetes-list-map-keys"], schema.resolve(node["items"]), item)
    if way != "set":
        return f"[{i}]", ""
    if item is None:
        return "", "associative list without keys has an element that's an explicit null"
    if isinstance(item, dict):
        return "", "associative list without keys has an element that's a map type"
    if isinstance(item, list):
        return "", "not supported: associative list with lists as elements"
    return f"[={orjson.dumps(item).decode()}]", ""


def _keyed(keys: list[str], node: Json, item: Any) -> tuple[str, str]:
    if item is None:
        return "", "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "", "associative list with keys may not have non-map elements"
    found = {key: item.get(key, _default(node, key)) for key in sorted(keys)}
    parts = [f"{key}={orjson.dumps(value).decode()}" for key, value in found.items() if value is not None]
    if parts:
        return f"[{','.join(parts)}]", ""
    listed = " ".join(f'"{key}"' for key in keys)
    why = f"associative list with keys has an element that omits all key fields [{listed}]"
    return "", f"{why} (and doesn't have default values for any key fields)"


def _default(node: Json, key: str) -> Any:
    """What a key is when an item does not say: its default; of one that must be there its type's nothing."""
    known = node["properties"].get(key, _MISSING)
    if key == "protocol":
        return "TCP"
    if key not in node.get("required", ()):
        return known.get("default")
    return {"string": "", "integer": 0}.get(known.get("type", ""))


def _printed(value: Any) -> str:
    return f"&{{{go_map(value)}}}"


_TYPES = {dict: "map[string]interface {}", list: "[]interface {}", bool: "bool", int: "int64", float: "float64"}


def _go_type(value: Any) -> str:
    return _TYPES.get(type(value), "string")


def _go(value: Any) -> str:
    """A value as Go's syntax has it."""
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}":{_go(value[key])}' for key in sorted(value))
    elif isinstance(value, list):
        inner = ", ".join(map(_go, value))
    else:
        return orjson.dumps(value).decode()
    return f"{_go_type(value)}{{{inner}}}"
