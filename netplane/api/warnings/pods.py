"""What a pod or the template of pods earns a warning for (pure). Source: the warnings of Kubernetes 1.36."""

from collections import defaultdict
from typing import Any

from netplane.api import names, pod_features, pod_refs
from netplane.api.addresses import ip_warnings
from netplane.api.fields import go_quote, repeated
from netplane.api.pod_refs import APP_ARMOR
from netplane.api.validation.pod_annotations import SECCOMP, SECCOMP_POD
from netplane.api.warnings import scheduling, volumes

Json = dict[str, Any]

_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": ("v1.16", "priorityClassName"),
    "security.alpha.kubernetes.io/sysctls": ("v1.11", "sysctls"),
    "security.alpha.kubernetes.io/unsafe-sysctls": ("v1.11", "sysctls"),
}
_IN_BYTES = ("memory", "ephemeral-storage")
_NO_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_NAME = "which can result in surprising behavior; a DNS label is recommended"


def pod(obj: Json) -> list[str]:
    """A new pod."""
    return _name(obj, "the Pod's hostname") + _pod(obj, "")


def status(obj: Json) -> list[str]:
    """The addresses that its node tells of."""
    given = obj.get("status") or {}
    return [
        text
        for field in ("podIPs", "hostIPs")
        for i, one in enumerate(given.get(field) or ())
        for text in ip_warnings(f"status.{field}[{i}].ip", one.get("ip") or "")
    ]


def named(obj: Json) -> list[str]:
    """A new object that names its pods after itself."""
    return _name(obj, "Pod names and hostnames")


def _name(obj: Json, use: str) -> list[str]:
    bad = names.dns_label(obj["metadata"]["name"])
    return [f"metadata.name: this is used in {use}, {_NAME}: [{' '.join(bad)}]"] if bad else []


def template(of: Json, path: str) -> list[str]:
    """The pods that a workload makes, at `path`."""
    return _pod(of, f"{path}.")


def _pod(obj: Json, path: str) -> list[str]:
    spec, given = obj.get("spec") or {}, (obj.get("metadata") or {}).get("annotations") or {}
    at = f"{path}metadata.annotations"
    found = scheduling.warnings(spec, f"{path}spec")
    for key, (since, field) in _ANNOTATIONS.items():
        found += [f'{at}[{key}]: non-functional in {since}+; use the "{field}" field instead'] if key in given else []
    found += volumes.warnings(spec.get("volumes") or [], f"{path}spec.volumes")
    found += _twice(spec, f"{path}spec") + volumes.fractions(
        spec.get("overhead") or {}, f"{path}spec.overhead", *_IN_BYTES
    )
    if SECCOMP_POD in given and not (spec.get("securityContext") or {}).get("seccompProfile"):
        found.append(f"{at}[{SECCOMP_POD}]: {_NO_SECCOMP}")
    for where, one in pod_refs.placed(spec, f"{path}spec"):
        found += _profiles(one, spec, given, at, template=bool(path)) + _container(one, where)
    found += _ports(spec, f"{path}spec") + _port_names(spec, f"{path}spec")
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}spec.terminationGracePeriodSeconds: {why}")
    found += scheduling.of_pods(spec, f"{path}spec")
    for i, one in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        found += ip_warnings(f"{path}spec.dnsConfig.nameservers[{i}]", one)
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        found += ip_warnings(f"{path}spec.hostAliases[{i}].ip", alias.get("ip") or "")
    return found


def _port_names(spec: Json, path: str) -> list[str]:
    """Names that two ports have."""
    seen: dict[str, str] = {}
    found: list[str] = []
    for where, one in pod_refs.placed(spec, path):
        for i, port in enumerate(one.get("ports") or ()):
            name, at = port.get("name"), f"{where}.ports[{i}]"
            if name and name in seen:
                why = f"services and probes that select ports by name will use {seen[name]}"
                found.append(f"{at}: duplicate port name {go_quote(name)} with {seen[name]}, {why}")
            elif name:
                seen[name] = at
    return found


def _twice(spec: Json, path: str) -> list[str]:
    """Lists whose entries are told apart by one field, which two of them share."""
    found: list[str] = []
    for field, key in (("hostAliases", "ip"), ("imagePullSecrets", "name")):
        given = [one.get(key) or "" for one in spec.get(field) or ()]
        where = [f"{path}.{field}[{i}].{key}" for i in range(len(given))]
        again = repeated(given)
        found += [f"{where[i]}: duplicate {key} {go_quote(one)}" for i, one in enumerate(given) if again[i]]
        if field == "imagePullSecrets":
            found += [f'{where[i]}: invalid empty name ""' for i, one in enumerate(given) if not one]
    return found


