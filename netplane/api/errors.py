"""Failures of the API as Kubernetes words them: Status objects, and field errors with their causes.

Source: the Kubernetes API conventions (Response Status Kind) and what kube-apiserver 1.36 answers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from netplane.api.fields import FieldError, go_quote
from netplane.errors import NetplaneError

Json = dict[str, Any]


class StatusError(NetplaneError):
    """A refusal that a client gets as a Status object.

    Args:
        code: the HTTP status.
        reason: the machine-readable reason, for example NotFound; may be empty.
        message: for people.
        details: name, group, kind, uid, causes, retryAfterSeconds; None leaves details out, as some answers do.
        metadata: what a list's answer says beside its items: the token to go on with.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: Json | None = None, metadata: Json | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details
        self.metadata = metadata or {}

    def status(self) -> Json:
        """The Status object, fields in the order the real server writes them."""
        body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        if self.message:
            body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return {**body, "code": self.code}


def details(name: str = "", group: str = "", kind: str = "", **more: Any) -> Json:
    """Status details without their empty parts; `more` is uid, causes or retryAfterSeconds."""
    everything = {"name": name, "group": group, "kind": kind, **more}
    return {key: value for key, value in everything.items() if value not in ("", None, [])}


def qualified(group: str, resource: str) -> str:
    """A resource as messages name it: `services`, `endpointslices.discovery.k8s.io`."""
    return f"{resource}.{group}" if group else resource


def not_found(group: str, resource: str, name: str) -> StatusError:
    """404: no such object. `resource` is the plural."""
    message = f'{qualified(group, resource)} "{name}" not found'
    return StatusError(404, "NotFound", message, details(name, group, resource))


def no_such_resource() -> StatusError:
    """404: a path that names a kind which is not served."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> StatusError:
    """405: a verb that the path does not have."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


_GOING = "object is being deleted: "


def already_exists(group: str, resource: str, name: str, *, going: bool = False) -> StatusError:
    """409: created twice, or (`going`) before the former one is gone."""
    message = f'{_GOING if going else ""}{qualified(group, resource)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, details(name, group, resource))


def generate_name_conflict(group: str, resource: str, name: str, *, going: bool = False) -> StatusError:
    """409: the name generated from generateName exists; the client may simply try again."""
    why = "already exists, the server was not able to generate a unique name for the object"
    message = f'{_GOING if going else ""}{qualified(group, resource)} "{name}" {why}'
    return StatusError(409, "AlreadyExists", message, details(name, group, resource, retryAfterSeconds=1))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, resource: str, name: str, why: str = MODIFIED) -> StatusError:
    """409: a stale resourceVersion, or a precondition that does not hold (then `resource` is the Kind)."""
    message = f'Operation cannot be fulfilled on {qualified(group, resource)} "{name}": {why}'
    return StatusError(409, "Conflict", message, details(name, group, resource))


def uid_precondition(want: str, have: str) -> str:
    """Why a delete with preconditions.uid does not hold."""
    return (
        f"the UID in the precondition ({want}) does not match the UID in record ({have}). "
        "The object might have been deleted and then recreated"
    )


def resource_version_precondition(want: str, have: str) -> str:
    """Why a delete with preconditions.resourceVersion does not hold."""
    return (
        f"the ResourceVersion in the precondition ({want}) does not match the ResourceVersion in record ({have}). "
        "The object might have been modified"
    )


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: every field error at once. `kind` is the Kind, not the plural."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [error.cause() for error in errors]
    message = f'{qualified(group, kind)} "{name}" is invalid' + (f": {listed}" if texts else "")
    return StatusError(422, "Invalid", message, details(name, group, kind, causes=causes))


def bad_request(message: str) -> StatusError:
    """400: the request cannot be understood."""
    return StatusError(400, "BadRequest", message)


