"""Deployment, ReplicaSet, StatefulSet, DaemonSet: templates, selectors, and what may not change.

Source: apps/v1 validation of Kubernetes 1.36.
"""

import re
from typing import Any

from netplane.api import selectors
from netplane.api.errors import StatusError
from netplane.api.fields import FieldError, forbidden, go_struct, invalid, not_supported, required
from netplane.api.validation import meta, pod
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]

_NO_MATCH = "`selector` does not match template `labels`"
_SET_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_SET_CHANGEABLE = frozenset({
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
})  # fmt: skip
_COUNTS = (
    "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas",
    "fullyLabeledReplicas", "currentReplicas", "terminatingReplicas", "collisionCount", "currentNumberScheduled",
    "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable",
    "numberUnavailable",
)  # fmt: skip
_OF_REPLICAS = ("updatedReplicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas", "currentReplicas")


def selected(spec: Json, kind: str, template: str = "spec.template") -> list[FieldError]:
    """The selector is there, says something, and finds the template's labels."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector"), *matches(None, spec, template)]
    errors = label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
    return errors + (matches(selector, spec, template) if not errors else [])


def matches(selector: Json | None, spec: Json, template: str = "spec.template") -> list[FieldError]:
    """The selector finds the template's labels; none finds nothing."""
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    try:
        found = selector is not None and selectors.from_label_selector(selector).matches(labels)
    except StatusError:
        return []
    return [] if found else [invalid(f"{template}.metadata.labels", labels or None, _NO_MATCH)]


def pod_template(spec: Json, path: str) -> list[FieldError]:
    """spec.template of whatever has one."""
    template = spec.get("template") or {}
    metadata, inside = template.get("metadata") or {}, template.get("spec") or {}
    errors = meta.labels(metadata.get("labels"), f"{path}.labels")
    errors += meta.annotations(metadata.get("annotations") or {}, f"{path}.annotations")
    errors += pod.annotations(metadata, inside, f"{path}.annotations")
    errors += pod.validate_spec(inside, f"{path}.spec")
    if inside.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", why))
    return errors


def _lasting(spec: Json, kind: str, extra: Json | None = None) -> list[FieldError]:
    """A template of pods that run until they are deleted."""
    path, inside = "spec.template", spec["template"].get("spec") or {}
    errors = pod_template(spec if extra is None else {"template": extra}, path)
    if inside.get("restartPolicy") != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", inside.get("restartPolicy") or "", ("Always",)))
    if inside.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return errors


def _fixed_selector(obj: Json, old: Json | None) -> list[FieldError]:
    if old is None:
        return []
    return meta.immutable("spec.selector", obj["spec"].get("selector"), (old.get("spec") or {}).get("selector"))


