"""What is done with every object that comes in, whichever verb brings it."""

from typing import Any

from netplane.api import errors, typecheck, views
from netplane.api.kinds import Kind
from netplane.apiserver import escalation
from netplane.apiserver.call import Call
from netplane.apiserver.options import WriteOptions

Json = dict[str, Any]


def as_stored(kind: Kind, obj: Json) -> Json:
    """An object as it is stored."""
    return obj if kind.stored_in is None else views.stored(obj)


def as_shown(kind: Kind, obj: Json) -> Json:
    """A stored object in the form of `kind`."""
    if kind.stored_in is None:
        return obj
    return {**views.shown(obj), "kind": kind.kind, "apiVersion": kind.api_version}


def strict(call: Call, obj: Json, options: WriteOptions, checked: Json | None = None) -> None:
    """Drop what the schema does not know, and say so as fieldValidation asks. Raises StatusError 400.

    `checked` is an object that is known to be right: what `obj` took over from it needs no second look.
    """
    kind = call.kind
    try:
        problems = [f'unknown field "{path}"' for path in typecheck.clean(kind, obj, checked)]
    except typecheck.WrongType as error:
        raise errors.cannot_handle(kind.kind, kind.api_version, str(error)) from error
    problems += [f'duplicate field "{path}"' for path in call.duplicates]
    if problems and options.validation == "Strict":
        raise errors.strict_decoding(kind.kind, kind.api_version, problems)
    if options.validation == "Warn":
        call.warnings += problems
    escalation.check(call.policy, call.user, kind, obj)


def place(call: Call, obj: Json) -> None:
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
