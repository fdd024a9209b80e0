"""What a write added, changed and took away (pure)."""

from typing import Any, NamedTuple

from netplane.api.managed.fieldset import Tree, element_of, make, value_of
from netplane.api.managed.shape import FIELDS, KEYED, LEAF, Shape

Json = dict[str, Any]


class Difference(NamedTuple):
    """`set`: paths that are new or have another value; `gone`: paths that are no more."""

    set: Tree | None
    gone: Tree | None


_NOTHING = Difference(None, None)
_NONE: dict[str, tuple[Shape, Any]] = {}


def parts(shape: Shape, value: Any) -> dict[str, tuple[Shape, Any]]:
    """The parts of a value that is no leaf: FieldsV1 key → shape and value. A null is a value: Go writes it."""
    if shape.form == FIELDS:
        if not isinstance(value, dict):
            return {}
        members, item = shape.members, shape.item
        out: dict[str, tuple[Shape, Any]] = {}
        for name, part in value.items():
            found = members.get(name)
            if found is not None:
                out[found[0]] = (found[1], part)
            elif item is not None:
                out[f"f:{name}"] = (item, part)
        return out
    if shape.form == KEYED:
        assert shape.item is not None
        return {element_of(shape.keys, one): (shape.item, one) for one in value or () if isinstance(one, dict)}
    return {value_of(one): (_SCALAR, one) for one in value or ()}


_SCALAR = Shape(LEAF)


def whole(shape: Shape, value: Any) -> Tree:
    """All paths of a value that was not there before, itself included."""
    if shape.form == LEAF:
        return {}
    children: Tree = {".": {}}
    for key, (below, part) in parts(shape, value).items():
        children[key] = {} if below.form == LEAF else whole(below, part)
    return children if len(children) > 1 else {}


def compare(shape: Shape, old: Any, new: Any) -> Difference:
    """The difference between two values that are both there."""
    if shape.form == LEAF:
        return _NOTHING if old == new else Difference({}, None)
    have, want = parts(shape, old) if old else _NONE, parts(shape, new)
    changed: Tree = {}
    gone: Tree = {}
    for key, (below, part) in want.items():
        before = have.get(key)
        if before is None:
            changed[key] = {} if below.form == LEAF else whole(below, part)
            continue
        if below.form == LEAF:
            if before[1] != part:
                changed[key] = {}
            continue
        if before[1] == part:  # compared by C code, most of what a write leaves alone
            continue
        one, other = compare(below, before[1], part)
        if one is not None:
            changed[key] = one
        if other is not None:
            gone[key] = other
    for key, (below, part) in have.items():
        if key not in want:
            gone[key] = whole(below, part)
    return Difference(changed or None, gone or None)


def applied(shape: Shape, value: Any) -> Tree | None:
    """The paths that an applied configuration speaks of: its leaves, and the items of its lists and maps.

    An empty object and a null say something of themselves, an empty list whose items have names says nothing.
    """
    if shape.form == LEAF or value is None or value == {}:
        return {}
    children: Tree = {}
    for key, (below, part) in parts(shape, value).items():
        found = applied(below, part)
        is_item = key[0] != "f" or (shape.form == FIELDS and shape.item is not None)
        if found is None and not is_item:
            continue  # nothing in it that anybody can own
        children[key] = make({k: v for k, v in (found or {}).items() if k != "."}, own=is_item or not found)
    return children or None


def restrict(tree: Tree | None, fields: frozenset[str], *, only: bool) -> Tree | None:
    """A tree with these top fields alone, or without them."""
    if tree is None:
        return None
    return {key: value for key, value in tree.items() if (key in fields) is only} or None
