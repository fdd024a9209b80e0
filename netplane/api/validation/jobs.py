"""Job: how many pods, when it is done and when it failed. Source: batch/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import names, prints
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    invalid,
    invalid_as_such,
    not_supported,
    repeated,
    required,
    too_long,
    too_many,
)
from netplane.api.validation import indexes, job_template, meta
from netplane.api.validation.selecting import label_selector
from netplane.api.validation.workloads import matches, pod_template, shown_selector

Json = dict[str, Any]

MOST_INDEXED = 100_000
_FEWER = 10_000
_MOST_INDEX_BYTES = 64 * 1024
_MOST_RULES, _MOST_CODES = 20, 255
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_INDEXED_ONLY = "requires indexed completion mode"
_GENERATED = (
    ("controller-uid", "uid"), ("job-name", "name"), ("batch.kubernetes.io/controller-uid", "uid"),
    ("batch.kubernetes.io/job-name", "name"),
)  # fmt: skip


def job(obj: Json, old: Json | None) -> list[FieldError]:
    """batch/v1 Job: its selector, template and completions are given once. A change is looked at twice."""
    spec, before = obj["spec"], (old or {}).get("spec")
    errors = _generated(obj, before) + (own := _selecting_spec(spec))
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        name = obj["metadata"].get("name") or ""
        host = f"{name}-{completions - 1}"
        why = f"will not able to create pod with invalid DNS label: {host}"
        errors += [invalid("metadata.name", name, why)] if names.dns_label(host) else []
    if old is None or before is None:
        return errors
    return errors + own + _changes(spec, before, old.get("status") or {})


def _selecting_spec(spec: Json) -> list[FieldError]:
    selector = spec.get("selector")
    wrong = [required("spec.selector")] if selector is None else label_selector(selector, "spec.selector")
    finds = matches(selector, spec) if selector is None or not wrong else []
    return [*job_spec(spec, "spec"), *wrong, *finds]


def _generated(obj: Json, before: Json | None) -> list[FieldError]:
    """Labels and selector that the server makes are as it made them: all that the Job had `before`, if there is one."""
    spec, metadata = obj["spec"], obj["metadata"]
    selector = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    errors: list[FieldError] = []
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    had = ((before or {}).get("template", {}).get("metadata") or {}).get("labels") or {}
    made = _GENERATED if before is None or all(one in had for one, _ in _GENERATED[2:]) else _GENERATED[:2]
    for label, field in made:
        path, want = f"spec.template.metadata.labels[{label}]", metadata.get(field, "")
        if label not in labels:
            errors.append(required(path, f"must be '{want}'"))
        elif labels[label] != want:
            errors.append(invalid(path, dict(sorted(labels.items())), f"must be '{want}'"))
    expected = {"template": {"metadata": {"labels": {label: metadata.get(field, "") for label, field in made}}}}
    if not label_selector(selector, "") and matches(selector, expected):
        errors.append(invalid("spec.selector", shown_selector(selector), "`selector` not auto-generated"))
    return errors


def _changes(spec: Json, before: Json, status: Json) -> list[FieldError]:
    """What of a Job's spec may not change; `before` is how it was, and `status` how it did."""
    errors: list[FieldError] = []
    now, was = spec.get("completions"), before.get("completions")
    if spec.get("completionMode") != "Indexed":
        errors += _fixed("completions", spec, before)
    elif now is not None and now != was and now != spec.get("parallelism"):
        errors.append(invalid("spec.completions", now, "can only be modified in tandem with spec.parallelism"))
    selector, had = (shown_selector(one.get("selector")) for one in (spec, before))
    errors += meta.immutable("spec.selector", selector, had)
    errors += job_template.changes(spec, before, status)
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        errors += _fixed(field, spec, before)
    return errors


def _fixed(field: str, spec: Json, before: Json) -> list[FieldError]:
    now, was = spec.get(field), before.get(field)
    shown = prints.internal(_SHOWN[field], now) if field in _SHOWN else now
    return [] if now == was else [invalid(f"spec.{field}", shown, meta.IMMUTABLE)]


