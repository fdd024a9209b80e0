"""Documents that seldom change: encoded and hashed once, and not sent again to who has them (ETag and 304)."""

import hashlib
from typing import NamedTuple

from netplane.apiserver.wire.reply import NO_CACHE, Header, Reply

VARY: Header = (b"vary", b"Accept")


class Document(NamedTuple):
    """An encoded document and its hash, which is its tag."""

    body: bytes
    digest: str


def document(body: bytes) -> Document:
    """A document with its hash."""
    return Document(body, hashlib.sha512(body).hexdigest().upper())


def answer(found: Document, if_none_match: str, media: bytes, cache: Header = NO_CACHE) -> Reply:
    """The document, or 304 without it for a client that has it."""
    headers: tuple[Header, ...] = (VARY, (b"etag", f'"{found.digest}"'.encode()))
    if if_none_match.strip('"') == found.digest:
        return Reply(b"", 304, media, headers, cache)
    return Reply(found.body, 200, media, headers, cache)
