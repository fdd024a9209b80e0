"""Amounts as Kubernetes writes them: 100m, 0.5, 1Gi, 2e3 (pure). Source: resource.Quantity of apimachinery."""

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def parse(text: str | float) -> Fraction | None:
    """The amount; None when it is none."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        return None
    number, suffix = Fraction(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * (1 << 10 * _BINARY[suffix])
    exponent = _DECIMAL.get(suffix, int(suffix[1:]) if suffix and suffix not in _DECIMAL else 0)
    if abs(exponent) > MAX_EXPONENT:
        return None
    scale = Fraction(10 ** abs(exponent))
    return number * scale if exponent >= 0 else number / scale


MAX_EXPONENT = 1000
