"""Annotations that confined containers before fields did. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import pod_refs
from netplane.api.fields import FieldError, forbidden, invalid
from netplane.api.pod_refs import APP_ARMOR
from netplane.api.validation.paths import descending

Json = dict[str, Any]

SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_LOCAL = "localhost/"
_SECCOMP_KNOWN = ("runtime/default", "docker/default", "unconfined")
_APP_ARMOR_KNOWN = ("", "runtime/default", "unconfined")
_OF_TYPE = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}


def profiles(given: dict[str, str], spec: Json, path: str) -> list[FieldError]:
    """The profiles they name."""
    errors = _seccomp(given[SECCOMP_POD], f"{path}.{SECCOMP_POD}") if SECCOMP_POD in given else []
    for key in sorted(given):
        if key.startswith(SECCOMP):
            errors += _seccomp(given[key], f"{path}.{key}")
    containers = {one.get("name") for one in pod_refs.containers(spec)}
    for key in sorted(key for key in given if key.startswith(APP_ARMOR)):
        name, where = key.removeprefix(APP_ARMOR), f"{path}[{key}]"
        errors += [] if name in containers else [invalid(where, name, "container not found")]
        if given[key] not in _APP_ARMOR_KNOWN and not given[key].startswith(_LOCAL):
            errors.append(invalid(where, given[key], f'invalid AppArmor profile name: "{given[key]}"'))
    return errors


def _seccomp(profile: str, path: str) -> list[FieldError]:
    if profile in _SECCOMP_KNOWN:
        return []
    if profile.startswith(_LOCAL):
        return descending(profile.removeprefix(_LOCAL), path)
    return [invalid(path, profile, "must be a valid seccomp profile")]


def contradicted(given: dict[str, str], spec: Json) -> list[FieldError]:
    """A field says one thing and its former annotation another."""
    whole = spec.get("securityContext") or {}
    errors = _match(given.get(SECCOMP_POD), whole.get("seccompProfile"), "spec.securityContext.seccompProfile")
    for path, one in pod_refs.placed(spec, "spec"):
        own = (one.get("securityContext") or {}).get("seccompProfile")
        told = given.get(f"{SECCOMP}{one.get('name')}")
        errors += _match(told, own, f"{path}.securityContext.seccompProfile")
    if (spec.get("os") or {}).get("name") == "windows":
        return errors
    for path, one in pod_refs.placed(spec, "spec"):
        own = (one.get("securityContext") or {}).get("appArmorProfile") or whole.get("appArmorProfile")
        told = given.get(f"{APP_ARMOR}{one.get('name')}")
        errors += _match(told, own, f"{path}.securityContext.appArmorProfile", "apparmor")
    return errors


def _match(told: str | None, field: Json | None, path: str, what: str = "seccomp") -> list[FieldError]:
    if told is None or field is None:
        return []
    kind = field.get("type") or ""
    why = f"{what} type in annotation and field must match"
    if kind in _OF_TYPE:
        known = _OF_TYPE[kind] if what == "seccomp" else _OF_TYPE[kind][:1]
        return [] if told in known else [forbidden(f"{path}.type", why)]
    if kind != "Localhost":
        return []
    if not told.startswith(_LOCAL):
        return [forbidden(f"{path}.type", why)]
    same = told.removeprefix(_LOCAL) == field.get("localhostProfile")
    why = f"{what} profile in annotation and field must match"
    return [] if same else [forbidden(f"{path}.localhostProfile", why)]
