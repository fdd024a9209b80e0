"""Schedules of CronJobs: five fields, or a word for them; what is wrong is told as Kubernetes does (pure).

minute 0-59, hour 0-23, day of month 1-31, month 1-12 or jan-dec, day of week 0-6 or sun-sat; each a list of `*`, N,
N-M, with /STEP. Source: github.com/robfig/cron v3, which Kubernetes uses.
"""

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from netplane.api import go_numbers
from netplane.api.times import quoted

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_EVERY = "@every "
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^.0-9]*)")
_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s", "m", "h"})


@cache
def zones() -> frozenset[str]:
    """The names of IANA's time zone database, which is in the public domain."""
    return frozenset(files("netplane.api").joinpath("time_zones.txt").read_text().split())


class _Field(NamedTuple):
    low: int
    high: int
    names: dict[str, int]


_FIELDS = (
    _Field(0, 59, {}),
    _Field(0, 23, {}),
    _Field(1, 31, {}),
    _Field(1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    _Field(0, 6, {name: i for i, name in enumerate(_DAYS)}),
)


class _WrongError(ValueError):
    """What is wrong, as users read it."""


def problem(text: str) -> str:
    """What is wrong with a schedule; "" when nothing is."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, space, text = text.partition("=")[2].partition(" ")
        if not space:
            return "invalid schedule format: runtime error: slice bounds out of range [:-1]"
        if why := _zone(zone):
            return f"provided bad location {zone}: {why}"
        text = text.strip()
    if text.startswith(_EVERY):
        why = _duration(text.removeprefix(_EVERY))
        return f"failed to parse duration {text}: time: {why}" if why else ""
    if text.startswith("@"):
        return "" if text in _WORDS else f"unrecognized descriptor: {text}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    try:
        for part, field in zip(parts, _FIELDS, strict=True):
            for one in filter(None, part.split(",")):
                _range(one, field)
    except _WrongError as error:
        return str(error)
    return ""


def _zone(name: str) -> str:
    if ".." in name or name.startswith(("/", "\\")):
        return "time: invalid location name"
    return "" if name in ("", "Local") or name in zones() else f"unknown time zone {name}"


def _duration(text: str) -> str:
    """What is wrong with a duration, as Go's time.ParseDuration says it: 1h30m is none."""
    shown, rest = quoted(text), text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return ""
    while rest:
        part = _PART.match(rest)
        if part is None:
            return f"invalid duration {shown}"
        if not part[2]:
            return f"missing unit in duration {shown}"
        if part[2] not in _UNITS:
            return f"unknown unit {quoted(part[2])} in duration {shown}"
        rest = rest[part.end() :]
    return "" if text.strip("+-") else f"invalid duration {shown}"


def _range(text: str, field: _Field) -> None:
    bounds, *steps = text.split("/")
    ends = bounds.split("-")
    if ends[0] in ("*", "?"):
        low, high = field.low, field.high
    else:
        low = _number(ends[0], field.names)
        if len(ends) > 2:
            raise _WrongError(f"too many hyphens: {text}")
        high = _number(ends[1], field.names) if len(ends) == 2 else low
    if len(steps) > 1:
        raise _WrongError(f"too many slashes: {text}")
    step = _number(steps[0], {}) if steps else 1
    if steps and len(ends) == 1:
        high = field.high
    if low < field.low:
        raise _WrongError(f"beginning of range ({low}) below minimum ({field.low}): {text}")
    if high > field.high:
        raise _WrongError(f"end of range ({high}) above maximum ({field.high}): {text}")
    if low > high:
        raise _WrongError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise _WrongError(f"step of range should be a positive number: {text}")


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    try:
        number = go_numbers.whole(text, "Atoi")
    except ValueError as error:
        raise _WrongError(f"failed to parse int from {text}: {error}") from error
    if number < 0:
        raise _WrongError(f"negative number ({number}) not allowed: {text}")
    return number
