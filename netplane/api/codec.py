"""Objects as the store keeps them and as the wire carries them, with as little work between as possible.

    stored    {"metadata":{"name":…,…},"spec":…}         no kind, no revision: etcd knows it at commit
    in lists  {"metadata":{"resourceVersion":"7","name":…,…},"spec":…}       as real lists: items carry no kind
    alone     {"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"7",…},…}

Stored bytes always begin with `{"metadata":{"`, so the two others are made by joining bytes: no decoding, no encoding.
"""

from functools import cache
from typing import Any

import orjson

from netplane.api import views
from netplane.api.errors import bad_request
from netplane.api.kinds import Kind

Json = dict[str, Any]

_HEAD = b'{"metadata":{'
_SKIP = len(_HEAD)


def encode(obj: Json) -> bytes:
    """The stored form of an object. Its metadata must hold a name; kind and revision are left out.

    Raises StatusError 400 for what cannot be written: nested some hundred deep, a number of more than 64 bits.
    """
    try:
        return orjson.dumps(_stored(obj))
    except orjson.JSONEncodeError as error:
        raise bad_request(f"the object cannot be stored: {error}") from error


def _stored(obj: Json) -> Json:
    """An object as it is stored, not yet encoded."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _NEVER_STORED}
    return {"metadata": metadata, **{key: value for key, value in obj.items() if key not in _ELSEWHERE}}


_NEVER_STORED = frozenset({"resourceVersion", "selfLink"})
_ELSEWHERE = frozenset({"kind", "apiVersion", "metadata"})


def decode(kind: Kind, value: bytes, rev: int) -> Json:
    """The object of a stored value, with kind and resourceVersion."""
    obj: Json = orjson.loads(value)
    if kind.stored_in is not None:
        obj = views.shown(obj)
    obj["metadata"]["resourceVersion"] = str(rev)
    return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}


def same(one: Json, other: Json) -> bool:
    """Whether two objects of a kind have the same stored form, but for the order of members."""
    return _stored(one) == _stored(other)


def item_bytes(value: bytes, rev: int) -> bytes:
    """A stored value as an item of a list."""
    return b'{"metadata":{"resourceVersion":"%d",%b' % (rev, value[_SKIP:])


def object_bytes(kind: Kind, value: bytes, rev: int) -> bytes:
    """A stored value as an object of its own."""
    if kind.stored_in is not None:
        value = viewed(value)
    return b'%b%d",%b' % (_alone(kind), rev, value[_SKIP:])


@cache
def _alone(kind: Kind) -> bytes:
    """How objects of their own begin, up to their revision."""
    return b'{"kind":"%b","apiVersion":"%b","metadata":{"resourceVersion":"' % (
        kind.kind.encode(),
        kind.api_version.encode(),
    )


def dry_bytes(kind: Kind, value: bytes) -> bytes:
    """A value that was not stored (dry run): an object without a revision."""
    if kind.stored_in is not None:
        value = viewed(value)
    return b'{"kind":"%b","apiVersion":"%b",%b' % (kind.kind.encode(), kind.api_version.encode(), value[1:])


def viewed(value: bytes) -> bytes:
    """A stored value in the form of a kind that is stored in another group."""
    return orjson.dumps(views.shown(orjson.loads(value)))


def list_bytes(kind: Kind, items: list[bytes], rev: int, token: str = "", remaining: int = 0) -> bytes:
    """A list of encoded items read at `rev`; `token` continues it, `remaining` counts what is left (0: not said)."""
    head = b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[' % (
        kind.kind.encode(),
        kind.api_version.encode(),
        orjson.dumps(list_meta(rev, token, remaining)),
    )
    parts = items or [b""]
    # Joined once: a second copy of 10,000 Services is 11 MB more.
    parts = [head + parts[0], *parts[1:]]
    parts[-1] += b"]}"
    return b",".join(parts)


def list_meta(rev: int, token: str = "", remaining: int = 0) -> Json:
    """metadata of a list."""
    meta: Json = {"resourceVersion": str(rev)}
    if token:
        meta["continue"] = token
    if remaining:
        meta["remainingItemCount"] = remaining
    return meta


def event_bytes(event_type: str, obj: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), obj)
