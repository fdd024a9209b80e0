"""What a refusal says of an object that is not the one that was meant: the real store names the key it lies under."""

from typing import Any

from netplane.api import errors
from netplane.api.kinds import Kind

Json = dict[str, Any]

_PREFIXES = {
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
}
_AGGREGATED = frozenset({"apiextensions.k8s.io", "apiregistration.k8s.io"})


def check(kind: Kind, new: Json, old: Json) -> None:
    """The object must be the one that was read. Raises StatusError 409, 500."""
    have, want = old["metadata"], new["metadata"]
    rev = want.get("resourceVersion")
    if rev not in (None, "", "0", have["resourceVersion"]):
        if not rev.isdecimal():
            raise errors.StatusError(500, "", f'strconv.ParseUint: parsing "{rev}": invalid syntax')
        raise errors.conflict(kind.group, kind.plural, have["name"])
    if want.get("uid") not in (None, "", have["uid"]):
        raise errors.conflict(kind.group, kind.plural, have["name"], unmet(kind, have, "UID", want["uid"], root=""))


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
