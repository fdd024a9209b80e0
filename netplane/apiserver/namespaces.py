"""The end of a namespace: everything in it goes, then its finalizer, then it.

A watch finds namespaces marked for deletion. Contents that hold out (finalizers, pods still stopping) are asked
again until they are gone. Nothing new can come in meanwhile: creation compares the namespace's revision in its own
transaction (netplane.apiserver.verbs.commit).
"""

import asyncio

from netplane.api import codec, errors, kinds
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit, deletes
from netplane.apiserver.wire.options import DeleteOptions
from netplane.obs import logs
from netplane.store.protocol import KV

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
    while True:
        try:
            if await empty(cluster, name):
                await finalize(cluster, name)
                return
        except errors.StatusError as error:
            if error.code == 404:
                return
            log.warning("a namespace is not empty yet", namespace=name, problem=str(error))
        except Exception:
            log.exception("a namespace could not be emptied", namespace=name)
        await asyncio.sleep(AGAIN_S)


async def empty(cluster: Cluster, name: str) -> bool:
    """Delete what is in a namespace; whether nothing is left."""
    left = 0
    for kind in kinds.KINDS:
        if kind.namespaced and kind.stored_in is None:
            prefix = cl.prefix(kind, name)
            found = await cluster.store.range(prefix)
            await deletes.remove_all(cluster, kind, found.kvs, DeleteOptions(propagation="Background"))
            left += len((await cluster.store.range(prefix, limit=1)).kvs)
    return left == 0


async def finalize(cluster: Cluster, name: str) -> None:
    """Take our finalizer away; when it was the last, the namespace goes."""

    def alter(namespace: commit.Json) -> commit.Json:
        finalizers = namespace.get("spec", {}).get("finalizers") or []
        namespace["spec"] = {"finalizers": [one for one in finalizers if one != FINALIZER]}
        return namespace

    await commit.change(cluster, kinds.NAMESPACE, "", name, alter, scope="all")
