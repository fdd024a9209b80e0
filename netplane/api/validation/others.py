"""Namespace, ConfigMap, Event and Lease. Source: core/v1 and coordination/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import names
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required, too_long
from netplane.api.validation import meta

Json = dict[str, Any]

CONFIG_MAP_BYTES = 1024 * 1024
_STRATEGY = "OldestEmulationVersion"
MAX_REPORTER, MAX_NOTE = 128, 1024


def namespace(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Namespace: it is Active until it is being deleted."""
    phase = (obj.get("status") or {}).get("phase") or ""
    if old is None or phase == ((old.get("status") or {}).get("phase") or ""):
        return []
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
    # binaryData is base64: four characters for three bytes.
    if (
        sum(len(one.encode()) for one in text.values()) + sum(len(o) * 3 // 4 for o in binary.values())
        > CONFIG_MAP_BYTES
    ):
        errors.append(too_long("", CONFIG_MAP_BYTES))
    return errors + (meta.sealed(obj, old, "data", "binaryData") if old else [])


def event(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Event: it lives where the object it is about does; cluster-scoped ones go to default.

    One with an eventTime is of the new form, and says who reports what.
    """
    del old
    about, namespace = obj.get("involvedObject") or {}, (obj.get("metadata") or {}).get("namespace") or ""
    of = about.get("namespace") or ""
    errors: list[FieldError] = []
    if namespace != of and (of or namespace != "default"):
        errors.append(invalid("involvedObject.namespace", of, "does not match event.namespace"))
    return errors + (_reported(obj) if obj.get("eventTime") else [])


def _reported(obj: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    controller, instance = obj.get("reportingComponent") or "", obj.get("reportingInstance") or ""
    errors += (
        all_invalid("reportingController", controller, names.qualified_name(controller))
        if controller
        else [required("reportingController")]
    )
    if not instance:
        errors.append(required("reportingInstance"))
    elif len(instance) > MAX_REPORTER:
        errors.append(invalid("reportingInstance", "", f"can have at most {MAX_REPORTER} characters"))
    for field, most in (("action", MAX_REPORTER), ("reason", MAX_REPORTER)):
        if not obj.get(field):
            errors.append(required(field))
        elif len(obj[field]) > most:
            errors.append(invalid(field, "", f"can have at most {most} characters"))
    if len(obj.get("message") or "") > MAX_NOTE:
        errors.append(invalid("message", "", f"can have at most {MAX_NOTE} characters"))
    return errors


def _strategy(strategy: str, path: str) -> list[FieldError]:
    """Kubernetes' own, or somebody's by a qualified name."""
    if "/" in strategy:
        return all_invalid(path, strategy, names.qualified_name(strategy))
    return [] if strategy == _STRATEGY else [not_supported(path, strategy, (_STRATEGY,))]


def lease(obj: Json, old: Json | None) -> list[FieldError]:
    """coordination/v1 Lease."""
    del old
    spec = obj.get("spec") or {}
    errors: list[FieldError] = []
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    errors += meta.not_negative(spec, "leaseTransitions", path="spec")
    strategy = spec.get("strategy")
    errors += [] if strategy is None else _strategy(strategy, "spec.strategy.strategy")
    if spec.get("preferredHolder") and not strategy:
        errors.append(forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return errors
