"""Objects on their way into the store: what the server adds to each, and transactions that try again.

    create   prepare → defaults → server's additions → claim addresses → validate → commit with its namespace unchanged
    change   read → change → prepare → defaults → claim → validate → commit if nobody was faster, else once more

A claim (netplane.apiserver.admission.allocation) is given back when its transaction does not happen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from netplane.api import codec, errors, kinds
from netplane.api.kinds import PARTS, Kind
from netplane.api.managed.entries import Entries
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import (
    accounts,
    classes,
    ip_objects,
    limits,
    placed_pods,
    pod_security,
    port_keys,
    quotas,
)
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import identity, preparing
from netplane.apiserver.wire.target import stored_kind
from netplane.store.protocol import KV, Compare, Delete, Put

Json = dict[str, Any]
Change = Callable[[Json], Json]

ATTEMPTS = 64


class Replacing:
    """A change that makes another object and leaves the one that it is given alone, which needs no copy then."""

    def __init__(self, alter: Change) -> None:
        self._alter = alter

    def __call__(self, old: Json) -> Json:
        """The other object."""
        return self._alter(old)


class Stored:
    """A value as it now stands: in the store at `rev`, or (dry run) as it would."""

    __slots__ = ("created", "obj", "rev", "told", "value")

    def __init__(
        self, value: bytes, rev: int, *, created: bool = False, told: Sequence[str] = (), obj: Json | None = None
    ) -> None:
        """`told`: warnings that admission has. `obj`: what the value is of, where it is at hand."""
        self.value, self.rev, self.created, self.told, self.obj = value, rev, created, told, obj


async def namespace_open(cluster: Cluster, kind: Kind, namespace: str, name: str) -> Compare | None:
    """The namespace takes new objects as long as this comparison holds. Raises StatusError 403, 404."""
    if not kind.namespaced:
        return None
    kv = await cluster.store.get(cl.key(kinds.NAMESPACE, "", namespace))
    if kv is None:
        raise errors.not_found("", "namespaces", namespace)
    if b'"deletionTimestamp"' in kv.value and orjson.loads(kv.value)["metadata"].get("deletionTimestamp"):
        raise errors.namespace_terminating(kind.group, kind.plural, name, namespace)
    return Compare(kv.key, kv.mod_rev)


async def create(
    cluster: Cluster,
    kind: Kind,
    namespace: str,
    obj: Json,
    *,
    dry_run: bool = False,
    own: bool = False,
    manager: str = "",
    entries: Entries | None = None,
) -> Stored:
    """Store a new object, sent in the form of `kind`; the server's own is not validated.

    Raises StatusError 403, 404, 409, 422.
    """
    form, kind = kind, stored_kind(kind)
    generated = bool(obj["metadata"].get("generateName"))
    place = await namespace_open(cluster, kind, namespace, obj["metadata"].get("name", ""))
    preparing.complete(form, obj, manager, entries)
    limited = [] if own else await limits.of(cluster, kind, namespace)
    if kind is kinds.POD and not own:
        limits.complete(limited, obj)
        await accounts.admit(cluster, namespace, obj)
    if not own:
        await classes.admit(cluster, kind, obj)
    if kind is kinds.POD and not own:
        await placed_pods.admit(cluster, obj)
    for _ in range(ATTEMPTS):
        stored = await _insert(
            cluster, form, namespace, obj, place, dry_run=dry_run, generated=generated, limited=None if own else limited
        )
        if stored is not None:
            return stored
        place = await namespace_open(cluster, kind, namespace, obj["metadata"]["name"])
    raise _too_busy(kind, obj["metadata"]["name"])


async def _insert(
    cluster: Cluster,
    form: Kind,
    namespace: str,
    obj: Json,
    place: Compare | None,
    *,
    dry_run: bool,
    generated: bool,
    limited: list[Json] | None,
) -> Stored | None:
    """Commit a new object while `place` holds; None when it did not, or something that it was to have was taken.

    `limited`: what LimitRanges say of it; None for the server's own, which is not looked at.
    """
    kind = stored_kind(form)
    with cluster.allocator.claim(kind, obj, None, dry_run=dry_run) as claim:
        if limited is not None:
            preparing.check(form, obj, None)
            limits.check(limited, kind, obj)
            if kind is kinds.POD:
                placed_pods.check(obj)
        told = [] if limited is None else await pod_security.admit(cluster, kind, obj, None)
        STRATEGIES[kind].canonical(obj)
        claim.complete(obj, None)
        name = obj["metadata"]["name"]
        key = cl.key(kind, namespace, name)
        value = codec.encode(obj)
        compares = [Compare(key, 0), *claim.compares] if place is None else [Compare(key, 0), place, *claim.compares]
        taken = quotas.NOTHING if limited is None else await quotas.charge(cluster, kind, namespace, obj, None)
        if dry_run:
            if (there := await cluster.store.get(key)) is not None:
                raise _exists(form, there, generated=generated)
            return Stored(value, 0, created=True, told=told)
        done = await cluster.store.txn([*compares, *taken.compares], [Put(key, value), *claim.ops, *taken.ops])
        if done.succeeded:
            claim.keep()
            cluster.policies.changed(kind)
            return Stored(value, done.rev, created=True, told=told, obj=obj)
        for there in done.failed:
            if there is not None and there.key == key:
                raise _exists(form, there, generated=generated)
        await claim.lost(cluster.store, done.failed)
        if kind is kinds.SERVICE:
            obj["spec"] = claim.asked()
        return None


async def change(
    cluster: Cluster,
    kind: Kind,
    namespace: str,
    name: str,
    alter: Change,
    *,
    scope: str = preparing.MAIN,
    dry_run: bool = False,
    manager: str = "",
) -> Stored:
    """Read, alter, store; again when somebody was faster. `alter` may be called several times, with a fresh copy.

    `scope` is the part of the object that may change: MAIN (all but the status), a subresource of kinds.PARTS, or (the
    server itself) ALL; MAIN and ALL are those of netplane.apiserver.verbs.preparing.

    `manager` owns what this changes; without one (the server itself, an apply) managedFields are as `alter` left them.
    It speaks of objects in the form of `kind`; `alter` gets and gives them as they are stored.

    Raises StatusError 404, 409, 422 and what `alter` raises.
    """
    form, kind = kind, stored_kind(kind)
    key = cl.key(kind, namespace, name)
    for _ in range(ATTEMPTS):
        kv = await cluster.store.get(key)
        if kv is None:
            raise errors.not_found(form.group, form.plural, name)
        old = codec.decode(kind, kv.value, kv.mod_rev)
        new = alter(old if isinstance(alter, Replacing) else codec.decode(kind, kv.value, kv.mod_rev))
        identity.check(kind, new, old, dry_run=dry_run)
        preparing.prepare(form, new, old, scope, manager)
        stored = await _store(cluster, form, kv, new, old, scope, dry_run=dry_run)
        if stored is not None:
            return stored
    raise _too_busy(kind, name)


def _exists(kind: Kind, there: KV, *, generated: bool) -> errors.StatusError:
    metadata = orjson.loads(there.value)["metadata"]
    refuse = errors.generate_name_conflict if generated else errors.already_exists
    return refuse(kind.group, kind.plural, metadata["name"], going=bool(metadata.get("deletionTimestamp")))


def _too_busy(kind: Kind, name: str) -> errors.StatusError:
    return errors.conflict(kind.group, kind.plural, name, "too many others change it at the same time")


async def _store(
    cluster: Cluster, form: Kind, kv: KV, new: Json, old: Json, scope: str, *, dry_run: bool
) -> Stored | None:
    """Commit a change of `kv`; None when somebody was faster."""
    kind = stored_kind(form)
    with cluster.allocator.claim(kind, new, old, dry_run=dry_run) as claim:
        if scope == preparing.MAIN:
            STRATEGIES[kind].after_allocation(new, old)
        if scope != preparing.ALL:
            preparing.check(form, new, old, scope)
        if scope == "resize":
            await placed_pods.check_resize(cluster, new, old)
        part, own = scope if scope in PARTS else "", scope == preparing.ALL
        if not own:
            await limits.check_changed(cluster, kind, new, part)
        told = [] if own else await pod_security.admit(cluster, kind, new, old, part)
        STRATEGIES[kind].canonical(new)
        claim.complete(new, old)
        value = codec.encode(new)
        # Members in another order are the same object, and as many bytes.
        if value == kv.value or (len(value) == len(kv.value) and codec.same(new, old)):
            await cluster.store.catch_up()  # nothing to write, so no compare would tell that somebody was faster
            return Stored(kv.value, kv.mod_rev, told=told) if await cluster.store.get(kv.key) == kv else None
        if _last_hold_gone(kind, new):
            if not dry_run and not await remove(cluster, kind, kv, old):
                return None
            return Stored(value, kv.mod_rev, told=told)
        namespace = new["metadata"].get("namespace", "")
        taken = quotas.NOTHING if own else await quotas.charge(cluster, kind, namespace, new, old, part)
        if dry_run:
            return Stored(value, kv.mod_rev, told=told)
        compares = [Compare(kv.key, kv.mod_rev), *claim.compares, *taken.compares]
        done = await cluster.store.txn(compares, [Put(kv.key, value), *claim.ops, *taken.ops])
        if not done.succeeded:
            await claim.lost(cluster.store, done.failed)
            return None
        claim.keep()
        cluster.policies.changed(kind)
        return Stored(value, done.rev, told=told, obj=new)


def _last_hold_gone(kind: Kind, obj: Json) -> bool:
    """An object marked for deletion goes when nothing holds it and nobody waits for its grace period."""
    metadata = obj["metadata"]
    waits = metadata.get("deletionGracePeriodSeconds") or 0
    return bool(metadata.get("deletionTimestamp")) and not waits and not STRATEGIES[kind].holds(obj)


async def remove(cluster: Cluster, kind: Kind, kv: KV, obj: Json) -> bool:
    """Delete `kv` if it has not changed, and give back what its object held."""
    ops = (*ip_objects.changes(None, obj), *port_keys.changes(None, obj)) if kind is kinds.SERVICE else ()
    done = await cluster.store.txn([Compare(kv.key, kv.mod_rev)], [Delete(kv.key), *ops])
    if done.succeeded:
        cluster.allocator.released(kind, obj)
        cluster.policies.changed(kind)
        if kind is kinds.SERVICE:
            await _remove_endpoints(cluster, obj["metadata"])
    return done.succeeded


async def _remove_endpoints(cluster: Cluster, service: Json) -> None:
    """Endpoints go with their Service, so that the next one of its name does not lead to them."""
    kv = await cluster.store.get(cl.key(kinds.ENDPOINTS, service["namespace"], service["name"]))
    if kv is None:
        return
    obj = codec.decode(kinds.ENDPOINTS, kv.value, kv.mod_rev)
    if not STRATEGIES[kinds.ENDPOINTS].holds(obj):
        await remove(cluster, kinds.ENDPOINTS, kv, obj)