def _profiles(one: Json, spec: Json, given: Json, at: str, *, template: bool) -> list[str]:
    """Annotations that fields have taken over."""
    name, own, whole = one.get("name", ""), one.get("securityContext") or {}, spec.get("securityContext") or {}
    found: list[str] = []
    if f"{SECCOMP}{name}" in given and not own.get("seccompProfile"):
        found.append(f"{at}[{SECCOMP}{name}]: {_NO_SECCOMP}")
    told = given.get(f"{APP_ARMOR}{name}")
    if told is not None and _says_more(pod_features.app_armor(told), own, whole, template=template):
        why = 'deprecated since v1.30; use the "appArmorProfile" field instead'
        found.append(f"{at}[{APP_ARMOR}{name}]: {why}")
    return found


def _says_more(told: Json | None, own: Json, whole: Json, *, template: bool) -> bool:
    """Whether an annotation confines a container otherwise than the fields do; a pod's own field it has become."""
    profile, of_pod = own.get("appArmorProfile"), whole.get("appArmorProfile")
    if template:
        return profile is None and (of_pod is None or of_pod != told)
    return told is None or (profile == told and of_pod != told)


def _container(one: Json, path: str) -> list[str]:
    asked = one.get("resources") or {}
    found = [
        text
        for name in _IN_BYTES
        for field in ("limits", "requests")
        for text in volumes.fractions(asked.get(field) or {}, f"{path}.resources.{field}", name)
    ]
    seen: set[str] = set()
    for i, variable in enumerate(one.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value") or ""
        extends = f"$({name})" in value and value != f"$({name})" and not variable.get("valueFrom")
        if name in seen and not extends:
            why = f"hides previous definition of {go_quote(name)}, which may be dropped when using apply"
            found.append(f"{path}.env[{i}]: {why}")
        seen.add(name)
    return found


_Told = tuple[int, str, Json]
"""A port as it was told: the how manieth, where, and what."""


def _ports(spec: Json, path: str) -> list[str]:
    """Ports that are told twice, in one container or in several. Only those that do clash are compared."""
    found: list[str] = []
    seen = defaultdict[tuple[Any, ...], list[_Told]](list)
    placed = (
        (f"{where}.ports[{i}]", port)
        for where, one in pod_refs.placed(spec, path)
        for i, port in enumerate(one.get("ports") or ())
    )
    for n, (at, port) in enumerate(placed):
        if len(found) >= volumes.MOST:
            break
        if port.get("hostIP") and not port.get("hostPort"):
            found.append(f"{at}: hostIP set without hostPort: {_shown(port)}")
        others = sorted(_clashing(seen, port), key=_first)
        found += [f"{at}: {_clash(port, before)} with {other}" for _, other, before in others]
        for key in _keys(port):
            seen[key].append((n, at, port))
    return found[: volumes.MOST]


def _keys(port: Json) -> list[tuple[Any, ...]]:
    """What a port is found by: the container's alone, with the host's (0: none), and with its address ("": none)."""
    of, host = (port.get("containerPort", 0), port.get("protocol", "")), port.get("hostPort") or 0
    return [of, (*of, host), (*of, host, port.get("hostIP") or "")]


def _clashing(seen: defaultdict[tuple[Any, ...], list[_Told]], port: Json) -> list[_Told]:
    """Those before it that clash with a port: the same place, every place, or one that is a part of the other."""
    of, on_host, in_place = _keys(port)
    if not port.get("hostPort"):
        return seen[of]
    without = seen[*of, 0]
    return without + (seen[*on_host, ""] + seen[in_place] if port.get("hostIP") else seen[on_host])


def _first(one: _Told) -> int:
    return one[0]


def _clash(port: Json, other: Json) -> str:
    """How two definitions of one port get in each other's way, empty when they do not."""
    ips, ports = [[one.get(key) or empty for one in (port, other)] for key, empty in (("hostIP", ""), ("hostPort", 0))]
    if ips[0] == ips[1] and ports[0] == ports[1]:
        return "duplicate port definition"
    if not all(ports):
        return "overlapping port definition"
    ambiguous = ports[0] == ports[1] and bool(ips[0]) != bool(ips[1])
    return "dangerously ambiguous port definition" if ambiguous else ""


def _shown(port: Json) -> str:
    """As Go prints the structure."""
    given = {"Name": "name", "HostPort": "hostPort", "ContainerPort": "containerPort", "Protocol": "protocol"}
    parts = [f"{name}:{port.get(key, 0 if name.endswith('Port') else '')}" for name, key in given.items()]
    return f"{{{' '.join([*parts, 'HostIP:' + port['hostIP']])}}}"
