"""What Pod Security looks at in a pod: each check names what is forbidden, and where (pure).

A check answers with a reason and its details, or with None. Source: the Pod Security Standards of Kubernetes 1.36.
"""

import itertools
from collections.abc import Callable, Iterable, Set
from typing import Any

from netplane.api.pod_refs import APP_ARMOR, containers, is_windows

Json = dict[str, Any]
Found = tuple[str, str] | None
Check = Callable[[Json, Json], Found]

_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip
_PROFILES = ("Localhost", "RuntimeDefault")
_OLD_SECCOMP = "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"
_SE_LINUX = ("", "container_t", "container_init_t", "container_kvm_t")
_TYPE = "securityContext.seccompProfile.type"


def _security(of: Json) -> Json:
    return of.get("securityContext") or {}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _several(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _named(names: list[str], word: str = "container") -> str:
    return f"{_several(word, len(names))} {_quoted(names)}"


def _uses(names: list[str]) -> str:
    return "uses" if len(names) == 1 else "use"


def _setters(spec: Json, bad: Callable[[Json], bool]) -> str:
    """Who sets what is bad: the pod, containers, or both."""
    names = _where(spec, bad)
    return " and ".join([*(["pod"] if bad(_security(spec)) else ()), *([_named(names)] if names else ())])


def _where(spec: Json, bad: Callable[[Json], bool]) -> list[str]:
    return [one["name"] for one in containers(spec) if bad(_security(one))]


def app_armor(metadata: Json, spec: Json) -> Found:
    """Profiles that are no profile."""
    values: set[str] = set()

    def bad(security: Json) -> bool:
        kind = (security.get("appArmorProfile") or {}).get("type")
        values.update([kind] if kind not in (None, *_PROFILES) else ())
        return kind not in (None, *_PROFILES)

    who, given = [text] if (text := _setters(spec, bad)) else [], metadata.get("annotations") or {}
    old = sorted(
        f'{key}="{value}"'
        for key, value in given.items()
        if key.startswith(APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    who += [_several("annotation", len(old))] if old else []
    told = [*sorted(values), *old]
    detail = f"{' and '.join(who)} must not set AppArmor profile type to {_quoted(told)}"
    return (_several("forbidden AppArmor profile", len(told)), detail) if who else None


def capabilities_baseline(metadata: Json, spec: Json) -> Found:
    """More than containers have anyway."""
    return next((("non-default capabilities", detail) for detail in _adding(spec, _CAPABILITIES)), None)


def _adding(spec: Json, allowed: Set[str]) -> list[str]:
    """[who adds capabilities that are not allowed, and which], [] when nobody does."""
    added = {one["name"]: (_security(one).get("capabilities") or {}).get("add") or [] for one in containers(spec)}
    names = [name for name in added if {*added[name]} - allowed]
    values = sorted({*itertools.chain(*added.values())} - allowed)
    if not names:
        return []
    return [f"{_named(names)} must not include {_quoted(values)} in securityContext.capabilities.add"]


def capabilities_restricted(metadata: Json, spec: Json) -> Found:
    """Containers give up all but one."""
    keep = _where(spec, lambda security: "ALL" not in ((security.get("capabilities") or {}).get("drop") or ()))
    told = [f'{_named(keep)} must set securityContext.capabilities.drop=["ALL"]'] if keep else []
    told += _adding(spec, frozenset({"NET_BIND_SERVICE"}))
    return ("unrestricted capabilities", "; ".join(told)) if told else None


def host_namespaces(metadata: Json, spec: Json) -> Found:
    """Those of the node."""
    told = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(told)) if told else None


def host_paths(metadata: Json, spec: Json) -> Found:
    """The node's files."""
    names = [one["name"] for one in spec.get("volumes") or () if one.get("hostPath") is not None]
    return ("hostPath volumes", _named(names, "volume")) if names else None


def host_ports(metadata: Json, spec: Json) -> Found:
    """The node's ports."""
    held = {
        one["name"]: [p["hostPort"] for p in one.get("ports") or () if p.get("hostPort")] for one in containers(spec)
    }
    names = [name for name in held if held[name]]
    ports = sorted({str(port) for found in held.values() for port in found})
    told = f"{_named(names)} {_uses(names)} {_several('hostPort', len(ports))} {', '.join(ports)}"
    return ("hostPort", told) if names else None


def hosts(metadata: Json, spec: Json) -> Found:
    """Probes and hooks that ask others."""
    asked: dict[str, set[str]] = {}
    for one in containers(spec):
        hooks = one.get("lifecycle") or {}
        probes = [one.get(probe) for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
        for what in (*probes, hooks.get("postStart"), hooks.get("preStop")):
            for way in ("httpGet", "tcpSocket"):
                if host := ((what or {}).get(way) or {}).get("host"):
                    asked.setdefault(one["name"], set()).add(host)
    names, values = sorted(asked), sorted({host for found in asked.values() for host in found})
    detail = f"{_named(names)} {_uses(names)} {_several('probe or lifecycle host', len(values))} {_quoted(values)}"
    return ("probe or lifecycle host", detail) if names else None


def privileged(metadata: Json, spec: Json) -> Found:
    """Containers that may do all."""
    names = _where(spec, lambda security: bool(security.get("privileged")))
    return ("privileged", f"{_named(names)} must not set securityContext.privileged=true") if names else None


def proc_mount(metadata: Json, spec: Json) -> Found:
    """All of /proc."""
    names = _where(spec, lambda security: security.get("procMount", "Default") != "Default")
    values = sorted({_security(one)["procMount"] for one in containers(spec) if one["name"] in names})
    detail = f"{_named(names)} must not set securityContext.procMount to {_quoted(values)}"
    return ("procMount", detail) if names else None


def se_linux(*more: str) -> Check:
    """Types other than those of containers, users and roles."""
    allowed = {*_SE_LINUX, *more}

    def check(metadata: Json, spec: Json) -> Found:
        given = [
            _security(one)["seLinuxOptions"]
            for one in (spec, *containers(spec))
            if _security(one).get("seLinuxOptions")
        ]
        who = _setters(spec, lambda security: _odd(security.get("seLinuxOptions") or {}))
        types = sorted({one.get("type") or "" for one in given} - allowed)
        told = [f"{_several('type', len(types))} {_quoted(types)}"] if types else []
        told += [f"{field} may not be set" for field in ("user", "role") if any(one.get(field) for one in given)]
        detail = f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}"
        return ("seLinuxOptions", detail) if who else None

    def _odd(options: Json) -> bool:
        return (options.get("type") or "") not in allowed or bool(options.get("user") or options.get("role"))

    return check


def old_seccomp(metadata: Json, spec: Json) -> Found:
    """Annotations that said it before fields did."""
    given, (whole, head) = metadata.get("annotations") or {}, _OLD_SECCOMP
    told = sorted(
        f'{key}="{given[key]}"'
        for key in {whole, *(head + one["name"] for one in containers(spec))} & {*given}
        if given[key] not in ("runtime/default", "docker/default") and not given[key].startswith("localhost/")
    )
    return ("seccompProfile", f"forbidden {_several('annotation', len(told))} {', '.join(told)}") if told else None


def seccomp_baseline(metadata: Json, spec: Json) -> Found:
    """No profile at all."""
    given = [_security(one).get("seccompProfile") for one in (spec, *containers(spec))]
    who = _setters(spec, lambda security: bool((kind := _profile(security)) is not None and kind not in _PROFILES))
    values = sorted({one.get("type") or "" for one in given if one} - {*_PROFILES})
    return ("seccompProfile", f"{who} must not set {_TYPE} to {_quoted(values)}") if who else None


def _profile(security: Json) -> str | None:
    found = security.get("seccompProfile")
    return None if found is None else found.get("type") or ""


def seccomp_restricted(metadata: Json, spec: Json) -> Found:
    """Everybody has a profile."""
    if found := seccomp_baseline(metadata, spec):
        return found
    missing = _where(spec, lambda security: _profile(security) is None)
    detail = f'pod or {_named(missing)} must set {_TYPE} to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", detail) if missing and _profile(_security(spec)) is None else None


def sysctls(*allowed: str) -> Check:
    """Kernel parameters that reach beyond the pod."""

    def check(metadata: Json, spec: Json) -> Found:
        names = [one["name"] for one in _security(spec).get("sysctls") or () if one["name"] not in allowed]
        return ("forbidden sysctls", ", ".join(names)) if names else None

    return check


def windows_host(metadata: Json, spec: Json) -> Found:
    """Processes of the node."""
    who = _setters(spec, lambda security: bool((security.get("windowsOptions") or {}).get("hostProcess")))
    return ("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true") if who else None


def escalation(metadata: Json, spec: Json) -> Found:
    """Containers say that they do not become more."""
    names = _where(spec, lambda security: security.get("allowPrivilegeEscalation") is not False)
    detail = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", detail) if names else None


def volume_types(metadata: Json, spec: Json) -> Found:
    """Volumes of few kinds."""
    kinds = {one["name"]: {*one} - {"name"} for one in spec.get("volumes") or ()}
    names = [name for name, found in kinds.items() if not found & _VOLUMES]
    types = sorted({kind for name in names for kind in kinds[name] or {"unknown"}})
    detail = (
        f"{_named(names, 'volume')} {_uses(names)} {_several('restricted volume type', len(types))} {_quoted(types)}"
    )
    return ("restricted volume types", detail) if names else None


def non_root(metadata: Json, spec: Json) -> Found:
    """Everybody says that they are not root."""
    reason = "runAsNonRoot != true"
    if who := _setters(spec, lambda security: security.get("runAsNonRoot") is False):
        return reason, f"{who} must not set securityContext.runAsNonRoot=false"
    missing = _where(spec, lambda security: security.get("runAsNonRoot") is None)
    detail = f"pod or {_named(missing)} must set securityContext.runAsNonRoot=true"
    return (reason, detail) if missing and _security(spec).get("runAsNonRoot") is None else None


def user(metadata: Json, spec: Json) -> Found:
    """Nobody says that they are root."""
    who = _setters(spec, lambda security: security.get("runAsUser") == 0)
    return ("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def unless_windows(check: Check) -> Check:
    """Windows does not have it."""
    return lambda metadata, spec: None if is_windows(spec) else check(metadata, spec)


def unless_own_users(check: Check) -> Check:
    """A pod with users of its own may."""
    return lambda metadata, spec: None if spec.get("hostUsers") is False else check(metadata, spec)
