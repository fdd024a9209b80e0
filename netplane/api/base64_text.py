"""Base64 as Go reads it: line breaks anywhere, padding required, and where exactly a text goes wrong (pure).

Source: RFC 4648 section 4; the offsets are those that clients see of Kubernetes.
"""

import base64
import binascii
import string

_ALPHABET = frozenset(string.ascii_letters + string.digits + "+/")
_BREAKS = "\r\n"


def canonical(text: str) -> str:
    """The one form of a text: no line breaks, and no bits beyond its bytes. Raises ValueError in Go's words."""
    try:
        whole = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"illegal base64 data at input byte {_offset(text)}") from None
    return base64.b64encode(whole).decode()


def size(text: str) -> int:
    """How many bytes a text in its one form stands for."""
    return len(text) * 3 // 4 - text.count("=", -2)


def _offset(text: str) -> int:
    """Where a text that is wrong goes wrong, in bytes."""
    filled = 0
    for at, char in enumerate(text):
        if char in _BREAKS:
            continue
        if char not in _ALPHABET:
            return len(text[:at].encode()) if char != "=" or filled < 2 else _padding(text, at, filled)
        filled = (filled + 1) % 4
    return len(text) - filled


def _padding(text: str, at: int, filled: int) -> int:
    """The same, for a text whose padding begins at `at`."""
    rest = at + 1
    if filled == 2:
        rest = _past_breaks(text, rest)
        if rest == len(text):
            return rest
        if text[rest] != "=":
            return rest - 1
        rest += 1
    return _past_breaks(text, rest)


def _past_breaks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BREAKS:
        at += 1
    return at
