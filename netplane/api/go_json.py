"""JSON as Go's decoder sees it: what is wrong with a text, in its words, and texts that only it takes (pure).

Our decoder is fast and strict, so this runs only where it refused. It takes what RFC 8259 leaves open and Go accepts:
bytes that are no UTF-8 and lone surrogates (both become U+FFFD), numbers that no double can hold.
Source: the scanner of Go's encoding/json, whose messages reach every client of Kubernetes.
"""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 10_000

_SPACE = b" \t\r\n"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)?")
_DIGITS = re.compile(rb"[0-9]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = frozenset(b"0123456789abcdefABCDEF")
_VALUE, _KEY = "looking for beginning of value", "looking for beginning of object key string"


class GoJSONError(ValueError):
    """A text that is no JSON; what it says is what Go says."""


def loads(raw: bytes) -> Any:
    """Decode. Raises GoJSONError."""
    _Scanner(raw).check()
    try:
        return _paired(built(raw))
    except RecursionError:  # well formed, and deeper than Python goes
        raise GoJSONError(TOO_DEEP) from None


def built(raw: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What a text that is JSON to Go stands for, `pairs` made of its objects. Raises RecursionError."""
    return json.loads(raw.decode("utf-8", "replace"), parse_int=_integer, object_pairs_hook=pairs)


def _integer(digits: str) -> int | float:
    """What has more than 64 bits is a double, as in every other text."""
    if len(digits) <= _MOST_DIGITS and -(1 << 63) <= (number := int(digits)) < 1 << 64:
        return number
    return float(digits)


TOO_DEEP = "exceeded max depth"
_MOST_DIGITS = 20
_LONE = re.compile("[\ud800-\udfff]")


def writable(text: str) -> str:
    """A text that can be written as UTF-8: surrogates without their other half are replaced."""
    return _LONE.sub("\ufffd", text)


def _paired(value: Any) -> Any:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, list):
        return [_paired(one) for one in value]
    return {writable(key): _paired(one) for key, one in value.items()} if isinstance(value, dict) else value


class _Scanner:
    """One pass over a text; it builds nothing."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0
        self._open: list[int] = []

    def check(self) -> None:
        """Raise GoJSONError where the text goes wrong."""
        wanted = True
        while wanted or self._open:
            wanted = self._value() if wanted else self._next()
        self._skip()
        if self._at < len(self._raw):
            raise self._wrong("after top-level value")

    def _skip(self) -> None:
        while self._at < len(self._raw) and self._raw[self._at] in _SPACE:
            self._at += 1

    def _peek(self) -> int:
        if self._at >= len(self._raw):
            raise GoJSONError("unexpected end of JSON input")
        return self._raw[self._at]

    def _wrong(self, where: str) -> GoJSONError:
        return GoJSONError(f"invalid character {_quoted(self._raw[self._at])} {where}")

    def _value(self) -> bool:
        """One value; of an object or a list only what opens it. Whether another value must follow at once."""
        self._skip()
        first = self._peek()
        if first in b"{[":
            return self._enter(first)
        if first == ord('"'):
            self._string()
        elif first in _LITERALS:
            self._literal(_LITERALS[first])
        elif first in b"-0123456789":
            self._number()
        else:
            raise self._wrong(_VALUE)
        return False

    def _enter(self, bracket: int) -> bool:
        self._at += 1
        self._open.append(bracket)
        if len(self._open) > MAX_DEPTH:
            raise GoJSONError(TOO_DEEP)
        self._skip()
        closing = bracket + 2  # ASCII: { } and [ ] are two apart
        if self._peek() == closing:
            return self._leave()
        return self._member(bracket)

    def _leave(self) -> bool:
        self._at += 1
        self._open.pop()
        return False

    def _member(self, bracket: int) -> bool:
        if bracket == ord("{"):
            self._key()
        return True

    def _key(self) -> None:
        self._skip()
        if self._peek() != ord('"'):
            raise self._wrong(_KEY)
        self._string()
        self._skip()
        if self._peek() != ord(":"):
            raise self._wrong("after object key")
        self._at += 1

    def _next(self) -> bool:
        """What follows a member or an element: the end, or a comma and the next one, whose value must follow."""
        self._skip()
        found, bracket = self._peek(), self._open[-1]
        if found == bracket + 2:
            return self._leave()
        if found != ord(","):
            raise self._wrong("after object key:value pair" if bracket == ord("{") else "after array element")
        self._at += 1
        return self._member(bracket)

    def _string(self) -> None:
        self._at += 1
        while True:
            found = _PLAIN.match(self._raw, self._at)
            assert found is not None
            self._at = found.end()
            stop = self._peek()
            if stop == ord('"'):
                self._at += 1
                return
            if stop != ord("\\"):
                raise self._wrong("in string literal")
            self._escape()

    def _escape(self) -> None:
        self._at += 1
        code = self._peek()
        if code not in b'bfnrt\\/"u':
            raise self._wrong("in string escape code")
        self._at += 1
        for _ in range(4 if code == ord("u") else 0):
            if self._peek() not in _HEX:
                raise self._wrong("in \\u hexadecimal character escape")
            self._at += 1

    def _literal(self, word: bytes) -> None:
        for letter in word:
            if self._peek() != letter:
                raise self._wrong(f"in literal {word.decode()} (expecting '{chr(letter)}')")
            self._at += 1

    def _number(self) -> None:
        found = _NUMBER.match(self._raw, self._at)
        assert found is not None
        self._at = found.end()
        if found[0] == b"-":
            self._peek()
            raise self._wrong("in numeric literal")
        if self._raw[self._at : self._at + 1] == b".":
            self._at += 1
            self._digits("after decimal point in numeric literal")
        if self._raw[self._at : self._at + 1] in (b"e", b"E"):
            self._at += 1
            if self._raw[self._at : self._at + 1] in (b"+", b"-"):
                self._at += 1
            self._digits("in exponent of numeric literal")

    def _digits(self, where: str) -> None:
        if self._peek() not in b"0123456789":
            raise self._wrong(where)
        found = _DIGITS.match(self._raw, self._at)
        assert found is not None
        self._at = found.end()


_NAMED = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 92: "\\\\", 39: "\\'", 34: '"'}


def _quoted(byte: int) -> str:
    """A byte as Go names it, taken for a character of its own."""
    letter = chr(byte)
    shown = _NAMED.get(byte) or (
        letter if letter.isprintable() else f"\\x{byte:02x}" if byte < 128 else f"\\u{byte:04x}"
    )
    return f"'{shown}'"
