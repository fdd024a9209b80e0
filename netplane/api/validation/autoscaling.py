"""HorizontalPodAutoscaler. Source: autoscaling/v2 validation of Kubernetes 1.36."""

from collections.abc import Callable
from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import FieldError, all_invalid, forbidden, invalid, not_supported, required
from netplane.api.validation import meta
from netplane.api.validation.resources import of_container

Json = dict[str, Any]
Check = Callable[[Json, str], list[FieldError]]

_HOUR_S, _HALF_HOUR_S = 3600, 1800
_POSITIVE, _ABOVE_ZERO = "must be greater than zero", "must be greater than 0"


def autoscaler(obj: Json, old: Json | None) -> list[FieldError]:
    """autoscaling/v2 HorizontalPodAutoscaler: what it scales, by which metrics, between which numbers, how fast."""
    spec = obj["spec"]
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    errors: list[FieldError] = []
    was = ((old or {}).get("spec") or {}).get("minReplicas")
    if least is not None and least < (lowest := 0 if was == 0 else 1):
        errors.append(invalid("spec.minReplicas", least, f"must be greater than or equal to {lowest}"))
    if most == 0:
        errors.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    errors += _target(spec.get("scaleTargetRef") or {}, ((old or {}).get("spec") or {}).get("scaleTargetRef"))
    for i, one in enumerate(spec.get("metrics") or ()):
        errors += _metric(one, f"spec.metrics[{i}]")
    for field in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(field)) is not None:
            errors += _rules(rules, f"spec.behavior.{field}")
    return errors


def status(obj: Json, old: Json | None) -> list[FieldError]:
    """Its status: counts."""
    del old
    return meta.not_negative(obj.get("status") or {}, "currentReplicas", "desiredReplicas", path="status")


def _target(ref: Json, old: Json | None) -> list[FieldError]:
    same = old is not None and all(ref.get(one) == old.get(one) for one in ("apiVersion", "kind"))
    return _reference(ref, "spec.scaleTargetRef", any_version=same, core=ref.get("kind") == "ReplicationController")


