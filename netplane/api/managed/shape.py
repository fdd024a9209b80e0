"""What the schema says of merging: which parts of an object are one leaf, which have fields, which lists are maps.

A list is a map of its items where the schema names keys, a set of scalars, or (nearly always) one leaf. `empty` is what
a kind's Go type writes when nothing is set: its plain structs are there from the start, so nobody becomes their owner.
"""

from functools import cache
from typing import Any

from netplane.api import protobuf, schema
from netplane.api.kinds import Kind

Json = dict[str, Any]

LEAF, FIELDS, KEYED, SET = range(4)


class Shape:
    """How one part of an object merges. `form` is one of LEAF, FIELDS, KEYED, SET.

    FIELDS: `members` by name, each with its FieldsV1 key; `item` the shape of all others (a map), which then count as
    items. KEYED: `keys` and `item`.
    """

    __slots__ = ("form", "item", "keys", "members")

    def __init__(self, form: int) -> None:
        self.form = form
        self.members: dict[str, tuple[str, Shape]] = {}
        self.item: Shape | None = None
        self.keys: tuple[str, ...] = ()


_LEAF = Shape(LEAF)
_shapes: dict[str, Shape] = {}


@cache
def of_kind(kind: Kind) -> Shape:
    """The shape of a served kind, less what no one owns: its kind, name, uid, times and the like."""
    whole = _named(schema.name_for(kind.group, kind.version, kind.kind))
    shape = Shape(FIELDS)
    shape.members = {name: found for name, found in whole.members.items() if name not in ("kind", "apiVersion")}
    key, meta = shape.members["metadata"]
    bare = Shape(FIELDS)
    bare.members = {name: found for name, found in meta.members.items() if name not in _NOBODYS}
    shape.members["metadata"] = (key, bare)
    return shape


_NOBODYS = frozenset(
    {
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
        "deletionTimestamp", "deletionGracePeriodSeconds",
    }
)  # fmt: skip


def _named(name: str, *, granular: bool = False) -> Shape:
    """The shape of a definition; `granular`: in fields, whatever the definition says of itself."""
    key = f"{name} in fields" if granular else name
    found = _shapes.get(key)
    if found is None:
        definition = schema.definitions()[name]
        atomic = definition.get("x-kubernetes-map-type") == "atomic" and not granular
        if atomic or not definition.get("properties"):
            found = _shapes[key] = _LEAF
        else:
            found = _shapes[key] = Shape(FIELDS)  # before its members: definitions may refer to themselves
            found.members = {field: (f"f:{field}", _of(node)) for field, node in definition["properties"].items()}
    return found


def _of(node: Json) -> Shape:
    if node.get("x-kubernetes-map-type") == "atomic":
        return _LEAF
    if name := schema.reference(node):
        return _named(name, granular=node.get("x-kubernetes-map-type") == "granular")
    if node.get("type") == "array":
        return _list(node)
    below = node.get("additionalProperties")
    if node.get("type") == "object" and isinstance(below, dict):
        shape = Shape(FIELDS)
        shape.item = _of(below)
        return shape
    return _LEAF


def _list(node: Json) -> Shape:
    way = node.get("x-kubernetes-list-type", "atomic")
    if way == "map":
        shape = Shape(KEYED)
        shape.keys = tuple(sorted(node["x-kubernetes-list-map-keys"]))
        shape.item = _of(node["items"])
        return shape
    return Shape(SET) if way == "set" else _LEAF


@cache
def empty(kind: Kind) -> Json:
    """An object of a kind in which nothing is set, as its Go type is written."""
    known = protobuf.empty(kind.api_version, kind.kind)
    return known or {name: {} for name in ("metadata", "spec", "status") if name in of_kind(kind).members}
