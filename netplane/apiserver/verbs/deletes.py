"""DELETE of an object or a collection: at once, or marked until its finalizers and grace period are over."""

import asyncio
import datetime
from typing import Any

from netplane.api import codec, errors, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import propagation
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit, reads
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import DeleteOptions, delete_options
from netplane.apiserver.wire.reply import Header, Reply, of_json, warning
from netplane.apiserver.wire.target import stored_kind
from netplane.store.protocol import KV, Compare, Put

Json = dict[str, Any]

PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
AT_ONCE = 256


async def options_of(call: Call) -> DeleteOptions:
    """DeleteOptions of the body; only without one is the query asked."""
    raw = await call.body()
    return delete_options(bodies.read_delete_options(call, raw) if raw else None, call.query)


async def delete(call: Call) -> Reply:
    """DELETE of one object."""
    options = await options_of(call)
    name, kind, told = call.target.name, call.kind, _warnings(call, options)
    if kind.plural == "namespaces" and name in PROTECTED_NAMESPACES:
        raise errors.forbidden("", "namespaces", name, "this namespace may not be deleted")
    value, rev, removed = await remove(call.cluster, kind, call.target.namespace, name, options)
    if STRATEGIES[kind].answers_deleted or not removed:
        return Reply(reads.one(call, value, rev), headers=told)
    return of_json(_success(kind, codec.decode(kind, value, rev)))._replace(headers=told)


def _warnings(call: Call, options: DeleteOptions) -> tuple[Header, ...]:
    """Whoever deletes Jobs may think that their pods go too; a refusal says it as well."""
    if call.kind is not kinds.JOB or options.propagation:
        return ()
    call.warnings.append(_ORPHANS)
    return (warning(_ORPHANS),)


_ORPHANS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


def _success(kind: Kind, obj: Json) -> Json:
    metadata = obj["metadata"]
    details = errors.details(metadata["name"], kind.group, kind.plural, uid=metadata["uid"])
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def remove(
    cluster: Cluster, kind: Kind, namespace: str, name: str, options: DeleteOptions
) -> tuple[bytes, int, bool]:
    """Delete or mark; the last value, its revision, and whether it is gone. Raises StatusError 404, 409."""
    form, kind = kind, stored_kind(kind)
    for _ in range(commit.ATTEMPTS):
        kv = await cluster.store.get(cl.key(kind, namespace, name))
        if kv is None:
            raise reads.absent(form, name)
        done = await _once(cluster, kind, kv, options)
        if done is not None:
            return done
    raise errors.conflict(kind.group, kind.plural, name)


async def _once(cluster: Cluster, kind: Kind, kv: KV, options: DeleteOptions) -> tuple[bytes, int, bool] | None:
    """One attempt; None when somebody was faster."""
    obj = codec.decode(kind, kv.value, kv.mod_rev)
    check_preconditions(kind, obj, options)
    if STRATEGIES[kind].graceful:
        return await _gracefully(cluster, kind, kv, obj, options)
    told = propagation.prepare(kind, obj, options.propagation)
    grace_s = STRATEGIES[kind].grace_s(obj, options)
    if not grace_s and not STRATEGIES[kind].holds(obj):
        if not options.dry_run and not await commit.remove(cluster, kind, kv, obj):
            return None
        return kv.value, kv.mod_rev, True
    if not mark(kind, obj, grace_s, cl.now()) and not told:
        return kv.value, kv.mod_rev, False
    value = codec.encode(obj)
    if options.dry_run:
        return value, kv.mod_rev, False
    done = await cluster.store.txn([Compare(kv.key, kv.mod_rev)], [Put(kv.key, value)])
    return (value, done.rev, False) if done.succeeded else None


