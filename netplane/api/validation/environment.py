"""Where a container's variables, and the files of downward API volumes, come from.

Source: core/v1 validation of Kubernetes 1.36.
"""

import re
from collections.abc import Callable
from typing import Any

from netplane.api import names, pod_refs, quantity
from netplane.api.fields import FieldError, all_invalid, invalid, not_found, not_supported, required
from netplane.api.validation import meta
from netplane.api.validation.paths import no_backsteps

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

ENV_FIELDS = frozenset({
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
})  # fmt: skip
_FIELDS = ENV_FIELDS | {
    "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host",
}  # fmt: skip
_KINDS_OF_AMOUNT = ("limits", "requests")
_RESOURCES = frozenset(f"{kind}.{name}" for kind in _KINDS_OF_AMOUNT for name in ("cpu", "memory", "ephemeral-storage"))
_HUGE = tuple(f"{kind}.hugepages-" for kind in _KINDS_OF_AMOUNT)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ONE_ONLY = "may not have more than one field specified at a time"
_SUBSCRIPT = re.compile(r"(.*?)\['(.*)'\]", re.DOTALL)
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def environment(container: Json, path: str) -> list[FieldError]:
    """env and envFrom."""
    errors: list[FieldError] = []
    for i, env in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{i}]", env.get("name")
        errors += meta.named(f"{where}.name", name, names.env_name)
        if env.get("valueFrom") is not None:
            errors += _value_from(env, f"{where}.valueFrom")
    for i, source in enumerate(container.get("envFrom") or ()):
        errors += _env_from(source, f"{path}.envFrom", i)
    return errors


def _value_from(env: Json, path: str) -> list[FieldError]:
    given = [one for one in _SOURCES if env["valueFrom"].get(one) is not None]
    errors: list[FieldError] = []
    for one in given:
        errors += _VALUE_SOURCES[one](env["valueFrom"][one], f"{path}.{one}")
    if not given:
        why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(invalid(path, "", why))
    elif env.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(invalid(path, "", _ONE_ONLY))
    return errors


def field_ref(ref: Json, path: str, supported: frozenset[str] = ENV_FIELDS) -> list[FieldError]:
    """A field of the pod, by its path; metadata.labels['x'] is one label."""
    field, version = ref.get("fieldPath") or "", ref.get("apiVersion") or ""
    if not field:
        return [required(f"{path}.fieldPath")]
    found = _SUBSCRIPT.fullmatch(field)
    if why := _not_a_field(field, found, version):
        return [invalid(f"{path}.fieldPath", field, f"error converting fieldPath: {why}")]
    if found is not None:
        key = found[2].lower() if found[1] == "metadata.annotations" else found[2]
        return all_invalid(path, key, names.qualified_name(key))
    field = "spec.nodeName" if field == "spec.host" else field
    return [] if field in supported else [not_supported(f"{path}.fieldPath", field, supported)]


def _not_a_field(field: str, found: re.Match[str] | None, version: str) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if found is None:
        return "" if field in _FIELDS else f"field label not supported: {field}"
    good = found[1] in ("metadata.annotations", "metadata.labels")
    return "" if good else f"field label does not support subscript: {field}"


def resource_ref(ref: Json, path: str, *, volume: bool = False) -> list[FieldError]:
    """An amount of a container; in a volume it must say of which."""
    resource = ref.get("resource") or ""
    errors: list[FieldError] = []
    if volume and not ref.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not resource:
        errors.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        errors.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    return errors + _divisor(resource, ref.get("divisor"), path)


def _divisor(resource: str, divisor: Any, path: str) -> list[FieldError]:
    if divisor is None or quantity.parse(divisor) in (0, None):
        return []
    name = resource.partition(".")[2]
    allowed, of = _DIVISORS.get(name, (None, ""))
    if resource.startswith(_HUGE):
        allowed, of = _BYTES, "hugepages"
    if allowed is None or quantity.canonical(divisor) in allowed:
        return []
    listed = " and ".join(allowed) if of == "cpu" else ", ".join(allowed)
    why = f"only divisor's values {listed} are supported with the {of} resource"
    return [invalid(f"{path}.divisor", resource, why)]


_DIVISORS: dict[str, tuple[tuple[str, ...] | None, str]] = {
    "cpu": (("1m", "1"), "cpu"),
    "memory": (_BYTES, "memory"),
    "ephemeral-storage": (_BYTES, "local ephemeral storage"),
}


def _key(ref: Json, path: str) -> list[FieldError]:
    name, key = ref.get("name") or "", ref.get("key") or ""
    errors = all_invalid(f"{path}.name", name, names.dns_subdomain(name))
    return errors + meta.named(f"{path}.key", key, names.config_key)


def _file_key(ref: Json, path: str) -> list[FieldError]:
    """A variable of a file in a volume."""
    errors: list[FieldError] = []
    for field, check in (("key", names.env_name), ("volumeName", names.dns_label)):
        value = ref.get(field) or ""
        errors += meta.named(f"{path}.{field}", value, check)
    at = ref.get("path") or ""
    return errors + (no_backsteps(at, f"{path}.path") if at else [required(f"{path}.path")])


def file_volumes(spec: Json, path: str) -> list[FieldError]:
    """Files of variables lie in volumes that the pod's own containers fill."""
    volumes = {one.get("name") or "": one for one in reversed(spec.get("volumes") or ())}
    errors: list[FieldError] = []
    for where, container in pod_refs.placed(spec, path):
        for j, env in enumerate(container.get("env") or ()):
            ref = (env.get("valueFrom") or {}).get("fileKeyRef")
            if ref is None:
                continue
            name, at = ref.get("volumeName") or "", f"{where}.env[{j}].valueFrom.fileKeyRef.volumeName"
            if name not in volumes:
                errors.append(not_found(at, name))
            elif volumes[name].get("emptyDir") is None:
                errors.append(invalid(at, name, "referenced volume must be of type emptyDir"))
    return errors


_VALUE_SOURCES: dict[str, Check] = {
    "fieldRef": field_ref,
    "resourceFieldRef": resource_ref,
    "configMapKeyRef": _key,
    "secretKeyRef": _key,
    "fileKeyRef": _file_key,
}


def _env_from(source: Json, path: str, i: int) -> list[FieldError]:
    where = f"{path}[{i}]"
    prefix = source.get("prefix") or ""
    errors = all_invalid(f"{where}.prefix", prefix, names.env_name(prefix)) if prefix else []
    given = [one for one in ("configMapRef", "secretRef") if source.get(one) is not None]
    for one in given:
        name = source[one].get("name") or ""
        errors += (
            all_invalid(f"{where}.{one}.name", name, meta.subdomain(name, True))
            if name
            else [required(f"{where}.{one}.name")]
        )
    if not given:
        errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        errors.append(invalid(path, "", _ONE_ONLY))
    return errors
