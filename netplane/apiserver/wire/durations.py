"""Durations as Go and Kubernetes' flags and queries write them: `32s`, `1m30s`, `100ms`, `0` (pure)."""

import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([a-zµμ]*)")


class BadDuration(ValueError):
    """It is none; the message is Go's."""


def seconds(text: str) -> float:
    """A duration in seconds; may be negative. Raises BadDuration."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest)
    if not rest or "".join(number + unit for number, unit in parts) != rest:
        raise BadDuration(f'time: invalid duration "{text}"')
    for _, unit in parts:
        if not unit:
            raise BadDuration(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS_S:
            raise BadDuration(f'time: unknown unit "{unit}" in duration "{text}"')
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)
