"""Server-side apply: PATCH with a configuration of which the server remembers who said what."""

from typing import Any

import orjson

from netplane.api import errors
from netplane.api.errors import StatusError
from netplane.api.managed import entries as managed
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission.incoming import as_stored, guarded, named, place, strict
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.verbs import commit
from netplane.apiserver.verbs.commit import Stored
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import WriteOptions, write_options
from netplane.apiserver.wire.target import stored_kind

Json = dict[str, Any]

MEDIA = frozenset({"application/apply-patch+yaml", "application/apply-patch"})
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"


async def apply(call: Call) -> Stored:
    """Apply to the object that the path names, or make it. Raises StatusError 400, 404, 409, 422."""
    options = write_options(call.query, "PatchOptions", apply=True)
    config = _configuration(call, await call.body(), options)
    for _ in range(commit.ATTEMPTS):
        try:
            return await _onto(call, config, options)
        except StatusError as error:
            if error.code != 404 or call.target.subresource:
                raise
            if uid := config["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise errors.conflict(call.kind.group, call.kind.plural, call.target.name, why) from error
        try:
            return await _new(call, orjson.loads(orjson.dumps(config)), options)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    raise errors.conflict(call.kind.group, call.kind.plural, call.target.name)


def _configuration(call: Call, raw: bytes, options: WriteOptions) -> Json:
    kind = call.kind
    config = bodies.yaml_document(raw, kind.kind)
    if not isinstance(config, dict):
        raise errors.bad_request("error decoding YAML: the configuration must be an object")
    for field in ("apiVersion", "kind"):
        if not config.get(field):
            raise errors.bad_request(f"invalid object type: {field} must be set in an apply configuration")
    bodies.check_kind(config, kind.kind, kind.api_version)
    if call.checks_duplicates:
        call.duplicates = bodies.yaml_duplicates(raw)
    config = bodies.drop_nulls(config)
    assert isinstance(config, dict)
    strict(call, config, options, whole=False)
    place(call, config)
    if config["metadata"].get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    config["metadata"].setdefault("name", call.target.name)
    named(config, call.target.name)
    return as_stored(kind, config)


def _writer(call: Call) -> managed.Writer:
    ignored = STRATEGIES[stored_kind(call.kind)].not_owned
    return managed.Writer(call.manager, cl.timestamp(cl.now()), call.target.subresource, ignored)


async def _onto(call: Call, config: Json, options: WriteOptions) -> Stored:
    kind, writer = stored_kind(call.kind), _writer(call)
    said = {key: value for key, value in config.items() if key not in ("kind", "apiVersion")}
    wanted_rev = config["metadata"].get("resourceVersion")

    def alter(old: Json) -> Json:
        made = _applied(call, old, said, writer, force=options.force)
        obj = {**made.obj, "kind": old["kind"], "apiVersion": old["apiVersion"]}
        obj["metadata"] = {**obj["metadata"], "managedFields": made.entries}
        if wanted_rev:
            obj["metadata"]["resourceVersion"] = wanted_rev
        if not made.entries:
            del obj["metadata"]["managedFields"]
        copied: Json = orjson.loads(orjson.dumps(obj))
        return copied

    target = call.target
    scope = target.subresource or commit.MAIN
    return await commit.change(
        call.cluster, kind, target.namespace, target.name, guarded(call, alter), scope=scope, dry_run=options.dry_run
    )


def _applied(call: Call, old: Json, said: Json, writer: managed.Writer, *, force: bool) -> managed.Applied:
    kind = stored_kind(call.kind)
    try:
        return managed.apply(kind, old, said, writer, force=force)
    except StatusError as error:
        # kubectl's own client-side past is no conflict: its last-applied annotation says what it set.
        if writer.manager != KUBECTL or not _all_last_applied(old, error):
            raise
        return managed.apply(kind, old, said, writer, force=True)


def _all_last_applied(old: Json, error: StatusError) -> bool:
    text = (old["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return False
    try:
        before = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    fields = [cause["field"] for cause in (error.details or {}).get("causes", ())]
    return all(_says(before, field.lstrip(".").split("[")[0].split(".")) for field in fields)


def _says(obj: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(obj, dict) or part not in obj:
            return False
        obj = obj[part]
    return True


async def _new(call: Call, config: Json, options: WriteOptions) -> Stored:
    kind = stored_kind(call.kind)
    entries = managed.apply(kind, None, config, _writer(call), force=True).entries
    if config["metadata"].get("resourceVersion"):
        raise errors.conflict(call.kind.group, call.kind.plural, call.target.name)
    if call.guard is not None:
        call.guard(config, None)
    return await commit.create(
        call.cluster, kind, call.target.namespace, config, dry_run=options.dry_run, entries=entries
    )
