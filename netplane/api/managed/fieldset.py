"""Sets of field paths, in the very form that managedFields carry (FieldsV1).

    {}                                  the path itself is in the set, nothing below it
    {"f:a": …, "k:{…}": …, "v:…": …}    paths below are, the path itself is not
    {".": {}, "f:a": …}                 both

An empty set is None, so every tree that exists says something. Trees are values: no function changes its arguments.
"""

from collections.abc import Iterator
from typing import Any

import orjson

Tree = dict[str, Any]


def member(tree: Tree | None) -> bool:
    """Whether the path itself is in the set."""
    return tree is not None and (not tree or "." in tree)


def make(children: Tree, *, own: bool) -> Tree | None:
    """A set of these children, and the path itself if `own`."""
    if not children:
        return {} if own else None
    return {".": {}, **children} if own else children


def union(one: Tree | None, other: Tree | None) -> Tree | None:
    """Paths in either."""
    if one is None or other is None:
        return one if other is None else other
    children = {key: value for key, value in one.items() if key != "."}
    for key, value in other.items():
        if key != ".":
            children[key] = union(children[key], value) if key in children else value
    return make(children, own=member(one) or member(other))


def difference(one: Tree | None, other: Tree | None) -> Tree | None:
    """Paths in `one` and not in `other`."""
    if one is None or other is None:
        return one
    children: Tree = {}
    for key, value in one.items():
        if key != "." and (left := difference(value, other.get(key))) is not None:
            children[key] = left
    return make(children, own=member(one) and not member(other))


def intersection(one: Tree | None, other: Tree | None) -> Tree | None:
    """Paths in both."""
    if one is None or other is None:
        return None
    children: Tree = {}
    for key, value in one.items():
        if key != "." and (both := intersection(value, other.get(key))) is not None:
            children[key] = both
    return make(children, own=member(one) and member(other))


def paths(tree: Tree | None, prefix: str = "") -> Iterator[str]:
    """Every path, as messages write it: `.spec.ports[port=80,protocol="TCP"].name`; first what is a member itself."""
    children = {} if tree is None else {key: tree[key] for key in sorted(tree) if key != "."}
    yield from (prefix + _element(key) for key, below in children.items() if member(below))
    for key, below in children.items():
        yield from paths(below, prefix + _element(key))


def _element(key: str) -> str:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    if kind == "k":
        pairs = orjson.loads(rest).items()
        return f"[{','.join(f'{name}={orjson.dumps(value).decode()}' for name, value in pairs)}]"
    return f"[{rest}]"


def element_of(keys: tuple[str, ...], item: Any) -> str:
    """How an item of a list that is a map is named. Keys in order; an absent protocol is TCP, as defaults have it."""
    values = {key: item.get(key, _ABSENT.get(key)) for key in keys}
    return "k:" + orjson.dumps({key: value for key, value in values.items() if value is not None}).decode()


_ABSENT = {"protocol": "TCP"}


def value_of(item: Any) -> str:
    """How an item of a list that is a set is named."""
    return "v:" + orjson.dumps(item).decode()
