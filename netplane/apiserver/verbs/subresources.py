"""What objects can do beside being read and written: pods/eviction, namespaces/finalize."""

from typing import Any

from netplane.api import errors, fields
from netplane.apiserver.admission.incoming import strict_as
from netplane.apiserver.verbs import binding, evicting, writes
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import delete_options, write_options
from netplane.apiserver.wire.reply import Reply, of_json, warned

Json = dict[str, Any]


async def evict(call: Call) -> Reply:
    """POST pods/NAME/eviction. Raises StatusError 400, 403, 404, 409, 422, 429."""
    asked = write_options(call.query, "CreateOptions")
    told = bodies.parse(await call.body(), call.media, "Eviction").get("apiVersion")
    eviction = await bodies.read(call, "Eviction", _OLD if told == _OLD else _NEW)
    strict_as(call, eviction, "Eviction", _NEW, asked)
    metadata, given = eviction.get("metadata") or {}, eviction.get("deleteOptions") or {}
    binding.own_place(call, metadata)
    if metadata.get("name") != call.target.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    options = delete_options(given, call.query)
    if given.get(_UNREADABLE):
        raise errors.invalid("policy", "Eviction", call.target.name, [fields.invalid(*_NOT_UNREADABLE)])
    options = options._replace(dry_run=options.dry_run or asked.dry_run)
    done = await evicting.evict(call.cluster, call.target.namespace, call.target.name, options)
    return of_json(done, 201)._replace(headers=warned(call.warnings))


_NEW, _OLD = "policy/v1", "policy/v1beta1"
_UNREADABLE = "ignoreStoreReadErrorWithClusterBreakingPotential"
_NOT_UNREADABLE = (
    *(f"deleteOptions.{_UNREADABLE}", True),
    "can not be set for pod eviction, try after removing the option",
)


HANDLERS = {
    ("pods", "eviction", "create"): evict,
    ("namespaces", "finalize", "update"): writes.update,
}
