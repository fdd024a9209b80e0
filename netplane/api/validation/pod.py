"""A Pod: its containers, ports, volumes and names; and how little of its spec may change.

Source: core/v1 validation of Kubernetes 1.36, for the parts that a network cares about.
"""

import copy
from typing import Any

from netplane.api import names
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, invalid, not_supported, required
from netplane.api.validation import containers, meta
from netplane.api.validation import volumes as mounted

Json = dict[str, Any]

RESTART_POLICIES = frozenset({"Always", "OnFailure", "Never"})
DNS_POLICIES = frozenset({"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"})
PULL_POLICIES = frozenset({"Always", "IfNotPresent", "Never"})
MESSAGE_POLICIES = frozenset({"File", "FallbackToLogsOnError"})
SPREAD_ACTIONS = frozenset({"DoNotSchedule", "ScheduleAnyway"})
MAX_NAMESERVERS, MAX_SEARCHES = 3, 32
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate(obj: Json, old: Json | None) -> list[FieldError]:
    """Everything wrong with a pod, and with a change of it."""
    spec = obj.get("spec") or {}
    if old is not None:
        return _changes(spec, old.get("spec") or {})
    return validate_spec(spec, "spec")


def validate_spec(spec: Json, path: str) -> list[FieldError]:
    """A pod's spec, wherever it stands."""
    volumes, errors = _volumes(spec.get("volumes") or [], f"{path}.volumes")
    return [
        *errors,
        *_containers(spec, path, volumes),
        *meta.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES),
        *meta.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES),
        *meta.labels(spec.get("nodeSelector"), f"{path}.nodeSelector"),
        *_named(spec, path),
        *_times(spec, path),
        *_host_aliases(spec.get("hostAliases") or [], f"{path}.hostAliases"),
        *containers.ids(spec.get("securityContext") or {}, f"{path}.securityContext"),
        *_dns(spec, path),
        *_spread(spec.get("topologySpreadConstraints") or [], f"{path}.topologySpreadConstraints"),
        *_gates(spec.get("readinessGates") or [], f"{path}.readinessGates"),
        *_system(spec, path),
        *_tolerations(spec.get("tolerations") or [], f"{path}.tolerations"),
    ]


_NAMED = (
    ("nodeName", names.dns_subdomain),
    ("hostname", names.dns_label),
    ("subdomain", names.dns_label),
    ("serviceAccountName", names.dns_subdomain),
    ("priorityClassName", names.dns_subdomain),
    ("runtimeClassName", names.dns_subdomain),
)


def _named(spec: Json, path: str) -> list[FieldError]:
    return [
        error
        for field, check in _NAMED
        if (value := spec.get(field))
        for error in all_invalid(f"{path}.{field}", value, check(value))
    ]


def _times(spec: Json, path: str) -> list[FieldError]:
    errors = meta.not_negative(spec, "terminationGracePeriodSeconds", path=path)
    if (deadline := spec.get("activeDeadlineSeconds")) is not None:
        errors += all_invalid(f"{path}.activeDeadlineSeconds", deadline, names.in_range(deadline, 1, 2**31 - 1))
    return errors


