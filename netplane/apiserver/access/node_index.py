"""What the pods on each node need: the answer to "may this node read that Secret?" without looking at all pods.

    pod P on node N needs secrets/S  →  (N, secrets, namespace, S) counts one more
    P changes or goes                →  what it counted is taken back first

It follows the pods by a watch of its own, from the first question on: where no nodes ask, nobody pays for it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from netplane.api import pod_refs
from netplane.store.protocol import KV, Store, StoreError

Json = dict[str, Any]

Need = tuple[str, str, str, str]
"""(node, plural, namespace, name)."""

LAG_S = 0.1
"""A no is asked again after so long: the pod may be that new."""

AGAIN_S = 1.0
READY_S = 10.0


def needs(namespace: str, name: str, pod: Json) -> tuple[Need, ...]:
    """What a stored pod lets its node read: itself too. A mirror pod, which its node made, opens nothing else."""
    node = (pod.get("spec") or {}).get("nodeName") or ""
    if not node:
        return ()
    own = (node, "pods", namespace, name)
    if pod_refs.MIRROR in (pod["metadata"].get("annotations") or {}):
        return (own,)
    named = (*pod_refs.references(pod), *_claims(name, pod))
    return (own, *((node, plural, namespace, one) for plural, one in named))


def _claims(name: str, pod: Json) -> Iterator[pod_refs.Ref]:
    """The claims of a pod, those that are made for it too."""
    for volume in pod["spec"].get("volumes") or ():
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            yield "persistentvolumeclaims", claim
        if volume.get("ephemeral") is not None:
            yield "persistentvolumeclaims", f"{name}-{volume['name']}"
    statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    for one in (*(pod["spec"].get("resourceClaims") or ()), *statuses):
        if one.get("resourceClaimName"):
            yield "resourceclaims", one["resourceClaimName"]


class NodeIndex:
    """Follows the pods of a store once it is asked."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix  # of the keys of pods, before NAMESPACE/NAME
        self._pods: dict[str, tuple[Need, ...]] = {}
        self._counts: Counter[Need] = Counter()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def holds(self, need: Need) -> bool:
        """Whether a pod on the node needs the object."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            await asyncio.wait_for(self._ready.wait(), READY_S)
        except TimeoutError:
            return False  # who cannot be judged is not let in
        if not self._counts[need]:
            await self._store.catch_up()
            await asyncio.sleep(LAG_S)
        return self._counts[need] > 0

    async def stored(self, key: str) -> Json | None:
        """What a key of the store holds."""
        kv = await self._store.get(key)
        return None if kv is None else orjson.loads(kv.value)

    def close(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except StoreError:
                self._ready.clear()
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        found = await self._store.range(self._prefix)
        self._pods.clear()
        self._counts.clear()
        for kv in found.kvs:
            self._seen(kv)
        async with self._store.watch(self._prefix, found.rev + 1) as watch:
            self._ready.set()
            async for batch in watch:
                for event in batch:
                    self._seen(event.kv, gone=event.deleted)

    def _seen(self, kv: KV, *, gone: bool = False) -> None:
        before = self._pods.pop(kv.key, ())
        namespace, _, name = kv.key.removeprefix(self._prefix).partition("/")
        after = () if gone else needs(namespace, name, orjson.loads(kv.value))
        if after:
            self._pods[kv.key] = after
        for need in before:
            self._counts[need] -= 1
            if self._counts[need] <= 0 and need not in after:
                del self._counts[need]
        self._counts.update(after)
