"""The one way in: who asks, may they, what is it about; then the handler; every refusal leaves as a Status.

It is a Starlette route that takes every path a resource can have. One table lookup finds the kind, so serving more
kinds makes no request slower.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.routing import BaseRoute, Match

from netplane.api import errors
from netplane.apiserver.access import entrance, escalation
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.admission import node_restriction
from netplane.apiserver.audit import events as audit
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.process.metrics import RequestMetrics
from netplane.apiserver.verbs import handlers
from netplane.apiserver.wire import negotiate, options, reply, straight
from netplane.apiserver.wire import target as targets
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.encoding import Translated
from netplane.apiserver.wire.heads import BODY
from netplane.apiserver.wire.reply import Header, Receive, Reply, Scope, Send
from netplane.apiserver.wire.target import Target
from netplane.obs import logs

log = logs.get("apiserver")

_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_TIMED_OUT = reply.of_error(errors.timed_out())


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
        watch = bool(query) and options.boolean(query, "watch")
        target = targets.parse(scope["method"], scope["path"], watch=watch)
        if target is None or (target.group, target.version) not in targets.GROUP_VERSIONS:
            return Match.NONE, {}
        return Match.FULL, {"netplane.target": target, "netplane.query": query}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to a resource."""
        target: Target = scope["netplane.target"]
        started = time.perf_counter()
        code = 200
        headers = _first(scope["headers"])
        tables = target.kind is None or "get" in target.kind.verbs  # reviews have none
        media = negotiate.output(headers.get(b"accept", b""), tables=tables)
        if media != negotiate.JSON and media:
            send = Translated(media, send)
        try:
            answer = await self._answer(scope, target, headers, receive, send, started, spoken=bool(media))
            if (record := scope.get(audit.KEY)) is not None:
                answer = audit.answered(record, answer)
            if answer is not None:
                code = answer.status
                if media == negotiate.JSON and negotiate.pretty(
                    scope["netplane.query"].get("pretty"), headers.get(b"user-agent", b"")
                ):
                    answer = reply.pretty(answer)
                if not straight.whole(answer, send):
                    await reply.send(answer, send)
        finally:
            self._metrics.observe(target, code, time.perf_counter() - started)

    async def _answer(
        self,
        scope: Scope,
        target: Target,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        started: float,
        *,
        spoken: bool,
    ) -> Reply | None:
        """Let a request in and serve it; `spoken`: some media type that its client accepts."""
        try:
            query: Mapping[str, str] = scope["netplane.query"]
            if "timeout" in query and target.verb != "watch":
                self._cluster.limits.allowed_s(query["timeout"])  # before it is asked who asks, as the real server
            user, policy = await entrance.admit(self._cluster, scope, target, headers)
            if target.kind is None:
                raise errors.no_such_resource()
            if not spoken:
                raise negotiate.refusal(headers.get(b"accept", b""), of_list=target.verb in ("list", "watch"))
            call = Call(self._cluster, target, target.kind, query, headers, user, receive, policy)
            call.raw = scope.get(BODY)
            if target.verb == "watch":
                return await self._watch(call, send, scope)
            return await self._in_time(call, send, started, scope)
        except errors.StatusError as error:
            return reply.of_error(error)
        except Exception as error:
            return _failed(scope, error)

    async def _watch(self, call: Call, send: Send, scope: Scope) -> Reply | None:
        """A watch passes the gate to begin; then it costs only what changes."""
        limits = self._cluster.limits
        gate = await limits.enter(call.user, "watch")
        if gate is not None:
            gate.leave(call.user.name)
        limits.opened(call.user)
        call.straight = straight.of(send)
        try:
            return await handlers.serve(call, audit.telling(scope.get(audit.KEY), send))
        finally:
            limits.closed(call.user)

    async def _in_time(self, call: Call, send: Send, started: float, scope: Scope) -> Reply | None:
        """Serve within the limits; None when the client was told meanwhile that it takes too long."""
        limits, target = self._cluster.limits, call.target
        flight = limits.begin(target.verb, started, call.query, lambda: reply.send(_TIMED_OUT, send))
        try:
            if target.method not in _WITHOUT_BODY:
                # Before it has a seat: who sends slowly holds up nobody.
                body = await call.body() if call.raw is None else call.raw
                if (record := scope.get(audit.KEY)) is not None:
                    record.read(body, call.media)
            answer = await self._seated(call, send)
        except errors.StatusError as error:
            answer = reply.of_error(error, call.warnings)
        except Exception as error:
            answer = _failed(scope, error)
        late = limits.end(flight)
        if late is None:
            return answer
        await late
        if (record := scope.get(audit.KEY)) is not None:
            record.code = _TIMED_OUT.status
        return None

    async def _seated(self, call: Call, send: Send) -> Reply | None:
        free = MASTERS in call.user.groups
        gate = None if free else await self._cluster.limits.enter(call.user, call.target.verb)
        answer = None
        try:
            if node_restriction.concerns(call.user, call.target.verb):
                await node_restriction.check(call)
            if not free and escalation.concerns(call.user, call.target):
                call.guard = partial(escalation.check, call.policy, call.user, call.kind, call.target)
            answer = await handlers.serve(call, send)
        finally:
            if gate is not None:
                gate.leave(call.user.name, 0 if answer is None else len(answer.body))
        return answer


def _failed(scope: Scope, error: Exception) -> Reply:
    """Our fault: in the log, and told to the client."""
    log.error("request failed", method=scope["method"], path=scope["path"], exc_info=error)
    answer = reply.of_error(errors.internal(f"{type(error).__name__}: {error}"))
    if (record := scope.get(audit.KEY)) is not None:
        record.log("Panic", answer.status, answer.body)
    return answer


def _first(headers: list[Header]) -> Mapping[bytes, bytes]:
    """Headers by name; of one that is there more than once the first counts."""
    return dict(reversed(headers))


async def answer(cluster: Cluster, scope: Scope, handler: Any) -> Reply:
    """Authenticate and authorize a request to a path that is no resource, then ask `handler` (no arguments).

    One that looks like a resource of a group that is not served is asked about as such.
    """
    query = scope["netplane.query"] = options.parse_query(scope["query_string"])
    headers = _first(scope["headers"])
    try:
        if "timeout" in query:
            cluster.limits.allowed_s(query["timeout"])
        target = targets.parse(scope["method"], scope["path"], watch=options.boolean(query, "watch"))
        user, _ = await entrance.admit(cluster, scope, target, headers)
        found = await _described(cluster, user, scope["path"], handler)
    except errors.StatusError as error:
        found = reply.of_error(error)
    if negotiate.pretty(query.get("pretty"), headers.get(b"user-agent", b"")):
        found = reply.pretty(found)
    record = scope.get(audit.KEY)
    return found if record is None else audit.answered(record, found) or found


async def _described(cluster: Cluster, user: User, path: str, handler: Any) -> Reply:
    """What the server says of itself, one user after the other when many ask."""
    gate = await cluster.limits.enter_path(user, path)
    size = 0
    try:
        found: Reply = await handler()
        size = len(found.body)
    finally:
        if gate is not None:
            gate.leave(user.name, size)
    return found
