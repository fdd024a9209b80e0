"""Query parameters of reads and writes, checked as the real server checks them (pure)."""

import base64
import posixpath
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from netplane.api import errors, fields, go_json, go_numbers, patch
from netplane.api.errors import StatusError

Query = Mapping[str, str]


def parse_query(query: bytes) -> dict[str, str]:
    """The first value of each parameter; all of `dryRun`, with commas between them."""
    if not query:
        return {}
    if _UNREADABLE.search(query):  # left out, as Go does
        query = b"&".join(pair for pair in query.split(b"&") if not _UNREADABLE.search(pair))
    out: dict[str, str] = {}
    for key, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if key in out and key == "dryRun":
            out[key] += f",{value}"
        out.setdefault(key, value)
    return out


_UNREADABLE = re.compile(rb";|%(?![0-9A-Fa-f]{2})")


def boolean(query: Query, name: str) -> bool:
    """Given and not one of `false`, `0`: true (also without a value), as the real server decodes it."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


def integer(query: Query, name: str) -> int | None:
    """A whole number; None when it is not given. Raises StatusError 400."""
    value = query.get(name)
    if value is None:
        return None
    try:
        return go_numbers.whole(value)
    except ValueError as error:
        raise errors.bad_request(str(error)) from error


class ListOptions(NamedTuple):
    """Options of list and watch. `rev` is the resource version, None when not given; `match` may be empty."""

    rev: int | None
    match: str
    limit: int
    token: str
    labels: str
    fields: str
    timeout_s: int | None
    bookmarks: bool
    initial_events: bool | None


def list_options(query: Query, *, watch: bool) -> ListOptions:
    """Parse and check. Raises StatusError 400 or 422."""
    if not query:
        return _EMPTY
    initial = boolean(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    options = ListOptions(
        revision(query),
        query.get("resourceVersionMatch", ""),
        max(integer(query, "limit") or 0, 0),
        query.get("continue", ""),
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        integer(query, "timeoutSeconds"),
        boolean(query, "allowWatchBookmarks"),
        initial,
    )
    problems = _watch_problems(options) if watch else _list_problems(options)
    if problems:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", problems)
    return options


_EMPTY = ListOptions(None, "", 0, "", "", "", None, False, None)


def revision(query: Query) -> int | None:
    """The resource version that is asked for, None for none. Raises StatusError 400."""
    text = query.get("resourceVersion", "")
    if not text:
        return None
    try:
        return go_numbers.natural(text)
    except ValueError as error:
        shown = fields.invalid("resourceVersion", text, str(error))
        raise errors.bad_request(f"invalid resource version: {shown}") from error


_MATCH = "resourceVersionMatch"


def _list_problems(options: ListOptions) -> list[fields.FieldError]:
    problems = []
    if options.match:
        if options.rev is None:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            problems.append(fields.forbidden(_MATCH, why))
        if options.token:
            problems.append(fields.forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in ("Exact", "NotOlderThan"):
            problems.append(fields.not_supported(_MATCH, options.match, ("Exact", "NotOlderThan", "")))
        if options.match == "Exact" and options.rev == 0:
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            problems.append(fields.forbidden(_MATCH, why))
    if options.initial_events is not None:
        problems.append(fields.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return problems


def _watch_problems(options: ListOptions) -> list[fields.FieldError]:
    problems = []
    if options.initial_events is not None and options.match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        problems.append(fields.forbidden(_MATCH, why))
    if options.match:
        if options.initial_events is None:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            problems.append(fields.forbidden(_MATCH, why))
        if options.match != "NotOlderThan":
            problems.append(fields.not_supported(_MATCH, options.match, ("NotOlderThan",)))
        if options.token:
            problems.append(fields.forbidden(_MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    return problems


NEWEST = -1


class Position(NamedTuple):
    """Where a chunked list goes on: the revision it is read at (or NEWEST), the first key relative to its prefix."""

    rev: int
    start: str


def encode_token(position: Position) -> str:
    """A continue token."""
    text = orjson.dumps({"v": "meta.k8s.io/v1", "rv": position.rev, "start": position.start})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_token(token: str) -> Position:
    """Raises StatusError 400 when the token is not one of ours."""
    if stray := _NOT_BASE64.search(token):
        raise _bad_token(f": illegal base64 data at input byte {stray.start()}")
    if len(token) % 4 == 1:
        raise _bad_token(f": illegal base64 data at input byte {len(token) - 1}")
    try:
        data = go_json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except go_json.GoJSONError as error:
        raise _bad_token(f": {error}") from error
    if not isinstance(data, dict):
        found = patch.go_kind(data)
        raise _bad_token(f": json: cannot unmarshal {found} into Go value of type storage.continueToken")
    return _position(data)


_NOT_BASE64 = re.compile("[^A-Za-z0-9_-]")


def _position(data: dict[str, Any]) -> Position:
    version, rev, start = data.get("v", ""), data.get("rv", 0), data.get("start", "")
    if version != "meta.k8s.io/v1":
        raise _bad_token(f": server does not recognize this encoded version {version}")
    if not isinstance(rev, int) or (rev <= 0 and rev != NEWEST):
        raise _bad_token(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(start, str) or not start:
        raise _bad_token(": encoded start key empty (version meta.k8s.io/v1)")
    key = "/" + start.removeprefix("/")
    if posixpath.normpath(key) != key:
        raise _bad_token(f": {start}")
    return Position(rev, start)


def _bad_token(why: str) -> StatusError:
    return errors.bad_request(f"invalid continue token: continue key is not valid{why}")


MANAGER_LENGTH = 128


class WriteOptions(NamedTuple):
    """Options of writes. `validation` is Ignore, Warn or Strict."""

    dry_run: bool
    validation: str
    manager: str
    force: bool


def write_options(query: Query, kind: str, *, apply: bool = False) -> WriteOptions:
    """Parse and check; `kind` is CreateOptions, UpdateOptions or PatchOptions. Raises StatusError 422."""
    if not query and not apply:
        return _PLAIN
    problems: list[fields.FieldError] = []
    manager, dry_run = query.get("fieldManager", ""), query["dryRun"].split(",") if "dryRun" in query else []
    if apply and not manager:
        problems.append(fields.required("fieldManager", "is required for apply patch"))
    if not apply and kind == "PatchOptions" and "force" in query:
        problems.append(fields.forbidden("force", "may not be specified for non-apply patch"))
    problems += _manager_problems(manager)
    if any(one != "All" for one in dry_run):
        problems.append(fields.not_supported("dryRun", dry_run, ("All",)))
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        problems.append(fields.not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    if problems:
        raise errors.invalid("meta.k8s.io", kind, "", problems)
    return WriteOptions(bool(dry_run), validation, manager, boolean(query, "force"))


_PLAIN = WriteOptions(False, "Warn", "", False)


def _manager_problems(manager: str) -> list[fields.FieldError]:
    if manager.isascii() and manager.isprintable() and len(manager) <= MANAGER_LENGTH:
        return []
    problems = [fields.too_long("fieldManager", MANAGER_LENGTH)] if len(manager.encode()) > MANAGER_LENGTH else []
    at = 0  # in bytes, as Go counts
    for letter in manager:
        if not letter.isprintable():
            why = f"invalid character U+{ord(letter):04X} (at position {at})"
            problems.append(fields.invalid("fieldManager", manager, why))
        at += len(letter.encode())
    return problems


class DeleteOptions(NamedTuple):
    """Options of deletes, from the body or the query."""

    grace_s: int | None = None
    uid: str | None = None
    rev: str | None = None
    propagation: str = ""
    dry_run: bool = False


def delete_options(body: Mapping[str, Any] | None, query: Query) -> DeleteOptions:
    """A body (of right types) speaks for itself; without one the query does. Raises StatusError 400 or 422."""
    given = _asked(query) if body is None else body
    propagation, orphans = given.get("propagationPolicy"), given.get("orphanDependents")
    problems = []
    if orphans is not None and propagation is not None:
        both = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(fields.invalid("propagationPolicy", propagation, both))
    if propagation not in (None, *_PROPAGATIONS):
        problems.append(fields.not_supported("propagationPolicy", propagation, (*_PROPAGATIONS, "nil")))
    dry_run = given.get("dryRun") or []
    if any(one != "All" for one in dry_run):
        problems.append(fields.not_supported("dryRun", dry_run, ("All",)))
    if problems:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", problems)
    if orphans is not None:
        propagation = "Orphan" if orphans else "Background"
    grace, preconditions = given.get("gracePeriodSeconds"), given.get("preconditions") or {}
    return DeleteOptions(
        1 if grace is not None and grace < 0 else grace,
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
        propagation or "",
        bool(dry_run),
    )


_PROPAGATIONS = ("Foreground", "Background", "Orphan")


def _asked(query: Query) -> dict[str, Any]:
    """DeleteOptions in the query, for a request without a body. Raises StatusError 400."""
    out: dict[str, Any] = {}
    if (grace := integer(query, "gracePeriodSeconds")) is not None:
        out["gracePeriodSeconds"] = grace
    if "orphanDependents" in query:
        out["orphanDependents"] = boolean(query, "orphanDependents")
    if "propagationPolicy" in query:
        out["propagationPolicy"] = query["propagationPolicy"]
    if "dryRun" in query:
        out["dryRun"] = query["dryRun"].split(",")
    out["preconditions"] = {name: query[name] for name in ("uid", "resourceVersion") if name in query}
    return out
