"""What may be asked for and how much of it. Source: core/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import names, quantity
from netplane.api.fields import (
    FieldError,
    Problem,
    all_invalid,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from netplane.api.pod_resources import aggregate, exceeds, is_huge
from netplane.api.validation import meta

Json = dict[str, Any]

_CONTAINERS = frozenset({"cpu", "memory", "ephemeral-storage"})
_POD_LEVEL = ("cpu", "hugepages-", "memory")
_STANDARD = _CONTAINERS | {
    "storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "requests.storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "resourcequotas", "services.nodeports", "services.loadbalancers",
}  # fmt: skip
_IN_PIECES = frozenset({
    "pods", "quotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_NO_OVERCOMMIT = "Limit must be set for non overcommitable resources"


def resources(given: Json, path: str, claims: set[str], *, pod: bool = False) -> list[FieldError]:
    """Limits, requests within them, and claims of a container; or (`pod`) of all of them together."""
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    why = "claims may not be set for Resources at pod-level"
    errors = [forbidden(f"{path}.claims", why)] if pod and given.get("claims") else []
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name in sorted(amounts):
            where = f"{path}.{field}[{name}]"
            errors += (_pod_level if pod else of_container)(name, where) + amount(name, amounts[name], where)
            if field == "requests":
                errors += _within(name, requests[name], limits.get(name), path)
            errors += _pages(name, amounts[name], where)
    asked = {*limits, *requests}
    if any(map(is_huge, asked)) and not asked & {"cpu", "memory"}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    return errors + _claims(given.get("claims") or [], f"{path}.claims", claims)


def of_pod(spec: Json, path: str, claims: set[str]) -> list[FieldError]:
    """What a pod asks for as a whole: no less than its containers do."""
    given = spec.get("resources")
    if given is None:
        return []
    if (spec.get("os") or {}).get("name") == "windows":
        return [forbidden(path, "may not be set for a windows pod")]
    return resources(given, path, claims, pod=True) + _consistent(spec, given, path)


def _consistent(spec: Json, given: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field, wanted in (("requests", lambda name: True), ("limits", is_huge)):
        own = given.get(field) or {}
        for name, amount in aggregate(spec, field).items():
            if wanted(name) and name in own and exceeds(amount, own[name]):
                why = f"must be greater than or equal to aggregate container {field} of {quantity.canonical(amount)}"
                errors.append(invalid(f"{path}.{field}[{name}]", quantity.canonical(own[name]), why))
    most = given.get("limits") or {}
    for i, container in enumerate(spec.get("containers") or ()):
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in most and exceeds(amount, most[name]):
                why = f"must be less than or equal to pod limits of {quantity.canonical(most[name])}"
                errors.append(invalid(f"{path}.containers[{i}][{name}].limits", quantity.canonical(amount), why))
    return errors


def overhead(given: Json, path: str) -> list[FieldError]:
    """What a pod costs beside its containers: amounts like limits."""
    return resources({"limits": given}, path, set())


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def standard(name: str, path: str) -> list[FieldError]:
    """A resource by its name: one of Kubernetes' own, or somebody's."""
    if bad := names.qualified_name(name):
        return all_invalid(path, name, bad)
    known = "/" in name or name in _STANDARD or is_huge(name) or name.startswith("requests.hugepages-")
    return [] if known else [invalid(path, name, "must be a standard resource type or fully qualified")]


def of_container(name: str, path: str) -> list[FieldError]:
    """A resource that containers can ask for."""
    if bad := names.qualified_name(name):
        return all_invalid(path, name, bad)
    if "/" not in name:
        good = name in _CONTAINERS or is_huge(name)
        wrong = [] if good else [invalid(path, name, "must be a standard resource for containers")]
        return standard(name, path) + wrong
    if _is_native(name) or (not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")):
        return []
    return [invalid(path, name, "doesn't follow extended resource name standard")]


def _pod_level(name: str, path: str) -> list[FieldError]:
    if bad := names.qualified_name(name):
        return all_invalid(path, name, bad)
    if name in ("cpu", "memory") or is_huge(name):
        return []
    return standard(name, path) or [not_supported(path, name, _POD_LEVEL)]


def amount(name: str, given: Any, path: str) -> list[FieldError]:
    """An amount of a resource: not negative, whole for what comes in pieces."""
    value = quantity.parse(given)
    if value is None:
        return []
    errors: list[FieldError] = []
    if value < 0:
        errors.append(invalid(path, quantity.canonical(given), meta.NOT_NEGATIVE))
    if (name in _IN_PIECES or not _is_native(name)) and value.denominator != 1:
        errors.append(invalid(path, quantity.canonical(given), "must be an integer"))
    return errors


def _pages(name: str, given: Any, path: str) -> list[FieldError]:
    """Pages come whole."""
    value, page = quantity.parse(given), quantity.parse(name.removeprefix("hugepages-")) if is_huge(name) else 1
    errors: list[FieldError] = []
    if value is not None and (page is None or page <= 0 or (value / page).denominator != 1) and is_huge(name):
        why = f"{quantity.canonical(given)} is not positive integer multiple of {name}"
        errors.append(invalid(path, quantity.canonical(given), why))
    return errors


def _within(name: str, request: Any, limit: Any, path: str) -> list[FieldError]:
    overcommits = _is_native(name) and not is_huge(name)
    if limit is None:
        return [] if overcommits else [required(f"{path}.limits", _NO_OVERCOMMIT)]
    have, most = quantity.parse(request), quantity.parse(limit)
    if have is None or most is None or have == most or (overcommits and have < most):
        return []
    how = "less than or equal" if overcommits else "equal"
    why = f"must be {how} to {name} limit of {quantity.canonical(limit)}"
    return [invalid(f"{path}.requests", quantity.canonical(request), why)]


def _claims(given: list[Json], path: str, known: set[str]) -> list[FieldError]:
    """Devices by the names that the pod gives them."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(given):
        where, name, request = f"{path}[{i}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            errors.append(required(where))
            continue
        key = f"{name}/{request}" if request else name
        if request and name not in seen:
            errors += all_invalid(f"{where}.request", request, names.dns_label(request))
        if name in seen or key in seen:
            errors.append(duplicate(where, name if name in seen else key))
        elif not request and any(one.startswith(f"{name}/") for one in seen):
            errors.append(duplicate(where, name))
        seen.add(key)
        if name not in known:
            errors.append(_unknown_claim(where, name, known))
    return errors


def _unknown_claim(path: str, name: str, known: set[str]) -> FieldError:
    which = f": {', '.join(sorted(known))}" if known else " which is empty"
    return FieldError(Problem.NOT_FOUND, path, name, f"must be one of the names in pod.spec.resourceClaims{which}")
