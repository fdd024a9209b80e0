"""The end of a namespace: everything in it goes, then its finalizer, then it.

A watch finds namespaces marked for deletion. Contents that hold out (finalizers, pods still stopping) are asked again
until they are gone; meanwhile the namespace's conditions say what it waits for. Nothing new can come in: creation
compares the namespace's revision in its own transaction (netplane.apiserver.verbs.commit).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from typing import NamedTuple

from netplane.api import codec, errors, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit, deletes
from netplane.apiserver.wire.options import DeleteOptions
from netplane.obs import logs
from netplane.store.protocol import KV, StoreError

log = logs.get("apiserver.namespaces")

AGAIN_S = 1.0
FINALIZER = "kubernetes"


async def run(cluster: Cluster) -> None:
    """Finish deleted namespaces, until cancelled, or until the watch breaks: then they are listed anew."""
    emptying: dict[str, asyncio.Task[None]] = {}
    try:
        await _follow(cluster, emptying)
    finally:
        for task in emptying.values():
            task.cancel()


async def _follow(cluster: Cluster, emptying: dict[str, asyncio.Task[None]]) -> None:
    prefix = cl.prefix(kinds.NAMESPACE)
    found = await cluster.store.range(prefix)
    for kv in found.kvs:
        _start(cluster, kv, emptying)
    async with cluster.store.watch(prefix, found.rev + 1) as watch:
        async for batch in watch:
            for event in batch:
                if not event.deleted:
                    _start(cluster, event.kv, emptying)


def _start(cluster: Cluster, kv: KV, emptying: dict[str, asyncio.Task[None]]) -> None:
    namespace = codec.decode(kinds.NAMESPACE, kv.value, kv.mod_rev)
    name = namespace["metadata"]["name"]
    if namespace["metadata"].get("deletionTimestamp") and name not in emptying:
        task = emptying[name] = asyncio.create_task(_finish(cluster, name))
        task.add_done_callback(lambda _: emptying.pop(name, None))


async def _finish(cluster: Cluster, name: str) -> None:
    """Most namespaces are gone at the first attempt or the second; what one waits for is told as of then."""
    for attempt in count():
        left, problem = None, ""
        try:
            left = await empty(cluster, name)
            if not left.objects:
                await finalize(cluster, name)
                return
        except errors.StatusError as error:
            if error.code == 404:
                return
            problem = str(error)
            log.warning("a namespace is not empty yet", namespace=name, problem=problem)
        except Exception as error:
            problem = str(error)
            log.exception("a namespace could not be emptied", namespace=name)
        if attempt:
            await _say(cluster, name, left, problem)
        await asyncio.sleep(AGAIN_S)


async def _say(cluster: Cluster, name: str, left: "Remaining | None", problem: str) -> None:
    """Tell in the namespace's status what it waits for; what is left is looked up if that is not known."""
    now = cl.stamp()

    def alter(namespace: commit.Json) -> commit.Json:
        status = namespace.setdefault("status", {})
        status["conditions"] = conditions(status.get("conditions") or [], found, problem, now)
        return namespace

    try:
        found = left or await remaining(cluster, name)
        await commit.change(cluster, kinds.NAMESPACE, "", name, alter, scope="all")
    except (errors.StatusError, StoreError) as error:
        log.debug("not said", namespace=name, problem=str(error))


class Remaining(NamedTuple):
    """What is in a namespace: objects per `plural.group`, and how many of them each finalizer holds."""

    objects: Mapping[str, int]
    finalizers: Mapping[str, int]


async def empty(cluster: Cluster, name: str) -> Remaining:
    """Delete what is in a namespace; what is left.

    Pods first: what they use (network policies, secrets) stays until the last of them has stopped (KEP-5080).
    """
    await _delete(cluster, name, kinds.POD)
    pods = await remaining(cluster, name, (kinds.POD,))
    if pods.objects:
        return pods
    for kind in CONTENTS:
        await _delete(cluster, name, kind)
    return await remaining(cluster, name)


async def _delete(cluster: Cluster, name: str, kind: Kind) -> None:
    found = await cluster.store.range(cl.prefix(kind, name))
    await deletes.remove_all(cluster, kind, found.kvs, DeleteOptions(propagation="Background"))


CONTENTS = tuple(kind for kind in kinds.KINDS if kind.namespaced and kind.stored_in is None)


async def remaining(cluster: Cluster, name: str, of: Iterable[Kind] = CONTENTS) -> Remaining:
    """What is in a namespace now."""
    objects: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()
    for kind in of:
        kvs = (await cluster.store.range(cl.prefix(kind, name))).kvs
        if kvs:
            objects[f"{kind.plural}.{kind.group}"] = len(kvs)
        held = (kv for kv in kvs if _FINALIZERS_FIELD in kv.value)  # few are: the others are not decoded
        finalizers.update(one for kv in held for one in cluster.decoded(kv)["metadata"].get("finalizers") or ())
    return Remaining(objects, finalizers)


def conditions(have: list[commit.Json], left: Remaining, problem: str, now: str) -> list[commit.Json]:
    """The conditions of a namespace on its way out, in Kubernetes' words; a status that stays keeps its time."""
    kept = [one for one in have if one.get("type") not in _WELL]
    before = {one.get("type"): one for one in have}
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(left.finalizers.items()))
    there = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.objects.items()))
    ill = {
        _CONTENT: ("ContentDeletionFailed", problem and f"Failed to delete all resource types, 1 remaining: {problem}"),
        _REMAINING: ("SomeResourcesRemain", there and f"Some resources are remaining: {there}"),
        _FINALIZERS: (
            "SomeFinalizersRemain",
            held and f"Some content in the namespace has finalizers remaining: {held}",
        ),
    }
    for name, well in _WELL.items():
        reason, message = ill[name] if name in ill and ill[name][1] else well
        old, status = before.get(name, {}), str((reason, message) != well)
        since = old["lastTransitionTime"] if old.get("status") == status else now
        kept.append({"type": name, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
    return kept


_CONTENT, _REMAINING = "NamespaceDeletionContentFailure", "NamespaceContentRemaining"
_FINALIZERS = "NamespaceFinalizersRemaining"
_FINALIZERS_FIELD = b'"finalizers":'
_WELL = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    _CONTENT: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    _REMAINING: ("ContentRemoved", "All content successfully removed"),
    _FINALIZERS: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


async def finalize(cluster: Cluster, name: str) -> None:
    """Take our finalizer away; when it was the last, the namespace goes."""

    def alter(namespace: commit.Json) -> commit.Json:
        finalizers = namespace.get("spec", {}).get("finalizers") or []
        namespace["spec"] = {"finalizers": [one for one in finalizers if one != FINALIZER]}
        return namespace

    await commit.change(cluster, kinds.NAMESPACE, "", name, alter, scope="all")
