"""What all containers of a pod ask for together, and the quality of service that follows (pure).

    init containers        run one after the other: the largest counts, beside the sidecars that came before it
    sidecars               (init containers that restart always) go on beside the others
    resources of the pod   stand for those of its containers

Source: the resource helpers and QoS classes of Kubernetes 1.36.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from netplane.api import quantity

Json = dict[str, Any]
Amounts = Mapping[str, Any]

QOS_RESOURCES = ("cpu", "memory")


def is_sidecar(container: Json) -> bool:
    """An init container that goes on beside those that come after it."""
    return container.get("restartPolicy") == "Always"


def is_pod_level(name: str) -> bool:
    """Whether a pod itself can ask for it."""
    return name in QOS_RESOURCES or is_huge(name)


def is_huge(name: str) -> bool:
    """Pages of a size."""
    return name.startswith("hugepages-")


def aggregate(spec: Json, field: str) -> dict[str, str]:
    """The `requests` or `limits` of all containers, as one."""
    total: dict[str, str] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, field))
    beside: dict[str, str] = {}
    most: dict[str, str] = {}
    for container in spec.get("initContainers") or ():
        own = dict(_amounts(container, field))
        if is_sidecar(container):
            _add(total, own)
            _add(beside, own)
            _raise(most, beside)
        else:
            _add(own, beside)
            _raise(most, own)
    _raise(total, most)
    return total


def has_own(spec: Json) -> bool:
    """Whether a pod asks for something itself."""
    own = spec.get("resources") or {}
    return any(is_pod_level(name) for field in ("requests", "limits") for name in own.get(field) or ())


def of_pod(spec: Json, field: str) -> dict[str, str]:
    """The `requests` or `limits` of a pod: its own, for the rest those of all its containers."""
    own = (spec.get("resources") or {}).get(field) or {}
    return aggregate(spec, field) | {name: amount for name, amount in own.items() if is_pod_level(name)}


def _amounts(container: Json, field: str) -> Amounts:
    found: Amounts = (container.get("resources") or {}).get(field) or {}
    return found


def _add(total: dict[str, Any], more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = quantity.plus(total[name], amount) if name in total else amount


def _raise(most: dict[str, Any], other: Amounts) -> None:
    for name, amount in other.items():
        if name not in most or exceeds(amount, most[name]):
            most[name] = amount


def exceeds(one: Any, other: Any) -> bool:
    """Whether an amount is more than another."""
    return (quantity.parse(one) or 0) > (quantity.parse(other) or 0)


def qos_class(spec: Json) -> str:
    """BestEffort, Burstable or Guaranteed."""
    told = [spec["resources"]] if spec.get("resources") is not None else _resources(spec)
    requests, limits = (_sums(one.get(field) or {} for one in told) for field in ("requests", "limits"))
    if not requests and not limits:
        return "BestEffort"
    full = all(len(_sums([one.get("limits") or {}])) == len(QOS_RESOURCES) for one in told)
    return "Guaranteed" if full and requests == limits else "Burstable"


def _resources(spec: Json) -> list[Json]:
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return [one.get("resources") or {} for one in containers]


def _sums(lists: Iterable[Amounts]) -> dict[str, Any]:
    """Of what counts for quality; nothing of it is nothing."""
    total: dict[str, Any] = {}
    for amounts in lists:
        for name in QOS_RESOURCES:
            amount = quantity.parse(amounts[name]) if name in amounts else None
            if amount is not None and amount > 0:
                total[name] = total.get(name, 0) + amount
    return total


def fill_pod_level(spec: Json) -> None:
    """What a pod that asks for something of its own asks for besides, in place."""
    own = spec.get("resources")
    if not own or not (own.get("limits") or own.get("requests")):
        return
    limits, given = dict(own.get("limits") or {}), own.get("requests") or {}
    for name, amount in aggregate(spec, "limits").items():
        if is_huge(name) and name not in given:
            limits.setdefault(name, amount)
    requests = dict(given)
    if limits:
        for name, amount in aggregate(spec, "requests").items():
            if name in QOS_RESOURCES:
                requests.setdefault(name, amount)
        for name, amount in limits.items():
            if is_pod_level(name):
                requests.setdefault(name, amount)
    own |= {field: amounts for field, amounts in (("limits", limits), ("requests", requests)) if amounts}
