"""How little of a pod may change: images, deadlines, what is tolerated; and what a gated pod may still be told.

Source: core/v1 validation of Kubernetes 1.36.
"""

from typing import Any

from netplane.api import names, prints
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, required
from netplane.api.pod_refs import APP_ARMOR, MIRROR
from netplane.api.validation import scheduling

Json = dict[str, Any]

MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_LISTS = ("containers", "initContainers")


def metadata(obj: Json, old: Json) -> list[FieldError]:
    """Whose mirror a pod is, and how it is confined, stays as it was from the start."""
    now, was = (one["metadata"].get("annotations") or {} for one in (obj, old))
    gone = [(key, "remove or update") for key in was if now.get(key) != was[key]]
    errors: list[FieldError] = []
    for key, word in [*gone, *((key, "add") for key in now if key not in was)]:
        what = "AppArmor annotations" if key.startswith(APP_ARMOR) else ""
        what = "mirror pod annotation" if key == MIRROR else what
        errors += [forbidden(f"metadata.annotations[{key}]", f"may not {word} {what}")] if what else []
    return errors


def changes(obj: Json, old: Json) -> list[FieldError]:
    """What is wrong with a change of a pod's spec."""
    spec, before = obj.get("spec") or {}, old.get("spec") or {}
    errors = metadata(obj, old)
    for field in _LISTS:
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            return [*errors, forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
        errors += _images(spec, field)
    late = _deadline(spec, before)
    if late and spec.get("activeDeadlineSeconds") is not None:
        return errors + late
    errors += late + _only_more_tolerated(spec, before) + _only_fewer_gates(spec, before)
    if before.get("schedulingGates"):
        errors += _selector(spec, before) + _node_affinity(spec, before)
    fixed = _fixed(spec, before)
    if difference := prints.difference("PodSpec", before, fixed):
        errors.append(forbidden("spec", f"{MAY_CHANGE}\n{difference}"))
    return errors


def _images(spec: Json, field: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, container in enumerate(spec.get(field) or ()):
        image, path = container.get("image") or "", f"spec.{field}[{i}].image"
        errors += [] if image else [required(path)]
        if image != image.strip():
            errors.append(invalid(path, image, "must not have leading or trailing whitespace"))
    return errors


def _deadline(spec: Json, before: Json) -> list[FieldError]:
    """A deadline comes, or comes earlier."""
    path = "spec.activeDeadlineSeconds"
    now, was = (each.get("activeDeadlineSeconds") for each in (spec, before))
    if now is None:
        why = "must not update from a positive integer to nil value"
        return [] if was is None else [invalid(path, None, why)]
    if bad := names.in_range(now, 0, 2**31 - 1):
        return all_invalid(path, now, bad)
    late = was is not None and was < now
    return [invalid(path, now, "must be less than or equal to previous value")] if late else []


def _only_more_tolerated(spec: Json, before: Json) -> list[FieldError]:
    have, had = ([_untimed(one) for one in each.get("tolerations") or ()] for each in (spec, before))
    if all(one in have for one in had):
        return scheduling.tolerations(spec.get("tolerations") or [], "spec.tolerations")
    why = "existing toleration can not be modified except its tolerationSeconds"
    return [forbidden("spec.tolerations", why)]


def _untimed(toleration: Json) -> Json:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _only_fewer_gates(spec: Json, before: Json) -> list[FieldError]:
    had = [one.get("name") for one in before.get("schedulingGates") or ()]
    why = "only deletion is allowed, but found new scheduling gate '{}'"
    return [
        forbidden(f"spec.schedulingGates[{i}].name", why.format(one.get("name")))
        for i, one in enumerate(spec.get("schedulingGates") or ())
        if one.get("name") not in had
    ]


def _selector(spec: Json, before: Json) -> list[FieldError]:
    now, was = spec.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    kept = all(now.get(key) == value for key, value in was.items())
    return [] if kept else [invalid("spec.nodeSelector", dict(sorted(now.items())) or None, why)]


def _node_affinity(spec: Json, before: Json) -> list[FieldError]:
    now, was = (_terms(each) for each in (spec, before))
    path = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    if not was:
        return []
    shown = [prints.internal("NodeSelectorTerm", one) for one in now]
    if len(now) != len(was):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [invalid(path, shown or None, why)]
    why = "only additions are allowed (no mutations or deletions)"
    changed = [i for i, pair in enumerate(zip(now, was, strict=True)) if not _more(*pair)]
    return [invalid(f"{path}[{i}]", shown[i], why) for i in changed]


def _terms(spec: Json) -> list[Json]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []


def _more(new: Json, old: Json) -> bool:
    """Whether a term says all it said, and perhaps more; one that said nothing still does."""
    pairs = [(new.get(field) or [], old.get(field) or []) for field in ("matchExpressions", "matchFields")]
    if not any(had for _, had in pairs):
        return not any(have for have, _ in pairs)
    return all(have[: len(had)] == had for have, had in pairs)


def _fixed(spec: Json, before: Json) -> Json:
    """A spec with all that may change as it was `before`: it must be the same then."""
    fixed = dict(spec)
    for field in _LISTS:
        pairs = zip(spec.get(field) or (), before.get(field) or (), strict=True)
        fixed[field] = [{**now, "image": was.get("image")} for now, was in pairs]
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        fixed[field] = before.get(field)
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        fixed["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    if before.get("schedulingGates"):
        fixed["nodeSelector"] = before.get("nodeSelector")
        fixed["affinity"] = _affinity(spec, before)
    return fixed


def _affinity(spec: Json, before: Json) -> Json | None:
    """The affinity of a gated pod, which may still be told to which nodes."""
    now, was = spec.get("affinity"), before.get("affinity")
    before_nodes = (was or {}).get("nodeAffinity")
    if now is None or (now.get("nodeAffinity") == before_nodes):
        return now if now is not None or before_nodes is None else {"nodeAffinity": before_nodes}
    if was is None and not any(now.get(field) for field in ("podAffinity", "podAntiAffinity")):
        return None
    return {**now, "nodeAffinity": before_nodes}


def looked_at(obj: Json, old: Json, wrong: list[FieldError]) -> list[FieldError]:
    """What is wrong with a change of the containers to look around: they come, and stay as they came.

    `wrong` is what is wrong with the pod itself.
    """
    path = "spec.ephemeralContainers"
    errors = [*wrong, *metadata(obj, old)]
    if MIRROR in (old["metadata"].get("annotations") or {}):
        return [forbidden("", "static pods do not support ephemeral containers")]
    now = {one.get("name") or "": one for one in obj["spec"].get("ephemeralContainers") or ()}
    for one in old["spec"].get("ephemeralContainers") or ():
        name = one.get("name") or ""
        if name not in now:
            errors.append(forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif difference := prints.difference("EphemeralContainer", one, now[name]):
            why = f'existing ephemeral containers "{name}" may not be changed\n{difference}'
            errors.append(forbidden(path, why))
    return errors
