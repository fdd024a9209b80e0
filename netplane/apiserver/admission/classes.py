"""What new objects get from classes that others define: a pod its priority, a claim its StorageClass.

    priorityClassName     must be there; without one the PriorityClass that is everybody's default, or 0
    storageClassName      absent means the newest StorageClass that is marked as the default; "" means none
    globalDefault         of one PriorityClass only

Source: the admission plugins Priority and DefaultStorageClass of Kubernetes 1.36.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from netplane.api import errors, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster

Json = dict[str, Any]
Admit = Callable[[Cluster, Json], Awaitable[None]]

_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
_CLASS = "volume.beta.kubernetes.io/storage-class"
_NO_CLASS: Json = {"metadata": {"name": ""}, "value": 0, "preemptionPolicy": "PreemptLowerPriority"}


async def admit(cluster: Cluster, kind: Kind, obj: Json) -> None:
    """Complete a new object of any kind, in place. Raises StatusError 403."""
    if kind in _BY_KIND:
        await _BY_KIND[kind](cluster, obj)


async def _all(cluster: Cluster, kind: Kind) -> list[Json]:
    found = await cluster.store.range(cl.prefix(kind))
    return [cluster.decoded(kv) for kv in found.kvs]


async def _pod(cluster: Cluster, pod: Json) -> None:
    spec, name = pod["spec"], pod["metadata"].get("name", "")
    found = await _priority_class(cluster, spec.get("priorityClassName") or "", name)
    if wanted := found["metadata"]["name"]:
        spec["priorityClassName"] = wanted
    for field, told, what in (("priority", "value", "integer value of priority"), _PREEMPTION):
        given, computed = spec.get(field), found.get(told)
        if given is not None and given != computed:
            why = f"priority admission controller computed {computed} from the given PriorityClass name"
            raise errors.forbidden("", "pods", name, f"the {what} ({given}) must not be provided in pod spec; {why}")
        spec[field] = computed


_PREEMPTION = ("preemptionPolicy", "preemptionPolicy", "string value of PreemptionPolicy")


async def _priority_class(cluster: Cluster, wanted: str, pod: str) -> Json:
    if not wanted:
        return await _default_priority(cluster) or _NO_CLASS
    kv = await cluster.store.get(cl.key(kinds.PRIORITY_CLASS, "", wanted))
    if kv is None:
        raise errors.forbidden("", "pods", pod, f"no PriorityClass with name {wanted} was found")
    return cluster.decoded(kv)


async def _default_priority(cluster: Cluster) -> Json | None:
    """The PriorityClass of pods that name none; of several, which a race may leave, the least."""
    marked = [one for one in await _all(cluster, kinds.PRIORITY_CLASS) if one.get("globalDefault")]
    return min(marked, key=lambda one: int(one.get("value") or 0), default=None)


async def _one_default(cluster: Cluster, obj: Json) -> None:
    if obj.get("globalDefault") and (other := await _default_priority(cluster)):
        why = f"PriorityClass {other['metadata']['name']} is already marked as default. Only one default can exist"
        kind = kinds.PRIORITY_CLASS
        raise errors.forbidden(kind.group, kind.plural, obj["metadata"].get("name", ""), why)


async def _claim(cluster: Cluster, obj: Json) -> None:
    spec = obj["spec"]
    if spec.get("storageClassName") is not None or _CLASS in (obj["metadata"].get("annotations") or {}):
        return
    marked = [one for one in await _all(cluster, kinds.STORAGE_CLASS) if _is_default(one)]
    marked.sort(key=lambda one: one["metadata"]["name"])
    newest = max(marked, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)
    if newest is not None:
        spec["storageClassName"] = newest["metadata"]["name"]


def _is_default(one: Json) -> bool:
    annotations = one["metadata"].get("annotations") or {}
    return any(annotations.get(mark) == "true" for mark in _DEFAULT_CLASS)


_BY_KIND: dict[Kind, Admit] = {
    kinds.POD: _pod,
    kinds.PRIORITY_CLASS: _one_default,
    kinds.CLAIM: _claim,
}
