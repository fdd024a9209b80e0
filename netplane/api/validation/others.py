"""Namespace, ConfigMap and Lease. Source: core/v1 and coordination/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import base64_text, names
from netplane.api.fields import FieldError, all_invalid, invalid, too_long
from netplane.api.validation import meta

Json = dict[str, Any]

CONFIG_MAP_BYTES = 1024 * 1024


def namespace(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Namespace: its finalizers are somebody's."""
    del old
    given = (obj.get("spec") or {}).get("finalizers") or []
    return [error for one in given for error in finalizer(one, "spec.finalizers")]


def finalizer(name: str, path: str) -> list[FieldError]:
    """A finalizer in a namespace's spec: Kubernetes' own, or a qualified name."""
    return all_invalid(path, name, names.qualified_name(name)) + meta.standard_finalizer(name, path)


def namespace_finalized(obj: Json, old: Json | None) -> list[FieldError]:
    """The finalizers of a Namespace, written by who finalizes it."""
    del old
    given = (obj.get("spec") or {}).get("finalizers") or []
    return [error for i, one in enumerate(given) for error in finalizer(one, f"spec.finalizers[{i}]")]


def namespace_status(obj: Json, old: Json | None) -> list[FieldError]:
    """The status of a Namespace: it is Active until it is being deleted."""
    del old
    phase = (obj.get("status") or {}).get("phase") or ""
    wanted, empty = ("Terminating", "not empty") if obj["metadata"].get("deletionTimestamp") else ("Active", "empty")
    why = f"may only be '{wanted}' if `deletionTimestamp` is {empty}"
    return [invalid("status.Phase", phase, why)] if phase != wanted else []


def config_map(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 ConfigMap: keys are file names; an immutable one stays as it is."""
    text, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    errors: list[FieldError] = []
    for field, data in (("data", text), ("binaryData", binary)):
        for key in sorted(data):
            errors += all_invalid(f"{field}[{key}]", key, names.config_key(key))
            if field == "data" and key in binary:
                errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    size = sum(len(one.encode()) for one in text.values()) + sum(map(base64_text.size, binary.values()))
    if size > CONFIG_MAP_BYTES:
        errors.append(too_long("[]", CONFIG_MAP_BYTES))  # as the real server names the whole
    return errors + (meta.sealed(obj, old, "data", "binaryData") if old else [])


def lease(obj: Json, old: Json | None) -> list[FieldError]:
    """coordination/v1 Lease."""
    del old
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    return errors + meta.not_negative(spec, "leaseTransitions", path="spec")
