"""ResourceQuota, LimitRange. Source: core/v1 validation of Kubernetes 1.36."""

from fractions import Fraction
from typing import Any, NamedTuple

from netplane.api import names, quantity
from netplane.api.fields import FieldError, all_invalid, duplicate, forbidden, go_struct, invalid, required
from netplane.api.validation import meta, resources

Json = dict[str, Any]

_COUNTED = frozenset({
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_STANDARD = _COUNTED | {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
}  # fmt: skip
_OF_PODS = frozenset({
    "pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory",
})  # fmt: skip
_FOR: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ("Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"), _OF_PODS
    ),
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
"""What each scope can count."""
_PAIRS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_ONLY_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
_NOT_FOR_IT = "unsupported scope applied to resource"


def quota(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 ResourceQuota: amounts, and of which pods; its scopes stay."""
    spec = obj["spec"]
    hard, scopes = spec.get("hard") or {}, spec.get("scopes") or []
    errors = _amounts(hard, "spec.hard")
    for scope in scopes:
        errors += [] if scope in _FOR else [invalid("spec.scopes", scopes, "unsupported scope")]
        errors += [invalid("spec.scopes", scopes, _NOT_FOR_IT) for _ in _uncountable(scope, hard)]
    errors += _conflicts(scopes, scopes)
    if spec.get("scopeSelector") is not None:
        errors += _selector(spec["scopeSelector"], hard, scopes)
    if old is not None and set(scopes) != set((old.get("spec") or {}).get("scopes") or ()):
        errors.append(invalid("spec.scopes", scopes or None, meta.IMMUTABLE))
    return errors


def quota_status(obj: Json, old: Json | None) -> list[FieldError]:
    """Its status: what there may be and what there is."""
    del old
    status = obj.get("status") or {}
    return [error for one in ("hard", "used") for error in _amounts(status.get(one) or {}, f"status.{one}")]


def _amounts(given: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in sorted(given):
        where = f"{path}[{name}]"
        wrong = resources.standard(name, where)
        if "/" not in name and not _is_standard(name):
            wrong.append(invalid(where, name, "must be a standard resource for quota"))
        errors += wrong + resources.amount(name, given[name], where)
    return errors


def _is_standard(name: str) -> bool:
    return name in _STANDARD or name.startswith(("hugepages-", "requests.hugepages-"))


def _uncountable(scope: str, hard: Json) -> list[str]:
    known = _FOR.get(scope)
    return [] if known is None else [name for name in sorted(hard) if _is_standard(name) and name not in known]


def _conflicts(used: list[str], scopes: list[str]) -> list[FieldError]:
    return [invalid("spec.scopes", scopes or None, "conflicting scopes") for pair in _PAIRS if pair <= set(used)]


def _selector(selector: Json, hard: Json, scopes: list[str]) -> list[FieldError]:
    path, terms = "spec.scopeSelector.matchExpressions", selector.get("matchExpressions") or []
    shown = {"MatchExpressions": [_shown(one) for one in terms]}
    errors: list[FieldError] = []
    for one in terms:
        scope, operator, values = one.get("scopeName") or "", one.get("operator") or "", one.get("values") or []
        errors += [] if scope in _FOR else [invalid(f"{path}.scopeName", scope, "unsupported scope")]
        errors += [invalid(path, shown, _NOT_FOR_IT) for _ in _uncountable(scope, hard)]
        if scope in _FOR and scope not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
            errors.append(invalid(f"{path}.operator", operator, _ONLY_EXISTS))
        errors += _term(operator, values, path)
    return errors + _conflicts([one.get("scopeName") or "" for one in terms], scopes)


def _shown(one: Json) -> Json:
    return go_struct(one, ScopeName=("scopeName", ""), Operator=("operator", ""), Values=("values", None))


def _term(operator: str, values: list[str], path: str) -> list[FieldError]:
    if operator in ("In", "NotIn"):
        why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [required(f"{path}.values", why)]
    if operator in ("Exists", "DoesNotExist"):
        why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(f"{path}.values", values, why)] if values else []
    return [invalid(f"{path}.operator", operator, "not a valid selector operator")]


_TYPES = frozenset({"Pod", "Container", "PersistentVolumeClaim"})
_OF_LIMIT = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def limit_range(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 LimitRange: for each type least and most, and what is meant where nothing is said."""
    del old
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, limit in enumerate(obj["spec"].get("limits") or ()):
        kind, path = limit.get("type") or "", f"spec.limits[{i}]"
        errors += _type(kind, f"{path}.type") + ([duplicate(f"{path}.type", kind)] if kind in seen else [])
        seen.add(kind)
        errors += _limit(limit, kind, path)
    return errors


def _type(kind: str, path: str) -> list[FieldError]:
    if bad := names.qualified_name(kind):
        return all_invalid(path, kind, bad)
    known = "/" in kind or kind in _TYPES
    return [] if known else [invalid(path, kind, "must be a standard limit type or fully qualified")]


def _limit(limit: Json, kind: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    check = resources.of_container if kind in ("Pod", "Container") else resources.standard
    given: dict[str, Json] = {}
    for field in _OF_LIMIT:
        amounts = limit.get(field) or {}
        if kind == "Pod" and field in ("default", "defaultRequest"):
            errors += [forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")] if amounts else []
            continue
        given[field] = amounts
        if field == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim" and not _bounded(limit):
            why = "either minimum or maximum storage value is required, but neither was provided"
            errors.append(required(f"{path}.limits", why))
        errors += [error for name in sorted(amounts) for error in check(name, f"{path}.{field}[{name}]")]
    for name in sorted({name for amounts in given.values() for name in amounts}):
        errors += _consistent(name, {field: amounts.get(name) for field, amounts in given.items()}, path)
    return errors


def _bounded(limit: Json) -> bool:
    return any("storage" in (limit.get(one) or {}) for one in ("min", "max"))


class _Order(NamedTuple):
    """`small` is no more than `large`; of `field` it is told, with the amount of `shown`."""

    small: str
    large: str
    field: str
    shown: str
    words: str


_MIN, _MAX, _DEFAULT, _REQUEST = "min value {}", "max value {}", "default value {}", "default request value {}"
_MORE = "is greater than"
_ORDERED = (
    _Order("min", "max", "min", "min", f"{_MIN} {_MORE} {_MAX}"),
    _Order("min", "defaultRequest", "defaultRequest", "defaultRequest", f"{_MIN} {_MORE} {_REQUEST}"),
    _Order("defaultRequest", "max", "defaultRequest", "defaultRequest", f"{_REQUEST} {_MORE} {_MAX}"),
    _Order(
        *("defaultRequest", "default", "defaultRequest", "defaultRequest"),
        f"{_REQUEST} {_MORE} default limit value {{}}",
    ),
    _Order("min", "default", "default", "min", f"{_MIN} {_MORE} {_DEFAULT}"),
    _Order("default", "max", "default", "max", f"{_DEFAULT} {_MORE} {_MAX}"),
)


def _consistent(name: str, told: dict[str, Any], path: str) -> list[FieldError]:
    have = {
        field: value for field, one in told.items() if one is not None and (value := quantity.parse(one)) is not None
    }
    text = {field: quantity.canonical(told[field]) for field in have}
    errors: list[FieldError] = []
    for small, large, field, shown, words in _ORDERED:
        if small in have and large in have and have[small] > have[large]:
            why = words.format(text[small], text[large])
            errors.append(invalid(f"{path}.{field}[{name}]", text[shown], why))
    return errors + _ratio(name, have, text, path)


def _ratio(name: str, have: dict[str, Fraction], text: dict[str, str], path: str) -> list[FieldError]:
    field = "maxLimitRequestRatio"
    if field not in have:
        return []
    where, errors = f"{path}.{field}[{name}]", list[FieldError]()
    if have[field] < 1:
        errors.append(invalid(where, text[field], f"ratio {text[field]} is less than 1"))
    if have.get("min") and "max" in have and have[field] > have["max"] / have["min"]:
        most = float(have["max"] / have["min"])
        errors.append(invalid(where, text[field], f"ratio {text[field]} is greater than max/min = {most:f}"))
    return errors
