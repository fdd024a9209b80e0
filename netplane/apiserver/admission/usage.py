"""What a new object takes of a namespace's quotas (pure): objects counted, amounts summed.

Source: the quota evaluators of Kubernetes 1.36.
"""

from typing import Any

from netplane.api import kinds, pod_resources, quantity
from netplane.api.errors import qualified
from netplane.api.kinds import Kind

Json = dict[str, Any]
Usage = dict[str, str]
"""Amounts as they are written, so that sums stay in the units of what is summed."""

_BY_NAME = (
    kinds.POD, kinds.SERVICE, kinds.CLAIM, kinds.CONFIG_MAP, kinds.SECRET, kinds.REPLICATION_CONTROLLER,
    kinds.RESOURCE_QUOTA,
)  # fmt: skip
UNCOUNTED = frozenset({kinds.EVENT, kinds.ENDPOINT_SLICE, kinds.ENDPOINTS, kinds.LEASE})
"""What programs write all the time is not looked at."""
_PLAIN = ("cpu", "memory", "ephemeral-storage")
_MUST_SAY = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


def of(kind: Kind, obj: Json) -> Usage:
    """What an object takes, by the names that quotas have for it."""
    usage = {f"count/{qualified(kind.group, kind.plural)}": "1"}
    if kind in _BY_NAME:
        usage[kind.plural] = "1"
    if kind is kinds.POD:
        usage |= _pod(obj["spec"])
    elif kind is kinds.CLAIM:
        usage |= _claim(obj)
    elif kind is kinds.SERVICE:
        usage |= _service(obj["spec"])
    return usage


def more(kind: Kind, new: Json, old: Json) -> Usage:
    """What a changed object takes more than it did; what it takes less is for the controller to see."""
    before, usage = of(kind, old), of(kind, new)
    return {
        what: quantity.plus(amount, f"-{before[what]}") if what in before else amount
        for what, amount in usage.items()
        if pod_resources.exceeds(amount, before.get(what, "0"))
    }


def may_grow(kind: Kind, new: Json, old: Json, part: str) -> bool:
    """Whether a write of `part` of an object ("": all but its parts) can make it take more."""
    if kind is kinds.POD:
        return part == "resize" or (not part and _ends(new["spec"]) != _ends(old["spec"]))
    return not part and kind in (kinds.SERVICE, kinds.CLAIM)


def _ends(spec: Json) -> bool:
    return spec.get("activeDeadlineSeconds") is not None


def _pod(spec: Json) -> Usage:
    usage: Usage = {}
    for field in ("requests", "limits"):
        for name, given in pod_resources.of_pod(spec, field).items():
            amount = quantity.canonical(given)
            if field == "requests" and (name in _PLAIN or pod_resources.is_huge(name)):
                usage[name] = amount
            if field == "requests" or name in _PLAIN:
                usage[f"{field}.{name}"] = amount
    return usage


def _claim(obj: Json) -> Usage:
    spec = obj["spec"]
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage") or "0"
    amount, of_class = quantity.canonical(asked), spec.get("storageClassName")
    usage = {"requests.storage": amount}
    if of_class:
        head = f"{of_class}.storageclass.storage.k8s.io"
        usage |= {f"{head}/requests.storage": amount, f"{head}/persistentvolumeclaims": "1"}
    return usage


def _service(spec: Json) -> Usage:
    kind, ports = spec.get("type"), len(spec.get("ports") or ())
    balancer = kind == "LoadBalancer"
    opens = kind == "NodePort" or (balancer and spec.get("allocateLoadBalancerNodePorts") is not False)
    return {"services.loadbalancers": str(int(balancer)), "services.nodeports": str(ports if opens else 0)}


def selected(quota: Json, kind: Kind, obj: Json) -> bool:
    """Whether a quota's scopes, if it has any, choose an object."""
    spec = quota.get("spec") or {}
    terms = [{"scopeName": one, "operator": "Exists"} for one in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    return all(kind is kinds.POD and _in_scope(one, obj["spec"]) for one in terms)


def _in_scope(term: Json, spec: Json) -> bool:
    scope, ends = term.get("scopeName"), _ends(spec)
    best = pod_resources.qos_class(spec) == "BestEffort"
    known = {"Terminating": ends, "NotTerminating": not ends, "BestEffort": best, "NotBestEffort": not best}
    if scope in known:
        return known[scope]
    return scope == "PriorityClass" and _chosen(term, spec.get("priorityClassName") or "")


def _chosen(term: Json, name: str) -> bool:
    operator, values = term.get("operator"), term.get("values") or []
    if operator in ("Exists", "DoesNotExist"):
        return bool(name) is (operator == "Exists")
    return (name in values) is (operator == "In")


def unsaid(hard: Json, spec: Json) -> str:
    """What a pod's containers must say because a quota limits it, and which do not; "" when all do, or the pod does."""
    if pod_resources.has_own(spec):
        return ""
    missing: dict[str, set[str]] = {}
    for name in (one for one in _MUST_SAY if one in hard):
        field, _, resource = name.rpartition(".")
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            if resource not in ((container.get("resources") or {}).get(field or "requests") or {}):
                missing.setdefault(name, set()).add(container.get("name") or "")
    listed = "; ".join(f"{name} for: {','.join(sorted(whom))}" for name, whom in sorted(missing.items()))
    return f"must specify {listed}" if listed else ""
