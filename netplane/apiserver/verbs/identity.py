"""What a refusal says of an object that is not the one that was meant: the real store names the key it lies under."""

from typing import Any

from netplane.api import errors, go_numbers
from netplane.api.kinds import Kind
from netplane.api.validation import meta

Json = dict[str, Any]

_PREFIXES = {
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
}
_AGGREGATED = frozenset({"apiextensions.k8s.io", "apiregistration.k8s.io"})


def check(kind: Kind, new: Json, old: Json, *, dry_run: bool) -> None:
    """The object must be the one that was read. Raises StatusError 409, 500."""
    have, want = old["metadata"], new["metadata"]
    rev = want.get("resourceVersion")
    if rev not in (None, "", "0", have["resourceVersion"]):
        try:
            go_numbers.natural(rev)
        except ValueError as error:
            raise errors.StatusError(500, "", str(error)) from error
        raise errors.conflict(kind.group, kind.plural, have["name"])
    if want.get("uid") not in (None, "", have["uid"]):
        raise _another(kind, have, want["uid"], dry_run=dry_run)


def check_new(kind: Kind, new: Json, *, dry_run: bool) -> None:
    """An object that a PUT makes is none that there was. Raises StatusError 409."""
    if uid := new["metadata"].get("uid"):
        raise _another(kind, {**new["metadata"], "uid": ""}, uid, dry_run=dry_run)


def check_patched(kind: Kind, new: Json, old: Json) -> None:
    """A patch asks for no certain object: it would change the UID, which is told at the door and as each kind's own.

    Raises StatusError 422.
    """
    uid, have = new["metadata"].get("uid"), old["metadata"]["uid"]
    if uid not in (None, "", have):
        wrong = meta.immutable("metadata.uid", uid, have)
        raise errors.invalid(kind.group, kind.kind, old["metadata"]["name"], wrong * 2)


def _another(kind: Kind, have: Json, wanted: str, *, dry_run: bool) -> errors.StatusError:
    why = unmet(kind, have, "UID", wanted, root="" if dry_run else "/registry")
    return errors.conflict(kind.group, kind.plural, have["name"], why)


def unmet(kind: Kind, have: Json, word: str, wanted: str, *, root: str = "/registry") -> str:
    """A precondition of an update does not hold: `word` is "UID" or "ResourceVersion", `root` where keys begin."""
    place = f"{_prefix(kind)}/{have['namespace']}" if kind.namespaced else _prefix(kind)
    found = have["uid"] if word == "UID" else have["resourceVersion"]
    told = f"Precondition failed: {word} in precondition: {wanted}, {word} in object meta: {found}"
    return (
        f"StorageError: invalid object, Code: 4, Key: {root}/{place}/{have['name']}, "
        f"ResourceVersion: 0, AdditionalErrorMsg: {told}"
    )


def _prefix(kind: Kind) -> str:
    built_in = kind.group not in _AGGREGATED and ("." not in kind.group or kind.group.endswith(".k8s.io"))
    return _PREFIXES.get((kind.group, kind.plural), kind.plural) if built_in else f"{kind.group}/{kind.plural}"
