"""The containers of a pod: those that stay, those that come first, those that are added to look around.

Source: core/v1 validation of Kubernetes 1.36.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from netplane.api import names
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    repeated,
    required,
    too_many,
)
from netplane.api.validation import environment, meta, mounts, probes, resources, security

Json = dict[str, Any]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
_RESIZED, _RESIZE_POLICIES = ("cpu", "memory"), ("NotRequired", "RestartContainer")
_ACTIONS, _OPERATORS = ("Restart", "RestartAllContainers"), ("In", "NotIn")
_MOST_RULES, _MOST_CODES = 20, 255
_NOT_INIT = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
_LIFE = ("lifecycle", *probes.PROBES)


class Around(NamedTuple):
    """What of its pod a container needs: good volumes by name, names of claims, and the rest of the spec."""

    volumes: Mapping[str, Json]
    claims: set[str]
    spec: Json
    is_pod: bool

    @property
    def host_users(self) -> bool:
        """Whether the pod shares its node's user ids."""
        return self.spec.get("hostUsers") is not False


def containers(around: Around, path: str) -> list[FieldError]:
    """All containers of a spec."""
    return [*_regular(around, path), *_init(around, f"{path}.initContainers"), *_ephemeral(around, path)]


def _regular(around: Around, path: str) -> list[FieldError]:
    path = f"{path}.containers"
    given = around.spec.get("containers") or []
    errors = [] if given else [required(path)]
    seen: set[str] = set()
    for i, one in enumerate(given):
        where, name = f"{path}[{i}]", one.get("name") or ""
        errors += _common(one, where, around)
        errors += [duplicate(f"{where}.name", name)] if name in seen else []
        seen.add(name)
        errors += probes.life(one, where, _grace_s(around)) + _restarts(one, where)
    return errors + _host_ports(given, path)


def _restarts(container: Json, path: str) -> list[FieldError]:
    """A container may say for itself when it starts again."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    errors: list[FieldError] = []
    if policy is None and rules:
        errors.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy is not None and policy not in RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, frozenset(RESTART_POLICIES)))
    return errors + _rules(rules, f"{path}.restartPolicyRules")


def _rules(rules: list[Json], path: str) -> list[FieldError]:
    """When it starts again in spite of its policy, by how it ended."""
    errors = [too_many(path, len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    for i, rule in enumerate(rules):
        where, action, codes = f"{path}[{i}]", rule.get("action") or "", rule.get("exitCodes")
        errors += [] if action in _ACTIONS else [not_supported(f"{where}.action", action, _ACTIONS)]
        if codes is None:
            errors.append(required(f"{where}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator") or "", codes.get("values") or []
        if operator not in _OPERATORS:
            errors.append(not_supported(f"{where}.exitCodes.operator", operator, _OPERATORS))
        if len(values) > _MOST_CODES:
            errors.append(too_many(f"{where}.exitCodes.values", len(values), _MOST_CODES))
    return errors


def _init(around: Around, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = _names(around.spec, "containers")
    for i, one in enumerate(around.spec.get("initContainers") or ()):
        where, name = f"{path}[{i}]", one.get("name") or ""
        policy = one.get("restartPolicy")
        errors += _common(one, where, around)
        errors += _restarts(one, where) if policy is not None else _rules_alone(one, where)
        if name in seen:
            errors.append(duplicate(f"{where}.name", name))
        elif name:
            seen.add(name)
        errors += _host_ports([one], path)
        if policy == "Always":
            errors += probes.life(one, where, _grace_s(around))
            continue
        errors += [forbidden(f"{where}.{field}", _NOT_INIT) for field in _LIFE if one.get(field) is not None]
        errors += _restarted_by_resize(one, where)
    return errors


def _rules_alone(container: Json, path: str) -> list[FieldError]:
    why = "must specify restartPolicy when restart rules are used"
    return [required(f"{path}.restartPolicy", why)] if container.get("restartPolicyRules") else []


def _restarted_by_resize(container: Json, path: str) -> list[FieldError]:
    why = "must not be set to 'RestartContainer' for non-sidecar initContainers"
    return [
        invalid(f"{path}.resizePolicy[{j}].restartPolicy", "RestartContainer", why)
        for j, one in enumerate(container.get("resizePolicy") or ())
        if one.get("restartPolicy") == "RestartContainer"
    ]


def _names(spec: Json, *fields: str) -> set[str]:
    return {one.get("name") or "" for field in fields for one in spec.get(field) or ()}


def _grace_s(around: Around) -> int | None:
    return around.spec.get("terminationGracePeriodSeconds")


def _ephemeral(around: Around, path: str) -> list[FieldError]:
    path = f"{path}.ephemeralContainers"
    errors: list[FieldError] = []
    others = _names(around.spec, "containers", "initContainers")
    seen = set(others)
    for i, one in enumerate(around.spec.get("ephemeralContainers") or ()):
        where, name, target = f"{path}[{i}]", one.get("name") or "", one.get("targetContainerName") or ""
        errors += _common(one, where, around) + _no_spaces(one, where)
        errors += [duplicate(f"{where}.name", name)] if name in seen else []
        seen.add(name)
        if target and target not in others:
            errors.append(not_found(f"{where}.targetContainerName", target))
        errors += _only_to_look(one, where)
    return errors


_OF_WORK = ("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", *probes.PROBES, "lifecycle")


def _only_to_look(container: Json, path: str) -> list[FieldError]:
    """No container that a pod could rely on."""
    errors = [
        forbidden(f"{path}.{one}", _NOT_EPHEMERAL) for one in _OF_WORK if container.get(one) not in (None, {}, [])
    ]
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{i}]"
        errors += [forbidden(f"{where}.{one}", _NOT_EPHEMERAL) for one in ("subPath", "subPathExpr") if mount.get(one)]
    return errors


def _common(container: Json, path: str, around: Around) -> list[FieldError]:
    """What holds for containers of every sort."""
    name, policy = container.get("name") or "", container.get("terminationMessagePolicy")
    return [
        *meta.named(f"{path}.name", name, names.dns_label),
        *([] if container.get("image") else [required(f"{path}.image")]),
        *meta.one_of(f"{path}.terminationMessagePolicy", policy, MESSAGE_POLICIES),
        *_ports(container.get("ports") or [], f"{path}.ports"),
        *environment.environment(container, path),
        *mounts.mounts(container, f"{path}.volumeMounts", around.volumes),
        *mounts.devices(container, f"{path}.volumeDevices", around.volumes),
        *meta.one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES),
        *resources.resources(container.get("resources") or {}, f"{path}.resources", around.claims),
        *_resize(container.get("resizePolicy") or [], f"{path}.resizePolicy", around.spec),
        *security.of_container(
            container.get("securityContext") or {}, f"{path}.securityContext", host_users=around.host_users
        ),
    ]


def no_spaces(spec: Json, path: str, *fields: str) -> list[FieldError]:
    """Images of a pod's containers."""
    return [
        error
        for field in fields
        for i, one in enumerate(spec.get(field) or ())
        for error in _no_spaces(one, f"{path}.{field}[{i}]")
    ]


