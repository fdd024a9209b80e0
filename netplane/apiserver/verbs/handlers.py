"""From a target to what serves it: verbs are the same for every kind, so this table has no kind in it."""

from collections.abc import Awaitable, Callable

from netplane.api import errors
from netplane.api.kinds import PARTS
from netplane.apiserver.access import reviews, service_tokens
from netplane.apiserver.verbs import (
    binding,
    connecting,
    deletes,
    freshness,
    reads,
    scale,
    subresources,
    watching,
    writes,
)
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.reply import Reply, Send, warning

Handler = Callable[[Call], Awaitable[Reply]]

_VERBS: dict[str, Handler] = {
    "get": reads.get,
    "list": reads.listing,
    "create": writes.create,
    "update": writes.update,
    "patch": writes.patching,
    "delete": deletes.delete,
    "deletecollection": deletes.delete_collection,
}
_OF_COLLECTIONS = frozenset({"list", "create", "deletecollection"})
_SPECIAL = {
    **binding.HANDLERS,
    **subresources.HANDLERS,
    **scale.HANDLERS,
    **service_tokens.HANDLERS,
    **reviews.HANDLERS,
    **connecting.HANDLERS,
}


def find(call: Call) -> Handler:
    """The handler of a request that is not a watch. Raises StatusError 404 or 405."""
    target = call.target
    if target.subresource and target.subresource not in (*call.kind.subresources, *call.kind.connects):
        raise errors.no_such_resource()
    if "list" not in call.kind.verbs and (target.name or (call.kind.namespaced and not target.namespace)):
        raise errors.no_such_resource()  # a review has no name, and is nowhere else
    if target.method == "HEAD":
        raise errors.method_not_allowed()
    if call.kind.namespaced and not target.namespace and target.verb != "list":
        raise errors.method_not_allowed()  # across namespaces there is only reading
    special = _SPECIAL.get((target.resource, target.subresource, target.verb))
    if special is not None:
        return special
    if target.subresource:
        if target.subresource not in PARTS or target.verb not in subresource_verbs(target.resource, target.subresource):
            raise errors.method_not_allowed()
    elif target.verb not in call.kind.verbs or bool(target.name) is (target.verb in _OF_COLLECTIONS):
        raise errors.method_not_allowed()
    return _VERBS[target.verb]


def subresource_verbs(plural: str, subresource: str) -> tuple[str, ...]:
    """What a subresource can do."""
    special = [verb for p, s, verb in _SPECIAL if (p, s) == (plural, subresource)]
    return tuple(sorted(special)) or ("get", "patch", "update")


async def serve(call: Call, send: Send) -> Reply | None:
    """Answer a request; a watch sends for itself and has no reply left."""
    target = call.target
    if call.cluster.store.shared:
        await freshness.ready(call)
    if target.verb == "watch" and not target.subresource and "watch" in call.kind.verbs:
        await watching.watch(call, send)
        return None
    if not call.kind.warning:
        return await freshness.judged(call, find(call))
    told = warning(call.kind.warning)
    call.warnings.insert(0, call.kind.warning)  # refusals say it too
    answer = await freshness.judged(call, find(call))
    return answer if told in answer.headers else answer._replace(headers=(told, *answer.headers))
