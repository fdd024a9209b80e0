"""What lists and watches look like in bytes, and how they become structs.

A list is one JSON object; its items are taken apart as raw slices of the body first and decoded one by one, so that
one unreadable object spoils nothing but itself, and nobody holds all of them twice. A watch is a line per event,
`{"type": …, "object": …}`, cut anywhere by the transport.
"""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """metadata of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class RawList(msgspec.Struct, frozen=True):
    """A list whose items are still bytes."""

    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and bytes of the object (or Status)."""

    type: str
    object: msgspec.Raw


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of metadata that identifies an object and its version."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Header(msgspec.Struct, frozen=True):
    """Any object, seen through the one field that all have."""

    metadata: Meta = Meta()

    @property
    def key(self) -> str:
        """`namespace/name`, or `name`."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class Cause(msgspec.Struct, frozen=True):
    """details.causes[] of a Status."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """details of a Status."""

    causes: list[Cause] | None = None
    retry_after_seconds: float = 0


class Status(msgspec.Struct, frozen=True):
    """meta/v1 Status: how the API says that something failed."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decoder(cls: type[T]) -> msgspec.json.Decoder[T]:
    """The one decoder for a struct; building it costs far more than using it."""
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = msgspec.json.Decoder(cls)
    return found


class Lines:
    """Cuts a stream of chunks into lines. Linear in the bytes fed, however long a line is."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Every line that this chunk completes, without its newline; empty lines are dropped."""
        head, newline, tail = chunk.partition(b"\n")
        if not newline:
            self._rest.append(chunk)
            return []
        first = b"".join((*self._rest, head)) if self._rest else head
        *middle, last = tail.split(b"\n")
        self._rest = [last] if last else []
        return [line for line in (first, *middle) if line]
