"""What of a Job's template may change: of a suspended one that runs nothing, where its pods go and what they ask for.

Source: batch/v1 validation of Kubernetes 1.36 (KEP-2926, KEP-5440).
"""

from typing import Any

from netplane.api import prints
from netplane.api.fields import FieldError, invalid
from netplane.api.validation import meta

Json = dict[str, Any]

_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates")


def changes(spec: Json, before: Json, status: Json) -> list[FieldError]:
    """All that must not have changed in spec.template; `before` was the Job's spec, `status` how it did."""
    new, old = spec["template"], before["template"]
    if not _idle(before, status):
        return [] if _told(new) == _told(old) else [invalid("spec.template", _shown(new), meta.IMMUTABLE)]
    pods, had = new.get("spec") or {}, old.get("spec") or {}
    if _told(pods) == _told(_with_resources(pods, _directed(pods, had))):
        return []
    return [invalid("spec.template.spec", prints.internal("PodSpec", pods), meta.IMMUTABLE)]


def _shown(template: Json) -> Json:
    """A template as it is printed: its metadata's fields are its own."""
    metadata: Json = template.get("metadata") or {}
    labelled = {key: dict(sorted(metadata[key].items())) for key in ("labels", "annotations") if metadata.get(key)}
    names = {key: metadata[key] for key in ("name", "generateName", "namespace") if metadata.get(key)}
    return {**names, **labelled, "Spec": prints.internal("PodSpec", template.get("spec") or {})}


def _told(value: Json) -> Json:
    """Without what is not there."""
    return {
        key: _told(one) if key in ("metadata", "spec", "affinity") else one
        for key, one in value.items()
        if one is not None
    }


def _idle(spec: Json, status: Json) -> bool:
    """Whether a Job is suspended, and has no pods."""
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or ()}
    stopped = not status.get("startTime") or conditions.get("Suspended") == "True"
    return bool(spec.get("suspend")) and stopped and not status.get("active")


def _directed(new: Json, old: Json) -> Json:
    """The old pods, with what the new ones say of where they go."""
    directives = {field: new.get(field) for field in _DIRECTIVES}
    return {**old, **directives, "affinity": _affinity(new.get("affinity"), old.get("affinity"))}


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
        if now and len(now) == len(was):
            spec[field] = [
                {**one, "resources": other.get("resources")} if one.get("name") == other.get("name") else one
                for one, other in zip(was, now, strict=True)
            ]
    return spec