def _host_aliases(aliases: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, alias in enumerate(aliases):
        errors += all_invalid(f"{path}[{i}].ip", alias.get("ip") or "", names.ip(alias.get("ip") or ""))
        for host in alias.get("hostnames") or ():
            errors += all_invalid(f"{path}[{i}].hostnames", host, names.dns_subdomain(host))
    return errors


def _gates(gates: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, gate in enumerate(gates):
        kind = gate.get("conditionType") or ""
        errors += all_invalid(f"{path}[{i}].conditionType", kind, names.qualified_name(kind))
    return errors


def _system(spec: Json, path: str) -> list[FieldError]:
    system = (spec.get("os") or {}).get("name")
    return (
        [] if system in (None, "linux", "windows") else [not_supported(f"{path}.os.name", system, ("linux", "windows"))]
    )


def _dns(spec: Json, path: str) -> list[FieldError]:
    given = spec.get("dnsConfig") or {}
    servers, searches = given.get("nameservers") or [], given.get("searches") or []
    if spec.get("dnsPolicy") == "None" and not servers:
        if spec.get("dnsConfig") is None:
            return [required(f"{path}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")]
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [required(f"{path}.dnsConfig.nameservers", why)]
    errors: list[FieldError] = []
    if len(servers) > MAX_NAMESERVERS:
        why = f"must not have more than {MAX_NAMESERVERS} nameservers"
        errors.append(invalid(f"{path}.dnsConfig.nameservers", servers, why))
    for i, one in enumerate(servers):
        errors += all_invalid(f"{path}.dnsConfig.nameservers[{i}]", one, names.ip(one))
    if len(searches) > MAX_SEARCHES:
        why = f"must not have more than {MAX_SEARCHES} search paths"
        errors.append(invalid(f"{path}.dnsConfig.searches", searches, why))
    for i, option in enumerate(given.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.dnsConfig.options[{i}]", "must not be empty"))
    return errors


def _spread(constraints: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, one in enumerate(constraints):
        where, key, otherwise = f"{path}[{i}]", one.get("topologyKey") or "", one.get("whenUnsatisfiable") or ""
        if (one.get("maxSkew") or 0) <= 0:
            errors.append(invalid(f"{where}.maxSkew", one.get("maxSkew") or 0, "must be greater than zero"))
        if not key:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        if otherwise not in SPREAD_ACTIONS:
            errors.append(not_supported(f"{where}.whenUnsatisfiable", otherwise, SPREAD_ACTIONS))
        pair = f"{{{key}, {otherwise}}}"
        if pair in seen:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", pair))
        seen.add(pair)
    return errors


def _containers(spec: Json, path: str, volumes: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    seen: set[str] = set()
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            where = f"{path}.{field}[{i}]"
            name = container.get("name") or ""
            errors += _required_name(name, f"{where}.name")
            if name and name in seen:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
            errors += _container(container, where, volumes)
            errors += _life(container, where, init=field == "initContainers")
            if spec.get("hostNetwork"):
                errors += _host_ports(container, where)
    return errors


def _life(container: Json, path: str, *, init: bool) -> list[FieldError]:
    """Hooks and probes are for containers that stay."""
    if not init or container.get("restartPolicy") == "Always":
        return containers.life(container, path)
    why = "may not be set for init containers without restartPolicy=Always"
    given = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
    return [forbidden(f"{path}.{one}", why) for one in given if container.get(one) is not None]


def _required_name(name: str, path: str) -> list[FieldError]:
    return all_invalid(path, name, names.dns_label(name)) if name else [required(path)]


def _container(container: Json, path: str, volumes: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    image = container.get("image") or ""
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    errors += meta.one_of(
        f"{path}.terminationMessagePolicy", container.get("terminationMessagePolicy"), MESSAGE_POLICIES
    )
    errors += _ports(container.get("ports") or [], f"{path}.ports")
    errors += containers.environment(container, path)
    errors += mounted.mounts(container, f"{path}.volumeMounts", volumes)
    errors += meta.one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES)
    return errors + containers.resources(container, path) + containers.rights(container, path)


def _ports(ports: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        where, name, number = f"{path}[{i}]", port.get("name") or "", port.get("containerPort") or 0
        if name:
            bad = names.port_name(name)
            errors += all_invalid(f"{where}.name", name, bad)
            if name in seen and not bad:
                errors.append(duplicate(f"{where}.name", name))
            seen.add(name)
        errors += (
            all_invalid(f"{where}.containerPort", number, names.port(number))
            if number
            else [required(f"{where}.containerPort")]
        )
        if host_port := port.get("hostPort"):
            errors += all_invalid(f"{where}.hostPort", host_port, names.port(host_port))
        if host_ip := port.get("hostIP"):
            errors += all_invalid(f"{where}.hostIP", host_ip, names.ip(host_ip))
        errors += meta.one_of(f"{where}.protocol", port.get("protocol"), meta.PROTOCOLS)
    return errors


def _host_ports(container: Json, path: str) -> list[FieldError]:
    why = "must match `containerPort` when `hostNetwork` is true"
    return [
        invalid(f"{path}.ports[{i}].hostPort", port.get("hostPort") or 0, why)
        for i, port in enumerate(container.get("ports") or ())
        if port.get("hostPort") != port.get("containerPort")
    ]


def _volumes(volumes: list[Json], path: str) -> tuple[set[str], list[FieldError]]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, volume in enumerate(volumes):
        name, where = volume.get("name") or "", f"{path}[{i}]"
        errors += _required_name(name, f"{where}.name")
        if name and name in seen:
            errors.append(duplicate(f"{where}.name", name))
        seen.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        for extra in sources[1:]:
            errors.append(forbidden(f"{where}.{extra}", "may not specify more than 1 volume type"))
        errors += mounted.source(volume, where)
    return seen, errors


def _tolerations(tolerations: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, one in enumerate(tolerations):
        where, key, operator = f"{path}[{i}]", one.get("key") or "", one.get("operator") or "Equal"
        if key:
            errors += all_invalid(f"{where}.key", key, names.qualified_name(key))
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{where}.operator", one.get("operator") or "", why))
        if one.get("effect"):
            errors += meta.one_of(f"{where}.effect", one["effect"], meta.EFFECTS)
        if one.get("tolerationSeconds") is not None and one.get("effect") != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{where}.effect", one.get("effect") or "", why))
    return errors


def _changes(spec: Json, old: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, container in enumerate(spec.get("containers") or ()):
        if not container.get("image"):
            errors.append(required(f"spec.containers[{i}].image"))
    have, had = ([_untimed(one) for one in each.get("tolerations") or ()] for each in (spec, old))
    if any(one not in have for one in had):
        why = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden("spec.tolerations", why))
    if _fixed(spec) != _fixed(old) and not _only_bound(spec, old):
        errors.append(forbidden("spec", _MAY_CHANGE))
    return errors


def _untimed(toleration: Json) -> Json:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _only_bound(spec: Json, old: Json) -> bool:
    """The one other change a pod sees: its binding gives it a node."""
    return not old.get("nodeName") and _fixed({**spec, "nodeName": ""}) == _fixed({**old, "nodeName": ""})


def _fixed(spec: Json) -> Json:
    """The part of a spec that never changes."""
    fixed = copy.deepcopy({key: value for key, value in spec.items() if value not in (None, "", [], {})})
    for field in ("containers", "initContainers"):
        for container in fixed.get(field) or ():
            container.pop("image", None)
    for field in ("activeDeadlineSeconds", "tolerations", "ephemeralContainers"):
        fixed.pop(field, None)
    return fixed