async def _gracefully(
    cluster: Cluster, kind: Kind, kv: KV, obj: Json, options: DeleteOptions
) -> tuple[bytes, int, bool] | None:
    """The same of what is given time: marked first, always; its time can only become shorter."""
    metadata, left = obj["metadata"], obj["metadata"].get("deletionGracePeriodSeconds") or 0
    held = STRATEGIES[kind].holds(obj)
    if not metadata.get("deletionTimestamp"):
        propagation.prepare(kind, obj, options.propagation)
        held = STRATEGIES[kind].holds(obj)
        mark(kind, obj, STRATEGIES[kind].grace_s(obj, options), cl.now())
    elif left and (options.grace_s is None or options.grace_s >= left):
        return kv.value, kv.mod_rev, False
    elif left and options.grace_s is not None:
        shorten(obj, options.grace_s, cl.now())
    value, rev = codec.encode(obj), kv.mod_rev
    stays = held or metadata["deletionGracePeriodSeconds"] > 0
    if options.dry_run:
        return value, rev, not stays
    if value != kv.value:
        done = await cluster.store.txn([Compare(kv.key, rev)], [Put(kv.key, value)])
        if not done.succeeded:
            return None
        rev = done.rev
    if stays:
        return value, rev, False
    marked = kv._replace(value=value, mod_rev=rev)
    return (value, rev, True) if await commit.remove(cluster, kind, marked, obj) else None


def _span(grace_s: int) -> datetime.timedelta:
    """How long that is; longer than Go's durations go is as long as they go."""
    return datetime.timedelta(seconds=min(grace_s, _LONGEST_S))


_LONGEST_S = ((1 << 63) - 1) // 10**9


def shorten(obj: Json, grace_s: int, now: datetime.datetime) -> None:
    """Less time for an object that is marked; never an end that is past."""
    metadata = obj["metadata"]
    end = datetime.datetime.fromisoformat(metadata["deletionTimestamp"])
    end += _span(grace_s) - _span(metadata["deletionGracePeriodSeconds"])
    if end < now:
        end, grace_s = now, min(grace_s, 1)
    metadata |= {"deletionTimestamp": cl.timestamp(end), "deletionGracePeriodSeconds": grace_s}


def check_preconditions(kind: Kind, obj: Json, options: DeleteOptions) -> None:
    """The object must be the one that the options name. Raises StatusError 409."""
    metadata = obj["metadata"]
    if options.uid is not None and options.uid != metadata["uid"]:
        why = errors.uid_precondition(options.uid, metadata["uid"])
        raise errors.conflict(kind.group, kind.kind, metadata["name"], why)
    if options.rev is not None and options.rev != metadata["resourceVersion"]:
        why = errors.resource_version_precondition(options.rev, metadata["resourceVersion"])
        raise errors.conflict(kind.group, kind.kind, metadata["name"], why)


def mark(kind: Kind, obj: Json, grace_s: int, now: datetime.datetime) -> bool:
    """Mark an object for deletion after `grace_s` seconds; False when it is marked as early already."""
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp"):
        left = metadata.get("deletionGracePeriodSeconds") or 0
        if grace_s >= left:
            return False
    if metadata.get("generation"):
        metadata["generation"] += 1
    metadata["deletionTimestamp"] = cl.timestamp(now + _span(grace_s))
    if kind.plural != "namespaces":
        metadata["deletionGracePeriodSeconds"] = grace_s
    STRATEGIES[kind].mark_deleted(obj)
    return True


async def delete_collection(call: Call) -> Reply:
    """DELETE of a collection: the objects that the selectors choose, each in a transaction of its own.

    Each object needs its own revision: a watcher that saw half of a revision could not resume.
    """
    options = await options_of(call)
    told = _warnings(call, options)
    page = await reads.page(call)
    await remove_all(call.cluster, stored_kind(call.kind), page.kvs, options)
    return Reply(reads.shower(call).many(page.kvs, page.rev, page.token, page.remaining), headers=told)


async def remove_all(cluster: Cluster, kind: Kind, kvs: list[KV], options: DeleteOptions) -> None:
    """Delete many, some hundreds at a time so that they share commits."""
    for i in range(0, len(kvs), AT_ONCE):
        await asyncio.gather(*(_remove_if_there(cluster, kind, kv, options) for kv in kvs[i : i + AT_ONCE]))


async def _remove_if_there(cluster: Cluster, kind: Kind, kv: KV, options: DeleteOptions) -> None:
    if await _once(cluster, kind, kv, options) is None:
        parts = kv.key[len(cl.prefix(kind)) :].split("/")
        try:
            await remove(cluster, kind, parts[0] if kind.namespaced else "", parts[-1], options)
        except errors.StatusError as error:
            if error.code != 404:
                raise
