"""Server-side apply: PATCH with a configuration of which the server remembers who said what."""

import copy
from typing import Any, NamedTuple

import orjson

from netplane.api import errors, patch, typecheck
from netplane.api.errors import StatusError
from netplane.api.kinds import Kind
from netplane.api.managed import entries as managed
from netplane.api.managed import typed
from netplane.api.validation import meta
from netplane.apiserver import cluster as cl
from netplane.apiserver.admission.incoming import as_stored, guarded, named, place, strict
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.verbs import commit, preparing
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
    said = _configuration(call, await call.body(), options)
    config = said.config
    for _ in range(commit.ATTEMPTS):
        try:
            return await _onto(call, said, options)
        except StatusError as error:
            if error.code != 404 or call.target.subresource:
                raise
            if uid := config["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise errors.conflict(call.kind.group, call.kind.plural, call.target.name, why) from error
        try:
            return await _new(call, said._replace(config=copy.deepcopy(config)), options)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    raise errors.conflict(call.kind.group, call.kind.plural, call.target.name)


class _Said(NamedTuple):
    """A configuration: as it is stored, as its applier said it (what is empty is said, too), and as it came."""

    config: Json
    told: Json
    raw: Json


def _configuration(call: Call, raw: bytes, options: WriteOptions) -> _Said:
    kind = call.kind
    config = document(kind.kind, kind.api_version, raw)
    metadata = config.get("metadata")
    if isinstance(metadata, dict):
        if metadata.get("managedFields") is not None:
            raise errors.bad_request("metadata.managedFields must be nil")
        if not metadata.get("name", call.target.name):
            named({"metadata": metadata}, call.target.name)
    if call.checks_duplicates:
        call.duplicates = bodies.yaml_duplicates(raw)
    told = copy.deepcopy(config)
    config = bodies.drop_nulls(config)
    _well_typed(kind, config)
    strict(call, config, options, whole=False)
    place(call, config)
    config["metadata"].setdefault("name", call.target.name)
    named(config, call.target.name)
    return _Said(as_stored(kind, config), as_stored(kind, _bare(told)), told)


def _bare(config: Json) -> Json:
    return {key: value for key, value in config.items() if key not in ("kind", "apiVersion")}


def document(kind: str, api_version: str, raw: bytes) -> Json:
    """The configuration of a body, which must be of this kind. Raises StatusError 400."""
    try:
        found = bodies.yaml_value(raw)
    except ValueError as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from error
    if found is None:
        found = {}
    if not isinstance(found, dict):
        why = f"json: cannot unmarshal {patch.go_kind(found)} into Go value of type map[string]interface {{}}"
        raise errors.bad_request(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}")
    version, name = found.get("apiVersion") or "", found.get("kind") or ""
    if (version, name) != (api_version, kind):
        raise errors.bad_request(f"invalid object type: {_group_version(version)}, Kind={name}")
    return found


def _group_version(api_version: Any) -> str:
    text = str(api_version)
    return text if "/" in text else f"/{text}"


def _well_typed(kind: Kind, config: Json) -> None:
    """Raises StatusError 500, as the real server does, for what the schema does not have."""
    found = typed.problems(kind, config)
    if found:
        metadata = config.get("metadata")
        at = metadata if isinstance(metadata, dict) else {}
        what = f"{at.get('namespace', '')}/{at.get('name', '')}; {_group_version(kind.api_version)}, Kind={kind.kind}"
        listed = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
        raise errors.unknown(f"failed to create typed patch object ({what}): {listed}")


def _writer(call: Call) -> managed.Writer:
    ignored = STRATEGIES[stored_kind(call.kind)].not_owned
    return managed.Writer(call.manager, cl.stamp(), call.target.subresource, ignored)


async def _onto(call: Call, said: _Said, options: WriteOptions) -> Stored:
    kind, writer = stored_kind(call.kind), _writer(call)
    bare = said._replace(config=_bare(said.config))
    wanted_rev = said.config["metadata"].get("resourceVersion")

    def alter(old: Json) -> Json:
        made = _applied(call, old, bare, writer, force=options.force)
        obj = {**made.obj, "kind": old["kind"], "apiVersion": old["apiVersion"]}
        obj["metadata"] = {**obj["metadata"], "managedFields": made.entries}
        if writer.manager == KUBECTL:
            _remember(obj["metadata"], said.raw)
        if wanted_rev:
            obj["metadata"]["resourceVersion"] = wanted_rev
        if not made.entries:
            del obj["metadata"]["managedFields"]
        copied: Json = orjson.loads(orjson.dumps(obj))
        typecheck.clean(kind, copied)  # what Go always writes
        return copied

    target = call.target
    scope = target.subresource or preparing.MAIN
    return await commit.change(
        call.cluster, kind, target.namespace, target.name, guarded(call, alter), scope=scope, dry_run=options.dry_run
    )


def _applied(call: Call, old: Json, said: _Said, writer: managed.Writer, *, force: bool) -> managed.Applied:
    kind = stored_kind(call.kind)
    try:
        return managed.apply(kind, old, said.config, writer, force=force, told=said.told)
    except StatusError as error:
        # kubectl's own client-side past is no conflict: its last-applied annotation says what it set.
        if writer.manager != KUBECTL or not _all_last_applied(old, error):
            raise
        return managed.apply(kind, old, said.config, writer, force=True, told=said.told)


def _remember(metadata: Json, config: Json) -> None:
    """Where kubectl applied on its own side before, its note of what it applied is kept up to date."""
    annotations = dict(metadata.get("annotations") or {})
    if LAST_APPLIED not in annotations:
        return
    noted = copy.deepcopy(config)
    ((noted.get("metadata") or {}).get("annotations") or {}).pop(LAST_APPLIED, None)
    text = orjson.dumps(noted, option=orjson.OPT_SORT_KEYS).decode()
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")  # as Go writes it
    annotations[LAST_APPLIED] = text + "\n"
    if meta.annotations(annotations):
        del annotations[LAST_APPLIED]  # too much for an object
    metadata["annotations"] = annotations


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


async def _new(call: Call, said: _Said, options: WriteOptions) -> Stored:
    kind, config = stored_kind(call.kind), said.config
    entries = managed.apply(kind, None, config, _writer(call), force=True, told=said.told).entries
    typecheck.clean(kind, config)
    if config["metadata"].get("resourceVersion"):
        raise errors.conflict(call.kind.group, call.kind.plural, call.target.name)
    if call.guard is not None:
        call.guard(config, None)
    return await commit.create(
        call.cluster, kind, call.target.namespace, config, dry_run=options.dry_run, entries=entries
    )
