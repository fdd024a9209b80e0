"""POST, PUT and PATCH of objects and their status."""

from typing import Any

import orjson

from netplane.api import codec, errors, fields, patch, typecheck
from netplane.apiserver import bodies, commit
from netplane.apiserver.call import Call
from netplane.apiserver.commit import Stored
from netplane.apiserver.options import WriteOptions, write_options
from netplane.apiserver.reads import shower
from netplane.apiserver.reply import Reply
from netplane.apiserver.strategies import STRATEGIES

Json = dict[str, Any]

PATCH_TYPES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/json-patch+json": "json",
}


async def create(call: Call) -> Reply:
    """POST to a collection."""
    options = write_options(call.query, "CreateOptions")
    obj = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, obj, options)
    _place(call, obj)
    if obj["metadata"].get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    stored = await commit.create(call.cluster, call.kind, call.target.namespace, obj, dry_run=options.dry_run)
    return answer(call, stored)


async def update(call: Call) -> Reply:
    """PUT of an object, or of its status."""
    options = write_options(call.query, "UpdateOptions")
    body = await bodies.read(call, *bodies.of_kind(call.kind))
    strict(call, body, options)
    _place(call, body)
    name, kind, strategy = call.target.name, call.kind, STRATEGIES[call.kind]
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
    way = PATCH_TYPES.get(call.media)
    if way is None:
        raise errors.StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    document = _document(await call.body(), way)

    def alter(old: Json) -> Json:
        new = patched(call, old, document, way)
        strict(call, new, options)
        return new

    stored = await commit.change(
        call.cluster,
        call.kind,
        call.target.namespace,
        call.target.name,
        alter,
        scope="status" if call.target.subresource == "status" else "main",
        dry_run=options.dry_run,
    )
    return answer(call, stored)


def _document(raw: bytes, way: str) -> Any:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"error decoding patch: {bodies.json_problem(raw, error.pos)}") from error
    expected = list if way == "json" else dict
    if not isinstance(document, expected):
        name = "array" if expected is list else "object"
        raise errors.bad_request(f"error decoding patch: the patch must be a JSON {name}")
    return document


def patched(call: Call, old: Json, document: Any, way: str) -> Json:
    """The object after a patch. Raises StatusError when it cannot be applied, or changes what it must not."""
    kind, name = call.kind, old["metadata"]["name"]
    new: Any
    if way == "merge":
        new = patch.merge(old, document)
    elif way == "json":
        new = patch.json_patch(old, document)
    else:
        new = patch.strategic(old, document, _schema(call))
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


def _schema(call: Call) -> Json:
    from netplane.api import schema  # noqa: PLC0415 - loaded when the first strategic patch comes

    return schema.for_kind(call.kind)


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
