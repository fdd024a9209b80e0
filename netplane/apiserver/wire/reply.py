"""Answers: bytes that were encoded once, and how they go out."""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import orjson

from netplane.api.errors import StatusError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

PART_BYTES = 256 * 1024

_JSON = b"application/json"
_TEXT = b"text/plain; charset=utf-8"
NO_CACHE: Header = (b"cache-control", b"no-cache, private")


class Reply(NamedTuple):
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = _JSON
    headers: tuple[Header, ...] = ()
    cache: Header = NO_CACHE


def of_json(document: Any, status: int = 200) -> Reply:
    """A JSON document."""
    return Reply(orjson.dumps(document), status)


def text(body: str, status: int = 200) -> Reply:
    """Plain text."""
    return Reply(body.encode(), status, _TEXT)


def of_error(error: StatusError, warnings: Iterable[str] = ()) -> Reply:
    """A refusal, as a Status object; `warnings` is what was said of the body before."""
    headers = warned(warnings)
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        headers = (*headers, (b"retry-after", str(retry).encode()))
    return Reply(orjson.dumps(error.status()), error.code, _JSON, headers)


def warned(messages: Iterable[str]) -> tuple[Header, ...]:
    """Warnings beside an answer, each once. One with control characters, which would end its header, is left out."""
    return tuple(warning(one) for one in dict.fromkeys(messages) if _CONTROL.search(one) is None)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode's category Cc


def warning(message: str) -> Header:
    """A warning beside an answer; kubectl shows it."""
    quoted = message.replace("\\", "\\\\").replace('"', '\\"')
    return (b"warning", f'299 - "{quoted}"'.encode())


PRETTY_BYTES = 1 << 20


def pretty(reply: Reply) -> Reply:
    """A JSON answer with lines and indentation; one that is too large to be read by people stays as it is."""
    if reply.content_type != _JSON or not 0 < len(reply.body) <= PRETTY_BYTES:
        return reply
    return reply._replace(body=orjson.dumps(orjson.loads(reply.body), option=orjson.OPT_INDENT_2))


NOT_FOUND = text("404 page not found\n", 404)._replace(headers=((b"x-content-type-options", b"nosniff"),))


async def send(reply: Reply, transmit: Send) -> None:
    """Give an answer to the server."""
    headers = [
        (b"content-type", reply.content_type),
        reply.cache,
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await transmit({"type": "http.response.start", "status": reply.status, "headers": headers})
    if len(reply.body) > PART_BYTES and not getattr(transmit, "wants_whole", False):
        await _in_parts(reply.body, transmit)
    else:
        await transmit({"type": "http.response.body", "body": reply.body})


async def _in_parts(body: bytes, transmit: Send) -> None:
    """Encrypt and send piece by piece: the client reads the first while the next are made, and others get a turn."""
    whole = memoryview(body)
    for at in range(0, len(body), PART_BYTES):
        part = whole[at : at + PART_BYTES]
        await transmit({"type": "http.response.body", "body": part, "more_body": at + PART_BYTES < len(body)})
