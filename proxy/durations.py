"""Durations as Go writes them: `1h30m`, `500ms`, `0s`."""

import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHORT = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000))
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_s(text: str) -> float:
    """Seconds of a duration.

    Raises:
        ValueError: when it is none.
    """
    if text in ("", "0"):
        return 0.0
    if not re.fullmatch(rf"-?(?:{_PART.pattern})+", text):
        raise ValueError(f"{text!r} is no duration such as 30s or 1h5m")
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total


def text(seconds: float) -> str:
    """As Go prints it: `1h30m0s`, `1.5s`, `10ms`, `0s`."""
    ns = round(abs(seconds) * 1e9)
    sign = "-" if seconds < 0 < ns else ""
    if 0 < ns < 1_000_000_000:
        unit, size = next((unit, size) for unit, size in reversed(_SHORT) if ns >= size)
        return f"{sign}{_decimal(ns / size)}{unit}"
    minutes, left = divmod(ns, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    parts = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{parts}{_decimal(left / 1e9)}s"


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