def _status(obj: Json, old: Json | None) -> list[FieldError]:
    """Counts of pods: none negative, no part greater than the whole."""
    status = obj.get("status") or {}
    errors = meta.not_negative(status, *_COUNTS, path="status")
    whole, why = status.get("replicas") or 0, "cannot be greater than status.replicas"
    parts = [(one, status.get(one) or 0) for one in _OF_REPLICAS]
    errors += [invalid(f"status.{one}", count, why) for one, count in parts if count > whole]
    ready, available = status.get("readyReplicas") or 0, status.get("availableReplicas") or 0
    if available > ready:
        errors.append(invalid("status.availableReplicas", available, "cannot be greater than readyReplicas"))
    before, now = ((each or {}).get("status") or {} for each in (old, obj))
    if (now.get("collisionCount") or 0) < (before.get("collisionCount") or 0):
        errors.append(invalid("status.collisionCount", now.get("collisionCount") or 0, "cannot be decremented"))
    return errors


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 Deployment."""
    spec = obj["spec"]
    errors = meta.not_negative(spec, "replicas", path="spec")
    errors += [*selected(spec, "deployment"), *_lasting(spec, "ReplicaSet"), *_fixed_selector(obj, old)]
    errors += _strategy(spec["strategy"], "spec.strategy")
    numbers = ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    errors += meta.not_negative(spec, *numbers, path="spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors + _status(obj, old)


def _shown(strategy: Json) -> Json:
    return go_struct(strategy, Type=("type", ""), RollingUpdate=("rollingUpdate", None))


def _strategy(given: Json, path: str) -> list[FieldError]:
    kind = given.get("type")
    if kind not in ("Recreate", "RollingUpdate"):
        return [not_supported(path, _shown(given), ("Recreate", "RollingUpdate"))]
    if kind == "RollingUpdate":
        return _rolling(given.get("rollingUpdate") or {}, f"{path}.rollingUpdate")
    why = "may not be specified when strategy `type` is 'Recreate'"
    return [forbidden(f"{path}.rollingUpdate", why)] if given.get("rollingUpdate") is not None else []


def _rolling(given: Json, path: str) -> list[FieldError]:
    """How many may be missing and how many too many: not none of both."""
    missing, more = given.get("maxUnavailable"), given.get("maxSurge")
    errors = [*_part(missing, f"{path}.maxUnavailable"), *_part(more, f"{path}.maxSurge")]
    if _is_none(missing) and _is_none(more):
        errors.append(invalid(f"{path}.maxUnavailable", missing, "may not be 0 when `maxSurge` is 0"))
    return errors + _not_all(missing, f"{path}.maxUnavailable")


def _part(value: Any, path: str) -> list[FieldError]:
    """A number, or a percentage."""
    if isinstance(value, str) and not _PERCENT.fullmatch(value):
        return [invalid(path, value, _NO_PERCENT)]
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, meta.NOT_NEGATIVE)]
    return []


def _is_none(value: Any) -> bool:
    return value in (None, 0) or (isinstance(value, str) and bool(re.fullmatch("0+%", value)))


def _not_all(value: Any, path: str) -> list[FieldError]:
    if isinstance(value, str) and _PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


_PERCENT = re.compile("[0-9]+%")
_NO_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)


def replica_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 ReplicaSet."""
    spec = obj["spec"]
    errors = meta.not_negative(spec, "replicas", "minReadySeconds", path="spec")
    errors += [*selected(spec, "deployment"), *_lasting(spec, "ReplicaSet"), *_fixed_selector(obj, old)]
    return errors + _status(obj, old)


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 DaemonSet."""
    spec = obj["spec"]
    selector = spec.get("selector")
    errors = label_selector(selector, "spec.selector")
    errors += [] if errors else matches(selector, spec)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    errors += [*_lasting(spec, "DaemonSet"), *_fixed_selector(obj, old)]
    errors += meta.not_negative(spec, "minReadySeconds", path="spec")
    strategy, path = spec["updateStrategy"], "spec.updateStrategy"
    if strategy.get("type") == "RollingUpdate":
        errors += _daemons(strategy.get("rollingUpdate") or {}, f"{path}.rollingUpdate")
    elif strategy.get("type") != "OnDelete":
        errors.append(not_supported(path, _shown(strategy), ("RollingUpdate", "OnDelete")))
    return errors + meta.not_negative(spec, "revisionHistoryLimit", path="spec") + _status(obj, old)


def _daemons(given: Json, path: str) -> list[FieldError]:
    """On each node either the old goes first or the new comes first."""
    missing, more = given.get("maxUnavailable"), given.get("maxSurge")
    errors = [*_part(missing, f"{path}.maxUnavailable"), *_part(more, f"{path}.maxSurge")]
    errors += [*_not_all(missing, f"{path}.maxUnavailable"), *_not_all(more, f"{path}.maxSurge")]
    if _is_none(missing) and _is_none(more):
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not _is_none(missing) and not _is_none(more):
        errors.append(invalid(f"{path}.maxSurge", more, "may not be set when maxUnavailable is non-zero"))
    return errors


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 StatefulSet: most of its spec is given once."""
    spec = obj["spec"]
    policy, strategy = spec.get("podManagementPolicy") or "", spec["updateStrategy"]
    errors: list[FieldError] = []
    if policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    errors += _set_strategy(strategy, "spec.updateStrategy")
    for field, given in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if given not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            errors.append(not_supported(path, given, ("Retain", "Delete")))
    errors += meta.not_negative(spec, "replicas", "minReadySeconds", path="spec")
    errors += meta.not_negative(spec.get("ordinals") or {}, "start", path="spec.ordinals")
    errors += [*selected(spec, "statefulset"), *_lasting(spec, "StatefulSet", _with_claims(spec))]
    before = (old or {}).get("spec")
    if before is not None and any(
        spec.get(key) != before.get(key) for key in {*spec, *before} if key not in _SET_CHANGEABLE
    ):
        errors.append(forbidden("spec", _SET_MAY_CHANGE))
    return errors + _status(obj, old)


def _set_strategy(given: Json, path: str) -> list[FieldError]:
    kind, rolling = given.get("type"), given.get("rollingUpdate")
    if kind == "RollingUpdate":
        where, missing = f"{path}.rollingUpdate", (rolling or {}).get("maxUnavailable")
        errors = meta.not_negative(rolling or {}, "partition", path=where)
        if missing is not None:
            errors += _part(missing, f"{where}.maxUnavailable")
            errors += [invalid(f"{where}.maxUnavailable", missing, "cannot be 0")] if _is_none(missing) else []
            errors += _not_all(missing, f"{where}.maxUnavailable")
        return errors
    if kind != "OnDelete":
        return [invalid(path, _shown(given), "must be 'RollingUpdate' or 'OnDelete'")]
    why = "only allowed for updateStrategy 'RollingUpdate'"
    return [invalid(f"{path}.rollingUpdate", rolling, why)] if rolling is not None else []


def _with_claims(spec: Json) -> Json:
    """The template, its pods having the volumes that are claimed for each of them."""
    template = spec["template"]
    inside = template.get("spec") or {}
    own = [one.get("name") for one in inside.get("volumes") or ()]
    claimed = [(one.get("metadata") or {}).get("name") for one in spec.get("volumeClaimTemplates") or ()]
    more = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claimed if name not in own]
    return {**template, "spec": {**inside, "volumes": [*(inside.get("volumes") or ()), *more]}}
