"""The object that an applied configuration makes of a live one (pure)."""

from typing import Any

from netplane.api.managed.compare import parts
from netplane.api.managed.fieldset import Tree, element_of, member, value_of
from netplane.api.managed.shape import FIELDS, KEYED, LEAF, SET, Shape

Json = dict[str, Any]


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """`live` with all that `config` says."""
    if shape.form == LEAF or live is None:
        return config
    if shape.form == FIELDS:
        out = dict(live)
        for name, value in config.items():
            found = shape.members.get(name)
            below = found[1] if found else shape.item
            out[name] = merge(below, live.get(name), value) if below is not None else value
        return out
    if shape.form == SET:
        return [*live, *(one for one in config if one not in live)]
    return _by_key(shape, live, config)


def _by_key(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    """Items stay where they are, new ones come last; if the configuration wants another order, its items have it."""
    assert shape.item is not None
    wanted = {element_of(shape.keys, one): one for one in config}
    have = {element_of(shape.keys, one): one for one in live}
    merged = {key: merge(shape.item, have.get(key), one) for key, one in wanted.items()}
    order = iter([key for key in wanted if key in have])
    out = [merged[next(order)] if key in wanted else one for key, one in have.items()]
    return out + [one for key, one in merged.items() if key not in have]


def prune(shape: Shape, value: Any, last: Tree, keep: Tree | None) -> Any:
    """`value` without what was applied `last` time and is not in `keep` (applied now, or somebody else's).

    None when nothing is left.
    """
    if shape.form == LEAF:
        return value
    below_of = parts(shape, value)
    dropped: set[str] = set()
    changed: dict[str, Any] = {}
    for key, was in last.items():
        if key == "." or key not in below_of:
            continue
        below, part = below_of[key]
        kept = None if keep is None else keep.get(key)
        if _goes(shape, below, key, was, kept):
            dropped.add(key)
        elif below.form != LEAF:
            left = prune(below, part, was, kept)
            if left is None:
                dropped.add(key)
            elif left is not part:
                changed[key] = left
    if not dropped and not changed:
        return value
    return _rebuilt(shape, value, dropped, changed)


def _goes(shape: Shape, below: Shape, key: str, was: Tree, kept: Tree | None) -> bool:
    """A field goes when nobody keeps anything in it; an item when nobody keeps it as such.

    metadata is gone through, for nobody owns the name that is in it.
    """
    if key == "f:metadata":
        return False
    if key[0] == "f" and shape.item is None:
        is_map = below.form == FIELDS and below.item is not None
        return kept is None and (member(was) or (below.form == FIELDS and not is_map))
    return member(was) and not member(kept)


def _rebuilt(shape: Shape, value: Any, dropped: set[str], changed: dict[str, Any]) -> Any:
    if shape.form == FIELDS:
        out = {name: changed.get(f"f:{name}", one) for name, one in value.items() if f"f:{name}" not in dropped}
        return out or None
    if shape.form == KEYED:
        named = [(element_of(shape.keys, one), one) for one in value]
        return [changed.get(key, one) for key, one in named if key not in dropped] or None
    return [one for one in value if value_of(one) not in dropped] or None
