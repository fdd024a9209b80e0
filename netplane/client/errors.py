"""What can go wrong between a client and an apiserver, as exceptions a caller can tell apart."""

from typing import ClassVar

import msgspec

from netplane.client import wire
from netplane.errors import NetplaneError


class ApiError(NetplaneError):
    """The apiserver refused, or could not be asked.

    `code` is the HTTP status (0: no answer), `reason` the machine-readable word of the Status, `retry_after_s` what
    the server asked for (0: nothing).
    """

    hint_text: ClassVar[str] = ""

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, hint=self.hint_text)
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotFound(ApiError):
    """404: no such object, namespace or resource."""


class Conflict(ApiError):
    """409: the object changed since it was read; read it again and repeat."""


class AlreadyExists(ApiError):
    """409: an object of this name exists."""


class Expired(ApiError):
    """410: the resource version is too old; list again."""


class Unauthorized(ApiError):
    """401: the credentials were not accepted."""

    hint_text = "check the token or certificate of the kubeconfig's user"


class Forbidden(ApiError):
    """403: the user is known but may not do this."""

    hint_text = "give the kubeconfig's user a role that allows it"


class NamespaceTerminating(Forbidden):
    """403: the namespace is being deleted and takes nothing new."""

    hint_text = "wait until it is gone, and make it again"


class Unreachable(ApiError):
    """No answer: refused, reset, timed out, or TLS failed."""

    hint_text = "check that the apiserver runs and that the kubeconfig's cluster.server names it"


_BY_CODE: dict[int, type[ApiError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Expired}


def from_status(status: wire.Status, *, asked: str) -> ApiError:
    """The exception for a Status; `asked` (method and path) leads the message."""
    cls = _BY_CODE.get(status.code, ApiError)
    if status.reason == "AlreadyExists":
        cls = AlreadyExists
    elif status.reason in ("Expired", "Gone"):
        cls = Expired
    elif any(one.reason == "NamespaceTerminating" for one in (status.details.causes if status.details else None) or ()):
        cls = NamespaceTerminating
    retry_s = float(status.details.retry_after_seconds) if status.details else 0.0
    text = f"{asked}: {status.message or status.reason or status.code}"
    return cls(text, code=status.code, reason=status.reason, retry_after_s=retry_s)


def from_answer(code: int, body: bytes, *, asked: str, retry_after: str = "") -> ApiError:
    """The exception for a refused request, whether or not its body is a Status."""
    try:
        status = wire.decoder(wire.Status).decode(body)
    except msgspec.DecodeError:
        status = wire.Status(message=f"HTTP {code}: {body[:200].decode(errors='replace')}")
    error = from_status(msgspec.structs.replace(status, code=code), asked=asked)
    if retry_after.isdigit():
        error.retry_after_s = max(error.retry_after_s, float(retry_after))
    return error
