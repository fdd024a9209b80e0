"""What ServiceAccount tokens are bound to: looked up as one is given out, and again each time it is shown.

    Pod      and its account must be the token's; the node it runs on is named beside
    Node, Secret

Source: the token registry and the token validator of Kubernetes 1.36.
"""

import datetime
from functools import lru_cache
from typing import Any

import orjson

from netplane.api import errors, kinds
from netplane.api.kinds import Kind
from netplane.apiserver import cluster as cl
from netplane.apiserver.wire.call import Call
from netplane.store.protocol import Store

Json = dict[str, Any]

LEEWAY_S = 60
"""Clocks may differ by as much; so long is a token good that is over, or whose object is being deleted."""
_BOUND: dict[str, Kind] = {"Pod": kinds.POD, "Node": kinds.NODE, "Secret": kinds.SECRET}
_ENDED = "service account token has been invalidated"


async def bound(call: Call, ref: Json | None) -> Json:
    """What a token is bound to, with its uid. Raises StatusError 400, 404, 409."""
    if ref is None:
        return {}
    what, version = ref.get("kind") or "", ref.get("apiVersion") or ""
    kind = _BOUND.get(what)
    if kind is None or "/" in version:
        group = version if "/" in version else f"/{version}"
        raise errors.bad_request(f"cannot bind token to object of type {group}, Kind={what}")
    name = ref.get("name") or ""
    if not name:
        raise errors.bad_request("Name parameter required.")
    obj = await _object(call, kind, name)
    if obj is None:
        raise errors.not_found("", kind.plural, name)
    account = call.target.name
    if kind is kinds.POD and (obj.get("spec") or {}).get("serviceAccountName") != account:
        raise errors.bad_request(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        )
    uid = obj["metadata"]["uid"]
    node = await _node_of(call, obj) if kind is kinds.POD else {}
    if ref.get("uid") not in (None, "", uid):
        raise errors.conflict("", what, name, another(ref["uid"]))
    return {what.lower(): {"name": name, "uid": uid}, **node}


def another(uid: str) -> str:
    """Why a token is not bound to an object that has another uid than its reference says."""
    return (
        f"the UID in the bound object reference ({uid}) does not match the UID in record. "
        "The object might have been deleted and then recreated"
    )


async def _node_of(call: Call, pod: Json) -> Json:
    """The node of a pod, as its token names it: without a uid when it is not there."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        return {}
    node = await _object(call, kinds.NODE, name)
    return {"node": {"name": name, **({"uid": node["metadata"]["uid"]} if node is not None else {})}}


async def _object(call: Call, kind: Kind, name: str) -> Json | None:
    kv = await call.cluster.store.get(cl.key(kind, call.target.namespace, name))
    return call.cluster.decoded(kv) if kv is not None else None


class There:
    """Looks up what a token names, at one moment."""

    def __init__(self, store: Store, now: datetime.datetime) -> None:
        self._store = store
        self._now = now

    async def account(self, namespace: str, ref: Json) -> str:
        """What is wrong with the account of a token; "" when it is there."""
        kv = await self._store.get(cl.key(kinds.SERVICE_ACCOUNT, namespace, ref["name"]))
        if kv is None:
            return f'serviceaccounts "{ref["name"]}" not found'
        uid, deleted = _life(kv.value)
        if uid != ref["uid"]:
            return f"service account UID ({uid}) does not match claim ({ref['uid']})"
        return f"service account {namespace}/{ref['name']} has been deleted" if self._over(deleted) else ""

    async def bound(self, namespace: str, own: Json) -> str:
        """What is wrong with what else a token is bound to; of a pod's, its node need not be there."""
        for kind, name in ((kinds.SECRET, "secret"), (kinds.POD, "pod"), (kinds.NODE, "node")):
            ref = own.get(name)
            if not ref or (name == "node" and own.get("pod")):
                continue
            kv = await self._store.get(cl.key(kind, namespace, ref["name"]))
            if kv is None:
                return _ENDED
            uid, deleted = _life(kv.value)
            if uid != ref["uid"]:
                return f"{name} UID ({uid}) does not match service account {name} ref claim ({ref['uid']})"
            if self._over(deleted):
                return _ENDED
        return ""

    def _over(self, deleted: str) -> bool:
        """Whether an object was deleted a while ago."""
        leeway = datetime.timedelta(seconds=LEEWAY_S)
        return bool(deleted) and datetime.datetime.fromisoformat(deleted) < self._now - leeway


@lru_cache(maxsize=1024)
def _life(value: bytes) -> tuple[str, str]:
    """uid and deletionTimestamp ("": none) of a stored object. Each request asks of values that seldom change."""
    metadata = orjson.loads(value)["metadata"]
    return metadata["uid"], metadata.get("deletionTimestamp") or ""