def strict_decoding(kind: str, version: str, problems: Sequence[str]) -> StatusError:
    """400: fieldValidation=Strict found unknown or duplicate fields. `problems` as `unknown field "spec.x"`."""
    listed = ", ".join(problems)
    return cannot_handle(kind, version, f"strict decoding error: {listed}")


def cannot_handle(kind: str, api_version: str, why: str, as_kind: str = "") -> StatusError:
    """400: a body that does not decode into the kind it is sent to (`as_kind`, when it is another one)."""
    version = api_version.rpartition("/")[2]
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {as_kind or kind}: {why}')


def unauthorized() -> StatusError:
    """401: credentials that nobody knows."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, resource: str, name: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> StatusError:
    """403. `why` is the whole reason, for example `User "u" cannot list resource …`."""
    subject = f"{qualified(group, resource)} {go_quote(name)}" if name else qualified(group, resource)
    message = f"{subject} is forbidden: {why}" if resource else f"forbidden: {why}"
    return StatusError(403, "Forbidden", message, details(name, group, resource, causes=[dict(c) for c in causes]))


def namespace_terminating(group: str, resource: str, name: str, namespace: str) -> StatusError:
    """403: creating something in a namespace that is being deleted."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    return forbidden(group, resource, name, why, [cause])


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """415: a request body in a format that is not spoken."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message)


def unsupported_patch_type() -> StatusError:
    """415: a PATCH of a type that is not spoken."""
    return StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406: the client accepts no format that is spoken."""
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(accepted))


def too_large(limit_bytes: int) -> StatusError:
    """413: a body over the limit."""
    message = f"Request entity too large: limit is {limit_bytes}"
    return StatusError(413, "RequestEntityTooLarge", message)


def too_many_requests(message: str, retry_after_s: int = 1) -> StatusError:
    """429: come back in `retry_after_s` seconds."""
    return StatusError(429, "TooManyRequests", message, details(retryAfterSeconds=retry_after_s))


def expired(message: str = "The resourceVersion for the provided list is too old.") -> StatusError:
    """410: a resource version or continue token whose history is compacted away."""
    return StatusError(410, "Expired", message)


def continue_expired(token: str) -> StatusError:
    """410: a chunked list whose revision is compacted away; `token` goes on at the newest one."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return StatusError(410, "Expired", message, metadata={"continue": token})


def gone(requested: int, oldest: int) -> StatusError:
    """410: a watch from a revision whose events are compacted away."""
    return expired(f"too old resource version: {requested} ({oldest})")


def too_large_resource_version(requested: int, current: int) -> StatusError:
    """504: a resource version that does not exist yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    return StatusError(504, "Timeout", message, details(causes=[cause], retryAfterSeconds=1))


def not_implemented(group: str, resource: str, name: str, why: str) -> StatusError:
    """501: an object can do it, this server cannot."""
    message = f'{qualified(group, resource)} "{name}": {why}'
    return StatusError(501, "NotImplemented", message, details(name, group, resource))


def timed_out() -> StatusError:
    """504: the answer took longer than the request, or the server, allows."""
    return StatusError(504, "Timeout", "Timeout: request did not complete within the allotted timeout", {})


def unprocessable() -> StatusError:
    """422 for a patch that is understood and cannot be applied, in the real server's words, which do not say why."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def internal(message: str) -> StatusError:
    """500: our fault."""
    text = f"Internal error occurred: {message}"
    return StatusError(500, "InternalError", text, details(causes=[{"message": message}]))


def unknown(message: str) -> StatusError:
    """500 without a reason: a failure that the real server passes on as its libraries word it."""
    return StatusError(500, "", message)


def unavailable(message: str) -> StatusError:
    """503: not now."""
    return StatusError(503, "ServiceUnavailable", message)


def from_json(body: Mapping[str, Any]) -> StatusError:
    """The error a Status object tells of (what a client gets)."""
    return StatusError(
        int(body.get("code") or 0),
        str(body.get("reason") or ""),
        str(body.get("message") or json.dumps(body)),
        body.get("details"),
    )
