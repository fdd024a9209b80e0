"""Answers in another format than JSON, for clients that accept nothing else: YAML and protobuf.

Handlers know JSON only. `Translated` stands between them and the server: it holds a whole answer until it can be
written anew; of a watch it translates line by line.
"""

from collections.abc import Callable
from typing import Any

import orjson
import yaml

from netplane.apiserver.wire import negotiate
from netplane.apiserver.wire.reply import Message, Send

Json = dict[str, Any]


def to_yaml(document: Json) -> bytes:
    """A document, keys in order as the real server sorts them."""
    return yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True).encode()


def to_protobuf(document: Json) -> bytes:
    """An object, a list or a Status."""
    from netplane.api.protobuf import encode  # noqa: PLC0415 - its table is loaded when the first such client comes

    return encode.encode(document)


def _frame(event: Json) -> bytes:
    from netplane.api.protobuf import encode  # noqa: PLC0415 - as above

    return encode.frame(event)


_WHOLE: dict[str, Callable[[Json], bytes]] = {negotiate.YAML: to_yaml, negotiate.PROTOBUF: to_protobuf}
_EVENT: dict[str, Callable[[Json], bytes]] = {
    negotiate.YAML: lambda event: b"---\n" + to_yaml(event),
    negotiate.PROTOBUF: _frame,
}


class Translated:
    """What handlers send, in `media`; answers that are no JSON pass as they are."""

    wants_whole = True  # bodies in one message

    def __init__(self, media: str, transmit: Send) -> None:
        self._media = media
        self._transmit = transmit
        self._held: Message | None = None
        self._streams = False

    async def __call__(self, message: Message) -> None:
        """Send one message on."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._streams:
            await self._transmit({**message, "body": self._events(message.get("body", b""))})
        elif self._held is not None:
            body = _WHOLE[self._media](orjson.loads(message["body"]))
            await self._transmit(_headed(self._held, self._media.encode(), len(body)))
            await self._transmit({**message, "body": body})
        else:
            await self._transmit(message)

    async def _start(self, message: Message) -> None:
        headers = dict(message["headers"])
        if headers.get(b"content-type") != negotiate.JSON.encode():
            await self._transmit(message)
        elif b"content-length" in headers:
            self._held = message
        else:
            self._streams = True
            media = self._media + (";stream=watch" if self._media == negotiate.PROTOBUF else "")
            await self._transmit(_headed(message, media.encode()))

    def _events(self, body: bytes) -> bytes:
        return b"".join(_EVENT[self._media](orjson.loads(line)) for line in body.splitlines())


def _headed(start: Message, media: bytes, length: int | None = None) -> Message:
    """The start of an answer with another type and length."""
    new = {b"content-type": media, **({b"content-length": b"%d" % length} if length is not None else {})}
    return {**start, "headers": [(name, new.get(name, value)) for name, value in start["headers"]]}
