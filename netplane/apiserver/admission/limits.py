"""LimitRanges: what containers of a namespace get where they say nothing, and how little and how much may be asked.

Source: the LimitRanger admission plugin of Kubernetes 1.36.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from netplane.api import errors, kinds, pod_resources, quantity
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster

Json = dict[str, Any]

NOTE = "kubernetes.io/limit-ranger"


async def of(cluster: Cluster, kind: Kind, namespace: str) -> list[Json]:
    """The limits that a new object of a kind has to keep; none for kinds without any."""
    if kind is not kinds.POD and kind is not kinds.CLAIM:
        return []
    found = await cluster.store.range(cl.prefix(kinds.LIMIT_RANGE, namespace))
    return [limit for kv in found.kvs for limit in (cluster.decoded(kv)["spec"].get("limits") or ())]


def complete(limits: list[Json], pod: Json) -> None:
    """Give a pod's containers what they leave out, in place, and note it."""
    spec, notes = pod["spec"], list[str]()
    for limit in (one for one in limits if one.get("type") == "Container"):
        for field, word in (("containers", "container"), ("initContainers", "init container")):
            for container in spec.get(field) or ():
                notes += _filled(container, limit, word)
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        pod["status"]["qosClass"] = pod_resources.qos_class(spec)
        annotations[NOTE] = f"LimitRanger plugin set: {'; '.join(notes)}"


def _filled(container: Json, limit: Json, word: str) -> Iterator[str]:
    resources = container.setdefault("resources", {})
    for field, source, what in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        have = resources.get(field) or {}
        new = {name: amount for name, amount in (limit.get(source) or {}).items() if name not in have}
        if new:
            resources[field] = {**have, **new}
            yield f"{', '.join(sorted(new))} {what} for {word} {container.get('name', '')}"


def check(limits: list[Json], kind: Kind, obj: Json) -> None:
    """Refuse what is too little or too much. Raises StatusError 403."""
    wrong = [why for limit in limits for why in _wrong(limit, kind, obj["spec"])]
    if wrong:
        why = wrong[0] if len(wrong) == 1 else f"[{', '.join(dict.fromkeys(wrong))}]"
        raise errors.forbidden(kind.group, kind.plural, obj["metadata"].get("name", ""), why)


async def check_changed(cluster: Cluster, kind: Kind, obj: Json, part: str) -> None:
    """The same after a write of `part` of an object ("": all but its parts) that can ask for more. Raises 403."""
    if (kind, part) in ((kinds.CLAIM, ""), (kinds.POD, "resize")):
        check(await of(cluster, kind, obj["metadata"]["namespace"]), kind, obj)


def _wrong(limit: Json, kind: Kind, spec: Json) -> Iterator[str]:
    of = limit.get("type")
    if kind is kinds.CLAIM:
        if of == "PersistentVolumeClaim":
            yield from _claim(limit, (spec.get("resources") or {}).get("requests") or {})
    elif of == "Container":
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            resources = container.get("resources") or {}
            yield from _both(limit, of, resources.get("requests") or {}, resources.get("limits") or {})
    elif of == "Pod":
        requests, most = (pod_resources.of_pod(spec, field) for field in ("requests", "limits"))
        yield from _both(limit, of, requests, most)


def _claim(limit: Json, requests: Json) -> Iterator[str]:
    yield from _least(limit, "PersistentVolumeClaim", requests, {})
    for name, most in sorted((limit.get("max") or {}).items()):
        head = f"maximum {name} usage per PersistentVolumeClaim is {most}"
        if name not in requests:
            yield f"{head}.  No request is specified"
        elif _amount(requests[name]) > _amount(most):
            yield f"{head}, but request is {requests[name]}"


def _least(limit: Json, of: str, requests: Json, limits: Json) -> Iterator[str]:
    for name, least in sorted((limit.get("min") or {}).items()):
        head = f"minimum {name} usage per {of} is {least}"
        if name not in requests:
            yield f"{head}.  No request is specified"
        elif _amount(requests[name]) < _amount(least):
            yield f"{head}, but request is {requests[name]}"
        elif name in limits and _amount(limits[name]) < _amount(least):
            yield f"{head}, but limit is {limits[name]}"


def _both(limit: Json, of: str, requests: Json, limits: Json) -> Iterator[str]:
    yield from _least(limit, of, requests, limits)
    for name, most in sorted((limit.get("max") or {}).items()):
        head = f"maximum {name} usage per {of} is {most}"
        if name not in limits:
            yield f"{head}.  No limit is specified"
        elif _amount(limits[name]) > _amount(most):
            yield f"{head}, but limit is {limits[name]}"
        elif name in requests and _amount(requests[name]) > _amount(most):
            yield f"{head}, but request is {requests[name]}"
    for name, most in sorted((limit.get("maxLimitRequestRatio") or {}).items()):
        yield from _ratio(name, most, of, requests, limits)


def _ratio(name: str, most: str, of: str, requests: Json, limits: Json) -> Iterator[str]:
    head = f"{name} max limit to request ratio per {of} is {most}, but"
    asked, allowed = (_amount(one.get(name) or "0") for one in (requests, limits))
    if not asked:
        yield f"{head} no request is specified or request is 0"
    elif not allowed:
        yield f"{head} no limit is specified or limit is 0"
    elif allowed / asked > _amount(most):
        yield f"{head} provided ratio is {float(allowed / asked):f}"


def _amount(text: str) -> Fraction:
    return quantity.parse(text) or Fraction(0)
