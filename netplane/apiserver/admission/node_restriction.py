"""What a node may write: its own Node, Lease, CSINode, devices and pods, whatever else lets nodes write such things.

`check` looks at what can be seen before the request is served; what an update makes of an object is seen by
`call.guard`, once it is known. Source: the NodeRestriction admission plugin of Kubernetes 1.36.
"""

from typing import Any

from netplane.api import errors, kinds, node_labels, pod_refs
from netplane.api.rbac import Ask
from netplane.apiserver import cluster as cl
from netplane.apiserver.access import auth, token_bounds
from netplane.apiserver.access.node_authorizer import GROUP, LEASES, node_of
from netplane.apiserver.access.tokens import User
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call

Json = dict[str, Any]

PLUGIN = "NodeRestriction"
_READS = frozenset({"get", "list", "watch"})
_OPERATIONS = {"update": "UPDATE", "patch": "UPDATE", "delete": "DELETE", "deletecollection": "DELETE"}


def concerns(user: User, verb: str) -> bool:
    """Whether a request is a node's write."""
    return GROUP in user.groups and verb not in _READS


async def check(call: Call) -> None:
    """Let a node's write pass. Raises StatusError 403."""
    node = node_of(call.user)
    if node is None or PLUGIN in call.cluster.settings.without_plugins:
        return
    if not node:
        raise await _refused(call, f'could not determine node from user "{call.user.name}"')
    rule = _RULES.get((call.target.group, call.target.resource))
    why = await rule(call, node) if rule is not None else ""
    if why:
        raise await _refused(call, why)


async def _refused(call: Call, why: str) -> errors.StatusError:
    """403, which names what the path or else the body names."""
    name = call.target.name
    if not name:
        metadata = (await _sent(call, *bodies.of_kind(call.kind))).get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName") or "Unknown"
    return _forbidden(call, name, why)


def _forbidden(call: Call, name: str, why: str) -> errors.StatusError:
    return errors.forbidden(call.target.group, call.target.resource, name, why)


async def _sent(call: Call, kind: str, api_version: str) -> Json:
    """The body of a create; {} when it cannot be read. Raises StatusError 400 for what is of a wrong type."""
    try:
        sent: Json = bodies.drop_nulls(await bodies.read(call, kind, api_version, optional=True))
    except errors.StatusError:
        return {}
    group, _, version = api_version.rpartition("/")
    bodies.check_types(sent, group, version, kind)
    return sent


async def _node(call: Call, node: str) -> str:
    target = call.target
    if target.verb == "create":
        sent = await _sent(call, "Node", "v1")
        name = (sent.get("metadata") or {}).get("name") or ""
        return _new_node(sent, node) if name == node else _OTHER_NODE.format(node, name)
    if target.verb not in ("update", "patch"):
        return "" if target.name == node else _OTHER_NODE.format(node, target.name)

    def guard(new: Json, old: Json | None) -> None:  # after it is known whether there is such a Node
        if target.name != node:
            raise _forbidden(call, target.name, _OTHER_NODE.format(node, target.name))
        why = _new_node(new, node) if old is None else _changed_node(new, old, node)
        if why:
            raise _forbidden(call, target.name, why)

    call.guard = guard
    return ""


_OTHER_NODE = 'node "{}" is not allowed to modify node "{}"'


def _new_node(sent: Json, node: str) -> str:
    if (sent.get("spec") or {}).get("configSource") is not None:
        return f'node "{node}" is not allowed to create pods with a non-nil configSource'
    bad = node_labels.forbidden((sent.get("metadata") or {}).get("labels") or {}, {})
    return f'node "{node}" is not allowed to set the following labels: {", ".join(bad)}' if bad else ""


def _changed_node(new: Json, old: Json, node: str) -> str:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec.get("configSource") is not None and spec["configSource"] != before.get("configSource"):
        return f'node "{node}" is not allowed to update configSource to a new non-nil configSource'
    if (spec.get("taints") or []) != (before.get("taints") or []):
        return f'node "{node}" is not allowed to modify taints'
    metadata, had = new["metadata"], old["metadata"]
    if (metadata.get("ownerReferences") or []) != (had.get("ownerReferences") or []):
        return f'node "{node}" is not allowed to modify ownerReferences'
    bad = node_labels.forbidden(metadata.get("labels") or {}, had.get("labels") or {})
    return f"is not allowed to modify labels: {', '.join(bad)}" if bad else ""


async def _lease(call: Call, node: str) -> str:
    target = call.target
    if target.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    return "" if await _named(call) == node else "can only access node lease with the same name as the requesting node"


async def _named(call: Call) -> str:
    """The name of an object that the path names, or the body of a create."""
    if call.target.verb != "create":
        return call.target.name
    return ((await _sent(call, *bodies.of_kind(call.kind))).get("metadata") or {}).get("name") or ""


async def _csi_node(call: Call, node: str) -> str:
    return "" if await _named(call) == node else "can only access CSINode with the same name as the requesting node"


async def _slice(call: Call, node: str) -> str:
    """What it may update, and which ones at once, is the authorizer's to say: it knows them."""
    target = call.target
    if target.verb == "create":
        slice_ = await _sent(call, *bodies.of_kind(call.kind))
    elif target.verb == "delete":
        kv = await call.cluster.store.get(cl.key(call.kind, "", target.name))
        if kv is None:
            return ""
        slice_ = call.cluster.decoded(kv)
    else:
        return ""
    if (slice_.get("spec") or {}).get("nodeName") == node:
        return ""
    return f"can only {target.verb} ResourceSlice with the same NodeName as the requesting node"


async def _claim(call: Call, node: str) -> str:
    target = call.target
    if target.subresource != "status":
        return "may only update PVC status"

    def guard(new: Json, old: Json | None) -> None:
        if _beside_sizes(new) != _beside_sizes(old or {}):
            why = f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions'
            raise _forbidden(call, target.name, why)

    call.guard = guard
    return ""


def _beside_sizes(claim: Json) -> Json:
    """All of a claim but what a node tells of it, and who told that."""
    metadata, status = claim.get("metadata") or {}, claim.get("status") or {}
    return {
        **{field: value for field, value in claim.items() if field not in ("kind", "apiVersion")},
        "metadata": {field: metadata[field] for field in metadata if field not in _TOLD_BY and metadata[field]},
        "status": {field: status[field] for field in status if field not in _SIZES and status[field]},
    }


_TOLD_BY = frozenset({"managedFields", "resourceVersion"})
_SIZES = frozenset({"capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"})


async def _pod(call: Call, node: str) -> str:
    target = call.target
    if target.subresource not in ("", "status", "eviction"):
        return f"unexpected pod subresource \"{target.subresource}\", only 'status' and 'eviction' are allowed"
    if target.verb == "create" and not target.subresource:
        return await _mirror(call, await _sent(call, "Pod", "v1"), node)
    words = _POD_WRITES.get((target.verb, target.subresource))
    if words is None:
        operation = _OPERATIONS.get(target.verb, target.verb.upper())
        more = "" if target.subresource else f', node "{node}" can only create and delete mirror pods'
        return f'unexpected operation "{operation}"{more}'
    if target.subresource == "status":
        call.guard = _status_guard(call, node)
    return "" if await _on_node(call, target.name, node) else words.format(node=node)


_POD_WRITES = {
    ("delete", ""): 'node "{node}" can only delete pods with spec.nodeName set to itself',
    ("update", "status"): 'node "{node}" can only update pod status for pods with spec.nodeName set to itself',
    ("patch", "status"): 'node "{node}" can only update pod status for pods with spec.nodeName set to itself',
    ("create", "eviction"): "node {node} can only evict pods with spec.nodeName set to itself",
}


def _status_guard(call: Call, node: str) -> Any:
    def guard(new: Json, old: Json | None) -> None:
        if (new["metadata"].get("labels") or {}) != ((old or {}).get("metadata", {}).get("labels") or {}):
            raise _forbidden(call, call.target.name, f'node "{node}" cannot update labels through pod status')
        now, was = new.get("status") or {}, (old or {}).get("status") or {}
        for field, what in _NOT_A_NODES.items():  # what they name is a node's to read
            if (now.get(field) or None) != (was.get(field) or None):
                raise _forbidden(call, call.target.name, f'node "{node}" cannot update {what}')

    return guard


_NOT_A_NODES = {
    "resourceClaimStatuses": "resource claim statues",
    "extendedResourceClaimStatus": "extended resource claim status",
}


async def _mirror(call: Call, pod: Json, node: str) -> str:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if pod_refs.MIRROR not in (metadata.get("annotations") or {}):
        return f'pod does not have "{pod_refs.MIRROR}" annotation, node "{node}" can only create mirror pods'
    named = {plural for plural, _ in pod_refs.references(pod)}
    if why := _reaches_for(spec, named):
        return why
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    return await _owner(call, metadata.get("ownerReferences") or [], node) or _opens_nothing(spec, named, node)


