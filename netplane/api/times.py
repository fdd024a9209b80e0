"""Times as Go reads and writes them: RFC 3339 in, UTC out, and what is wrong with what is no time (pure).

Two forms: whole seconds (metav1.Time, of which a fraction is dropped) and microseconds (metav1.MicroTime, which wants
six digits). Source: Go's time.Parse, whose messages clients see.
"""

import datetime
import re

from netplane.api import remembering

_DATE = (
    ("2006", r"\d{4}", ""), ("-", "-", ""), ("01", r"\d\d", "month"), ("-", "-", ""), ("02", r"\d\d", "day"),
    ("T", "T", ""), ("15", r"\d\d", "hour"), (":", ":", ""), ("04", r"\d\d", "minute"), (":", ":", ""),
    ("05", r"\d\d", "second"),
)  # fmt: skip
_RANGES = {"month": (1, 12), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
_MICRO, _ZONE = ".000000", "Z07:00"
_FRACTION = re.compile(r"[.,]\d+", re.ASCII)
_SIX = re.compile(r"[.,]\d{6}", re.ASCII)
_OFFSET = re.compile(r"Z|[+-](\d\d):(\d\d)", re.ASCII)
_MOST_HOURS, _MOST_MINUTES = 24, 60


def quoted(text: str) -> str:
    """A text as Go's package time shows it: byte for byte what is not ASCII, unlike %q."""
    shown = (f"\\{chr(c)}" if c in b'"\\' else chr(c) if 32 <= c < 128 else f"\\x{c:02x}" for c in text.encode())
    return f'"{"".join(shown)}"'


@remembering.short(1024, 40)
def canonical(text: str, *, micro: bool = False) -> str:
    """A time in its one form. Raises ValueError in Go's words.

    Times come back: each write of an object brings those of the writes before.
    """
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
        raise ValueError(f"parsing time {quoted(text)}: extra text: {quoted(rest[zone.end() :])}")
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
            raise ValueError(f"parsing time {quoted(text)}: {unit} out of range")
    return numbers, rest


def _cannot(text: str, layout: str, rest: str, step: str) -> ValueError:
    return ValueError(f"parsing time {quoted(text)} as {quoted(layout)}: cannot parse {quoted(rest)} as {quoted(step)}")


def _in_utc(text: str, numbers: list[int], zone: re.Match[str], fraction: str) -> str:
    year, month, day, hour, minute, second = numbers
    tail = f".{fraction}Z" if fraction else "Z"
    try:
        time = datetime.datetime(max(year, 1), month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        raise ValueError(f"parsing time {quoted(text)}: day out of range") from None
    if zone[1]:
        try:
            time -= _ahead(text, zone)
        except OverflowError:  # in UTC it is before year 1 or after 9999, where Go goes on
            raise ValueError(f"parsing time {quoted(text)}: year out of range") from None
    return f"{time:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + tail


def _ahead(text: str, zone: re.Match[str]) -> datetime.timedelta:
    """How far a zone is before UTC."""
    hours, minutes = int(zone[1]), int(zone[2])
    for unit, wrong in (("minute", minutes > _MOST_MINUTES), ("hour", hours > _MOST_HOURS)):
        if wrong:
            raise ValueError(f"parsing time {quoted(text)}: time zone offset {unit} out of range")
    ahead = datetime.timedelta(hours=hours, minutes=minutes)
    return ahead if zone[0][0] == "+" else -ahead
