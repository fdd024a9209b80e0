"""Where a pod may run: affinity, spreading, tolerations, gates. Source: core/v1 validation of Kubernetes 1.36."""

from collections.abc import Iterator
from typing import Any

from netplane.api import names
from netplane.api.fields import (
    FieldError,
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    repeated,
    required,
)
from netplane.api.validation import meta
from netplane.api.validation.selecting import label_selector, node_selector, node_selector_term

Json = dict[str, Any]

SPREAD_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
_POSITIVE = "must be greater than zero"
_WEIGHT = "must be in the range 1-100"
_KEYS_ALONE = "must not be specified when labelSelector is not set"
_KEY_TWICE = "exists in both matchLabelKeys and labelSelector"


def affinity(given: Json, path: str) -> list[FieldError]:
    """To nodes, and to and from other pods."""
    errors = _node_affinity(given.get("nodeAffinity") or {}, f"{path}.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        terms = given.get(field) or {}
        for i, term in enumerate(terms.get(_REQUIRED) or ()):
            errors += _pod_term(term, f"{path}.{field}.{_REQUIRED}[{i}]")
        for i, weighted in enumerate(terms.get(_PREFERRED) or ()):
            where = f"{path}.{field}.{_PREFERRED}[{i}]"
            errors += _weight(weighted, where)
            errors += _pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")
    return errors


def _node_affinity(given: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if given.get(_REQUIRED) is not None:
        errors += node_selector(given[_REQUIRED], f"{path}.{_REQUIRED}")
    for i, weighted in enumerate(given.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{i}]"
        errors += _weight(weighted, where)
        errors += node_selector_term(weighted.get("preference") or {}, f"{where}.preference", any_value=True)
    return errors


def _weight(weighted: Json, path: str) -> list[FieldError]:
    weight = weighted.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, _WEIGHT)]


def _pod_term(term: Json, path: str) -> list[FieldError]:
    key = term.get("topologyKey") or ""
    errors = label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        errors += all_invalid(f"{path}.namespace", name, names.dns_label(name))
    errors += _label_keys(term, path)
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + all_invalid(f"{path}.topologyKey", key, names.qualified_name(key))


def _label_keys(term: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    match, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if keys and term.get("labelSelector") is None:
            errors.append(forbidden(f"{path}.{field}", _KEYS_ALONE))
            continue
        for i, key in enumerate(keys):
            errors += all_invalid(f"{path}.{field}[{i}]", key, names.qualified_name(key))
    places = {key: i for i, key in reversed([*enumerate(match)])}
    errors += [invalid(f"{path}[{places[key]}]", key, _KEY_TWICE) for key in _repeated(term) if key in places]
    why = "exists in both matchLabelKeys and mismatchLabelKeys"
    excluded = set(mismatch)
    both = [(i, key) for i, key in enumerate(match) if key in excluded]
    return errors + [invalid(f"{path}.matchLabelKeys[{i}]", key, why) for i, key in both]


def _repeated(term: Json) -> Iterator[str]:
    """Keys that a selector names a second time: the first comes of matchLabelKeys, when the pod is made."""
    selector = term.get("labelSelector") or {}
    seen = set(selector.get("matchLabels") or ())
    for one in selector.get("matchExpressions") or ():
        if one.get("key") in seen:
            yield one["key"]
        seen.add(one.get("key"))


def spread(constraints: list[Json], path: str) -> list[FieldError]:
    """topologySpreadConstraints."""
    errors: list[FieldError] = []
    told = [(one.get("topologyKey") or "", one.get("whenUnsatisfiable") or "") for one in constraints]
    comes_again = repeated(reversed(told))[::-1]
    for i, one in enumerate(constraints):
        where, (key, action) = f"{path}[{i}]", told[i]
        if (one.get("maxSkew") or 0) <= 0:
            errors.append(invalid(f"{where}.maxSkew", one.get("maxSkew") or 0, _POSITIVE))
        if not key:
            errors.append(required(f"{where}.topologyKey", "can not be empty"))
        if action not in SPREAD_ACTIONS:
            errors.append(not_supported(f"{where}.whenUnsatisfiable", action, SPREAD_ACTIONS))
        if comes_again[i]:
            errors.append(duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        errors += _min_domains(one, where) + _node_policies(one, where) + _label_keys(one, where)
        errors += label_selector(one.get("labelSelector"), f"{where}.labelSelector")
    return errors


def _min_domains(one: Json, path: str) -> list[FieldError]:
    least, action = one.get("minDomains"), one.get("whenUnsatisfiable") or ""
    if least is None:
        return []
    errors = [] if least > 0 else [invalid(f"{path}.minDomains", least, _POSITIVE)]
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(invalid(f"{path}.minDomains", least, why))
    return errors


def _node_policies(one: Json, path: str) -> list[FieldError]:
    return [
        not_supported(f"{path}.{field}", one[field], ("Honor", "Ignore"))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy")
        if one.get(field) not in (None, "Honor", "Ignore")
    ]


def tolerations(given: list[Json], path: str) -> list[FieldError]:
    """Which taints are let be."""
    return [error for i, one in enumerate(given) for error in _toleration(one, f"{path}[{i}]")]


def _toleration(one: Json, path: str) -> list[FieldError]:
    key, operator, value = one.get("key") or "", one.get("operator") or "", one.get("value") or ""
    errors = all_invalid(f"{path}.key", key, names.qualified_name(key)) if key else []
    if not key and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(invalid(f"{path}.operator", operator, why))
    if one.get("tolerationSeconds") is not None and one.get("effect") != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(invalid(f"{path}.effect", one.get("effect") or "", why))
    if operator in ("", "Equal"):
        if bad := names.label_value(value):
            errors.append(invalid(f"{path}.operator", value, ";".join(bad)))
    elif operator != "Exists":
        known = ("Equal", "Exists", "Lt", "Gt") if operator in ("Lt", "Gt") else ("Equal", "Exists")
        errors.append(not_supported(f"{path}.operator", operator, known))
    elif value:
        errors.append(invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'"))
    if one.get("effect"):
        errors += meta.one_of(f"{path}.effect", one["effect"], meta.EFFECTS)
    return errors


def gates(given: list[Json], path: str) -> list[FieldError]:
    """schedulingGates: each once."""
    errors: list[FieldError] = []
    listed = [one.get("name") or "" for one in given]
    for i, (name, again) in enumerate(zip(listed, repeated(listed), strict=True)):
        errors += all_invalid(f"{path}[{i}]", name, names.qualified_name(name))
        errors += [duplicate(f"{path}[{i}]", name)] if again else []
    return errors