_SHOWN = {"podFailurePolicy": "PodFailurePolicy", "successPolicy": "SuccessPolicy"}
"""What messages show by its internal names."""


def job_spec(spec: Json, path: str) -> list[FieldError]:
    """What a Job and the template of one have in common."""
    numbers = (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
        "backoffLimitPerIndex", "maxFailedIndexes",
    )  # fmt: skip
    return [
        *meta.not_negative(spec, *numbers, path=path),
        *_managed(spec, f"{path}.managedBy"),
        *_completion(spec, path),
        *_failure(spec, f"{path}.podFailurePolicy"),
        *_success(spec, f"{path}.successPolicy"),
        *_replacement(spec, f"{path}.podReplacementPolicy"),
        *pod_template(spec, f"{path}.template"),
        *_restarts(spec, f"{path}.template.spec.restartPolicy"),
    ]


def _managed(spec: Json, path: str) -> list[FieldError]:
    by = spec.get("managedBy")
    if by is None:
        return []
    errors = meta.domain_prefixed_path(by, path)
    return errors + ([too_long(path, names.LABEL_BYTES)] if len(by.encode()) > names.LABEL_BYTES else [])


def _restarts(spec: Json, path: str) -> list[FieldError]:
    policy = (spec.get("template", {}).get("spec") or {}).get("restartPolicy") or ""
    if policy in ("", "Always"):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(path, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _completion(spec: Json, path: str) -> list[FieldError]:
    """When a job is done: after so many pods, or each index once."""
    mode, failed = spec.get("completionMode"), spec.get("maxFailedIndexes")
    errors: list[FieldError] = []
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if mode not in (None, "NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        return errors + _indexed(spec, path)
    for field in ("backoffLimitPerIndex", "maxFailedIndexes") if mode in (None, "NonIndexed") else ():
        errors += [invalid(f"{path}.{field}", spec[field], _INDEXED_ONLY)] if spec.get(field) is not None else []
    return errors


def _indexed(spec: Json, path: str) -> list[FieldError]:
    completions, failed = spec.get("completions"), spec.get("maxFailedIndexes")
    parallel = spec.get("parallelism") or 0
    errors: list[FieldError] = []
    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallel > MOST_INDEXED:
        why = f"must be less than or equal to {MOST_INDEXED} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", parallel, why))
    if failed is not None and completions is not None and failed > completions:
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > MOST_INDEXED:
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {MOST_INDEXED}"))
    if (completions or 0) <= MOST_INDEXED or spec.get("backoffLimitPerIndex") is None:
        return errors
    if failed is None:
        why = f"must be specified when completions is above {MOST_INDEXED}"
        errors.append(required(f"{path}.maxFailedIndexes", why))
    why = (
        f"must be less than or equal to {_FEWER} when completions are above {MOST_INDEXED} and used with "
        "backoff limit per index"
    )
    counts = (("parallelism", parallel), ("maxFailedIndexes", failed or 0))
    return errors + [invalid(f"{path}.{field}", count, why) for field, count in counts if count > _FEWER]


def _replacement(spec: Json, path: str) -> list[FieldError]:
    given = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [] if given is None or given in allowed else [not_supported(path, given, allowed)]


def _failure(spec: Json, path: str) -> list[FieldError]:
    """What a failed pod means, by its exit codes or conditions."""
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or []
    errors = [too_many(f"{path}.rules", len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    inside = spec.get("template", {}).get("spec") or {}
    known = {one.get("name") for field in ("containers", "initContainers") for one in inside.get(field) or ()}
    for i, rule in enumerate(rules):
        where, codes, conditions = f"{path}.rules[{i}]", rule.get("onExitCodes"), rule.get("onPodConditions") or []
        errors += _action(rule.get("action") or "", spec, f"{where}.action")
        errors += _exit_codes(codes, f"{where}.onExitCodes", known) if codes is not None else []
        errors += _conditions(conditions, f"{where}.onPodConditions")
        if codes is not None and conditions:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid_as_such(where, why))
        if codes is None and not conditions:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid_as_such(where, why))
    return errors


