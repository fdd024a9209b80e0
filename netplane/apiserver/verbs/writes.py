"""POST, PUT and PATCH of objects and their status."""

from collections.abc import Awaitable
from typing import Any

import orjson

from netplane.api import codec, errors, fields, go_numbers, warnings
from netplane.apiserver.admission.incoming import as_shown, as_stored, guarded, named, place, strict
from netplane.apiserver.admission.strategies import STRATEGIES
from netplane.apiserver.verbs import applying, commit, identity, preparing
from netplane.apiserver.verbs import patching as ways
from netplane.apiserver.verbs.commit import Stored
from netplane.apiserver.verbs.reads import one
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import write_options
from netplane.apiserver.wire.reply import Reply, warned

Json = dict[str, Any]

NAMES_TRIED = 8
"""As many generated names are tried before a client hears that none was free."""


async def create(call: Call) -> Reply:
    """POST to a collection."""
    options = write_options(call.query, "CreateOptions")
    obj = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, obj, options)
    place(call, obj)
    if call.guard is not None:
        call.guard(obj, None)
    versioned = _names_version(obj)
    obj = as_stored(call.kind, obj)
    if versioned and not options.dry_run:  # told last, as by the real server
        await _made(call, obj, dry_run=True)
        raise errors.StatusError(500, "", "resourceVersion should not be set on objects to be created")
    return answer(call, await _made(call, obj, dry_run=options.dry_run))


def _names_version(obj: Json) -> bool:
    """Whether it says which version it is; what is no number says nothing."""
    try:
        return go_numbers.natural(obj["metadata"].get("resourceVersion") or "0") > 0
    except ValueError:
        return False


async def _made(call: Call, obj: Json, *, dry_run: bool) -> Stored:
    """A new object; where the server makes up its name, several are tried."""

    def once(given: Json) -> Awaitable[Stored]:
        namespace = call.target.namespace
        return commit.create(call.cluster, call.kind, namespace, given, dry_run=dry_run, manager=call.manager)

    if obj["metadata"].get("name") or not obj["metadata"].get("generateName"):
        return await once(obj)
    for _ in range(NAMES_TRIED - 1):
        try:
            return await once(orjson.loads(orjson.dumps(obj)))
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    return await once(obj)


async def update(call: Call) -> Reply:
    """PUT of an object, or of its status."""
    options = write_options(call.query, "UpdateOptions")
    body = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, body, options)
    place(call, body)
    body = as_stored(call.kind, body)
    name, strategy = call.target.name, STRATEGIES[call.kind]
    conditional = not strategy.unconditional_update
    named(body, name)
    try:
        stored = await commit.change(
            call.cluster,
            call.kind,
            call.target.namespace,
            name,
            commit.Replacing(guarded(call, lambda old: _replaced(body, old, conditional=conditional, call=call))),
            scope=call.target.subresource or preparing.MAIN,
            dry_run=options.dry_run,
            manager=call.manager,
        )
    except errors.StatusError as error:
        if error.code != 404 or call.target.subresource or not strategy.create_on_update:
            raise
        identity.check_new(call.kind, body, dry_run=options.dry_run)
        if call.guard is not None:
            call.guard(body, None)
        stored = await commit.create(
            call.cluster, call.kind, call.target.namespace, body, dry_run=options.dry_run, manager=call.manager
        )
    return answer(call, stored)


def _replaced(body: Json, old: Json, *, conditional: bool, call: Call) -> Json:
    if conditional and body["metadata"].get("resourceVersion") in (None, "", "0"):
        problem = fields.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise errors.invalid(call.kind.group, call.kind.plural, old["metadata"]["name"], [problem])
    return {**body, "metadata": dict(body["metadata"])}


async def patching(call: Call) -> Reply:
    """PATCH of an object, or of its status."""
    if call.media in applying.MEDIA:
        return answer(call, await applying.apply(call))
    options = write_options(call.query, "PatchOptions")
    way = ways.PATCH_TYPES.get(call.media)
    if way is None:
        raise errors.unsupported_patch_type()
    raw = await call.body()
    document, nulls = ways.document(raw, way), way != "merge" or b"null" in raw
    if call.checks_duplicates:
        call.duplicates = ways.unknown(document) if way == "json" else bodies.duplicates(raw)

    def alter(old: Json) -> Json:
        shown = as_shown(call.kind, old)
        new = patched(call, shown, document, way)
        strict(call, new, options, None if nulls else shown, ways.shower(way, document, new))
        return as_stored(call.kind, new)

    stored = await commit.change(
        call.cluster,
        call.kind,
        call.target.namespace,
        call.target.name,
        guarded(call, alter),
        scope=call.target.subresource or preparing.MAIN,
        dry_run=options.dry_run,
        manager=call.manager,
    )
    return answer(call, stored)


def patched(call: Call, old: Json, document: Any, way: str) -> Json:
    """The object after a patch. Raises StatusError when it cannot be applied, or changes what it must not."""
    kind, name = call.kind, old["metadata"]["name"]
    new: Any = ways.strategic(old, document, kind) if way == "strategic" else ways.plain(old, document, way)
    if not isinstance(new, dict):
        raise errors.bad_request("the patch leaves no object")
    if (new.get("kind"), new.get("apiVersion")) != (kind.kind, kind.api_version):
        try:
            bodies.check_kind(new, kind.kind, kind.api_version)
        except errors.StatusError as error:  # it is the patch that is wrong
            why = error.message.partition(f" cannot be handled as a {kind.kind}: ")[2] or error.message
            text = ways.shower(way, document, new)()
            raise errors.invalid("", "", "", [fields.invalid("patch", text, why)]) from error
    if new.get("metadata") is None:
        new["metadata"] = {}
    if _readable(new["metadata"]):
        named(new, name)
        place(call, new)
        identity.check_patched(kind, new, old)
    return new


def _readable(metadata: Any) -> bool:
    """Whether metadata can be looked at; what is of a wrong type is told by its field."""
    fields_read = ("name", "namespace", "uid")
    return isinstance(metadata, dict) and all(isinstance(metadata.get(one, ""), str | None) for one in fields_read)


def answer(call: Call, stored: Stored) -> Reply:
    """The object as it now stands, with the warnings the request earned."""
    body = one(call, stored.value, stored.rev) if stored.rev else codec.dry_bytes(call.kind, stored.value)
    call.warnings += [*_earned(call, stored), *stored.told]
    told = warned(call.warnings) if call.warnings else ()
    return Reply(body, 201 if stored.created else 200, headers=told)


def _earned(call: Call, stored: Stored) -> list[str]:
    status = call.target.subresource == "status"
    if not warnings.warned(call.kind, stored.value, status=status):
        return []
    obj = stored.obj or orjson.loads(stored.value)
    respecified = (obj["metadata"].get("generation") or 0) != call.generation
    return warnings.of(call.kind, obj, created=stored.created, status=status, respecified=respecified)
