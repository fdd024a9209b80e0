"""Pods for Windows, and what they cannot have. Source: core/v1 validation of Kubernetes 1.36."""

import re
from typing import Any

from netplane.api import names, pod_refs
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required

Json = dict[str, Any]

_MOST_SPEC_KIB, _MOST_DOMAIN, _MOST_USER = 64, 256, 104
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
_SYSTEMS = frozenset({"linux", "windows"})
_FOR_LINUX = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
# (field, in the security context or beside it), in the order they are told
_POD_FOR_LINUX = (
    ("appArmorProfile", True), ("seLinuxOptions", True), ("hostUsers", False), ("hostPID", False), ("hostIPC", False),
    ("seccompProfile", True), ("fsGroup", True), ("fsGroupChangePolicy", True), ("sysctls", True),
    ("shareProcessNamespace", False), ("runAsUser", True), ("runAsGroup", True), ("supplementalGroups", True),
    ("supplementalGroupsPolicy", True), ("seLinuxChangePolicy", True),
)  # fmt: skip
_ON = ("hostPID", "hostIPC")


def options(given: Json | None, path: str) -> list[FieldError]:
    """windowsOptions of a container or pod."""
    given = given or {}
    name, spec, user = (given.get(one) for one in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    errors = [] if name is None else all_invalid(f"{path}.gmsaCredentialSpecName", name, names.dns_subdomain(name))
    if spec == "":
        errors.append(invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string"))
    elif spec is not None and len(spec.encode()) > _MOST_SPEC_KIB * 1024:
        why = f"gmsaCredentialSpec size must be under {_MOST_SPEC_KIB} KiB"
        errors.append(invalid(f"{path}.gmsaCredentialSpec", spec, why))
    return errors + ([] if user is None else all_invalid(f"{path}.runAsUserName", user, _user(user)))


def _user(name: str) -> list[str]:
    """What is wrong with DOMAIN\\USER."""
    parts = name.split("\\")
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL.search(name):
        return ["runAsUserName cannot contain control characters"]
    if len(parts) > 2:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, user = (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])
    errors = []
    if len(domain) >= _MOST_DOMAIN:
        errors.append(f"runAsUserName's Domain length must be under {_MOST_DOMAIN} characters")
    if len(parts) == 2 and not (_NETBIOS.fullmatch(domain) or _DNS.fullmatch(domain)):
        errors.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    return errors + _account(user)


def _account(user: str) -> list[str]:
    errors = [] if user else ["runAsUserName's User cannot be empty"]
    if len(user) > _MOST_USER:
        errors.append(f"runAsUserName's User length must not be longer than {_MOST_USER} characters")
    if user and not user.strip(". "):
        errors.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD_USER.search(user):
        errors.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return errors


def host_processes(spec: Json, path: str) -> list[FieldError]:
    """Containers that are processes of the node: all of a pod's, or none."""
    of_pod = _host_process(spec)
    containers = [(at, _host_process(one)) for at, one in pod_refs.placed(spec, path)]
    why = f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
    errors = [
        invalid(f"{at}.securityContext.windowsOptions.hostProcess", own, why)
        for at, own in containers
        if own is not None and of_pod is not None and own != of_pod
    ]
    count = sum(bool(of_pod if own is None else own) for _, own in containers)
    if not count:
        return errors
    if count != len(containers):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errors.append(invalid(path, "", why))
    if not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid(f"{path}.hostNetwork", False, why))
    return errors


def _host_process(of: Json) -> bool | None:
    given: bool | None = ((of.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    return given


def system(spec: Json, path: str) -> list[FieldError]:
    """A pod that says for which system it is asks for nothing that only the other has."""
    if spec.get("os") is None:
        return []
    name = spec["os"].get("name") or ""
    if not name:
        return [required(f"{path}.os.name")]
    if name not in _SYSTEMS:
        return [not_supported(f"{path}.os", name, _SYSTEMS)]
    contexts = [(path, spec), *pod_refs.placed(spec, path)]
    if name == "linux":
        why = "windows options cannot be set for a linux pod"
        return [
            forbidden(f"{at}.securityContext.windowsOptions", why)
            for at, one in contexts
            if (one.get("securityContext") or {}).get("windowsOptions") is not None
        ]
    why = "cannot be set for a windows pod"
    errors = [forbidden(f"{path}.{field}", why) for field in _not_for_windows(spec)]
    return errors + [
        forbidden(f"{at}.securityContext.{field}", why)
        for at, one in contexts[1:]
        for field in _FOR_LINUX
        if (one.get("securityContext") or {}).get(field) is not None
    ]


def _not_for_windows(spec: Json) -> list[str]:
    context = spec.get("securityContext") or {}
    told = [
        (f"securityContext.{one}" if inside else one, context if inside else spec, one)
        for one, inside in _POD_FOR_LINUX
    ]
    return [path for path, of, field in told if (of.get(field) if field in _ON else of.get(field) is not None)]
