"""Deployment, ReplicaSet and DaemonSet: templates, selectors, and what may not change.

Source: apps/v1 validation of Kubernetes 1.36.
"""

import re
from collections.abc import Callable
from typing import Any

from netplane.api import prints, selectors
from netplane.api.fields import FieldError, forbidden, invalid, not_supported, required
from netplane.api.validation import meta, pod
from netplane.api.validation.selecting import label_selector

Json = dict[str, Any]

NO_MATCH = "`selector` does not match template `labels`"


def shown_selector(selector: Json | None) -> Json | None:
    """A selector as messages show it: its members in the order of their definition, labels in that of their names."""
    if selector is None:
        return None
    labels, terms = selector.get("matchLabels"), selector.get("matchExpressions") or ()
    shown: Json = {"matchLabels": dict(sorted(labels.items()))} if labels else {}
    if terms:
        shown["matchExpressions"] = [
            {key: one.get(key, "") for key in ("key", "operator", "values") if key != "values" or one.get(key)}
            for one in terms
        ]
    return shown


def _selects_nothing_in_particular(selector: Json) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def matches(selector: Json | None, spec: Json, template: str = "spec.template") -> list[FieldError]:
    """A selector that is well formed finds the template's labels; none finds nothing."""
    labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
    found = selector is not None and selectors.from_label_selector(selector).matches(labels)
    return [] if found else [invalid(f"{template}.metadata.labels", dict(sorted(labels.items())) or None, NO_MATCH)]


def pod_template(spec: Json, path: str) -> list[FieldError]:
    """spec.template of whatever has one."""
    template = spec.get("template") or {}
    metadata, inside = template.get("metadata") or {}, template.get("spec") or {}
    errors = template_metadata(metadata, inside, path) + pod.validate_spec(inside, f"{path}.spec")
    if inside.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", why))
    return errors


def template_metadata(metadata: Json, inside: Json, path: str) -> list[FieldError]:
    """Labels and annotations of the pods that a template makes; `inside` is its spec."""
    return [
        *meta.labels(metadata.get("labels"), f"{path}.labels"),
        *meta.annotations(metadata.get("annotations") or {}, f"{path}.annotations"),
        *pod.annotations(metadata, inside, f"{path}.annotations"),
    ]


def lasting(inside: Json, kind: str, path: str = "spec.template") -> list[FieldError]:
    """Pods that run until they are deleted."""
    errors: list[FieldError] = []
    if inside.get("restartPolicy") != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", inside.get("restartPolicy") or "", ("Always",)))
    if inside.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return errors


def selected(spec: Json, kind: str, why: str, template: Callable[[], list[FieldError]]) -> list[FieldError]:
    """The selector is there, says something, and finds the template's labels.

    Of a selector that is not well formed (`why`) nothing else is said, not even of the template.
    """
    selector = spec.get("selector")
    errors = [required("spec.selector")] if selector is None else label_selector(selector, "spec.selector")
    if selector is not None and errors:
        return [*errors, invalid("spec.selector", shown_selector(selector), why)]
    if selector is not None and _selects_nothing_in_particular(selector):
        errors.append(invalid("spec.selector", {}, f"empty selector is invalid for {kind}"))
    else:
        errors += matches(selector, spec)
    return errors + template()


def _replicas(spec: Json) -> list[FieldError]:
    """Selector and template of what keeps so many pods of one kind."""

    def template() -> list[FieldError]:
        return pod_template(spec, "spec.template") + lasting(spec["template"].get("spec") or {}, "ReplicaSet")

    return selected(spec, "deployment", "invalid label selector", template)


