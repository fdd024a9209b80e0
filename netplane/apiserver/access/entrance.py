"""Who asks, as whom, and may they: what every request passes first, in Kubernetes' order.

authentication → audit → impersonation → authorization
"""

from collections.abc import Mapping
from typing import NamedTuple

from netplane.api import errors
from netplane.api.rbac import Policy
from netplane.apiserver.access import auth, impersonation, node_authorizer, peer
from netplane.apiserver.access.node_authorizer import Verdict
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.audit import events as audit
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.wire.reply import Scope
from netplane.apiserver.wire.target import Target


class Guest(NamedTuple):
    """Who was let in, and the rules that were asked."""

    user: User
    policy: Policy


async def admit(cluster: Cluster, scope: Scope, target: Target | None, headers: Mapping[bytes, bytes]) -> Guest:
    """Let a request in; `target` None is one that names no resource, `headers` are the scope's, by name.

    The scope holds the query, taken apart. Raises StatusError 401, 403, 500.
    """
    user = scope.get(peer.KEY) or cluster.known.get(headers.get(b"authorization", b""))
    try:
        if user is None:
            user = await auth.authenticate(headers.get(b"authorization", b""), cluster)
    except errors.StatusError:
        if cluster.audit is not None:
            scope[audit.KEY] = cluster.audit.received(scope, target, None, headers)
        raise
    if cluster.audit is not None:
        scope[audit.KEY] = cluster.audit.received(scope, target, user, headers)
    policy = cluster.policies.now or await cluster.policies.current()
    if impersonation.asked(headers):
        ask = auth.ask_of(target, scope["method"], scope["path"], scope["netplane.query"])
        acting = user
        user, verb = impersonation.act_as(policy, acting, scope["headers"], ask, cluster.acting)
        if cluster.audit is not None and user is not acting:
            scope[audit.KEY].impersonated, scope[audit.KEY].constraint = user, verb
    if MASTERS not in user.groups or cluster.audit is not None:
        await _authorize(cluster, policy, user, scope, target)
    return Guest(user, policy)


async def _authorize(cluster: Cluster, policy: Policy, user: User, scope: Scope, target: Target | None) -> None:
    record: audit.Record | None = scope.get(audit.KEY)
    query = scope["netplane.query"]
    ask = auth.ask_of(target, scope["method"], scope["path"], query)
    verdict = Verdict(auth.allows(policy, user, ask))
    if record is not None and verdict.allowed:
        record.grants = (policy, user, ask)
    if not verdict.allowed:
        verdict = await node_authorizer.also(cluster.nodes, policy, user, ask, query.get("fieldSelector", ""))
    if record is not None:
        record.decision, record.why = "allow" if verdict.allowed else "forbid", verdict.why
    if not verdict.allowed:
        raise auth.refusal(user, ask, verdict.why)
