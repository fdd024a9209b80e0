"""metadata.managedFields: what every write and every apply makes of it (pure).

    Update   the writer owns what it added and changed, and nobody owns what it took away
    Apply    the applier owns what its configuration says; what it said last time and not now goes, unless somebody
             else owns it; another value for what somebody else owns is a conflict, or (force) taken over

Source: structured-merge-diff v4+ (merge.Updater) and k8s.io/apimachinery managedfields.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from netplane.api.errors import StatusError
from netplane.api.kinds import Kind
from netplane.api.managed import shape as shapes
from netplane.api.managed.compare import applied, compare, restrict, whole
from netplane.api.managed.fieldset import Tree, difference, intersection, paths, union
from netplane.api.managed.merge import merge, prune

Json = dict[str, Any]
Entries = list[Json]

UPDATE, APPLY = "Update", "Apply"
MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"
_STATUS = frozenset({"f:status"})
_OF_STATUS = frozenset({"f:status", "f:metadata"})


class Writer(NamedTuple):
    """Who writes, when (RFC 3339; "" is not told), and through which subresource.

    `ignored`: top fields that such a write leaves.
    """

    manager: str
    time: str
    subresource: str = ""
    ignored: frozenset[str] = _STATUS

    def own(self, tree: Tree | None) -> Tree | None:
        """The part of a difference that this write can cause."""
        if self.subresource == "status":
            return restrict(tree, _OF_STATUS, only=True)
        if self.subresource == "finalize":
            return restrict(tree, _STATUS, only=False)
        if self.subresource:  # as the real server: whatever was sent, and much of it is not taken
            return tree
        return restrict(tree, self.ignored, only=False)


def _entry(writer: Writer, operation: str, api_version: str, tree: Tree) -> Json:
    entry: Json = {
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": api_version,
        **({"time": writer.time} if writer.time else {}),
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    if writer.subresource:
        entry["subresource"] = writer.subresource
    return entry


def _is(entry: Json, writer: Writer, operation: str, api_version: str) -> bool:
    return (
        entry.get("manager") == writer.manager
        and entry.get("operation") == operation
        and (entry.get("subresource") or "") == writer.subresource
        and (operation == APPLY or entry.get("apiVersion") == api_version)
    )


def created(kind: Kind, obj: Json, writer: Writer) -> Entries:
    """The entries of a new object."""
    tree = writer.own(compare(shapes.of_kind(kind), shapes.empty(kind), obj).set)
    return [] if tree is None else [_entry(writer, UPDATE, kind.api_version, tree)]


def updated(kind: Kind, old: Json, new: Json, entries: Entries, writer: Writer) -> Entries:
    """The entries after a write. An object that nobody tracks stays so."""
    if not entries:
        return entries
    found = compare(shapes.of_kind(kind), old, new)
    changed, gone = writer.own(found.set), writer.own(found.gone)
    if changed is None and gone is None:
        return entries
    out: Entries = []
    mine = changed
    for entry in entries:
        before: Tree = entry.get("fieldsV1") or {}
        if _is(entry, writer, UPDATE, kind.api_version):
            mine = union(difference(before, gone), changed)
            continue
        out += _less(entry, before, changed, gone)
    if mine is not None:
        was = next((one for one in entries if _is(one, writer, UPDATE, kind.api_version)), None)
        fresh = _entry(writer, UPDATE, kind.api_version, mine)
        out.append({**fresh, "time": was["time"]} if was and changed is None and was.get("time") else fresh)
    return _sorted(_capped(out))


def _less(entry: Json, before: Tree | None, changed: Tree | None, gone: Tree | None) -> Entries:
    """An entry that had `before`, without what another writer took over or away; none when nothing is left of it."""
    left = difference(difference(before, changed), gone)
    if left is None:
        return []
    return [entry if left == before else {**entry, "fieldsV1": left}]


def _capped(entries: Entries) -> Entries:
    """At most ten updaters: the oldest of them are put together."""
    updaters = sorted((one for one in entries if one.get("operation") == UPDATE), key=lambda one: one.get("time") or "")
    if len(updaters) <= MOST_UPDATERS:
        return entries
    old = updaters[: len(updaters) - MOST_UPDATERS + 1]
    tree: Tree | None = None
    for one in old:
        tree = union(tree, one.get("fieldsV1"))
    together = {**old[-1], "manager": _ANCIENT, "fieldsV1": tree}
    together.pop("subresource", None)
    return [one for one in entries if one not in old] + [together]


def _sorted(entries: Entries) -> Entries:
    def rank(one: Json) -> list[str]:
        return [one.get(field) or "" for field in ("operation", "time", "manager", "apiVersion", "subresource")]

    return sorted(entries, key=rank) if len(entries) > 1 else entries


def given(entries: Any, before: Entries) -> Entries:
    """What a client that sends managedFields means: `[{}]` forgets them, nothing (or nonsense) keeps them."""
    if entries == [{}]:
        return []
    if not isinstance(entries, list) or not entries:
        return before
    if _untimed(entries) == _untimed(before):
        return before
    good = all(isinstance(one, dict) and one.get("fieldsType") == "FieldsV1" for one in entries)
    return entries if good and all(one.get("operation") in (UPDATE, APPLY) for one in entries) else before


def _untimed(entries: list[Any]) -> list[Any]:
    return [
        {key: value for key, value in one.items() if key != "time"} if isinstance(one, dict) else one for one in entries
    ]


class Applied(NamedTuple):
    """The result of an apply."""

    obj: Json
    entries: Entries


def apply(
    kind: Kind, live: Json | None, config: Json, writer: Writer, *, force: bool, told: Json | None = None
) -> Applied:
    """Apply a configuration to a live object, None for a new one. Raises StatusError 409 with every conflict.

    `told` is the configuration as it came, where `config` has less of it: what is empty is owned, too.
    """
    shape = shapes.of_kind(kind)
    said = _said(writer.own(applied(shape, config if told is None else told)))
    mine = [] if said is None else [_entry(writer, APPLY, kind.api_version, said)]
    if live is None:
        return Applied(config, mine)
    entries: Entries = live["metadata"].get("managedFields") or _untracked(kind, live, writer)
    last = next((one for one in entries if _is(one, writer, APPLY, kind.api_version)), None)
    others = [one for one in entries if one is not last]

    def made_of(wanted: Json) -> Json:
        obj = merge(shape, live, wanted)
        if last is None:
            return dict(obj)
        keep = said
        for one in others:
            keep = union(keep, one.get("fieldsV1"))
        return dict(prune(shape, obj, last["fieldsV1"], keep) or {})

    obj = made_of(config)
    found = compare(shape, live, obj if told is None else made_of(_without_nulls(told)))
    others = _taken(others, writer.own(found.set), writer.own(found.gone), force=force)
    if mine and found.set is None and found.gone is None:  # the time is that of a change
        mine[0].pop("time", None)
        if last is not None and last.get("time"):
            mine[0]["time"] = last["time"]
    return Applied(obj, _sorted([*mine, *others]))


def _said(tree: Tree | None) -> Tree | None:
    """What a configuration says, if it says anything: nobody owns a name."""
    return {key: below for key, below in (tree or {}).items() if (key, below) != ("f:metadata", {})} or None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _untracked(kind: Kind, live: Json, writer: Writer) -> Entries:
    """What an object holds that nobody tracked so far belongs to whoever was before the first apply."""
    tree = whole(shapes.of_kind(kind), live)
    own = {key: value for key, value in tree.items() if key != "." and (key, value) != ("f:metadata", {})}
    if not own:
        return []
    first = Writer("before-first-apply", writer.time)
    return [_entry(first, UPDATE, kind.api_version, own)]


def _taken(others: Entries, changed: Tree | None, gone: Tree | None, *, force: bool) -> Entries:
    conflicts = [(one, both) for one in others if (both := intersection(one.get("fieldsV1"), changed)) is not None]
    if conflicts and not force:
        raise conflict(conflicts)
    return [left for one in others for left in _less(one, one.get("fieldsV1"), changed, gone)]


def conflict(conflicts: Iterable[tuple[Json, Tree]]) -> StatusError:
    """409 with a cause for each field that somebody else owns."""
    found = sorted(
        ((_printed(entry), path) for entry, tree in conflicts for path in paths(tree)), key=lambda one: one[0]
    )
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": at} for who, at in found]
    if len(found) == 1:
        who, path = found[0]
        message = f"Apply failed with 1 conflict: conflict with {who}: {path}"
    else:
        lines: list[str] = []
        for who in dict.fromkeys(who for who, _ in found):
            lines += [f"conflicts with {who}:", *(f"- {path}" for other, path in found if other == who)]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return StatusError(409, "Conflict", message, {"causes": causes})


def _printed(entry: Json) -> str:
    text = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        text += f' with subresource "{entry["subresource"]}"'
    return f"{text} using {entry.get('apiVersion', '')}" if entry.get("operation") == UPDATE else text
