"""The one way in: who asks, may they, what is it about; then the handler; every refusal leaves as a Status.

It is a Starlette route that takes every path a resource can have. One table lookup finds the kind, so serving more
kinds makes no request slower.
"""

import time
from collections.abc import Mapping

from starlette.routing import BaseRoute, Match

from netplane.api import errors
from netplane.apiserver import auth, handlers, options, peer, reply
from netplane.apiserver import target as targets
from netplane.apiserver.call import Call
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.metrics import RequestMetrics
from netplane.apiserver.reply import Receive, Reply, Scope, Send
from netplane.apiserver.target import Target
from netplane.apiserver.tokens import User
from netplane.obs import logs

log = logs.get("apiserver")


class ResourceRoute(BaseRoute):
    """`/api/…` and `/apis/…`, as far as they name resources."""

    def __init__(self, cluster: Cluster, metrics: RequestMetrics) -> None:
        self._cluster = cluster
        self._metrics = metrics

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path names a resource of a group version that is served."""
        if scope["type"] != "http":
            return Match.NONE, {}
        query = options.parse_query(scope["query_string"])
        watch = options.boolean(query, "watch")
        target = targets.parse(scope["method"], scope["path"], watch=watch)
        if target is None or (target.group, target.version) not in targets.GROUP_VERSIONS:
            return Match.NONE, {}
        return Match.FULL, {"netplane.target": target, "netplane.query": query}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to a resource."""
        target: Target = scope["netplane.target"]
        started = time.perf_counter()
        code = 200
        try:
            answer = await self._answer(scope, target, receive, send)
            if answer is not None:
                code = answer.status
                await reply.send(answer, send)
        finally:
            self._metrics.observe(target, code, time.perf_counter() - started)

    async def _answer(self, scope: Scope, target: Target, receive: Receive, send: Send) -> Reply | None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            user = await auth.authenticate(headers.get(b"authorization", b""), scope.get(peer.KEY), self._cluster)
            refuse_impersonation(user, headers)
            policy = await self._cluster.policies.current()
            auth.authorize(policy, user, target, scope["method"], scope["path"])
            if target.kind is None:
                raise errors.no_such_resource()
            query = scope["netplane.query"]
            call = Call(self._cluster, target, target.kind, query, headers, user, receive, policy)
            return await handlers.serve(call, send)
        except errors.StatusError as error:
            return reply.of_error(error)
        except Exception as error:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            return reply.of_error(errors.internal(f"{type(error).__name__}: {error}"))


def refuse_impersonation(user: User, headers: Mapping[bytes, bytes]) -> None:
    """Nobody acts as somebody else here; answering as if they were themselves would mislead. Raises StatusError 403."""
    other = headers.get(b"impersonate-user", b"").decode("latin-1")
    if other:
        why = f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
        raise errors.forbidden("", "users", other, why)


async def guard(cluster: Cluster, scope: Scope) -> Reply | None:
    """Authenticate and authorize a request to a path that is no resource; the refusal, or None."""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    try:
        user = await auth.authenticate(headers.get(b"authorization", b""), scope.get(peer.KEY), cluster)
        refuse_impersonation(user, headers)
        auth.authorize(await cluster.policies.current(), user, None, scope["method"], scope["path"])
    except errors.StatusError as error:
        return reply.of_error(error)
    scope["netplane.user"] = user
    return None
