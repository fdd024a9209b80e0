"""Rights of containers and pods: securityContext. Source: core/v1 validation of Kubernetes 1.36."""

import re
from typing import Any

from netplane.api import names, pod_refs, prints
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    repeated,
    required,
    too_long,
)
from netplane.api.validation import windows
from netplane.api.validation.paths import descending

Json = dict[str, Any]

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_PROC_MOUNTS = ("Default", "Unmasked")
_MOST_PATH = 4095
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SEGMENT}[\./])*{_SEGMENT}"
_NET_SYSCTLS = ("net.", "net/")
_IPC_SYSCTLS = re.compile(r"(kernel\.(sem$|shm|msg)|fs\.mqueue\.)")
_NO_ESCALATION = "cannot set `allowPrivilegeEscalation` to false and {}"


def of_container(given: Json, path: str, *, host_users: bool) -> list[FieldError]:
    """A container's securityContext. `host_users`: the pod shares its node's user ids."""
    errors = _ids(given, path, "runAsUser", "runAsGroup")
    mount = given.get("procMount")
    if mount is not None and mount not in _PROC_MOUNTS:
        errors.append(not_supported(f"{path}.procMount", mount, _PROC_MOUNTS))
    if mount == "Unmasked" and host_users:
        errors.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    errors += _seccomp(given.get("seccompProfile"), f"{path}.seccompProfile")
    if given.get("allowPrivilegeEscalation") is False:
        shown = prints.internal("SecurityContext", given)
        if given.get("privileged"):
            errors.append(invalid(path, shown, _NO_ESCALATION.format("`privileged` to true")))
        if "CAP_SYS_ADMIN" in ((given.get("capabilities") or {}).get("add") or ()):
            errors.append(invalid(path, shown, _NO_ESCALATION.format("`capabilities.Add` CAP_SYS_ADMIN")))
    errors += windows.options(given.get("windowsOptions"), f"{path}.windowsOptions")
    return errors + _app_armor(given.get("appArmorProfile"), f"{path}.appArmorProfile")


def of_pod(spec: Json, path: str) -> list[FieldError]:
    """A pod's securityContext."""
    given, where = spec.get("securityContext") or {}, f"{path}.securityContext"
    errors = _ids(given, where, "fsGroup", "runAsUser", "runAsGroup")
    for i, group in enumerate(given.get("supplementalGroups") or ()):
        errors += all_invalid(f"{where}.supplementalGroups[{i}]", group, names.in_range(group, 0, 2**31 - 1))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{where}.shareProcessNamespace", True, why))
    errors += _sysctls(spec, f"{where}.sysctls")
    errors += _policy(given, where, "fsGroupChangePolicy", "Always", "OnRootMismatch")
    errors += _seccomp(given.get("seccompProfile"), f"{where}.seccompProfile")
    errors += windows.options(given.get("windowsOptions"), f"{where}.windowsOptions")
    errors += _app_armor(given.get("appArmorProfile"), f"{where}.appArmorProfile")
    errors += _policy(given, where, "supplementalGroupsPolicy", "Merge", "Strict")
    return errors + _policy(given, where, "seLinuxChangePolicy", "Recursive")


def _policy(given: Json, path: str, field: str, *allowed: str) -> list[FieldError]:
    known = given.get(field) is None or given[field] in allowed
    return [] if known else [not_supported(f"{path}.{field}", given[field], allowed)]


def _ids(given: Json, path: str, *fields: str) -> list[FieldError]:
    return [
        error
        for one in fields
        if given.get(one) is not None
        for error in all_invalid(f"{path}.{one}", given[one], names.in_range(given[one], 0, 2**31 - 1))
    ]


def _seccomp(given: Json | None, path: str) -> list[FieldError]:
    if given is None:
        return []
    kind, profile = given.get("type") or "", given.get("localhostProfile")
    errors = _type(kind, path, "type is required when seccompProfile is set")
    if kind == "Localhost":
        if profile is None:
            return [*errors, required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")]
        return errors + descending(profile, f"{path}.localhostProfile")
    if profile is not None:
        why = "can only be set when seccomp type is Localhost"
        errors.append(invalid(f"{path}.localhostProfile", {"Type": kind, "LocalhostProfile": profile}, why))
    return errors


def _type(kind: str, path: str, missing: str) -> list[FieldError]:
    if not kind:
        return [required(f"{path}.type", missing)]
    return [] if kind in _PROFILES else [not_supported(f"{path}.type", kind, _PROFILES)]


def _app_armor(given: Json | None, path: str) -> list[FieldError]:
    if given is None:
        return []
    kind, where = given.get("type") or "", f"{path}.localhostProfile"
    profile: str | None = given.get("localhostProfile")
    if kind not in _PROFILES:
        return _type(kind, path, "type is required when appArmorProfile is set")
    if kind != "Localhost":
        why = "can only be set when AppArmor type is Localhost"
        return [] if profile is None else [invalid(where, profile, why)]
    if not profile:
        return [required(where, "must be set when AppArmor type is Localhost")]
    errors = [] if profile == profile.strip() else [invalid(where, profile, "must not be padded with whitespace")]
    return errors + ([too_long(where, _MOST_PATH)] if len(profile.encode()) > _MOST_PATH else [])


def _sysctls(spec: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    listed = [one.get("name") or "" for one in (spec.get("securityContext") or {}).get("sysctls") or ()]
    again = repeated(listed)
    for i, name in enumerate(listed):
        where = f"{path}[{i}].name"
        if not name:
            errors.append(required(where))
        elif len(name) > names.SUBDOMAIN_BYTES or not re.fullmatch(_SYSCTL, name):
            why = f"must have at most {names.SUBDOMAIN_BYTES} characters and match regex ^{_SYSCTL}$"
            errors.append(invalid(where, name, why))
        elif again[i]:
            errors.append(duplicate(where, name))
        if spec.get("hostNetwork") and name.startswith(_NET_SYSCTLS):
            errors.append(invalid(where, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and _IPC_SYSCTLS.match(name.replace("/", ".")):
            errors.append(invalid(where, name, "may not be specified when 'hostIPC' is true"))
    return errors


def host_users(spec: Json, path: str) -> list[FieldError]:
    """A pod with user ids of its own shares none of its node's other namespaces."""
    if spec.get("hostUsers") is not False:
        return []
    why = "when `hostUsers` is false"
    fields = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    errors = [forbidden(f"{path}.{shown}", why) for field, shown in fields if spec.get(field)]
    return errors + [
        forbidden(f"{at}.volumeDevices", why) for at, one in pod_refs.placed(spec, path) if one.get("volumeDevices")
    ]
