"""POST, PUT and PATCH of objects and their status."""

from typing import Any

from netplane.api import codec, errors, fields, typecheck, views
from netplane.api.kinds import Kind
from netplane.apiserver import bodies, commit
from netplane.apiserver import patching as ways
from netplane.apiserver.call import Call
from netplane.apiserver.commit import Stored
from netplane.apiserver.options import WriteOptions, write_options
from netplane.apiserver.reads import shower
from netplane.apiserver.reply import Reply
from netplane.apiserver.strategies import STRATEGIES
from netplane.apiserver.target import stored_kind

Json = dict[str, Any]


def as_stored(kind: Kind, obj: Json) -> Json:
    """An object as it is stored."""
    return obj if kind.stored_in is None else views.stored(obj)


def as_shown(kind: Kind, obj: Json) -> Json:
    """A stored object in the form of `kind`."""
    if kind.stored_in is None:
        return obj
    return {**views.shown(obj), "kind": kind.kind, "apiVersion": kind.api_version}


async def create(call: Call) -> Reply:
    """POST to a collection."""
    options = write_options(call.query, "CreateOptions")
    obj = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, obj, options)
    _place(call, obj)
    if obj["metadata"].get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    kind, obj = stored_kind(call.kind), as_stored(call.kind, obj)
    stored = await commit.create(call.cluster, kind, call.target.namespace, obj, dry_run=options.dry_run)
    return answer(call, stored)


async def update(call: Call) -> Reply:
    """PUT of an object, or of its status."""
    options = write_options(call.query, "UpdateOptions")
    body = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, body, options)
    _place(call, body)
    body = as_stored(call.kind, body)
    name, kind, strategy = call.target.name, stored_kind(call.kind), STRATEGIES[call.kind]
    have = body["metadata"].setdefault("name", name)
    if have != name:
        raise errors.bad_request(f"the name of the object ({have}) does not match the name on the URL ({name})")
    rev = body["metadata"].get("resourceVersion")
    try:
        stored = await commit.change(
            call.cluster,
            kind,
            call.target.namespace,
            name,
            lambda old: _replaced(body, old, conditional=not strategy.unconditional_update, call=call),
            scope="status" if call.target.subresource == "status" else "main",
            dry_run=options.dry_run,
        )
    except errors.StatusError as error:
        if error.code != 404 or call.target.subresource or not strategy.create_on_update or rev:
            raise
        stored = await commit.create(call.cluster, kind, call.target.namespace, body, dry_run=options.dry_run)
    return answer(call, stored)


def _replaced(body: Json, old: Json, *, conditional: bool, call: Call) -> Json:
    if conditional and not body["metadata"].get("resourceVersion"):
        problem = fields.invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise errors.invalid(call.kind.group, call.kind.kind, old["metadata"]["name"], [problem])
    return {**body, "metadata": dict(body["metadata"])}


async def patching(call: Call) -> Reply:
    """PATCH of an object, or of its status."""
    options = write_options(call.query, "PatchOptions")
    way = ways.PATCH_TYPES.get(call.media)
    if way is None:
        raise errors.StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    document = ways.document(await call.body(), way)

    def alter(old: Json) -> Json:
        new = patched(call, as_shown(call.kind, old), document, way)
        strict(call, new, options)
        return as_stored(call.kind, new)

    stored = await commit.change(
        call.cluster,
        stored_kind(call.kind),
        call.target.namespace,
        call.target.name,
        alter,
        scope="status" if call.target.subresource == "status" else "main",
        dry_run=options.dry_run,
    )
    return answer(call, stored)


def patched(call: Call, old: Json, document: Any, way: str) -> Json:
    """The object after a patch. Raises StatusError when it cannot be applied, or changes what it must not."""
    kind, name = call.kind, old["metadata"]["name"]
    new: Any = ways.strategic(old, document, kind) if way == "strategic" else ways.plain(old, document, way)
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise errors.bad_request("the patch leaves no object with metadata")
    if new["metadata"].get("name") != name:
        raise errors.bad_request(
            f"the name of the object ({new['metadata'].get('name', '')}) does not match the name on the URL ({name})"
        )
    if (new.get("kind"), new.get("apiVersion")) != (kind.kind, kind.api_version):
        bodies.check_kind(new, kind.kind, kind.api_version)
    _place(call, new)
    dropped = bodies.drop_nulls(new)
    assert isinstance(dropped, dict)
    return dropped


def strict(call: Call, obj: Json, options: WriteOptions) -> None:
    """Drop what the schema does not know, and say so as fieldValidation asks. Raises StatusError 400."""
    kind = call.kind
    try:
        problems = [f'unknown field "{path}"' for path in typecheck.clean(kind, obj)]
    except typecheck.WrongType as error:
        raise errors.cannot_handle(kind.kind, kind.api_version, str(error)) from error
    problems += [f'duplicate field "{path}"' for path in call.duplicates]
    if problems and options.validation == "Strict":
        raise errors.strict_decoding(kind.kind, kind.api_version, problems)
    if options.validation == "Warn":
        call.warnings += problems


def _place(call: Call, obj: Json) -> None:
    """An object's namespace is the path's. Raises StatusError 400."""
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    if not call.kind.namespaced:
        return
    namespace = call.target.namespace
    if metadata.setdefault("namespace", namespace) != namespace:
        if metadata["namespace"]:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace


def answer(call: Call, stored: Stored) -> Reply:
    """The object as it now stands, with the warnings the request earned."""
    show = shower(call)
    body = show.one(stored.value, stored.rev) if stored.rev else codec.dry_bytes(call.kind, stored.value)
    warnings = tuple((b"warning", f'299 - "{_quoted(text)}"'.encode()) for text in dict.fromkeys(call.warnings))
    return Reply(body, 201 if stored.created else 200, headers=warnings)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
