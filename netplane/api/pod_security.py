"""Pod Security: what a namespace's labels ask of its pods, and where a pod falls short of it (pure).

    pod-security.kubernetes.io/enforce, audit, warn                          privileged | baseline | restricted
    pod-security.kubernetes.io/enforce-version, audit-version, warn-version  latest | v1.N: the checks as they were then

Source: the Pod Security Standards and the admission plugin PodSecurity of Kubernetes 1.36.
"""

import re
from typing import Any, NamedTuple

from netplane.api import pod_security_checks as checks
from netplane.api.fields import FieldError, invalid
from netplane.api.pod_security_checks import Check

Json = dict[str, Any]

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
_LATEST = 1 << 30


class Standard(NamedTuple):
    """A level, as it was in a version."""

    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def strictness(self) -> int:
        """More is stricter."""
        return LEVELS.index(self.level)


class Policy(NamedTuple):
    """What must be, and what is told of."""

    enforce: Standard = Standard()
    warn: Standard = Standard()


def policy(labels: dict[str, str]) -> tuple[Policy, list[FieldError]]:
    """What labels ask for; a level that is none is the strictest to enforce, and none to tell of."""
    problems: list[FieldError] = []
    read = {mode: _standard(labels, mode, problems) for mode in ("enforce", "audit", "warn")}
    enforce, warn = read["enforce"], read["warn"]
    follows = labels.get(PREFIX + "enforce") in LEVELS and PREFIX + "warn" not in labels
    if follows and enforce.strictness > warn.strictness:
        warn = Standard(enforce.level, warn.version if PREFIX + "warn-version" in labels else enforce.version)
    return Policy(enforce, warn), problems


def _standard(labels: dict[str, str], mode: str, problems: list[FieldError]) -> Standard:
    level, version = labels.get(PREFIX + mode, "privileged"), labels.get(f"{PREFIX}{mode}-version", "latest")
    if level not in LEVELS:
        problems.append(invalid(f"metadata.labels[{PREFIX}{mode}]", level, f"must be one of {', '.join(LEVELS)}"))
        level = "restricted" if mode == "enforce" else "privileged"
    if version != "latest" and not _VERSION.fullmatch(version):
        problems.append(invalid(f"metadata.labels[{PREFIX}{mode}-version]", version, 'must be "latest" or "v1.x"'))
        version = "latest"
    return Standard(level, version)


def violations(standard: Standard, metadata: Json, spec: Json) -> list[tuple[str, str]]:
    """Where a pod falls short: reasons, and their details."""
    if standard.level == "privileged":
        return []
    minor = _LATEST if standard.version == "latest" else int(standard.version.removeprefix("v1."))
    rows = _BASELINE if standard.level == "baseline" else (*_BASELINE, *_RESTRICTED)
    current = {name: fit[-1] for name, forms in rows if (fit := [check for since, check in forms if since <= minor])}
    dropped = {_OVERRIDES[name] for name in current if name in _OVERRIDES}
    found = [check(metadata, spec) for name, check in current.items() if name not in dropped]
    return [one for one in found if one is not None]


def told(found: list[tuple[str, str]]) -> str:
    """All of it in one text."""
    return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in found)


_SYSCTLS = (
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"),
)
_SYSCTLS_27 = (*_SYSCTLS, "net.ipv4.ip_local_reserved_ports")
_SYSCTLS_29 = (
    *(*_SYSCTLS_27, "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
)
_Rows = tuple[tuple[str, tuple[tuple[int, Check], ...]], ...]
_BASELINE: _Rows = (
    ("appArmorProfile", ((0, checks.app_armor),)),
    ("capabilities_baseline", ((0, checks.capabilities_baseline),)),
    ("hostNamespaces", ((0, checks.host_namespaces),)),
    ("hostPathVolumes", ((0, checks.host_paths),)),
    ("hostPorts", ((0, checks.host_ports),)),
    ("hostProbesAndHostLifecycle", ((34, checks.hosts),)),
    ("privileged", ((0, checks.privileged),)),
    ("procMount", ((0, checks.proc_mount), (35, checks.unless_own_users(checks.proc_mount)))),
    ("seLinuxOptions", ((0, checks.se_linux()), (31, checks.se_linux("container_engine_t")))),
    ("seccompProfile_baseline", ((0, checks.old_seccomp), (19, checks.seccomp_baseline))),
    (
        "sysctls",
        (
            (0, checks.sysctls(*_SYSCTLS)),
            (27, checks.sysctls(*_SYSCTLS_27)),
            (29, checks.sysctls(*_SYSCTLS_29)),
            (32, checks.sysctls(*_SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")),
        ),
    ),
    ("windowsHostProcess", ((0, checks.windows_host),)),
)
_RESTRICTED: _Rows = (
    ("allowPrivilegeEscalation", ((8, checks.escalation), (25, checks.unless_windows(checks.escalation)))),
    (
        "capabilities_restricted",
        ((22, checks.capabilities_restricted), (25, checks.unless_windows(checks.capabilities_restricted))),
    ),
    ("procMount_restricted", ((35, checks.proc_mount),)),
    ("restrictedVolumes", ((0, checks.volume_types),)),
    ("runAsNonRoot", ((0, checks.non_root), (35, checks.unless_own_users(checks.non_root)))),
    ("runAsUser", ((23, checks.user), (35, checks.unless_own_users(checks.user)))),
    (
        "seccompProfile_restricted",
        ((19, checks.seccomp_restricted), (25, checks.unless_windows(checks.seccomp_restricted))),
    ),
)
_OVERRIDES = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
