"""What a node may do: beside RBAC, which has nothing for nodes by itself.

    Secrets, ConfigMaps             read one that a pod on the node names
    ServiceAccounts                 read one that a pod on the node runs as; ask for its token
    Pods                            read those on the node; create, delete, evict, write the status (NodeRestriction
    Nodes                           read its own; write it                                    says which)
    Leases                          its own in kube-node-lease
    everything else                 as role system:node says

A node is a user of group system:nodes named system:node:NAME. Source: the node authorizer of Kubernetes 1.36.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from netplane.api import bootstrap_roles, kinds, selectors
from netplane.api.errors import StatusError
from netplane.api.rbac import Ask, Policy, allows
from netplane.apiserver import cluster as cl
from netplane.apiserver.access.node_index import NodeIndex
from netplane.apiserver.access.tokens import User

GROUP, PREFIX = "system:nodes", "system:node:"
LEASES = "kube-node-lease"
_READS = frozenset({"get", "list", "watch"})
_LEASE_VERBS = frozenset({"get", "create", "update", "patch", "delete"})


class Verdict(NamedTuple):
    """Whether a request may pass; `why` not, if there is more to say than no."""

    allowed: bool
    why: str = ""


YES, NO = Verdict(True), Verdict(False)


def node_of(user: User) -> str | None:
    """The name of the node that a user is; None when it is none."""
    if not user.name.startswith(PREFIX) or GROUP not in user.groups:
        return None
    return user.name.removeprefix(PREFIX)


async def decide(index: NodeIndex, user: User, ask: Ask, fields: str = "") -> Verdict:
    """Whether a user may do this for being a node. `fields` is the field selector of a list or watch."""
    node = node_of(user)
    if node is None:
        return NO
    if not node:
        return Verdict(False, f'unknown node for user "{user.name}"')
    rule = _RULES.get((ask.group, ask.resource))
    if rule is not None and not ask.path:
        return await rule(index, node, ask, fields)
    return YES if any(allows(one, ask) for one in bootstrap_roles.rules()["system:node"]) else NO


async def also(index: NodeIndex, policy: Policy, user: User, ask: Ask, fields: str = "") -> Verdict:
    """What a user may do for being a node, whom no rule lets do it; both say why not."""
    allowed, why = await decide(index, user, ask, fields)
    reasons = (why, "" if allowed else policy.reason(user.name, user.groups, ask))
    return Verdict(allowed, "\n".join(one for one in reasons if one))


async def _related(index: NodeIndex, node: str, ask: Ask) -> Verdict:
    if await index.holds((node, ask.resource, ask.namespace, ask.name)):
        return YES
    return _unrelated(node)


def _unrelated(node: str) -> Verdict:
    return Verdict(False, f"no relationship found between node '{node}' and this object")


async def _readable(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    if ask.verb not in _READS:
        return Verdict(False, "can only read resources of this type")
    if ask.subresource:
        return Verdict(False, "cannot read subresource")
    if not ask.namespace:
        return Verdict(False, "can only read namespaced object of this type")
    if not ask.name:
        return Verdict(False, "No Object name found")
    return await _related(index, node, ask)


async def _account(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    if ask.verb == "get" and not ask.subresource and ask.name:
        return await _related(index, node, ask)
    if ask.verb != "create" or not ask.name:
        return Verdict(False, "can only create tokens for individual service accounts")
    if ask.subresource != "token":
        return Verdict(False, "can only create token subresource of serviceaccount")
    return await _related(index, node, ask)


async def _lease(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    if ask.verb not in _LEASE_VERBS:
        return Verdict(False, "can only get, create, update, patch, or delete a node lease")
    if ask.namespace != LEASES:
        return Verdict(False, f'can only access leases in the "{LEASES}" system namespace')
    if ask.verb != "create" and ask.name != node:
        return Verdict(False, "can only access node lease with the same name as the requesting node")
    return YES


async def _node(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    writes = {"": ("create", "update", "patch"), "status": ("update", "patch")}
    if ask.verb in writes.get(ask.subresource, ()):
        return YES
    if ask.subresource or ask.verb not in _READS:
        return NO
    if ask.name == node:
        return YES
    what = f"'{ask.name}'" if ask.name else "all nodes"
    return Verdict(False, f"node '{node}' cannot read {what}, only its own Node object")


async def _pod(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    writes = {"": ("create", "delete"), "status": ("update", "patch"), "eviction": ("create",)}
    if ask.verb in writes.get(ask.subresource, ()):
        return YES
    if ask.subresource or ask.verb not in _READS:
        return NO
    if ask.verb != "get" and _exact(fields, "spec.nodeName") == node:
        return YES
    if ask.verb == "get" and not ask.name:
        return Verdict(False, "No Object name found")
    if ask.name:
        return await _related(index, node, ask)
    return Verdict(False, "can only list/watch pods with spec.nodeName field selector")


_ONE = "can only get individual resources of this type"


def _get_problem(ask: Ask) -> str:
    """Why a question is not about getting one object; "" when it is."""
    if ask.verb != "get":
        return _ONE
    return "cannot get subresource" if ask.subresource else "" if ask.name else "No Object name found"


async def _gets(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    """What pods name, got one by one; the status of a claim is the kubelet's to write."""
    if ask.resource == "persistentvolumeclaims" and ask.subresource == "status":
        if ask.verb not in ("update", "patch"):
            return Verdict(False, "can only get/update/patch this type")
        return await _related(index, node, ask) if ask.name else Verdict(False, "No Object name found")
    problem = _get_problem(ask)
    return Verdict(False, problem) if problem else await _related(index, node, ask)