def _fixed_selector(obj: Json, old: Json | None) -> list[FieldError]:
    if old is None:
        return []
    now, was = (shown_selector((one.get("spec") or {}).get("selector")) for one in (obj, old))
    return meta.immutable("spec.selector", now, was)


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 Deployment."""
    spec = obj["spec"]
    errors = meta.not_negative(spec, "replicas", path="spec") + _replicas(spec)
    errors += _strategy(spec["strategy"], "spec.strategy")
    numbers = ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    errors += meta.not_negative(spec, *numbers, path="spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors + _fixed_selector(obj, old)


def _strategy(given: Json, path: str) -> list[FieldError]:
    kind = given.get("type")
    if kind not in ("Recreate", "RollingUpdate"):
        return [not_supported(path, prints.internal("RolloutStrategy", given), ("Recreate", "RollingUpdate"))]
    if kind == "RollingUpdate":
        return _rolling(given.get("rollingUpdate") or {}, f"{path}.rollingUpdate")
    why = "may not be specified when strategy `type` is 'Recreate'"
    return [forbidden(f"{path}.rollingUpdate", why)] if given.get("rollingUpdate") is not None else []


def _rolling(given: Json, path: str) -> list[FieldError]:
    """How many may be missing and how many too many: not none of both."""
    missing, more = given.get("maxUnavailable"), given.get("maxSurge")
    errors = [*part(missing, f"{path}.maxUnavailable"), *part(more, f"{path}.maxSurge")]
    if is_none(missing) and is_none(more):
        errors.append(invalid(f"{path}.maxUnavailable", missing, "may not be 0 when `maxSurge` is 0"))
    return errors + not_all(missing, f"{path}.maxUnavailable")


def part(value: Any, path: str) -> list[FieldError]:
    """A number, or a percentage."""
    if isinstance(value, str) and not _PERCENT.fullmatch(value):
        return [invalid(path, value, _NO_PERCENT)]
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, meta.NOT_NEGATIVE)]
    return []


def is_none(value: Any) -> bool:
    """Whether it comes to nothing; a text that is no number does."""
    if isinstance(value, str):
        digits = value.removesuffix("%") if _PERCENT.fullmatch(value) else value
        return not re.fullmatch("[+-]?[0-9]+", digits) or int(digits) == 0
    return not value


def not_all(value: Any, path: str) -> list[FieldError]:
    """A percentage of at most 100."""
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
    return [
        *meta.not_negative(spec, "replicas", "minReadySeconds", path="spec"),
        *_replicas(spec),
        *_fixed_selector(obj, old),
    ]


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """apps/v1 DaemonSet."""
    spec = obj["spec"]
    selector = spec.get("selector")
    errors = [*_fixed_selector(obj, old), *(wrong := label_selector(selector, "spec.selector"))]
    errors += [] if wrong else matches(selector, spec)
    if selector is not None and _selects_nothing_in_particular(selector):
        errors.append(invalid("spec.selector", {}, "empty selector is invalid for daemonset"))
    errors += pod_template(spec, "spec.template") + lasting(spec["template"].get("spec") or {}, "DaemonSet")
    errors += meta.not_negative(spec, "minReadySeconds", path="spec")
    strategy, path = spec["updateStrategy"], "spec.updateStrategy"
    if strategy.get("type") == "RollingUpdate":
        errors += _daemons(strategy.get("rollingUpdate") or {}, f"{path}.rollingUpdate")
    elif strategy.get("type") != "OnDelete":
        errors.append(not_supported(path, prints.internal("RolloutStrategy", strategy), ("RollingUpdate", "OnDelete")))
    return errors + meta.not_negative(spec, "revisionHistoryLimit", path="spec")


def _daemons(given: Json, path: str) -> list[FieldError]:
    """On each node either the old goes first or the new comes first."""
    missing, more = given.get("maxUnavailable"), given.get("maxSurge")
    errors = [*part(missing, f"{path}.maxUnavailable"), *part(more, f"{path}.maxSurge")]
    errors += [*not_all(missing, f"{path}.maxUnavailable"), *not_all(more, f"{path}.maxSurge")]
    if is_none(missing) and is_none(more):
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not is_none(missing) and not is_none(more):
        errors.append(invalid(f"{path}.maxSurge", more, "may not be set when maxUnavailable is non-zero"))
    return errors
