"""Secrets of type kubernetes.io/service-account-token: a ServiceAccount's token that lasts as long as the Secret.

Soon after a new one that names an account is stored it gets `token`, `ca.crt` and `namespace` (a controller's work in
Kubernetes), and the account for an owner, so that it goes with it; one whose account is not there is deleted. The token
is good while Secret and account are there, and the Secret still holds it. New programs ask for bound tokens instead;
this is for those that cannot.
Source: "Service Accounts", Kubernetes documentation.
"""

import base64
from pathlib import Path
from typing import Any

import orjson

from netplane.api import kinds
from netplane.apiserver import cluster as cl
from netplane.apiserver.access.tokens import account_user
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import commit
from netplane.store.protocol import Store

Json = dict[str, Any]

TYPE = "kubernetes.io/service-account-token"
ISSUER = "kubernetes/serviceaccount"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
MANAGER = "kube-controller-manager"
_OURS = "kubernetes.io/serviceaccount/"


async def fill(cluster: Cluster, namespace: str, secret: Json) -> None:
    """Give a Secret of the type what it lacks; one whose account is not there stays empty."""
    if not _lacks(secret):
        return
    kv = await cluster.store.get(cl.key(kinds.SERVICE_ACCOUNT, namespace, _named(secret)))
    if kv is None:
        return
    account, ca = orjson.loads(kv.value)["metadata"], await _ca(cluster, namespace)
    name = secret["metadata"]["name"]

    def alter(have: Json) -> Json:
        return _filled(cluster, namespace, have, account, ca) if _lacks(have) else have

    await commit.change(cluster, kinds.SECRET, namespace, name, alter, scope="all", manager=MANAGER)


def _named(secret: Json) -> str:
    """The account that a Secret of the type is for; "" for other Secrets."""
    annotations = secret["metadata"].get("annotations") or {}
    return (annotations.get(NAME) or "") if secret.get("type") == TYPE else ""


def _lacks(secret: Json) -> bool:
    return bool(_named(secret)) and not (secret.get("data") or {}).get("token")


def _filled(cluster: Cluster, namespace: str, secret: Json, account: Json, ca: str) -> Json:
    metadata, name = secret["metadata"], secret["metadata"]["name"]
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": account["name"], "uid": account["uid"]}
    others = [one for one in metadata.get("ownerReferences") or () if one != owner]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), UID: account["uid"]}
    metadata["ownerReferences"] = [*others, owner]
    token = cluster.issuer.key.sign(_claims(namespace, name, account))
    given = {"token": token, "namespace": namespace, "ca.crt": ca}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in given.items() if text}
    secret["data"] = {**(secret.get("data") or {}), **encoded}
    return secret


async def ownerless(store: Store, namespace: str, secret: Json) -> bool:
    """Whether a Secret of the type names an account that is not there, or another that had its name: it goes then."""
    annotations = secret["metadata"].get("annotations") or {}
    if secret.get("type") != TYPE or not annotations.get(NAME):
        return False
    kv = await store.get(cl.key(kinds.SERVICE_ACCOUNT, namespace, annotations[NAME]))
    have = orjson.loads(kv.value)["metadata"]["uid"] if kv is not None else ""
    return not have or annotations.get(UID, have) != have


async def account_of(store: Store, claims: Json, token: str) -> tuple[str, Json, str]:
    """Namespace and {name, uid} of the account whose token it is, and why it is not good any more (""). KeyError."""
    namespace, name = claims[f"{_OURS}namespace"], claims[f"{_OURS}service-account.name"]
    account = {"name": name, "uid": claims[f"{_OURS}service-account.uid"]}
    kv = await store.get(cl.key(kinds.SECRET, namespace, claims[f"{_OURS}secret.name"]))
    if kv is None or orjson.loads(kv.value)["metadata"].get("deletionTimestamp"):
        return namespace, account, "Token has been invalidated"
    held = (orjson.loads(kv.value).get("data") or {}).get("token", "")
    if held != base64.b64encode(token.encode()).decode():
        return namespace, account, "Token does not match server's copy"
    return namespace, account, await _account_problem(store, namespace, account)


async def _account_problem(store: Store, namespace: str, account: Json) -> str:
    name = account["name"]
    kv = await store.get(cl.key(kinds.SERVICE_ACCOUNT, namespace, name))
    if kv is None:
        return f'serviceaccounts "{name}" not found'
    metadata = orjson.loads(kv.value)["metadata"]
    if metadata.get("deletionTimestamp"):
        return f"ServiceAccount {namespace}/{name} has been deleted"
    if metadata["uid"] != account["uid"]:
        return f"ServiceAccount UID ({metadata['uid']}) does not match claim ({account['uid']})"
    return ""


def _claims(namespace: str, secret: str, account: Json) -> Json:
    return {
        "iss": ISSUER,
        f"{_OURS}namespace": namespace,
        f"{_OURS}secret.name": secret,
        f"{_OURS}service-account.name": account["name"],
        f"{_OURS}service-account.uid": account["uid"],
        "sub": account_user(namespace, account["name"]),
    }


async def _ca(cluster: Cluster, namespace: str) -> str:
    """What the namespace's clients trust; before it is published, our own CA."""
    kv = await cluster.store.get(cl.key(kinds.CONFIG_MAP, namespace, "kube-root-ca.crt"))
    if kv is not None:
        return str((orjson.loads(kv.value).get("data") or {}).get("ca.crt", ""))
    return _own_ca(cluster.settings.data_dir) if cluster.settings.tls_cert is None else ""


def _own_ca(data_dir: Path) -> str:
    own = data_dir / "pki" / "ca.crt"
    return own.read_text() if own.is_file() else ""
