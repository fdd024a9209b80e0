"""What is done with every object that comes in, whichever verb brings it."""

from collections.abc import Callable
from typing import Any

import orjson

from netplane.api import errors, fields, shapes, typecheck, views
from netplane.api.kinds import Kind
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import WriteOptions

Json = dict[str, Any]


def as_stored(kind: Kind, obj: Json) -> Json:
    """An object as it is stored."""
    return obj if kind.stored_in is None else views.stored(obj)


def as_shown(kind: Kind, obj: Json) -> Json:
    """A stored object in the form of `kind`."""
    if kind.stored_in is None:
        return obj
    return {**views.shown(obj), "kind": kind.kind, "apiVersion": kind.api_version}


def strict(
    call: Call,
    obj: Json,
    options: WriteOptions,
    checked: Json | None = None,
    patch: Callable[[], str] | None = None,
    *,
    whole: bool = True,
) -> None:
    """Drop what the schema does not know, and say so as fieldValidation asks. Raises StatusError 400.

    `checked` is an object that is known to be right: what `obj` took over from it needs no second look. `patch` prints
    the patch that made `obj`; it is then the patch that is wrong, which is a 422. `whole`: it is an object, not a
    configuration that says what it says.
    """
    kind = call.kind
    if (metadata := obj.get("metadata")) and type(metadata) is dict and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]  # the same wish: forget them

    def wrong(why: str) -> errors.StatusError:
        if patch is None:
            return errors.cannot_handle(kind.kind, kind.api_version, why)
        return errors.invalid("", "", "", [fields.invalid("patch", patch(), why)])

    try:
        problems = [f'unknown field "{path}"' for path in typecheck.clean(kind, obj, checked, whole=whole)]
    except typecheck.WrongType as error:
        raise wrong(str(error)) from error
    if (problems or call.duplicates) and options.validation == "Strict":
        raise wrong(f"strict decoding error: {', '.join([*problems, *_strictly(call.duplicates)])}")
    problems += call.duplicates
    if options.validation == "Warn":
        call.warnings += problems


def strict_as(call: Call, obj: Json, kind: str, api_version: str, options: WriteOptions) -> None:
    """The same for a body that is no stored kind. Raises StatusError 400."""
    group, _, version = api_version.rpartition("/")
    try:
        problems = [f'unknown field "{path}"' for path in typecheck.clean_as(shapes.of_name(group, version, kind), obj)]
    except typecheck.WrongType as error:
        raise errors.cannot_handle(kind, api_version, str(error)) from error
    if (problems or call.duplicates) and options.validation == "Strict":
        why = f"strict decoding error: {', '.join([*problems, *_strictly(call.duplicates)])}"
        raise errors.cannot_handle(kind, api_version, why)
    if options.validation == "Warn":
        call.warnings += [*problems, *call.duplicates]


def _strictly(duplicates: list[str]) -> list[str]:
    """As a strict refusal names them: what YAML finds is one error of many lines."""
    if not duplicates or not duplicates[0].startswith("line "):
        return duplicates
    return ["\n  ".join(["yaml: unmarshal errors:", *duplicates])]


def guarded(call: Call, alter: Callable[[Json], Json]) -> Callable[[Json], Json]:
    """`alter`, whose outcome `call.guard` must let pass. `call` learns the generation that was."""
    guard = call.guard

    def watched(old: Json) -> Json:
        call.generation = (old.get("metadata") or {}).get("generation") or 0
        if guard is None:
            return alter(old)
        before: Json = orjson.loads(orjson.dumps(old))
        new = alter(old)
        guard(new, before)
        return new

    return watched


def named(obj: Json, name: str) -> None:
    """An object's name is the path's. Raises StatusError 400."""
    have = obj["metadata"].get("name")
    if not have:
        why = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        raise errors.bad_request(why)
    if have != name:
        raise errors.bad_request(f"the name of the object ({have}) does not match the name on the URL ({name})")


def place(call: Call, obj: Json) -> None:
    """An object's namespace is the path's. Raises StatusError 400."""
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    if not call.kind.namespaced:
        metadata.pop("namespace", None)
        return
    namespace = call.target.namespace
    if metadata.setdefault("namespace", namespace) != namespace:
        if metadata["namespace"]:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace
