"""Amounts as Kubernetes writes them: 100m, 0.5, 1Gi, 2e3 (pure). Source: resource.Quantity of apimachinery."""

import math
import re
from fractions import Fraction
from functools import lru_cache

from netplane.api import remembering

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_SUFFIX = {0: "", **{exponent: letter for letter, exponent in _DECIMAL.items()}}
_NANO = 10**9


def parse(text: str | float) -> Fraction | None:
    """The amount; None when it is none."""
    return _parse(str(text))


@remembering.short(1024, 64)
def _parse(text: str) -> Fraction | None:
    """The few amounts that all pods ask for are read once."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    suffix = found[2] or ""
    exponent = 0 if suffix in _BINARY else _exponent(suffix)
    if abs(exponent) > MAX_EXPONENT or len(found[1]) + max(exponent, 0) > MAX_DIGITS:
        return None
    number = Fraction(found[1])
    if suffix in _BINARY:
        return number * (1 << 10 * _BINARY[suffix])
    scale = Fraction(10 ** abs(exponent))
    return number * scale if exponent >= 0 else number / scale


def _exponent(suffix: str) -> int:
    """The power of ten that a suffix stands for; MAX_EXPONENT + 1 for what is written too long to be looked at."""
    if suffix in _DECIMAL or not suffix:
        return _DECIMAL.get(suffix, 0)
    return int(suffix[1:]) if len(suffix) <= _LONGEST_SUFFIX else MAX_EXPONENT + 1


MAX_DIGITS, MAX_EXPONENT, _LONGEST_SUFFIX = 4000, 1000, 64
"""What is larger is no amount here: texts of more digits than Python converts (4300) must not come of any."""


@lru_cache(maxsize=1024)
def canonical(text: str | float) -> str:
    """An amount as the API shows it: no fraction, the largest unit that allows that. What is no amount stays.

    The unit stays of its sort: 1024Mi is 1Gi, 0.5 is 500m, 1500e3 is 1500e3. Less than a billionth is rounded up.
    """
    amount = parse(text)
    if amount is None:
        return str(text)
    nanos = math.ceil(abs(amount) * _NANO)
    amount = Fraction(nanos if amount >= 0 else -nanos, _NANO)
    suffix = _suffix(str(text))
    if suffix in _BINARY and amount.denominator == 1 and abs(amount) >= 1024:
        return _binary(amount.numerator)
    exponent = 0 if not amount else max(one for one in _SUFFIX if (amount / Fraction(10) ** one).denominator == 1)
    number = (amount / Fraction(10) ** exponent).numerator
    if suffix[:1] in ("e", "E") and suffix[1:]:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_SUFFIX[exponent]}"


def rounded(text: str | float) -> str:
    """An amount in whole thousandths, rounded up (away from zero)."""
    amount = parse(text)
    if amount is None or (amount * 1000).denominator == 1:
        return canonical(text)
    millis = math.ceil(abs(amount) * 1000)
    return canonical(f"{millis if amount > 0 else -millis}m")


def plus(one: str, other: str) -> str:
    """The sum of two amounts, in the units of the first (of the second when that is nothing)."""
    first, second = parse(one), parse(other)
    if not first or not second:
        return canonical(one if first else other)
    total = first + second
    if _suffix(one) in _BINARY and total.denominator == 1 and abs(total) >= 1024:
        return _binary(total.numerator)
    return canonical(f"{math.ceil(total * _NANO)}n")


def _suffix(text: str) -> str:
    found = _QUANTITY.fullmatch(text)
    return (found[2] or "") if found else ""


def _binary(number: int) -> str:
    power = max(power for power in (0, *_BINARY.values()) if number % (1 << 10 * power) == 0)
    letters = next((name for name, value in _BINARY.items() if value == power), "")
    return f"{number >> 10 * power}{letters}"
