"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

Where a merge patch replaces a list, a strategic one merges it when the schema says so: a list of objects by its merge
key (containers by name, Service ports by port), a list of strings as a set (finalizers). What a patch may say beside
plain values:

    $patch: replace | delete | merge          in an object: take the patch's object, drop it, merge (the default)
    {$patch: delete, <merge key>: x}          in a list: drop the element; {$patch: replace}: take the patch's list
    $setElementOrder/<list>: [...]            the order in which the elements shall stand
    $deleteFromPrimitiveList/<list>: [...]    drop these strings
    $retainKeys: [...]                        keep only these keys of the object (a union changes its member)

A directive needs something to direct: in an object or list element that the document does not have, `$patch` drops it.

Order: the elements that $setElementOrder names (without it, those of the patch) stand in its order. One that only the
server has goes before a named one if it stood before that one already; a new element is before both.
Source: the strategic merge patch design of Kubernetes' api-conventions; merge keys come from the schema table.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple

from netplane.api import schema as schemas
from netplane.api.errors import StatusError, bad_request, unknown

Json = dict[str, Any]

_ORDER = "$setElementOrder/"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_DIRECTIVE = "$patch"


class _Field(NamedTuple):
    """What the schema says of one field."""

    schema: Json
    merges: bool
    key: str


def apply(doc: Json, patch: Any, schema: Json) -> Json:
    """Apply a strategic merge patch to an object of this schema. Raises StatusError (400, 422, 500)."""
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal the patch into an object")
    return _object(doc, patch, schema)


def _field(schema: Json, name: str) -> _Field:
    resolved = schemas.resolve(schema)
    found = resolved.get("properties", {}).get(name) or resolved.get("additionalProperties")
    if not isinstance(found, dict):
        return _Field({}, merges=False, key="")
    strategy = str(found.get("x-kubernetes-patch-strategy", "")).split(",")
    return _Field(found, "merge" in strategy, found.get("x-kubernetes-patch-merge-key", ""))


def _object(doc: Any, patch: Json, schema: Json) -> Json:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return _clean({key: value for key, value in patch.items() if key != _DIRECTIVE}, schema)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise _unknown_directive(patch)
    out = _retained(dict(doc) if isinstance(doc, dict) else {}, patch)
    for name in _list_fields(patch):
        if not isinstance(out.get(name), list) and not {_ORDER + name, _DELETE_FROM + name} & patch.keys():
            out[name] = _bare(patch[name])
            continue
        out_list = _list(out.get(name), patch, name, _field(schema, name))
        if out_list or name in out or name in patch:
            out[name] = out_list
    for name, value in patch.items():
        if name.startswith("$") or name in _list_fields(patch):
            continue
        _set(out, name, value, schema)
    return out


def _set(out: Json, name: str, value: Any, schema: Json) -> None:
    if value is None:
        out.pop(name, None)
    elif isinstance(value, dict):
        there = isinstance(out.get(name), dict)
        if value.get(_DIRECTIVE) == "delete" or (_DIRECTIVE in value and not there):
            out.pop(name, None)  # a directive about what is not there leaves nothing, its siblings included
        else:
            out[name] = _object(out[name], value, _field(schema, name).schema) if there else _bare(value)
    else:
        out[name] = value


def _list_fields(patch: Json) -> list[str]:
    """The fields whose lists this patch merges or reorders, in a stable order."""
    named = [key.partition("/")[2] for key in patch if key.startswith((_ORDER, _DELETE_FROM))]
    return list(
        dict.fromkeys([*named, *(key for key, value in patch.items() if isinstance(value, list) and key[0:1] != "$")])
    )


def _bare(value: Any) -> Any:
    """What is said where nothing was, as it is: no nulls in objects, and no objects that are directives."""
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in value.items() if one is not None and not _directs(one)}
    return [_bare(one) for one in value if not _directs(one)] if isinstance(value, list) else value


def _directs(value: Any) -> bool:
    return isinstance(value, dict) and _DIRECTIVE in value


def _retained(out: Json, patch: Json) -> Json:
    if _RETAIN not in patch:
        return out
    keep = patch[_RETAIN]
    if not isinstance(keep, list):
        raise bad_request("invalid patch format of retainKeys")
    if any(key not in keep for key, value in patch.items() if not key.startswith("$") and value is not None):
        raise bad_request("invalid patch format of retainKeys")
    return {key: value for key, value in out.items() if key in keep}


