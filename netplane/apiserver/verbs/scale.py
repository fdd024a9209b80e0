"""The scale subresource: how many replicas there are and shall be, of whatever kind has them."""

from typing import Any

import orjson

from netplane.api import codec, errors, fields
from netplane.api.more_printers import selector
from netplane.apiserver.admission.incoming import named
from netplane.apiserver.verbs import commit, reads
from netplane.apiserver.verbs.patching import PATCH_TYPES, document, plain
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, of_json

Json = dict[str, Any]

KIND, VERSION = "Scale", "autoscaling/v1"
_COPIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Json) -> Json:
    """An object's Scale."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = selector(spec.get("selector"))
    return {
        "kind": KIND,
        "apiVersion": VERSION,
        "metadata": {key: obj["metadata"][key] for key in _COPIED if key in obj["metadata"]},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {"replicas": status.get("replicas", 0), **({"selector": found} if found != "<none>" else {})},
    }


async def get(call: Call) -> Reply:
    """GET …/scale."""
    kv = await reads.stored(call)
    return of_json(scale_of(codec.decode(call.kind, kv.value, kv.mod_rev)))


async def put(call: Call) -> Reply:
    """PUT …/scale."""
    body = await bodies.read(call, KIND, VERSION)
    return await _change(call, lambda old: body, "UpdateOptions")


async def patch(call: Call) -> Reply:
    """PATCH …/scale, by merge or JSON patch (a Scale has no lists, so strategic is merge)."""
    way = PATCH_TYPES.get(call.media)
    if way is None:
        raise errors.unsupported_patch_type()
    given = document(await call.body(), way)
    return await _change(call, lambda old: plain(old, given, "merge" if way == "strategic" else way), "PatchOptions")


async def _change(call: Call, alter: Any, options_kind: str) -> Reply:
    options = write_options(call.query, options_kind)

    def scaled(obj: Json) -> Json:
        want = alter(scale_of(obj))
        bodies.check_types(want, "autoscaling", "v1", KIND)
        named({"metadata": want.get("metadata") or {}}, call.target.name)
        replicas = (want.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            why = "must be greater than or equal to 0"
            raise errors.invalid(
                "autoscaling", KIND, call.target.name, [fields.invalid("spec.replicas", replicas, why)]
            )
        if rev := (want.get("metadata") or {}).get("resourceVersion"):
            obj["metadata"]["resourceVersion"] = rev
        obj.setdefault("spec", {})["replicas"] = replicas
        return obj

    done = await commit.change(
        call.cluster, call.kind, call.target.namespace, call.target.name, scaled, dry_run=options.dry_run
    )
    obj = orjson.loads(done.value)
    obj["metadata"]["resourceVersion"] = str(done.rev)
    return of_json(scale_of(obj))


HANDLERS = {
    (plural, "scale", verb): handler
    for plural in ("deployments", "replicasets", "replicationcontrollers", "statefulsets")
    for verb, handler in (("get", get), ("update", put), ("patch", patch))
}
