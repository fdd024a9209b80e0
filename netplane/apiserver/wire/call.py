"""One request to a resource: what handlers get instead of a framework's request object."""

from collections.abc import Callable, Mapping
from typing import Any

from netplane.api import errors
from netplane.api.kinds import Kind
from netplane.api.rbac import Policy
from netplane.apiserver.access.tokens import User
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.wire import negotiate
from netplane.apiserver.wire.options import MANAGER_LENGTH
from netplane.apiserver.wire.reply import Receive
from netplane.apiserver.wire.straight import Straight
from netplane.apiserver.wire.target import Target

Json = dict[str, Any]

BODY_LIMIT_BYTES = 3 * 1024 * 1024


class Call:
    """A request that passed the door by `policy`. `kind` is served; `warnings` go out as headers of the answer,
    `duplicates` says what the body gives twice. `guard`, if set, sees what the request makes of an object (new
    and old; None: there was none) before that is stored, and raises StatusError for what must not be. `straight`, if
    set, is a way for framed bytes. `generation` is what the object had before, once that is known. `raw` is the body,
    once it is there.
    """

    def __init__(
        self,
        cluster: Cluster,
        target: Target,
        kind: Kind,
        query: Mapping[str, str],
        headers: Mapping[bytes, bytes],
        user: User,
        receive: Receive,
        policy: Policy,
    ) -> None:
        self.cluster = cluster
        self.target = target
        self.kind = kind
        self.query = query
        self.headers = headers
        self.user = user
        self.receive = receive
        self.policy = policy
        self.warnings: list[str] = []
        self.duplicates: list[str] = []
        self.generation = 0
        self.guard: Callable[[Json, Json | None], None] | None = None
        self.straight: Straight | None = None
        self.raw: bytes | None = None

    @property
    def form(self) -> negotiate.Form:
        """The form of answer the client wants."""
        return negotiate.form(self.headers.get(b"accept", b""))

    @property
    def media(self) -> str:
        """The media type of the body; none given means JSON (the Python client sends none)."""
        given = self.headers.get(b"content-type")
        return negotiate.base(given) if given else negotiate.JSON

    @property
    def checks_duplicates(self) -> bool:
        """Whether the client wants to hear of what its body says twice."""
        return self.query.get("fieldValidation") in ("Strict", "Warn")

    @property
    def manager(self) -> str:
        """Who writes, as managedFields name it: as told, or the program that asks."""
        given = self.query.get("fieldManager")
        if given:
            return given
        return negotiate.program(self.headers.get(b"user-agent", b""))[:MANAGER_LENGTH] or "unknown"

    async def body(self) -> bytes:
        """The whole body. Raises StatusError 413 when it is over the limit, 400 when the client hangs up."""
        if self.raw is None:
            if int(self.headers.get(b"content-length", b"0")) > BODY_LIMIT_BYTES:
                raise errors.too_large(BODY_LIMIT_BYTES)
            self.raw = await self._read()
        return self.raw

    async def _read(self) -> bytes:
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            chunks = [body]
            size = len(body)
            while message.get("more_body") and size <= BODY_LIMIT_BYTES:
                message = await self.receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
            body = b"".join(chunks)
        if message["type"] == "http.disconnect":
            raise errors.bad_request("unexpected EOF")
        if len(body) > BODY_LIMIT_BYTES:
            raise errors.too_large(BODY_LIMIT_BYTES)
        return body
