"""Request heads that were seen before: taken apart by looking them up (pure but for what it remembers).

A client sends the same header fields with every request; only the first line and Content-Length differ. So what the
HTTP parser made of them is remembered under their very bytes, and a request that comes whole, with fields that are
known and a first line without anything unusual, needs no parser. Everything else goes to the parser, which alone
decides what a field means: what it refuses is never remembered.
"""

import re
from typing import NamedTuple

Fields = list[tuple[bytes, bytes]]

BODY = "netplane.body"
"""Where a request's scope holds its body when all of it is there."""

MOST = 1024
LONGEST = 8192
_PLAIN = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9_.~%:-][A-Za-z0-9/_.~%:@!$&'()*+,;=-]*)(?:\?([!-\"$-~]*))? HTTP/1\.1"
)
_LENGTH = b"\r\nContent-Length: "
_LENGTH_DIGITS = 9
_CHANGES_MEANING = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class Request(NamedTuple):
    """A whole request: method, path as it was sent, query, fields (names in lower case), body."""

    method: bytes
    path: bytes
    query: bytes
    fields: Fields
    body: bytes


class Heads:
    """What is known, bounded in number and size."""

    def __init__(self) -> None:
        self._known: dict[bytes, Fields] = {}

    def request(self, data: bytes) -> Request | None:
        """The request that `data` is, whole and nothing more; None when the parser must look at it."""
        parts = _parts(data)
        if parts is None:
            return None
        line, block, length, body = parts
        fields = self._known.get(block)
        if fields is None or len(body) != (int(length) if length else 0):
            return None
        found = _PLAIN.fullmatch(line)
        if found is None:
            return None
        method, path, query = found.groups()
        return Request(method, path, query or b"", [*fields, (b"content-length", length)] if length else fields, body)

    def learn(self, data: bytes, fields: Fields) -> None:
        """The parser took `data` for one request of HTTP/1.1 with these fields, on a connection that stays open."""
        parts = _parts(data)
        if parts is None or len(parts[1]) > LONGEST:
            return
        kept = [(name, value) for name, value in fields if name != b"content-length"]
        if len(fields) - len(kept) != bool(parts[2]) or any(name in _CHANGES_MEANING for name, _ in kept):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[parts[1]] = kept


def _parts(data: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """First line, header fields but for Content-Length, its digits (b"": there is none), body; None without all that.

    A head that has not ended yet is none: what is still to come may be more fields, or more of the last one.
    """
    head, ended, body = data.partition(b"\r\n\r\n")
    if not ended:
        return None
    line, _, block = head.partition(b"\r\n")
    before, found, rest = block.partition(_LENGTH)
    if not found:
        return line, block, b"", body
    length, _, after = rest.partition(b"\r\n")
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        return None
    return line, b"%b\r\n\r\n%b" % (before, after), length, body
