"""The scale subresource: how many replicas there are and shall be, of whatever kind has them."""

from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import codec, errors, fields
from netplane.api.managed import entries as managed
from netplane.api.more_printers import selector
from netplane.apiserver.admission.incoming import named, place, strict_as
from netplane.apiserver.verbs import applying, commit, reads
from netplane.apiserver.verbs.patching import PATCH_TYPES, document, plain
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import WriteOptions, write_options
from netplane.apiserver.wire.reply import Reply, of_json, warned

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
    options = write_options(call.query, "UpdateOptions")
    body = await bodies.read(call, KIND, VERSION)
    return await _change(call, lambda old: body, options)


async def patch(call: Call) -> Reply:
    """PATCH …/scale, by merge or JSON patch (a Scale has no lists, so strategic is merge), or an apply."""
    if call.media in applying.MEDIA:
        return await _apply(call)
    options = write_options(call.query, "PatchOptions")
    way = PATCH_TYPES.get(call.media)
    if way is None:
        raise errors.unsupported_patch_type()
    given = document(await call.body(), way)
    return await _change(call, lambda old: plain(old, given, "merge" if way == "strategic" else way), options)


async def _change(call: Call, alter: Callable[[Json], Json], options: WriteOptions) -> Reply:
    def scaled(obj: Json) -> Json:
        want = alter(scale_of(obj))
        strict_as(call, want, KIND, VERSION, options)
        new = _scaled(call, obj, want)
        entries = obj["metadata"].get("managedFields") or []
        new["metadata"]["managedFields"] = managed.updated(call.kind, obj, new, entries, _writer(call))
        return new

    return await _commit(call, scaled, options)


async def _apply(call: Call) -> Reply:
    options = write_options(call.query, "PatchOptions", apply=True)
    want = applying.document(KIND, VERSION, await call.body())
    strict_as(call, want, KIND, VERSION, options)

    def scaled(obj: Json) -> Json:
        new = _scaled(call, obj, want)
        said = {"spec": {"replicas": new["spec"]["replicas"]}}
        try:
            made = managed.apply(call.kind, obj, said, _writer(call), force=options.force)
        except errors.StatusError as error:
            raise _as_scale(error, call.kind.api_version) from error
        new["metadata"]["managedFields"] = made.entries
        return new

    return await _commit(call, scaled, options)


def _as_scale(error: errors.StatusError, api_version: str) -> errors.StatusError:
    """A conflict in terms of the Scale: what others own of it is of its version."""
    text = orjson.dumps([error.message, error.details]).decode().replace(f" using {api_version}", f" using {VERSION}")
    message, details = orjson.loads(text)
    return errors.StatusError(error.code, error.reason, message, details)


def _writer(call: Call) -> managed.Writer:
    return managed.Writer(call.manager, "", "scale")  # the real server leaves the time out


def _scaled(call: Call, obj: Json, want: Json) -> Json:
    """`obj` with the replicas of a Scale. Raises StatusError 400, 422."""
    metadata = want.get("metadata") or {}
    named({"metadata": metadata}, call.target.name)
    place(call, {"metadata": dict(metadata)})
    replicas = (want.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        why = "must be greater than or equal to 0"
        raise errors.invalid("autoscaling", KIND, call.target.name, [fields.invalid("spec.replicas", replicas, why)])
    new = {**obj, "metadata": dict(obj["metadata"]), "spec": {**(obj.get("spec") or {}), "replicas": replicas}}
    for field in ("resourceVersion", "uid"):
        if metadata.get(field):
            new["metadata"][field] = metadata[field]
    return new


async def _commit(call: Call, scaled: Callable[[Json], Json], options: WriteOptions) -> Reply:
    target = call.target
    done = await commit.change(call.cluster, call.kind, target.namespace, target.name, scaled, dry_run=options.dry_run)
    obj = orjson.loads(done.value)
    obj["metadata"]["resourceVersion"] = str(done.rev)
    return of_json(scale_of(obj))._replace(headers=warned(call.warnings))


HANDLERS = {
    (plural, "scale", verb): handler
    for plural in ("deployments", "replicasets", "replicationcontrollers", "statefulsets")
    for verb, handler in (("get", get), ("update", put), ("patch", patch))
}