def _reference(ref: Json, path: str, *, any_version: bool = False, core: bool = False) -> list[FieldError]:
    errors = [e for one in ("kind", "name") for e in meta.path_segment(ref.get(one) or "", f"{path}.{one}")]
    version = ref.get("apiVersion") or ""
    if any_version:
        return errors
    if version.count("/") > 1:
        return [*errors, invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")]
    if "/" not in version and not core:
        errors.append(invalid(f"{path}.apiVersion", version, "apiVersion must specify API group"))
    return errors


def _metric(metric: Json, path: str) -> list[FieldError]:
    kind = metric.get("type") or ""
    unknown = not_supported(f"{path}.type", kind, tuple(_TYPES))
    errors = [] if kind else [required(f"{path}.type", "must specify a metric source type")]
    errors += [] if kind in _TYPES else [unknown]
    given = [one for one in _SOURCES if metric.get(one) is not None]
    if given:
        errors += _SOURCES[given[0]](metric[given[0]], f"{path}.{given[0]}")
    wanted = _TYPES.get(kind)
    if wanted is None:
        errors.append(unknown)
    elif wanted not in given:
        errors.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    others = [one for one in given if one != wanted] if len(given) != 1 else []
    return errors + [forbidden(f"{path}.{one}", "must populate the given metric source only") for one in others]


def _aim(target: Json, path: str) -> list[FieldError]:
    kind, use = target.get("type") or "", target.get("averageUtilization")
    errors = [] if kind else [required(f"{path}.type", "must specify a metric target type")]
    if kind not in ("Utilization", "Value", "AverageValue"):
        errors.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        amount = quantity.parse(target[field]) if target.get(field) is not None else None
        if amount is not None and amount <= 0:
            errors.append(invalid(f"{path}.{field}", quantity.canonical(target[field]), "must be positive"))
    if use is not None and use < 1:
        errors.append(invalid(f"{path}.averageUtilization", use, _ABOVE_ZERO))
    return errors


def _identifier(given: Json, path: str) -> list[FieldError]:
    name = given.get("name") or ""
    if not name:
        return [required(f"{path}.name", "must specify a metric name")]
    return all_invalid(f"{path}.name", name, names.path_segment(name))


def _object(given: Json, path: str) -> list[FieldError]:
    errors = _reference(given.get("describedObject") or {}, f"{path}.describedObject", core=True)
    errors += _identifier(given.get("metric") or {}, f"{path}.metric")
    target = given.get("target") or {}
    errors += _aim(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        why = "must set either a target value or averageValue"
        errors.append(required(f"{path}.target.averageValue", why))
    return errors


def _external(given: Json, path: str) -> list[FieldError]:
    metric, target = given.get("metric") or {}, given.get("target") or {}
    errors = _identifier(metric, f"{path}.metric") + _aim(target, f"{path}.target")
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        why = "must set either a target value for metric or a per-pod target"
        errors.append(required(f"{path}.target.averageValue", why))
    if value is not None and average is not None:
        why = "may not set both a target value for metric and a per-pod target"
        errors.append(forbidden(f"{path}.target.value", why))
    return errors


def _pods(given: Json, path: str) -> list[FieldError]:
    target = given.get("target") or {}
    errors = _identifier(given.get("metric") or {}, f"{path}.metric") + _aim(target, f"{path}.target")
    if target.get("averageValue") is None:
        errors.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return errors


def _resource(given: Json, path: str) -> list[FieldError]:
    errors = [] if given.get("name") else [required(f"{path}.name", "must specify a resource name")]
    return errors + _of_resource(given.get("target") or {}, path)


def _of_resource(target: Json, path: str) -> list[FieldError]:
    errors = _aim(target, f"{path}.target")
    use, average = target.get("averageUtilization"), target.get("averageValue")
    if use is None and average is None:
        why = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.target.averageUtilization", why))
    if use is not None and average is not None:
        why = "may not set both a target raw value and a target utilization"
        errors.append(forbidden(f"{path}.target.averageValue", why))
    return errors


def _container(given: Json, path: str) -> list[FieldError]:
    name, container = given.get("name") or "", given.get("container") or ""
    errors = of_container(name, f"{path}.name") if name else [required(f"{path}.name", "must specify a resource name")]
    if container:
        errors += all_invalid(f"{path}.container", container, names.dns_label(container))
    else:
        errors.append(required(f"{path}.container", "must specify a container"))
    return errors + _of_resource(given.get("target") or {}, path)


_SOURCES: dict[str, Check] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container,
}
_TYPES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def _rules(rules: Json, path: str) -> list[FieldError]:
    window, select, policies = (rules.get(one) for one in ("stabilizationWindowSeconds", "selectPolicy", "policies"))
    errors: list[FieldError] = []
    if window is not None and window < 0:
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"))
    if window is not None and window > _HOUR_S:
        why = f"must be less than or equal to {_HOUR_S}"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if select not in (None, "Disabled", "Max", "Min"):
        errors.append(not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    errors += [] if policies else [required(f"{path}.policies", "must specify at least one Policy")]
    return errors + [e for i, one in enumerate(policies or ()) for e in _policy(one, f"{path}.policies[{i}]")]


def _policy(policy: Json, path: str) -> list[FieldError]:
    kind, period = policy.get("type") or "", policy.get("periodSeconds") or 0
    errors = [] if kind in ("Pods", "Percent") else [not_supported(f"{path}.type", kind, ("Percent", "Pods"))]
    small = [field for field in ("value", "periodSeconds") if (policy.get(field) or 0) <= 0]
    errors += [invalid(f"{path}.{field}", policy.get(field) or 0, _POSITIVE) for field in small]
    if period > _HALF_HOUR_S:
        errors.append(invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {_HALF_HOUR_S}"))
    return errors
