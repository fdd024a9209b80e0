"""Whole numbers as Go's package strconv reads them, and what it says of texts that are none (pure)."""

import re

from netplane.api.fields import go_quote

_WHOLE = re.compile("[+-]?[0-9]+")
_ZEROS = re.compile("(?<![0-9])0+(?=[0-9])")
_MOST_DIGITS = 20


def whole(text: str, function: str = "ParseInt") -> int:
    """A decimal number of 64 bits with a sign. Raises ValueError in Go's words."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: invalid syntax")
    digits = _ZEROS.sub("", text)
    if len(digits) <= _MOST_DIGITS and -(1 << 63) <= (number := int(digits)) < 1 << 63:
        return number
    raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: value out of range")