async def _volume(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    """A PersistentVolume is a node's whose pods name the claim it is bound to; a VolumeAttachment names its node."""
    if problem := _get_problem(ask):
        return Verdict(False, problem)
    kind = kinds.PERSISTENT_VOLUME if ask.resource == "persistentvolumes" else kinds.VOLUME_ATTACHMENT
    obj = await index.stored(cl.key(kind, "", ask.name)) or {}
    spec = obj.get("spec") or {}
    if kind is kinds.PERSISTENT_VOLUME:
        claim = spec.get("claimRef") or {}
        need = (node, "persistentvolumeclaims", claim.get("namespace") or "", claim.get("name") or "")
        return YES if claim and await index.holds(need) else _unrelated(node)
    return YES if spec.get("nodeName") == node else _unrelated(node)


async def _csi_node(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    if ask.verb not in _LEASE_VERBS:
        return Verdict(False, "can only get, create, update, patch, or delete a CSINode")
    if ask.subresource:
        return Verdict(False, "cannot authorize CSINode subresources")
    if ask.verb != "create" and ask.name != node:
        return Verdict(False, "can only access CSINode with the same name as the requesting node")
    return YES


async def _slice(index: NodeIndex, node: str, ask: Ask, fields: str) -> Verdict:
    if ask.subresource:
        return Verdict(False, "cannot authorize ResourceSlice subresources")
    if ask.verb == "create":
        return YES
    if ask.verb in ("watch", "list", "deletecollection"):
        if _exact(fields, "spec.nodeName") == node:
            return YES
        return Verdict(False, "can only list/watch/deletecollection resourceslices with nodeName field selector")
    if ask.verb not in _LEASE_VERBS:
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return Verdict(False, f"only the following verbs are allowed for a ResourceSlice: {verbs}")
    if not ask.name:
        return Verdict(False, "No Object name found")
    obj = await index.stored(cl.key(kinds.RESOURCE_SLICE, "", ask.name)) or {}
    return YES if (obj.get("spec") or {}).get("nodeName") == node else _unrelated(node)


def _exact(fields: str, field: str) -> str | None:
    try:
        return selectors.parse_fields(fields).exact(field)
    except StatusError:
        return None


_Rule = Callable[[NodeIndex, str, Ask, str], Awaitable[Verdict]]
_RULES: dict[tuple[str, str], _Rule] = {
    ("", "secrets"): _readable,
    ("", "configmaps"): _readable,
    ("", "serviceaccounts"): _account,
    ("", "pods"): _pod,
    ("", "nodes"): _node,
    ("coordination.k8s.io", "leases"): _lease,
    ("", "persistentvolumeclaims"): _gets,
    ("resource.k8s.io", "resourceclaims"): _gets,
    ("", "persistentvolumes"): _volume,
    ("storage.k8s.io", "volumeattachments"): _volume,
    ("storage.k8s.io", "csinodes"): _csi_node,
    ("resource.k8s.io", "resourceslices"): _slice,
}
