"""PodDisruptionBudget, PriorityClass. Source: policy/v1 and scheduling/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api.fields import FieldError, forbidden, go_struct, invalid, not_supported
from netplane.api.validation import meta
from netplane.api.validation.pod import PREEMPTION_POLICIES
from netplane.api.validation.selecting import label_selector
from netplane.api.validation.workloads import not_all, part, shown_selector

Json = dict[str, Any]

HIGHEST = 1_000_000_000
"""The highest priority that users may give."""
SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_EVICTS = ("AlwaysAllow", "IfHealthyBudget")


def disruption_budget(obj: Json, old: Json | None) -> list[FieldError]:
    """policy/v1 PodDisruptionBudget: how many must be there, or how many may be missing."""
    del old
    spec = obj["spec"]
    errors: list[FieldError] = []
    if all(spec.get(one) is not None for one in ("minAvailable", "maxUnavailable")):
        errors.append(invalid("spec", _shown(spec), "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        errors += part(spec.get(field), f"spec.{field}") + not_all(spec.get(field), f"spec.{field}")
    errors += label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTS:
        errors.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _EVICTS))
    return errors


def _shown(spec: Json) -> Json:
    shown = go_struct(
        spec,
        MinAvailable=("minAvailable", None),
        Selector=("selector", None),
        MaxUnavailable=("maxUnavailable", None),
        UnhealthyPodEvictionPolicy=("unhealthyPodEvictionPolicy", None),
    )
    return {**shown, "Selector": shown_selector(spec.get("selector"))}


def disruption_status(obj: Json, old: Json | None) -> list[FieldError]:
    """Its status: counts."""
    del old
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return meta.not_negative(obj.get("status") or {}, *counts, path="status")


def priority_class(obj: Json, old: Json | None) -> list[FieldError]:
    """scheduling/v1 PriorityClass: its value is given once; those of the system are the system's."""
    value, policy = obj.get("value") or 0, obj.get("preemptionPolicy")
    if old is not None:
        changed = value != (old.get("value") or 0)
        errors = [forbidden("value", "may not be changed in an update.")] if changed else []
        return errors + meta.immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
    name = obj["metadata"].get("name", "")
    errors = []
    if name.startswith("system-"):
        if why := _unknown(name, value, bool(obj.get("globalDefault"))):
            text = "priority class names with 'system-' prefix are reserved for system use only. error: "
            errors.append(forbidden("metadata.name", text + why))
    elif value > HIGHEST:
        errors.append(forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST}"))
    return errors + meta.one_of("preemptionPolicy", policy, PREEMPTION_POLICIES)


def _unknown(name: str, value: int, everywhere: bool) -> str:
    known = SYSTEM.get(name)
    if known is None:
        return f"{name} is not a known system priority class"
    if value != known:
        return f"value of {name} PriorityClass must be {known}"
    return f"globalDefault of {name} PriorityClass must be false" if everywhere else ""
