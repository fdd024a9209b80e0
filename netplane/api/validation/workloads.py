"""Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob: templates, selectors, and what may not change.

Source: apps/v1 and batch/v1 validation of Kubernetes 1.36.
"""

import re
from typing import Any

from netplane.api import cron, names, selectors
from netplane.api.errors import StatusError
from netplane.api.fields import FieldError, forbidden, invalid, not_supported, required
from netplane.api.validation import meta, pod

Json = dict[str, Any]

_OPERATORS = ("Exists", "DoesNotExist", "In", "NotIn")
_MODES = frozenset({"Indexed", "NonIndexed"})
_NO_ZONE = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
MOST_INDEXED = 100_000
_SET_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_SET_CHANGEABLE = frozenset({
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
})  # fmt: skip


def label_selector(selector: Json | None, path: str) -> list[FieldError]:
    """A LabelSelector; absent is fine."""
    selector = selector or {}
    errors = meta.labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, one in enumerate(selector.get("matchExpressions") or ()):
        where, operator, values = f"{path}.matchExpressions[{i}]", one.get("operator") or "", one.get("values") or []
        if operator not in _OPERATORS:
            errors.append(invalid(f"{where}.operator", operator, "not a valid selector operator"))
        elif operator in ("In", "NotIn") and not values:
            errors.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator not in ("In", "NotIn") and values:
            errors.append(
                forbidden(f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
        errors += [invalid(f"{where}.key", one.get("key"), text) for text in names.qualified_name(one.get("key") or "")]
    return errors


def _selected(spec: Json, kind: str) -> list[FieldError]:
    """The selector is there, says something, and finds the template's labels."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector"), *_matches(None, spec)]
    errors = label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
    return errors + (_matches(selector, spec) if not errors else [])


def _matches(selector: Json | None, spec: Json) -> list[FieldError]:
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    try:
        found = selector is not None and selectors.from_label_selector(selector).matches(labels)
    except StatusError:
        return []
    why = "`selector` does not match template `labels`"
    return [] if found else [invalid("spec.template.metadata.labels", labels or None, why)]


def _template(spec: Json, *policies: str, path: str = "spec.template") -> list[FieldError]:
    template = spec.get("template") or {}
    errors = meta.labels((template.get("metadata") or {}).get("labels"), f"{path}.labels")
    errors += meta.annotations((template.get("metadata") or {}).get("annotations") or {}, f"{path}.annotations")
    errors += pod.validate_spec(template.get("spec") or {}, f"{path}.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policies and policy and policy not in policies and policy in pod.RESTART_POLICIES:
        errors.append(not_supported(f"{path}.spec.restartPolicy", policy, policies))
    return errors


def _fixed_selector(obj: Json, old: Json | None) -> list[FieldError]:
    if old is None:
        return []
    return meta.immutable("spec.selector", obj["spec"].get("selector"), (old.get("spec") or {}).get("selector"))


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 Deployment."""
    spec = obj["spec"]
    errors = meta.not_negative(
        spec, "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", path="spec"
    )
    errors += [*_selected(spec, "deployment"), *_template(spec, "Always"), *_fixed_selector(obj, old)]
    strategy = spec["strategy"]
    errors += meta.one_of("spec.strategy.type", strategy.get("type"), ("Recreate", "RollingUpdate"))
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
        why = "may not be specified when strategy `type` is 'Recreate'"
        errors.append(forbidden("spec.strategy.rollingUpdate", why))
    if strategy.get("type") == "RollingUpdate":
        errors += _rolling(strategy.get("rollingUpdate") or {}, "spec.strategy.rollingUpdate")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


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
    return [*errors, *_selected(spec, "deployment"), *_template(spec, "Always"), *_fixed_selector(obj, old)]


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 DaemonSet."""
    spec = obj["spec"]
    errors = [*_selected(spec, "daemonset"), *_template(spec, "Always"), *_fixed_selector(obj, old)]
    errors += meta.not_negative(spec, "minReadySeconds", "revisionHistoryLimit", path="spec")
    strategy = spec["updateStrategy"]
    errors += meta.one_of("spec.updateStrategy.type", strategy.get("type"), ("RollingUpdate", "OnDelete"))
    if strategy.get("type") == "RollingUpdate":
        errors += _daemons(strategy.get("rollingUpdate") or {}, "spec.updateStrategy.rollingUpdate")
    return errors


def _daemons(given: Json, path: str) -> list[FieldError]:
    """On each node either the old goes first or the new comes first."""
    missing, more = given.get("maxUnavailable"), given.get("maxSurge")
    errors = [*_part(missing, f"{path}.maxUnavailable"), *_part(more, f"{path}.maxSurge")]
    errors += [*_not_all(missing, f"{path}.maxUnavailable"), *_not_all(more, f"{path}.maxSurge")]
    if _is_none(missing) and _is_none(more):
        errors.append(invalid(f"{path}.maxUnavailable", missing, "cannot be 0 when maxSurge is 0"))
    elif not _is_none(missing) and not _is_none(more):
        errors.append(invalid(f"{path}.maxSurge", more, "may not be set when maxUnavailable is non-zero"))
    return errors


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 StatefulSet: most of its spec is given once."""
    spec = obj["spec"]
    errors = meta.one_of("spec.podManagementPolicy", spec.get("podManagementPolicy"), ("OrderedReady", "Parallel"))
    errors += meta.one_of("spec.updateStrategy.type", spec["updateStrategy"].get("type"), ("RollingUpdate", "OnDelete"))
    rolling = spec["updateStrategy"].get("rollingUpdate")
    if rolling is not None and spec["updateStrategy"].get("type") == "OnDelete":
        why = "only allowed for updateStrategy 'RollingUpdate'"
        errors.append(invalid("spec.updateStrategy.rollingUpdate", rolling, why))
    errors += meta.not_negative(rolling or {}, "partition", path="spec.updateStrategy.rollingUpdate")
    errors += meta.not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit", path="spec")
    errors += [*_selected(spec, "statefulset"), *_template(spec, "Always")]
    before = (old or {}).get("spec")
    if before is not None and any(
        spec.get(key) != before.get(key) for key in {*spec, *before} if key not in _SET_CHANGEABLE
    ):
        errors.append(forbidden("spec", _SET_MAY_CHANGE))
    return errors


def job(obj: Json, old: Json | None) -> list[FieldError]:
    """batch/v1 Job: its selector, template and completions are given once."""
    spec = obj["spec"]
    errors = _job_spec(spec, "spec")
    if spec.get("selector") is None:
        errors.append(required("spec.selector"))
    else:
        errors += [*label_selector(spec["selector"], "spec.selector"), *_matches(spec["selector"], spec)]
    before = (old or {}).get("spec")
    if before is not None:
        fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        fixed += [] if before.get("suspend") else ["template"]
        fixed += [] if spec.get("completionMode") == "Indexed" else ["completions"]
        for field in fixed:
            errors += meta.immutable(f"spec.{field}", spec.get(field), before.get(field))
    return errors


def _job_spec(spec: Json, path: str) -> list[FieldError]:
    numbers = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    errors = meta.not_negative(spec, *numbers, path=path)
    errors += _completion(spec, path) + _template(spec, path=f"{path}.template")
    policy = (spec.get("template", {}).get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        errors.append(required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return errors


def _completion(spec: Json, path: str) -> list[FieldError]:
    """When a job is done: after so many pods, or each index once."""
    mode = spec.get("completionMode")
    errors: list[FieldError] = []
    if mode is not None and mode not in _MODES:
        errors.append(not_supported(f"{path}.completionMode", mode, _MODES))
    if mode == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if mode == "Indexed" and (spec.get("parallelism") or 0) > MOST_INDEXED:
        why = f"must be less than or equal to {MOST_INDEXED} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", spec["parallelism"], why))
    if mode != "Indexed" and spec.get("backoffLimitPerIndex") is not None:
        why = "requires indexed completion mode"
        errors.append(invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], why))
    return errors


def cron_job(obj: Json, old: Json | None) -> list[FieldError]:
    """batch/v1 CronJob. Its name leaves room for that of its jobs (11 characters)."""
    spec, name = obj["spec"], obj["metadata"].get("name") or ""
    errors = []
    if old is None and len(name) > 52:
        errors.append(invalid("metadata.name", name, "must be no more than 52 characters"))
    schedule = spec.get("schedule") or ""
    if not schedule:
        errors.append(required("spec.schedule"))
    elif why := cron.problem(schedule):
        errors.append(invalid("spec.schedule", schedule, why))
    elif "TZ" in schedule and old is None:
        both = spec.get("timeZone") is not None
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule" if both else _NO_ZONE
        errors.append(invalid("spec.schedule", schedule, why))
    if spec.get("timeZone") == "":
        errors.append(invalid("spec.timeZone", "", "timeZone must be nil or non-empty string"))
    policies = ("Allow", "Forbid", "Replace")
    errors += meta.one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), policies)
    numbers = ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    errors += meta.not_negative(spec, *numbers, path="spec")
    return errors + _job_spec(spec["jobTemplate"].get("spec") or {}, "spec.jobTemplate.spec")
