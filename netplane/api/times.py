"""Times as Go reads and writes them: RFC 3339 in, UTC out, and what is wrong with what is no time (pure).

Two forms: whole seconds (metav1.Time, of which a fraction is dropped) and microseconds (metav1.MicroTime, which wants
six digits). Source: Go's time.Parse, whose messages clients see.
"""

import datetime
import re
from functools import lru_cache

from netplane.api.fields import go_quote

_DATE = (
    ("2006", r"\d{4}", ""), ("-", "-", ""), ("01", r"\d\d", "month"), ("-", "-", ""), ("02", r"\d\d", "day"),
    ("T", "T", ""), ("15", r"\d\d", "hour"), (":", ":", ""), ("04", r"\d\d", "minute"), (":", ":", ""),
    ("05", r"\d\d", "second"),
)  # fmt: skip
_RANGES = {"month": (1, 12), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
_MICRO, _ZONE = ".000000", "Z07:00"
_FRACTION = re.compile(r"[.,]\d+")
_SIX = re.compile(r"[.,]\d{6}")
_OFFSET = re.compile(r"Z|[+-](\d\d):(\d\d)")


def canonical(text: str, *, micro: bool = False) -> str:
    """A time in its one form. Raises ValueError in Go's words."""
    return _remembered(text, micro) if len(text) <= LONGEST_REMEMBERED else _canonical(text, micro)


LONGEST_REMEMBERED = 40


@lru_cache(maxsize=1024)
def _remembered(text: str, micro: bool) -> str:
    """Times come back: each write of an object brings those of the writes before."""
    return _canonical(text, micro)


def _canonical(text: str, micro: bool) -> str:
    layout = "".join(step for step, _, _ in _DATE) + (_MICRO if micro else "") + _ZONE
    numbers, rest = _numbers(text, layout)
    found = (_SIX if micro else _FRACTION).match(rest)
    if micro and found is None:
        raise _cannot(text, layout, rest, _MICRO)
    fraction = found[0][1:7].ljust(6, "0") if found else ""
    rest = rest[found.end() :] if found else rest
    zone = _OFFSET.match(rest)
    if zone is None:
        raise _cannot(text, layout, rest, _ZONE)
    if zone.end() < len(rest):
        raise ValueError(f"parsing time {go_quote(text)}: extra text: {go_quote(rest[zone.end() :])}")
    return _in_utc(text, numbers, zone, fraction if micro else "")


def _numbers(text: str, layout: str) -> tuple[list[int], str]:
    """Year to second, and what follows them."""
    numbers, rest = [], text
    for step, form, unit in _DATE:
        found = re.match(form, rest, re.ASCII)
        if found is None:
            raise _cannot(text, layout, rest, step)
        rest = rest[found.end() :]
        if found[0].isdigit():
            numbers.append(int(found[0]))
        low, high = _RANGES.get(unit, (0, 9999))
        if unit and not low <= numbers[-1] <= high:
            raise ValueError(f"parsing time {go_quote(text)}: {unit} out of range")
    return numbers, rest


def _cannot(text: str, layout: str, rest: str, step: str) -> ValueError:
    return ValueError(
        f"parsing time {go_quote(text)} as {go_quote(layout)}: cannot parse {go_quote(rest)} as {go_quote(step)}"
    )


def _in_utc(text: str, numbers: list[int], zone: re.Match[str], fraction: str) -> str:
    year, month, day, hour, minute, second = numbers
    tail = f".{fraction}Z" if fraction else "Z"
    try:
        time = datetime.datetime(max(year, 1), month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        raise ValueError(f"parsing time {go_quote(text)}: day out of range") from None
    if zone[1]:
        ahead = datetime.timedelta(hours=int(zone[1]), minutes=int(zone[2]))
        time = time - ahead if zone[0][0] == "+" else time + ahead
    return f"{time:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + tail