def _list(current: Any, patch: Json, name: str, field: _Field) -> list[Any]:
    have = current if isinstance(current, list) else []
    wanted = patch.get(name)
    order = patch.get(_ORDER + name)
    removed = patch.get(_DELETE_FROM + name)
    if wanted is None and name in patch:
        return []
    items = wanted or []
    if not field.merges:
        return have if wanted is None else items
    if field.key:
        return _by_key(have, items, order, field)
    return _as_set(have, items, order, removed)


def _as_set(have: list[Any], items: list[Any], order: Any, removed: Any) -> list[Any]:
    if any(isinstance(item, dict | list) for item in [*items, *(removed or [])]):
        raise bad_request("invalid patch format of primitive list")
    merged = [item for item in have if item not in (removed or [])]
    merged += [item for item in items if item not in merged]
    return _ordered(merged, have, _order(items, order, None), None)


def _by_key(have: list[Any], items: list[Any], order: Any, field: _Field) -> list[Any]:
    element = schemas.resolve(field.schema).get("items", {})
    replacing = any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in items)
    merged = [] if replacing else list(have)
    for item in items:
        _merge_item(merged, item, element, field.key)
    return _ordered(merged, have, _order(items, order, field.key), field.key)


def _order(items: list[Any], order: Any, key: str | None) -> list[Hashable]:
    """The identities of the elements in the order they shall stand. Raises when patch and $setElementOrder disagree."""
    of_patch = [_identity(one, key) for one in items if not (isinstance(one, dict) and _DIRECTIVE in one)]
    if order is None:
        return of_patch
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    told = [_identity(one, key) for one in order]
    if [one for one in told if one in of_patch] != of_patch:
        text = f"The order in patch list:\n{go_map(items)}\n doesn't match {_ORDER[:-1]} list:\n{go_map(order)}\n"
        raise unknown(text)
    return told


def _identity(item: Any, key: str | None) -> Hashable:
    value = item.get(key) if key and isinstance(item, dict) else item
    return value if isinstance(value, Hashable) else repr(value)


def _merge_item(merged: list[Any], item: Any, element: Json, key: str) -> None:
    if not isinstance(item, dict):
        raise bad_request(f"expected a map, but received a {type(item).__name__}")
    directive = item.get(_DIRECTIVE)
    if directive == "replace":
        return  # a word about the list; what else it says is not an element
    if directive == "merge":
        raise unknown("merging lists cannot yet be specified in the patch")
    if directive not in (None, "delete"):
        raise _unknown_directive(item)
    if key not in item:
        raise _no_merge_key(item, key)
    at = [i for i, one in enumerate(merged) if isinstance(one, dict) and one.get(key) == item[key]]
    if directive == "delete":
        merged[:] = [one for i, one in enumerate(merged) if i not in at]
    elif at:
        merged[at[0]] = _object(merged[at[0]], item, element)
    else:
        merged.append(item)


def _ordered(merged: list[Any], have: list[Any], order: list[Hashable], key: str | None) -> list[Any]:
    """Elements named in `order` in that order, the others where they stood relative to them before (see the head)."""
    rank = {one: i for i, one in reversed(list(enumerate(order)))}
    place = {_identity(one, key): i for i, one in reversed(list(enumerate(have)))}
    named = sorted((x for x in merged if _identity(x, key) in rank), key=lambda x: rank[_identity(x, key)])
    others = [x for x in merged if _identity(x, key) not in rank]
    out: list[Any] = []
    for one in named:
        before = place.get(_identity(one, key), -1)
        while others and place.get(_identity(others[0], key), len(have)) < before:
            out.append(others.pop(0))
        out.append(one)
    return out + others


def _clean(value: Json, schema: Json) -> Json:
    """A patch object taken as it is, its directives followed: merged into nothing."""
    return _object({}, value, schema)


def _unknown_directive(where: Json) -> StatusError:
    return unknown(f"unknown patch type: {where[_DIRECTIVE]} in map: {go_map(where)}")


def _no_merge_key(item: Json, key: str) -> StatusError:
    return unknown(f"map: {go_map(item)} does not contain declared merge key: {key}")


def go_map(value: Any) -> str:
    """A map as Go prints it: map[a:1 b:x], keys in order."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_map(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(go_map(one) for one in value)}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
