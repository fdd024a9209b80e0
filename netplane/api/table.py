"""Tables as kubectl shows them: the server makes the cells, so users see the columns they know (pure).

A printer is a row per kind: its columns, and a function from an object to their cells. `now` is an argument.
Source of columns and cells: what kubectl users see, Kubernetes 1.36 (pkg/printers/internalversion).
"""

import datetime
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from netplane.api import schema
from netplane.api.kinds import KINDS, Kind

Json = dict[str, Any]
Now = datetime.datetime
Cells = Callable[[Json, Now], list[Any]]

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class Column(NamedTuple):
    """One column. `about` is its description, or the schema's if it is a path such as `spec.type`.

    `wide` columns are shown with -o wide only.
    """

    name: str
    about: str
    wide: bool = False
    type: str = "string"
    format: str = ""


def _nothing(obj: Json) -> list[Json]:
    return []


class Printer(NamedTuple):
    """How objects of a kind are shown. `conditions` is what their rows say of them beside the cells."""

    columns: tuple[Column, ...]
    cells: Cells
    conditions: Callable[[Json], list[Json]] = _nothing


NAME = Column("Name", "metadata.name", format="name")
AGE = Column("Age", "metadata.creationTimestamp")


@cache
def printer(kind: Kind) -> Printer:
    """The printer of a kind; name and creation time for one that has none of its own."""
    from netplane.api.printers import PRINTERS  # noqa: PLC0415 - it imports this module's nouns

    return PRINTERS.get((kind.group, kind.kind), _PLAIN)


@cache
def definitions(kind: Kind) -> list[Json]:
    """columnDefinitions of a kind's table; a kind that is stored in another group is described as that one's."""
    if kind.stored_in is not None:
        return definitions(next(one for one in KINDS if (one.group, one.plural) == (kind.stored_in, kind.plural)))
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": describe(kind, column.about),
            "priority": int(column.wide),
        }
        for column in printer(kind).columns
    ]


def describe(kind: Kind, about: str) -> str:
    """A text as it is; a path as the schema describes it."""
    if " " in about:
        return about
    head, _, rest = about.partition(".")
    node = schema.definitions()[_OBJECT_META] if head == "metadata" else schema.for_kind(kind)
    node = node if head == "metadata" else {"properties": {head: node["properties"][head]}}
    found: Json = {}
    for part in rest.split(".") if head == "metadata" else about.split("."):
        found = schema.resolve(node)["properties"][part]
        node = found
    return str(found.get("description", ""))


def _plain(obj: Json, now: Now) -> list[Any]:
    return [name(obj), obj["metadata"].get("creationTimestamp", UNKNOWN)]


_PLAIN = Printer((NAME, Column("Created At", "metadata.creationTimestamp", type="date")), _plain)


def get(obj: Any, *path: str) -> Any:
    """What lies at a path; None where there is none."""
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def name(obj: Json) -> str:
    """metadata.name."""
    return str(obj["metadata"].get("name", ""))


def age(obj: Json, now: Now) -> str:
    """Time since creation."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def since(timestamp: str | None, now: Now) -> str:
    """Time since an RFC 3339 timestamp."""
    if not timestamp:
        return UNKNOWN
    try:
        then = datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return UNKNOWN
    return duration(int((now - then).total_seconds()))


_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def duration(seconds: int) -> str:
    """Seconds as people read them: two units while the first is small, one after that."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 0)}s"
    for unit, letter, below, minor, minor_letter in (
        (_MINUTE, "m", 10 * _MINUTE, 1, "s"),
        (_MINUTE, "m", 3 * _HOUR, 0, ""),
        (_HOUR, "h", 8 * _HOUR, _MINUTE, "m"),
        (_HOUR, "h", 2 * _DAY, 0, ""),
        (_DAY, "d", 8 * _DAY, _HOUR, "h"),
        (_DAY, "d", 2 * _YEAR, 0, ""),
        (_YEAR, "y", 8 * _YEAR, _DAY, "d"),
    ):
        if seconds < below:
            rest = seconds % unit // minor if minor else 0
            return f"{seconds // unit}{letter}" + (f"{rest}{minor_letter}" if rest else "")
    return f"{seconds // _YEAR}y"


def pairs(labels: dict[str, str] | None) -> str:
    """Labels as `a=b,c=d`; `<none>` without any."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def some(items: list[str], limit: int = 3) -> str:
    """A few items, and how many more there are."""
    if not items:
        return NONE
    more = f" + {len(items) - limit} more..." if len(items) > limit else ""
    return ",".join(items[:limit]) + more