def _no_spaces(container: Json, path: str) -> list[FieldError]:
    """A template's image may be a blank, for another program to fill in; a pod's may not."""
    image = container.get("image") or ""
    why = "must not have leading or trailing whitespace"
    return [] if image == image.strip() else [invalid(f"{path}.image", image, why)]


def _ports(ports: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        where, name, number = f"{path}[{i}]", port.get("name") or "", port.get("containerPort") or 0
        if name:
            bad = names.port_name(name)
            errors += all_invalid(f"{where}.name", name, bad)
            errors += [duplicate(f"{where}.name", name)] if name in seen and not bad else []
            seen.add(name)
        at = f"{where}.containerPort"
        errors += all_invalid(at, number, names.port(number)) if number else [required(at)]
        if host_port := port.get("hostPort"):
            errors += all_invalid(f"{where}.hostPort", host_port, names.port(host_port))
        errors += meta.one_of(f"{where}.protocol", port.get("protocol"), meta.PROTOCOLS)
    return errors


def _host_ports(containers: list[Json], path: str) -> list[FieldError]:
    """Of the node's ports each is asked for once."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP') or ''}/{port['hostPort']}"
            errors += [duplicate(f"{path}[{i}].ports[{j}].hostPort", key)] if key in seen else []
            seen.add(key)
    return errors


def _resize(given: list[Json], path: str, spec: Json) -> list[FieldError]:
    """What a change of resources means for a running container; told of the whole list, as the real server does."""
    errors: list[FieldError] = []
    listed = [one.get("resourceName") or "" for one in given]
    again = repeated(listed)
    for i, one in enumerate(given):
        policy = one.get("restartPolicy") or ""
        errors += [duplicate(f"{path}[{i}]", listed[i])] if again[i] else []
        errors += meta.one_of(path, listed[i], _RESIZED) + meta.one_of(path, policy, _RESIZE_POLICIES)
        if spec.get("restartPolicy") == "Never" and policy != "NotRequired":
            why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(invalid(path, policy, why))
    return errors
