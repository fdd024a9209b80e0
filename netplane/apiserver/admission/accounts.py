"""The ServiceAccount admission: as whom a new pod runs, and the token, CA and namespace it finds in a volume.

    no account named      `default`; one that is still to be made is waited for, as right after its namespace
    the account           must be there; its imagePullSecrets are the pod's, unless it has its own
    Secrets               only those the account lists, if it says so (enforce-mountable-secrets)
    kube-api-access-…     a projected volume in every container, unless the pod or its account says no

Where nobody makes ServiceAccounts (kube-system has no `default`: an apiserver without controllers), pods that name
none are left as they are. Source: the ServiceAccount admission plugin of Kubernetes 1.36.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson

from netplane.api import errors, kinds, names
from netplane.api.pod_refs import MIRROR, projected
from netplane.apiserver import cluster as cl
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.verbs import suffix

Json = dict[str, Any]

PLUGIN = "ServiceAccount"
DEFAULT = "default"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# A second over the hour: kubelets renew at 80 % of a round hour, and nobody else asks for this number.
TOKEN_S = 3607
ATTEMPTS, AGAIN_S = 10, 0.15


async def admit(cluster: Cluster, namespace: str, pod: Json) -> None:
    """Give a new pod its account and what comes with it. Raises StatusError 403."""
    if PLUGIN in cluster.settings.without_plugins:
        return
    spec, name = pod["spec"], pod["metadata"].get("name", "")
    if MIRROR in (pod["metadata"].get("annotations") or {}):
        _check_mirror(spec, name)
        return
    wanted = spec.get("serviceAccountName") or DEFAULT
    account = await _account(cluster, namespace, wanted)
    if account is None:
        if bad := names.path_segment(wanted):
            why = f'error looking up service account {namespace}/{wanted}: invalid resource name "{wanted}": '
            raise errors.forbidden("", "pods", name, f"{why}[{' '.join(bad)}]")
        if not spec.get("serviceAccountName") and not await _made_here(cluster):
            return
        why = f'error looking up service account {namespace}/{wanted}: serviceaccount "{wanted}" not found'
        raise errors.forbidden("", "pods", name, why)
    inject(pod, account, suffix.five_letters())
    why = _not_mountable(spec, account)
    if why:
        raise errors.forbidden("", "pods", name, why)


async def _account(cluster: Cluster, namespace: str, name: str) -> Json | None:
    key = cl.key(kinds.SERVICE_ACCOUNT, namespace, name)
    kv = await cluster.store.get(key)
    if kv is None and name == DEFAULT and await _made_here(cluster):
        for _ in range(ATTEMPTS):
            await asyncio.sleep(AGAIN_S)
            if (kv := await cluster.store.get(key)) is not None:
                break
    found: Json | None = None if kv is None else orjson.loads(kv.value)
    return found


async def _made_here(cluster: Cluster) -> bool:
    """Whether something in this cluster makes default accounts."""
    return await cluster.store.get(cl.key(kinds.SERVICE_ACCOUNT, "kube-system", DEFAULT)) is not None


def _check_mirror(spec: Json, name: str) -> None:
    """A static pod's mirror is what its kubelet says it is. Raises StatusError 403."""
    if spec.get("serviceAccountName"):
        raise errors.forbidden("", "pods", name, "a mirror pod may not reference service accounts")
    for volume in spec.get("volumes") or ():
        if volume.get("secret"):
            raise errors.forbidden("", "pods", name, "a mirror pod may not reference secrets")
        if any(one.get("serviceAccountToken") for one in projected(volume)):
            why = "a mirror pod may not use ServiceAccountToken volume projections"
            raise errors.forbidden("", "pods", name, why)


def _not_mountable(spec: Json, account: Json) -> str:
    """Which Secret an account that limits its pods to those it lists does not list; "" when there is none."""
    metadata = account["metadata"]
    if (metadata.get("annotations") or {}).get(ENFORCE) != "true":
        return ""
    listed = {one.get("name") for one in account.get("secrets") or ()}
    why = f"is not allowed because service account {metadata['name']} does not reference that"
    for what, secret in _mounted(spec):
        if secret not in listed:
            return f'{what} secret.secretName="{secret}" {why} secret'
    pulled = {one.get("name") for one in account.get("imagePullSecrets") or ()}
    for i, one in enumerate(spec.get("imagePullSecrets") or ()):
        if one.get("name") not in pulled:
            return f'imagePullSecrets[{i}].name="{one.get("name", "")}" {why} imagePullSecret'
    return ""


def _mounted(spec: Json) -> Iterator[tuple[str, str]]:
    """(how, the name) of every Secret that volumes and containers use."""
    for volume in spec.get("volumes") or ():
        if volume.get("secret"):
            yield "volume with", volume["secret"].get("secretName") or ""
    for field, word in (("initContainers", "init container"), ("containers", "container")):
        for container in spec.get(field) or ():
            for one in container.get("env") or ():
                if ref := (one.get("valueFrom") or {}).get("secretKeyRef"):
                    yield (
                        f"{word} {container.get('name')} with envVar {one.get('name')} referencing",
                        ref.get("name") or "",
                    )
            for one in container.get("envFrom") or ():
                if ref := one.get("secretRef"):
                    yield f"{word} {container.get('name')} with envFrom referencing", ref.get("name") or ""


def inject(pod: Json, account: Json, letters: str) -> None:
    """Write an account into a pod, in place; `letters` make the volume's name."""
    spec = pod["spec"]
    spec["serviceAccountName"] = spec["serviceAccount"] = account["metadata"]["name"]
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": one.get("name", "")} for one in account["imagePullSecrets"]]
    wish = spec.get("automountServiceAccountToken")
    if wish is None:
        wish = account.get("automountServiceAccountToken")
    if wish is not False:
        _mount(spec, letters)


def _mount(spec: Json, letters: str) -> None:
    given = [one.get("name") or "" for one in spec.get("volumes") or ()]
    have = next((one for one in given if one.startswith("kube-api-access-")), "")
    volume = have or f"kube-api-access-{letters}"
    needed = False
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        mounts = container.setdefault("volumeMounts", [])
        if not any(one.get("mountPath") == MOUNT_PATH for one in mounts):
            mounts.append({"name": volume, "readOnly": True, "mountPath": MOUNT_PATH})
            needed = True
    if needed and not have:
        spec.setdefault("volumes", []).append({"name": volume, "projected": _projection()})


def _projection() -> Json:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
        "defaultMode": 0o644,
    }
