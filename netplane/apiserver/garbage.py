"""Garbage collection by ownerReferences, in process: what depends on nothing that is still there goes.

    an owner is gone                     no owner left: its dependents are deleted; some left: the reference goes
    finalizer foregroundDeletion         dependents are deleted first; those with blockOwnerDeletion hold the owner
    finalizer orphan                     dependents lose their reference, then the owner goes

The graph (owner's uid → keys of dependents) is built from the store and kept by a watch. Whether an owner is there is
always asked of the store itself, never of the graph. An owner of a kind that is not served counts as there, and so does
one in a namespace of an object that has none: nobody can say which namespace is meant.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import codec, errors, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import legacy_tokens
from netplane.apiserver.admission.propagation import FOREGROUND, ORPHAN
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit, deletes
from netplane.apiserver.wire.options import DeleteOptions
from netplane.obs import logs
from netplane.store.protocol import KV, Event

Json = dict[str, Any]

log = logs.get("apiserver.garbage")

ROOT = "/registry/"
AGAIN_S = 1.0
_BY_PLACE = {(kind.group, kind.plural): kind for kind in kinds.KINDS if kind.stored_in is None}
_BY_NAME = {(kind.api_version, kind.kind): kind for kind in kinds.KINDS if kind.stored_in is None}
_OWNED, _DELETED, _BLOCKS = b'"ownerReferences":', b'"deletionTimestamp":', b'"blockOwnerDeletion":true'
_TOKEN = f'"{legacy_tokens.TYPE}"'.encode()
_SECRETS = cl.prefix(kinds.SECRET)


def place(key: str) -> tuple[Kind, str, str] | None:
    """Kind, namespace and name of a store key; None for what is no object of a served kind."""
    parts = key.split("/")[2:]
    kind = _BY_PLACE.get(("", parts[0]))
    rest = parts[1:]
    if kind is None and len(parts) > 1:
        kind, rest = _BY_PLACE.get((parts[0], parts[1])), parts[2:]
    if kind is None or len(rest) != 1 + kind.namespaced:
        return None
    return kind, rest[0] if kind.namespaced else "", rest[-1]


def _references(value: bytes) -> bytes:
    """The ownerReferences as they are written."""
    at = value.find(_OWNED)
    return value[at : value.find(b"]", at)] if at >= 0 else b""


class Collector:
    """One cluster's garbage collection."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dependents: dict[str, set[str]] = {}
        self._owners: dict[str, tuple[str, ...]] = {}
        self._todo: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled, or until the watch breaks: then all is built anew."""
        self._dependents, self._owners = {}, {}
        found = await self._cluster.store.range(ROOT)
        for kv in found.kvs:
            self._seen(kv)
        worker = asyncio.create_task(self._work())
        try:
            async with self._cluster.store.watch(ROOT, found.rev + 1) as watch:
                async for batch in watch:
                    for event in batch:
                        self._changed(event)
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    def _changed(self, event: Event) -> None:
        if not event.deleted:
            self._seen(event.kv)
            if event.prev is not None and _BLOCKS in event.prev.value:
                self._unblocked(event.prev, event.kv)
            return
        self._refer(event.kv.key, ())
        if self._dependents:
            obj = orjson.loads(event.kv.value)
            for key in self._dependents.get(obj["metadata"].get("uid", ""), ()):
                self._look_at(key)
        if _OWNED in event.kv.value:  # an owner may wait for it
            self._look_at_owners(event.kv)

    def _unblocked(self, before: KV, now: KV) -> None:
        """Owners that waited for an object may not have to, when its references are others."""
        if _references(before.value) != _references(now.value):
            self._look_at_owners(before)

    def _look_at_owners(self, kv: KV) -> None:
        for reference in orjson.loads(kv.value)["metadata"].get("ownerReferences") or ():
            if (owner := self._key_of(reference, kv.key)) is not None:
                self._look_at(owner)

    def _seen(self, kv: KV) -> None:
        owned, marked = _OWNED in kv.value, _DELETED in kv.value
        if owned:
            references = orjson.loads(kv.value)["metadata"].get("ownerReferences") or ()
            self._refer(kv.key, tuple(one.get("uid", "") for one in references))
            self._look_at(kv.key)
        elif kv.key in self._owners:
            self._refer(kv.key, ())
        if marked or (kv.key.startswith(_SECRETS) and _TOKEN in kv.value):
            self._look_at(kv.key)

    def _refer(self, key: str, owners: tuple[str, ...]) -> None:
        before = self._owners.pop(key, ())
        for uid in before:
            if uid not in owners and (keys := self._dependents.get(uid)):
                keys.discard(key)
                if not keys:
                    del self._dependents[uid]
        for uid in owners:
            self._dependents.setdefault(uid, set()).add(key)
        if owners:
            self._owners[key] = owners

    def _look_at(self, key: str) -> None:
        self._todo[key] = None
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            todo, self._todo = list(self._todo), {}
            again = [key for key in todo if not await self._tried(key)]
            if again:
                await asyncio.sleep(AGAIN_S)
                for key in again:
                    self._look_at(key)

    async def _tried(self, key: str) -> bool:
        try:
            await self._settle(key)
        except errors.StatusError as error:
            if error.code == 404:
                return True
            log.warning("garbage collection must try again", key=key, problem=str(error))
            return False
        except Exception:
            log.exception("garbage collection failed", key=key)
            return False
        return True

    async def _settle(self, key: str) -> None:
        """Do what one object needs now."""
        found, kv = place(key), await self._cluster.store.get(key)
        if found is None or kv is None:
            return
        obj = codec.decode(found[0], kv.value, kv.mod_rev)
        metadata = obj["metadata"]
        finalizers = metadata.get("finalizers") or ()
        if metadata.get("deletionTimestamp"):
            if ORPHAN in finalizers:
                await self._orphan(found, metadata["uid"])
            elif FOREGROUND in finalizers:
                await self._foreground(found, metadata["uid"])
        elif found[0] is kinds.SECRET and await legacy_tokens.ownerless(self._cluster.store, found[1], obj):
            await deletes.remove(self._cluster, *found, DeleteOptions(uid=metadata["uid"]))
        else:
            if found[0] is kinds.SECRET:
                await legacy_tokens.fill(self._cluster, found[1], obj)
            if metadata.get("ownerReferences"):
                await self._owned(found, key, obj)

    async def _orphan(self, owner: tuple[Kind, str, str], uid: str) -> None:
        for key in sorted(self._dependents.get(uid, ())):
            await self._without(key, {uid})
        await self._release(owner, ORPHAN)

    async def _foreground(self, owner: tuple[Kind, str, str], uid: str) -> None:
        blocked = False
        for key in sorted(self._dependents.get(uid, ())):
            kv = await self._cluster.store.get(key)
            if kv is None:
                continue
            metadata = orjson.loads(kv.value)["metadata"]
            mine = [one for one in metadata.get("ownerReferences") or () if one.get("uid") == uid]
            blocked = blocked or any(one.get("blockOwnerDeletion") for one in mine)
            if mine and not metadata.get("deletionTimestamp"):
                self._look_at(key)
        if not blocked:
            await self._release(owner, FOREGROUND)

    async def _owned(self, found: tuple[Kind, str, str], key: str, obj: Json) -> None:
        """Keep, delete, or take references away, by what became of the owners."""
        solid, gone, waiting = False, set[str](), set[str]()
        for reference in obj["metadata"]["ownerReferences"]:
            uid, where = reference.get("uid", ""), self._key_of(reference, key)
            kv = await self._cluster.store.get(where) if where else None
            owner = orjson.loads(kv.value)["metadata"] if kv is not None else {}
            if where is not None and owner.get("uid") != uid:
                gone.add(uid)
            elif owner.get("deletionTimestamp") and FOREGROUND in (owner.get("finalizers") or ()):
                waiting.add(uid)
            else:
                solid = True
        if solid:
            if gone or waiting:
                await self._without(key, gone | waiting)
            return
        uid, finalizers = obj["metadata"]["uid"], obj["metadata"].get("finalizers") or ()
        policy = "Background"
        if waiting and uid in self._dependents:
            policy = "Foreground"
            if await self._is_circle(uid):
                await self._unblock(found)
        elif ORPHAN in finalizers or FOREGROUND in finalizers:  # somebody said how
            policy = "Orphan" if ORPHAN in finalizers else "Foreground"
        await deletes.remove(self._cluster, *found, DeleteOptions(uid=uid, propagation=policy))

    async def _is_circle(self, uid: str) -> bool:
        """Whether a dependent is itself deleted in the foreground: it and its owner may wait for each other."""
        for key in self._dependents.get(uid, ()):
            kv = await self._cluster.store.get(key)
            metadata = orjson.loads(kv.value)["metadata"] if kv is not None else {}
            if metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ()):
                return True
        return False

    async def _unblock(self, found: tuple[Kind, str, str]) -> None:
        """The object holds none of its owners any longer."""

        def alter(obj: Json) -> Json:
            for one in obj["metadata"].get("ownerReferences") or ():
                if one.get("blockOwnerDeletion"):
                    one["blockOwnerDeletion"] = False
            return obj

        await commit.change(self._cluster, *found, alter, scope="all")

    def _key_of(self, reference: Json, dependent: str) -> str | None:
        """The store key of an owner; None when its kind is not served, or its namespace is not known."""
        kind, found = _BY_NAME.get((reference.get("apiVersion", ""), reference.get("kind", ""))), place(dependent)
        if kind is None or found is None or (kind.namespaced and not found[1]):
            return None
        return cl.key(kind, found[1], reference.get("name", ""))

    async def _without(self, key: str, uids: set[str]) -> None:
        found = place(key)
        if found is None:
            return
        try:
            await self._take(found, "ownerReferences", lambda one: one.get("uid") in uids)
        except errors.StatusError as error:
            if error.code != 404:
                raise

    async def _release(self, owner: tuple[Kind, str, str], finalizer: str) -> None:
        await self._take(owner, "finalizers", lambda one: one == finalizer)

    async def _take(self, found: tuple[Kind, str, str], field: str, gone: Callable[[Any], bool]) -> None:
        """Take entries out of a list in the metadata, and the list with its last."""

        def alter(obj: Json) -> Json:
            metadata = obj["metadata"]
            left = [one for one in metadata.pop(field, None) or () if not gone(one)]
            if left:
                metadata[field] = left
            return obj

        await commit.change(self._cluster, *found, alter, scope="all")


async def run(cluster: Cluster) -> None:
    """Collect garbage until cancelled."""
    await Collector(cluster).run()