def _one_of(path: str, value: str, allowed: tuple[str, ...]) -> list[FieldError]:
    if not value:
        listed = " ".join(f'"{one}"' for one in allowed)
        return [required(path, f"valid values: [{listed}]")]
    return [] if value in allowed else [not_supported(path, value, allowed)]


def _action(action: str, spec: Json, path: str) -> list[FieldError]:
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        return [invalid(path, action, "requires the backoffLimitPerIndex to be set")]
    return _one_of(path, action, _ACTIONS)


def _conditions(given: list[Json], path: str) -> list[FieldError]:
    errors = [too_many(path, len(given), _MOST_RULES)] if len(given) > _MOST_RULES else []
    for i, one in enumerate(given):
        kind = one.get("type") or ""
        errors += all_invalid(f"{path}[{i}].type", kind, names.qualified_name(kind))
        errors += _one_of(f"{path}[{i}].status", one.get("status") or "", ("False", "True", "Unknown"))
    return errors


def _exit_codes(given: Json, path: str, containers: set[Any]) -> list[FieldError]:
    operator, values, name = given.get("operator") or "", given.get("values") or [], given.get("containerName")
    errors = _one_of(f"{path}.operator", operator, ("In", "NotIn"))
    if name is not None and name not in containers:
        why = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, why))
    if not values:
        errors.append(invalid(f"{path}.values", given.get("values"), "at least one value is required"))
    elif len(values) > _MOST_CODES:
        errors.append(too_many(f"{path}.values", len(values), _MOST_CODES))
    for i, (code, again) in enumerate(zip(values, repeated(values), strict=True)):
        where = f"{path}.values[{i}]"
        errors += [invalid(where, 0, "must not be 0 for the In operator")] if operator == "In" and code == 0 else []
        errors += [duplicate(where, code)] if again else []
    return errors + ([invalid(f"{path}.values", values, "must be ordered")] if values != sorted(values) else [])


def _success(spec: Json, path: str) -> list[FieldError]:
    """When enough indexes are done."""
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(path, prints.internal("SuccessPolicy", policy), _INDEXED_ONLY)]
    rules, completions = policy.get("rules") or [], spec.get("completions") or 0
    errors: list[FieldError] = []
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(f"{path}.rules", why))
    if len(rules) > _MOST_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), _MOST_RULES))
    for i, rule in enumerate(rules):
        where, count = f"{path}.rules[{i}]", rule.get("succeededCount")
        if count is None and rule.get("succeededIndexes") is None:
            why = "at least one of succeededCount or succeededIndexes must be specified"
            errors.append(required(where, why))
        errors += _enough(rule, where, completions)
    return errors


def _enough(rule: Json, path: str, completions: int) -> list[FieldError]:
    """Which indexes, or how many of them or of all."""
    count, given, at = rule.get("succeededCount"), rule.get("succeededIndexes"), f"{path}.succeededCount"
    errors: list[FieldError] = []
    total = 0
    if given is not None:
        where = f"{path}.succeededIndexes"
        errors += [too_long(where, _MOST_INDEX_BYTES)] if len(given.encode()) > _MOST_INDEX_BYTES else []
        try:
            total = indexes.count(given, completions)
        except ValueError as error:
            errors.append(invalid(where, given, f"error parsing succeededIndexes: {error}"))
    errors += meta.not_negative(rule, "succeededCount", path=path)
    why = "must be less than or equal to {} (the number of {})"
    if count is not None and count > completions:
        errors.append(invalid(at, count, why.format(completions, "specified completions")))
    if count is not None and given is not None and count > total:
        errors.append(invalid(at, count, why.format(total, "indexes in the specified succeededIndexes field")))
    return errors
