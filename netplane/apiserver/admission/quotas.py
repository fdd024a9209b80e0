"""ResourceQuotas: what a namespace may have of something, and is refused beyond.

A quota counts once a controller has said in its status what there is; what a new object takes, or a changed one takes
more, is added there in the transaction that stores it. Source: the ResourceQuota admission plugin of Kubernetes 1.36.
"""

from typing import Any, NamedTuple

from netplane.api import codec, errors, kinds, pod_resources, quantity
from netplane.api.kinds import Kind
from netplane.api.managed import entries as managed
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission import usage
from netplane.apiserver.cluster import Cluster
from netplane.store.protocol import KV, Compare, Put

Json = dict[str, Any]

_QUOTA, MANAGER = kinds.RESOURCE_QUOTA, "kube-apiserver"


class Charge(NamedTuple):
    """What a transaction that stores an object also compares and writes."""

    compares: list[Compare]
    ops: list[Put]


NOTHING = Charge([], [])


async def charge(cluster: Cluster, kind: Kind, namespace: str, obj: Json, old: Json | None, part: str = "") -> Charge:
    """What an object takes of its namespace's quotas; of a changed one what it takes more. Raises StatusError 403."""
    if kind in usage.UNCOUNTED or not namespace or (old is not None and not usage.may_grow(kind, obj, old, part)):
        return NOTHING
    taken = Charge([], [])
    for kv in (await cluster.store.range(cl.prefix(_QUOTA, namespace))).kvs:
        quota = _charged(kv, kind, obj, old)
        if quota is not None:
            taken.compares.append(Compare(kv.key, kv.mod_rev))
            taken.ops.append(Put(kv.key, codec.encode(quota)))
    return taken


def _charged(kv: KV, kind: Kind, obj: Json, old: Json | None) -> Json | None:
    """A quota with what an object takes of it; None when that is nothing. Raises StatusError 403."""
    quota = codec.decode(_QUOTA, kv.value, kv.mod_rev)
    status, name = quota.get("status") or {}, quota["metadata"]["name"]
    hard, used = status.get("hard") or {}, status.get("used") or {}
    if not hard or not usage.selected(quota, kind, obj):
        return None
    why = usage.unsaid(hard, obj["spec"]) if kind is kinds.POD else ""
    if why:
        raise _refused(kind, obj, f"failed quota: {name}: {why}")
    counted = old is not None and usage.selected(quota, kind, old)
    takes = usage.more(kind, obj, old) if old is not None and counted else usage.of(kind, obj)
    asked = {what: amount for what, amount in takes.items() if what in hard and amount != "0"}
    if unknown := sorted(set(asked) - set(used)):
        raise _refused(kind, obj, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
    if not asked:
        return None
    after = {what: quantity.plus(used[what], amount) for what, amount in asked.items()}
    over = sorted(what for what, amount in after.items() if pod_resources.exceeds(amount, hard[what]))
    if over:
        shown = (_listed(over, one) for one in (asked, used, hard))
        raise _refused(kind, obj, "exceeded quota: {}, requested: {}, used: {}, limited: {}".format(name, *shown))
    new = {**quota, "metadata": dict(quota["metadata"]), "status": {**status, "used": {**used, **after}}}
    _own(new, quota)
    return new


def _own(quota: Json, before: Json) -> None:
    """The apiserver owns what it counted."""
    writer = managed.Writer(MANAGER, cl.stamp(), "status")
    entries = managed.updated(_QUOTA, before, quota, before["metadata"].get("managedFields") or [], writer)
    if entries:
        quota["metadata"]["managedFields"] = entries


def _listed(names: list[str], amounts: Json) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in names)


def _refused(kind: Kind, obj: Json, why: str) -> errors.StatusError:
    return errors.forbidden(kind.group, kind.plural, obj["metadata"].get("name", ""), why)
