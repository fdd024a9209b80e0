"""What of a Job's template may change: of a suspended one that runs nothing, where its pods go and what they ask for.

Source: batch/v1 validation of Kubernetes 1.36 (KEP-2926, KEP-5440).
"""

import copy
from typing import Any

from netplane.api.fields import FieldError, invalid
from netplane.api.validation import meta

Json = dict[str, Any]

_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates")


def changes(spec: Json, before: Json, status: Json) -> list[FieldError]:
    """All that must not have changed in spec.template; `before` was the Job's spec, `status` how it did."""
    new, old = spec["template"], before["template"]
    idle = _idle(before, status)
    expected = _directed(new, old) if idle else old
    if not idle:
        return [] if _same(new, expected) else [invalid("spec.template", new, meta.IMMUTABLE)]
    inside = _with_resources(new.get("spec") or {}, expected.get("spec") or {})
    same = _same(new.get("spec") or {}, inside)
    return [] if same else [invalid("spec.template.spec", new.get("spec"), meta.IMMUTABLE)]


def _same(one: Json, other: Json) -> bool:
    return bool(_meant(one) == _meant(other))


def _meant(value: Any) -> Any:
    """Without what is empty: absent and empty are the same."""
    if isinstance(value, dict):
        return {key: meant for key, one in value.items() if (meant := _meant(one)) not in ({}, [], None)}
    return [_meant(one) for one in value] if isinstance(value, list) else value


def _idle(spec: Json, status: Json) -> bool:
    """Whether a Job is suspended, and has no pods."""
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    stopped = not status.get("startTime") or conditions.get("Suspended") == "True"
    return bool(spec.get("suspend")) and stopped and not status.get("active")


def _directed(new: Json, old: Json) -> Json:
    """The old template with what the new one says of where its pods go."""
    expected, inside = copy.deepcopy(old), new.get("spec") or {}
    for field in ("labels", "annotations"):
        expected["metadata"] = {**(expected.get("metadata") or {}), field: (new.get("metadata") or {}).get(field)}
    spec = expected.setdefault("spec", {})
    for field in _DIRECTIVES:
        spec[field] = inside.get(field)
    spec["affinity"] = _affinity(inside.get("affinity"), spec.get("affinity"))
    return expected


def _affinity(new: Json | None, old: Json | None) -> Json | None:
    """The old affinity, but for that to nodes."""
    kept = {key: one for key, one in (old or {}).items() if key != "nodeAffinity"}
    if new is None:
        return kept or None
    return {**kept, "nodeAffinity": new.get("nodeAffinity")}


def _with_resources(new: Json, old: Json) -> Json:
    """The old pods with what the new ones' containers ask for."""
    spec = dict(old)
    for field in ("containers", "initContainers"):
        now, was = new.get(field) or [], old.get(field) or []
        if len(now) == len(was):
            spec[field] = [
                {**one, "resources": other.get("resources")} if one.get("name") == other.get("name") else one
                for one, other in zip(was, now, strict=True)
            ]
    return spec
