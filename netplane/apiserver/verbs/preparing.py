"""What the server itself gives objects that are on their way into the store: identity, defaults, owners of fields."""

from typing import Any

from netplane.api import defaults, errors, validation
from netplane.api.kinds import PARTS, Kind
from netplane.api.managed import entries as managed
from netplane.api.managed.entries import Entries
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission.incoming import as_shown
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.verbs import suffix
from netplane.apiserver.wire.target import stored_kind

Json = dict[str, Any]

MAIN, ALL = "main", "all"
MAX_GENERATED_BASE = 58


def generated_name(base: str) -> str:
    """`base` and five random letters, as Kubernetes makes them (no vowels, so no words)."""
    return base[:MAX_GENERATED_BASE] + suffix.five_letters()


def complete(form: Kind, obj: Json, manager: str = "", entries: Entries | None = None) -> None:
    """Make a new object whole, in place: identity, times, defaults. Validation comes after.

    `manager` (if any) owns what it set, in the form that it sent; `entries` say so already when the object was applied.
    """
    kind = stored_kind(form)
    strategy = STRATEGIES[kind]
    metadata = obj["metadata"]
    for field in _NOT_FROM_CLIENTS:
        metadata.pop(field, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated_name(metadata["generateName"])
    metadata["uid"] = cl.new_uid()
    metadata["creationTimestamp"] = now = cl.stamp()
    strategy.prepare_create(obj)
    defaults.apply(kind, obj)
    if entries is None and manager:
        writer = managed.Writer(manager, now, "", strategy.not_owned)
        entries = managed.created(form, as_shown(form, obj), writer)
    if entries:
        metadata["managedFields"] = entries
    strategy.after_defaults(obj)


_NOT_FROM_CLIENTS = (
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "selfLink",
    "managedFields",
)


def check(form: Kind, obj: Json, old: Json | None, scope: str = MAIN) -> None:
    """Raise StatusError 422 with everything that is wrong."""
    kind, problems = stored_kind(form), validation.validate(form, obj, old, scope if scope in PARTS else "")
    if problems:
        raise errors.invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), problems)


def prepare(form: Kind, new: Json, old: Json, scope: str, manager: str = "") -> None:
    """Give a changed object what clients may not change, then defaults."""
    kind = stored_kind(form)
    strategy = STRATEGIES[kind]
    metadata, before = new["metadata"], old["metadata"]
    for field in _NEVER_CHANGE:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    defaults.apply(kind, new)  # first: what a client leaves out has a meaning even where it may change nothing
    strategy.reset(scope, new, old)
    if manager:
        _own(form, new, old, scope, manager)
    if scope in PARTS:
        strategy.prepare_part(scope, new, old)
    elif scope == MAIN:
        strategy.prepare_update(new, old)
    if scope not in (ALL, "status") and (generation := strategy.generation(new, old)):
        metadata["generation"] = generation


def _own(form: Kind, new: Json, old: Json, scope: str, manager: str) -> None:
    """Put down who owns what after this write."""
    before = old["metadata"].get("managedFields") or []
    told = new["metadata"].pop("managedFields", None)
    entries = before if scope in PARTS else managed.given(told, before)
    subresource = scope if scope in PARTS else ""
    writer = managed.Writer(manager, cl.stamp(), subresource, STRATEGIES[form].not_owned)
    entries = managed.updated(form, as_shown(form, old), as_shown(form, new), entries, writer)
    if entries:
        new["metadata"]["managedFields"] = entries


_NEVER_CHANGE = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
