"""JSON patch (RFC 6902), as Kubernetes applies it (pure).

Its library is laxer than the RFC in some things, and clients have come to rely on that: indices may be negative or have
leading zeros, an operation without a value means null, a null is as good as nothing, and a `copy` of nothing makes a
null. In others it is stricter: the whole document can be replaced and tested, and nothing else. Source: the behaviour
of the evanphx/json-patch library, release 4.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

import orjson

Json = dict[str, Any]
Operation = dict[str, Any]

_INDEX = re.compile(r"[+-]?[0-9]+")


class PatchError(ValueError):
    """An operation that does not apply to the document."""


def apply(doc: Any, operations: list[Operation]) -> Any:
    """The document after all operations; `doc` is not changed. Raises PatchError when one does not apply."""
    root = [copy.deepcopy(doc)]
    for one in operations:
        how = _OPERATIONS.get(one["op"]) if isinstance(one.get("op"), str) else None
        if how is None:
            raise PatchError(f"unexpected kind: {one.get('op')}")
        how(root, one)
    return root[0]


def _pointer(one: Operation, field: str = "path") -> str:
    path = one.get(field)
    if not isinstance(path, str):
        raise PatchError(f"no {field} in a {one['op']}")
    return path


def _place(root: list[Any], path: str) -> tuple[Any, str]:
    """The object or list that a path leads to, and the last step. Raises PatchError where there is none."""
    steps = [_unescaped(part) for part in path.split("/")]
    at = root[0]
    for step in steps[1:-1]:
        at = _get(at, step)
    if len(steps) == 1 or not isinstance(at, dict | list):
        raise PatchError(f"doc is missing path: {path!r}")
    return at, steps[-1]


def _unescaped(part: str) -> str:
    return re.sub("~[01]", lambda found: "/" if found[0] == "~1" else "~", part)


def _index(key: str, length: int) -> int:
    """A place among `length`. Raises PatchError."""
    at = int(key) if _INDEX.fullmatch(key) else length
    if not -length <= at < length:
        raise PatchError(f"unable to access invalid index: {key}")
    return at % length


def _get(at: Any, key: str) -> Any:
    if isinstance(at, list):
        return at[_index(key, len(at))]
    return at.get(key) if isinstance(at, dict) else None


def _put(at: Any, key: str, value: Any) -> None:
    """A new member, or a new element before the one at this place."""
    if isinstance(at, dict):
        at[key] = value
    else:
        at.insert(len(at) if key == "-" else _index(key, len(at) + 1), value)


def _drop(at: Any, key: str) -> None:
    if isinstance(at, list):
        del at[_index(key, len(at))]
    elif key not in at:
        raise PatchError(f"unable to remove nonexistent key: {key}")
    else:
        del at[key]


def _add(root: list[Any], one: Operation) -> None:
    _put(*_place(root, _pointer(one)), copy.deepcopy(one.get("value")))


def _remove(root: list[Any], one: Operation) -> None:
    _drop(*_place(root, _pointer(one)))


def _replace(root: list[Any], one: Operation) -> None:
    path, value = _pointer(one), copy.deepcopy(one.get("value"))
    if not path:
        root[0] = value
        return
    at, key = _place(root, path)
    if _get(at, key) is None:
        raise PatchError(f"doc is missing key: {path}")
    at[_index(key, len(at)) if isinstance(at, list) else key] = value


def _move(root: list[Any], one: Operation) -> None:
    at, key = _place(root, _pointer(one, "from"))
    value = _get(at, key)
    _drop(at, key)
    _put(*_place(root, _pointer(one)), value)


def _copy(root: list[Any], one: Operation) -> None:
    value = _get(*_place(root, _pointer(one, "from")))
    _put(*_place(root, _pointer(one)), copy.deepcopy(value))


def _test(root: list[Any], one: Operation) -> None:
    path = _pointer(one)
    have = _get(*_place(root, path)) if path else root[0]
    if _text(have) != _text(one.get("value")):
        raise PatchError(f"testing value {path} failed")


def _text(value: Any) -> bytes:
    """What two values that are the same have in common: 1 is neither 1.0 nor true."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


_OPERATIONS: dict[str, Callable[[list[Any], Operation], None]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip
