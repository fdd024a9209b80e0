"""What a node may write: its own Node, Lease and pods, whatever RBAC says of nodes in general.

A node is a user of group system:nodes named system:node:NAME. Source: the NodeRestriction admission plugin of
Kubernetes 1.36.
"""

from typing import Any

from netplane.api import errors, kinds
from netplane.apiserver import bodies
from netplane.apiserver import cluster as cl
from netplane.apiserver.accounts import MIRROR
from netplane.apiserver.call import Call
from netplane.apiserver.tokens import User

Json = dict[str, Any]

PLUGIN = "NodeRestriction"
GROUP, PREFIX = "system:nodes", "system:node:"
LEASES = "kube-node-lease"
_READS = frozenset({"get", "list", "watch"})
_RESERVED = "node-restriction.kubernetes.io/"


def concerns(user: User, verb: str) -> bool:
    """Whether a request is a node's write."""
    return GROUP in user.groups and verb not in _READS


async def check(call: Call) -> None:
    """Let a node's write pass. Raises StatusError 403."""
    if PLUGIN in call.cluster.settings.without_plugins:
        return
    node = call.user.name.removeprefix(PREFIX) if call.user.name.startswith(PREFIX) else ""
    rule = _RULES.get((call.target.group, call.target.resource))
    if rule is None:
        return
    if not node:
        raise _refused(call, f'could not determine node from user "{call.user.name}"')
    why = await rule(call, node)
    if why:
        raise _refused(call, why)


def _refused(call: Call, why: str) -> errors.StatusError:
    return errors.forbidden(call.target.group, call.target.resource, call.target.name, why)


async def _sent(call: Call, kind: str, api_version: str) -> Json:
    """The body of a create, as far as it can be read: what is wrong with it is told later."""
    try:
        sent: Json = await bodies.read(call, kind, api_version, optional=True)
    except errors.StatusError:
        return {}
    return sent


async def _node(call: Call, node: str) -> str:
    name = call.target.name
    if call.target.verb == "create":
        sent = await _sent(call, "Node", "v1")
        name = (sent.get("metadata") or {}).get("name") or ""
        labels = (sent.get("metadata") or {}).get("labels") or {}
        reserved = sorted(one for one in labels if one.partition("/")[0].endswith(_RESERVED[:-1]))
        if name == node and reserved:
            return f'node "{node}" is not allowed to set the following labels: {", ".join(reserved)}'
    return "" if name == node else f'node "{node}" is not allowed to modify node "{name}"'


async def _lease(call: Call, node: str) -> str:
    target = call.target
    if target.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    name = target.name
    if target.verb == "create":
        name = ((await _sent(call, "Lease", "coordination.k8s.io/v1")).get("metadata") or {}).get("name") or ""
    return "" if name == node else "can only access node lease with the same name as the requesting node"


async def _pod(call: Call, node: str) -> str:
    target = call.target
    if target.verb == "create" and not target.subresource:
        return _mirror(await _sent(call, "Pod", "v1"), node)
    words = _POD_WRITES.get((target.verb, target.subresource))
    if words is None:
        return f'unexpected operation "{target.verb}", node "{node}" can only create, delete and update pod status'
    return "" if await _on_node(call, target.name, node) else words.format(node=node)


_POD_WRITES = {
    ("delete", ""): 'node "{node}" can only delete pods with spec.nodeName set to itself',
    ("update", "status"): 'node "{node}" can only update pod status for pods with spec.nodeName set to itself',
    ("patch", "status"): 'node "{node}" can only update pod status for pods with spec.nodeName set to itself',
    ("create", "eviction"): "node {node} can only evict pods with spec.nodeName set to itself",
}


def _mirror(pod: Json, node: str) -> str:
    if MIRROR not in ((pod.get("metadata") or {}).get("annotations") or {}):
        return f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
    if (pod.get("spec") or {}).get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    return ""


async def _on_node(call: Call, name: str, node: str) -> bool:
    """Whether a pod is on a node; one that is not there is let by, to be told so."""
    kv = await call.cluster.store.get(cl.key(kinds.POD, call.target.namespace, name))
    return kv is None or (call.cluster.decoded(kv).get("spec") or {}).get("nodeName") == node


async def _token(call: Call, node: str) -> str:
    if call.target.subresource != "token":
        return ""
    asked = await _sent(call, "TokenRequest", "authentication.k8s.io/v1")
    ref = (asked.get("spec") or {}).get("boundObjectRef") or {}
    if ref.get("kind") != "Pod" or not ref.get("name"):
        return "node requested token not bound to a pod"
    if not ref.get("uid"):
        return "node requested token with a pod binding without a uid"
    if not await _on_node(call, ref["name"], node):
        return "node requested token bound to a pod scheduled on a different node"
    return ""


_RULES = {
    ("", "nodes"): _node,
    ("", "pods"): _pod,
    ("", "serviceaccounts"): _token,
    ("coordination.k8s.io", "leases"): _lease,
}
