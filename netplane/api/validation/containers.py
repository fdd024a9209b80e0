"""What a container may ask for: environment, probes, hooks, resources, rights. Source: core/v1 validation of 1.36."""

from collections.abc import Callable
from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required
from netplane.api.validation import meta

Json = dict[str, Any]

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_SCHEMES = frozenset({"HTTP", "HTTPS"})
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_FIELDS = frozenset({
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
})  # fmt: skip
_ENV_RESOURCES = frozenset({
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
})  # fmt: skip
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def port_or_name(path: str, value: Any) -> list[FieldError]:
    """A port by number, or by a container port's name."""
    value = 0 if value is None else value
    return all_invalid(path, value, names.port(value) if isinstance(value, int) else names.port_name(value))


def environment(container: Json, path: str) -> list[FieldError]:
    """env and envFrom."""
    errors: list[FieldError] = []
    for i, env in enumerate(container.get("env") or ()):
        name = env.get("name")
        errors += (
            all_invalid(f"{path}.env[{i}].name", name, names.env_name(name))
            if name
            else [required(f"{path}.env[{i}].name")]
        )
        if env.get("valueFrom") is not None:
            errors += _value_from(env, f"{path}.env[{i}].valueFrom")
    for i, source in enumerate(container.get("envFrom") or ()):
        errors += _env_from(source, f"{path}.envFrom[{i}]")
    return errors


def _value_from(env: Json, path: str) -> list[FieldError]:
    given = [one for one in _SOURCES if env["valueFrom"].get(one) is not None]
    errors: list[FieldError] = []
    for one in given:
        errors += _VALUE_SOURCES[one](env["valueFrom"][one], f"{path}.{one}")
    if not given:
        why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid(path, "", why))
    elif env.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _field(ref: Json, path: str) -> list[FieldError]:
    field = ref.get("fieldPath") or ""
    if not field:
        return [required(f"{path}.fieldPath")]
    if field in _ENV_FIELDS or field.startswith(("metadata.annotations['", "metadata.labels['")):
        return []
    if not field.startswith(("metadata.", "spec.", "status.")):
        why = f"error converting fieldPath: field label not supported: {field}"
        return [invalid(f"{path}.fieldPath", field, why)]
    return [not_supported(f"{path}.fieldPath", field, _ENV_FIELDS)]


def _resource(ref: Json, path: str) -> list[FieldError]:
    resource = ref.get("resource") or ""
    if not resource:
        return [required(f"{path}.resource")]
    known = resource in _ENV_RESOURCES or resource.partition(".")[2].startswith("hugepages-")
    return [] if known else [not_supported(f"{path}.resource", resource, _ENV_RESOURCES)]


def _key(ref: Json, path: str) -> list[FieldError]:
    errors = [] if ref.get("name") else [required(f"{path}.name")]
    key = ref.get("key") or ""
    return errors + (all_invalid(f"{path}.key", key, names.config_key(key)) if key else [required(f"{path}.key")])


_VALUE_SOURCES: dict[str, Callable[[Json, str], list[FieldError]]] = {
    "fieldRef": _field,
    "resourceFieldRef": _resource,
    "configMapKeyRef": _key,
    "secretKeyRef": _key,
    "fileKeyRef": lambda ref, path: [] if ref.get("key") else [required(f"{path}.key")],
}


def _env_from(source: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if prefix := source.get("prefix"):
        errors += all_invalid(f"{path}.prefix", prefix, names.env_name(prefix))
    given = [one for one in ("configMapRef", "secretRef") if source.get(one) is not None]
    errors += [required(f"{path}.{one}.name") for one in given if not source[one].get("name")]
    if not given:
        errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def life(container: Json, path: str) -> list[FieldError]:
    """Hooks and probes."""
    errors: list[FieldError] = []
    for hook in ("postStart", "preStop"):
        if (given := (container.get("lifecycle") or {}).get(hook)) is not None:
            errors += _handler(given, f"{path}.lifecycle.{hook}")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            errors += _probe(probe, f"{path}.{name}", once=name != "readinessProbe")
    return errors


_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def _probe(probe: Json, path: str, *, once: bool) -> list[FieldError]:
    errors = _handler(probe, path)
    errors += meta.not_negative(probe, *_PROBE_NUMBERS, path=path)
    grace_s = probe.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace_s, "must be greater than 0"))
    if once and (probe.get("successThreshold") or 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    elif not once and grace_s is not None:
        why = "must not be set for readinessProbes"
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace_s, why))
    return errors


def _handler(handler: Json, path: str) -> list[FieldError]:
    given = [one for one in _HANDLERS if handler.get(one) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = _one_handler(given[0], handler[given[0]], f"{path}.{given[0]}")
    return errors + [forbidden(f"{path}.{one}", "may not specify more than 1 handler type") for one in given[1:]]


def _one_handler(kind: str, given: Json, path: str) -> list[FieldError]:
    if kind == "exec":
        return [] if given.get("command") else [required(f"{path}.command")]
    if kind in ("tcpSocket", "grpc"):
        return port_or_name(f"{path}.port", given.get("port"))
    if kind == "sleep":
        return []
    errors = [] if given.get("path") else [required(f"{path}.path")]
    errors += port_or_name(f"{path}.port", given.get("port"))
    return errors + meta.one_of(f"{path}.scheme", given.get("scheme"), _SCHEMES)


def resources(container: Json, path: str) -> list[FieldError]:
    """Limits, and requests within them."""
    given = container.get("resources") or {}
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    errors: list[FieldError] = []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name in sorted(amounts):
            errors += _amount(name, amounts[name], f"{path}.resources.{field}[{name}]")
            if field == "requests" and name in limits:
                errors += _within(name, requests[name], limits[name], f"{path}.resources.requests")
    return errors


def _amount(name: str, amount: Any, path: str) -> list[FieldError]:
    errors = all_invalid(path, name, names.qualified_name(name))
    if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        errors.append(invalid(path, name, "must be a standard resource for containers"))
    value = quantity.parse(amount)
    if value is not None and value < 0:
        errors.append(invalid(path, str(amount), meta.NOT_NEGATIVE))
    elif value is not None and "/" in name and value.denominator != 1:
        errors.append(invalid(path, str(amount), "must be an integer"))
    return errors


def _within(name: str, request: Any, limit: Any, path: str) -> list[FieldError]:
    have, most = quantity.parse(request), quantity.parse(limit)
    if have is None or most is None:
        return []
    if "/" in name and have != most:
        return [invalid(path, str(request), f"must be equal to {name} limit of {limit}")]
    return (
        [] if have <= most else [invalid(path, str(request), f"must be less than or equal to {name} limit of {limit}")]
    )


def rights(container: Json, path: str) -> list[FieldError]:
    """securityContext."""
    given = container.get("securityContext") or {}
    errors = ids(given, f"{path}.securityContext")
    if given.get("procMount") not in (None, "Default", "Unmasked"):
        errors.append(not_supported(f"{path}.securityContext.procMount", given["procMount"], ("Default", "Unmasked")))
    if given.get("allowPrivilegeEscalation") is False:
        where = f"{path}.securityContext"
        if given.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(where, given, why))
        if "CAP_SYS_ADMIN" in ((given.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(where, given, why))
    return errors


def ids(context: Json, path: str) -> list[FieldError]:
    """User and group numbers."""
    fields = [one for one in ("runAsUser", "runAsGroup", "fsGroup") if context.get(one) is not None]
    return [
        error
        for one in fields
        for error in all_invalid(f"{path}.{one}", context[one], names.in_range(context[one], 0, 2**31 - 1))
    ]
