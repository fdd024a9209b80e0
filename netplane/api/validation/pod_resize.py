"""What of a pod's resources may change while it runs: how much CPU and memory. Source: core/v1 validation of 1.36."""

from collections.abc import Mapping
from typing import Any

from netplane.api import pod_resources, prints
from netplane.api.fields import FieldError, forbidden, invalid
from netplane.api.pod_refs import MIRROR

Json = dict[str, Any]

_ONLY = "only cpu and memory resources are mutable"
_FIELDS = ("requests", "limits")
_LISTS = ("containers", "initContainers")


def refused(old: Json) -> list[FieldError]:
    """Pods whose resources never change: then that is all there is to say."""
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods cannot be resized")]
    if ((old["spec"].get("os") or {}).get("name")) == "windows":
        return [forbidden("", "windows pods cannot be resized")]
    return []


def changes(obj: Json, old: Json) -> list[FieldError]:
    """What is wrong with other resources of a pod."""
    spec, before = obj["spec"], old["spec"]
    status = old.get("status") or {}
    errors: list[FieldError] = []
    if (status.get("qosClass") or pod_resources.qos_class(before)) != pod_resources.qos_class(spec):
        shown = (obj.get("status") or {}).get("qosClass") or ""
        errors.append(invalid("spec", shown, "Pod QOS Class may not change as a result of resizing"))
    if not _supported(status):
        errors.append(forbidden("spec", "Pod running on node without support for resize"))
    masked = dict(spec)
    if any((each.get("resources") or {}).get(field) for each in (spec, before) for field in _FIELDS):
        errors += _pod_level(spec, before)
        masked["resources"] = _masked(spec.get("resources"), before.get("resources"))
    if moved := _moved(spec, before):
        return errors + moved
    for field in reversed(_LISTS):
        errors += _removed(spec, before, field)
    for field in _LISTS:
        pairs = list(zip(spec.get(field) or (), before.get(field) or (), strict=True))
        masked[field] = [
            {**now, "resources": _masked(now.get("resources") or {}, was.get("resources") or {})} for now, was in pairs
        ]
        errors += _others(pairs, masked[field], field)
    if not errors and prints.internal("PodSpec", masked) != prints.internal("PodSpec", before):
        errors.append(forbidden("spec", _ONLY))
    return errors


def _supported(status: Json) -> bool:
    """A node that tells of its containers' resources can change them."""
    running = [one for one in status.get("containerStatuses") or () if (one.get("state") or {}).get("running")]
    return not running or running[0].get("resources") is not None


def _pod_level(spec: Json, before: Json) -> list[FieldError]:
    now, was = spec.get("resources"), before.get("resources")
    if was is not None and now is None:
        return [forbidden("spec.resources", "pod-level resources cannot be removed")]
    errors = [
        forbidden(f"spec.resources.{field}", f"pod-level resource {field} cannot be removed")
        for field in _FIELDS
        if _lost((now or {}).get(field) or {}, (was or {}).get(field) or {})
    ]
    if prints.internal("ResourceRequirements", _masked(now, was)) != prints.internal("ResourceRequirements", was):
        errors.append(forbidden("spec", f"{_ONLY} at pod-level"))
    return errors


def _lost(now: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    return not was.keys() <= now.keys()


def _masked(now: Json | None, was: Json | None) -> Json | None:
    """Resources with CPU and memory as they were."""
    if now is None:
        return None
    made: Json = {}
    for field in _FIELDS:
        others = {key: one for key, one in (now.get(field) or {}).items() if key not in pod_resources.QOS_RESOURCES}
        kept = {key: one for key, one in ((was or {}).get(field) or {}).items() if key in pod_resources.QOS_RESOURCES}
        made[field] = others | kept
    return made if was is not None or any(made.values()) else None


def _moved(spec: Json, before: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in _LISTS:
        now, was = spec.get(field) or [], before.get(field) or []
        if len(now) != len(was):
            errors.append(forbidden(f"spec.{field}", f"{field} may not be added or removed on resize"))
            continue
        why = f"{field} may not be renamed or reordered on resize"
        pairs = enumerate(zip(now, was, strict=True))
        errors += [forbidden(f"spec.{field}[{i}].name", why) for i, (a, b) in pairs if a.get("name") != b.get("name")]
    return errors


def _removed(spec: Json, before: Json, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, (now, was) in enumerate(zip(spec.get(field) or (), before.get(field) or (), strict=True)):
        for amounts in _FIELDS:
            have, had = ((one.get("resources") or {}).get(amounts) or {} for one in (now, was))
            if _lost(have, had):
                where = f"spec.{field}[{i}].resources.{amounts}"
                errors.append(forbidden(where, f"resource {amounts} cannot be removed"))
    return errors


def _others(pairs: list[tuple[Json, Json]], masked: list[Json], field: str) -> list[FieldError]:
    """Changes of containers beyond CPU and memory."""
    errors: list[FieldError] = []
    for i, (now, was) in enumerate(pairs):
        same = prints.internal("Container", masked[i]) == prints.internal("Container", was)
        if field == "containers":
            errors += [] if same else [forbidden("spec", _ONLY)]
            continue
        where = f"spec.{field}[{i}]"
        why = "only cpu and memory resources for init or sidecar containers are mutable"
        errors += [] if same else [forbidden(where, why)]
        changed = prints.internal("Container", now) != prints.internal("Container", was)
        if changed and not pod_resources.is_sidecar(now):
            why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
            policies = [one.get("restartPolicy") for one in masked[i].get("resizePolicy") or ()]
            errors += [forbidden(where, why) for policy in policies if policy == "RestartContainer"]
    return errors