async def _owner(call: Call, owners: list[Json], node: str) -> str:
    """A mirror pod belongs to its Node, so that it goes with it."""
    owners = [one for i, one in enumerate(owners) if one not in owners[:i]]
    if len(owners) > 1:
        return f'node "{node}" can only create pods with a single owner reference set to itself'
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        return f'node "{node}" can only create pods with an owner reference set to itself'
    if not owner.get("controller"):
        return f'node "{node}" can only create pods with a controller owner reference set to itself'
    if owner.get("blockOwnerDeletion"):
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    kv = await call.cluster.store.get(cl.key(kinds.NODE, "", node))
    if kv is None:
        raise errors.not_found("", "nodes", node)
    uid = call.cluster.decoded(kv)["metadata"]["uid"]
    if owner.get("uid") != uid:
        return f"node {node} UID mismatch: expected {owner.get('uid', '')} got {uid}"
    return ""


def _reaches_for(spec: Json, named: set[str]) -> str:
    """What no mirror pod may name, whoever makes it: admission plugin ServiceAccount comes first."""
    for plural, words in (("serviceaccounts", "service accounts"), ("secrets", "secrets")):
        if plural in named:
            return f"a mirror pod may not reference {words}"
    sources = [one for volume in spec.get("volumes") or () for one in pod_refs.projected(volume)]
    if any(one.get("serviceAccountToken") is not None for one in sources):
        return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def _opens_nothing(spec: Json, named: set[str], node: str) -> str:
    """A mirror pod names nothing that its node could then read."""
    found = "configmaps" if "configmaps" in named else "resourceclaims" if spec.get("resourceClaims") else ""
    for volume in spec.get("volumes") or ():
        inside = (volume, *pod_refs.projected(volume))
        found = found or next((words for one in inside for field, words in _SOURCES.items() if one.get(field)), "")
    return f'node "{node}" can not create pods that reference {found}' if found else ""


_SOURCES = {
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


async def _on_node(call: Call, name: str, node: str) -> bool:
    """Whether a pod is on a node; one that is not there is let by, to be told so, or told so here (evictions)."""
    kv = await call.cluster.store.get(cl.key(kinds.POD, call.target.namespace, name))
    if kv is None and call.target.subresource == "eviction":
        raise errors.not_found("", "pod", name)  # as the real server words it
    return kv is None or (call.cluster.decoded(kv).get("spec") or {}).get("nodeName") == node


async def _token(call: Call, node: str) -> str:
    if call.target.subresource != "token" or call.target.verb != "create":
        return ""
    spec = (await _sent(call, "TokenRequest", "authentication.k8s.io/v1")).get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if ref.get("kind") != "Pod" or ref.get("apiVersion") != "v1" or not ref.get("name"):
        return "node requested token not bound to a pod"
    if not ref.get("uid"):
        return "node requested token with a pod binding without a uid"
    kv = await call.cluster.store.get(cl.key(kinds.POD, call.target.namespace, ref["name"]))
    if kv is None:
        raise errors.not_found("", "pod", ref["name"])
    pod = call.cluster.decoded(kv)
    if pod["metadata"]["uid"] != ref["uid"]:
        return token_bounds.another(ref["uid"])
    if (pod.get("spec") or {}).get("nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return _audience(call, pod.get("spec") or {}, spec.get("audiences") or [])


def _audience(call: Call, spec: Json, audiences: list[str]) -> str:
    """A token is for whom the pod's volumes say; a role may say more (verb request-serviceaccounts-token-audience)."""
    if len(audiences) > 1:
        return "node may only request 0 or 1 audiences"
    wanted = audiences[0] if audiences else ""
    sources = [one for volume in spec.get("volumes") or () for one in pod_refs.projected(volume)]
    given = {(one["serviceAccountToken"].get("audience") or "") for one in sources if one.get("serviceAccountToken")}
    target = call.target
    ask = Ask("request-serviceaccounts-token-audience", "", wanted, "", target.namespace, target.name)
    if wanted in given or auth.allows(call.policy, call.user, ask):
        return ""
    why = f"{call.user.name} is not authorized to request tokens for this audience"
    return f'audience "{wanted}" not found in pod spec volume, {why}'


_RULES = {
    ("", "nodes"): _node,
    ("", "pods"): _pod,
    ("", "serviceaccounts"): _token,
    ("", "persistentvolumeclaims"): _claim,
    ("storage.k8s.io", "csinodes"): _csi_node,
    ("resource.k8s.io", "resourceslices"): _slice,
    ("coordination.k8s.io", "leases"): _lease,
}
