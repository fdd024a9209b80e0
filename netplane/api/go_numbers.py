"""Whole numbers as Go's package strconv reads them, and what it says of texts that are none (pure)."""

import re

from netplane.api.fields import go_quote

_WHOLE, _NATURAL = re.compile("[+-]?[0-9]+"), re.compile("[0-9]+")
_ZEROS = re.compile("(?<![0-9])0+(?=[0-9])")
_MOST_DIGITS = 20


def whole(text: str, function: str = "ParseInt") -> int:
    """A decimal number of 64 bits with a sign. Raises ValueError in Go's words."""
    return _number(text, function, _WHOLE, -(1 << 63), 1 << 63)


def natural(text: str) -> int:
    """The same without a sign. Raises ValueError in Go's words."""
    return _number(text, "ParseUint", _NATURAL, 0, 1 << 64)


def _number(text: str, function: str, form: re.Pattern[str], low: int, high: int) -> int:
    if not form.fullmatch(text):
        raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: invalid syntax")
    digits = _ZEROS.sub("", text)
    if len(digits) <= _MOST_DIGITS and low <= (number := int(digits)) < high:
        return number
    raise ValueError(f"strconv.{function}: parsing {go_quote(text)}: value out of range")
