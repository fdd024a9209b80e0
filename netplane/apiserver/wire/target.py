"""What a request is about: its path, method and query taken apart as Kubernetes does (pure).

/api/v1/namespaces/NS/pods/NAME/SUB      core group
/apis/GROUP/VERSION/…                    the others
…/watch/…                                the old way to say ?watch=true
"""

from functools import lru_cache
from typing import NamedTuple

from netplane.api.kinds import KINDS, Kind

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_COLLECTION = {"get": "list", "delete": "deletecollection"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})

BY_PATH: dict[tuple[str, str, str], Kind] = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
GROUP_VERSIONS: frozenset[tuple[str, str]] = frozenset((kind.group, kind.version) for kind in KINDS)


def stored_kind(kind: Kind) -> Kind:
    """The kind in whose form objects of `kind` are stored: nearly always itself."""
    return kind if kind.stored_in is None else BY_PATH[kind.stored_in, "v1", kind.plural]


class Target(NamedTuple):
    """A resource request. `kind` is None when the group version is served and the resource in it is not."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    kind: Kind | None = None
    method: str = "GET"


LONGEST_REMEMBERED = 512


def parse(method: str, path: str, *, watch: bool = False) -> Target | None:
    """The resource a path names; None when it names none (discovery, health, unknown paths and groups)."""
    if len(path) > LONGEST_REMEMBERED:  # what is remembered must stay small, whatever is asked for
        return _parse(method, path, watch=watch)
    return _remembered(method, path, watch=watch)


@lru_cache(maxsize=4096)
def _remembered(method: str, path: str, *, watch: bool) -> Target | None:
    return _parse(method, path, watch=watch)


def _parse(method: str, path: str, *, watch: bool) -> Target | None:
    parts = path.rstrip("/").split("/")[1:]
    if "" in parts:
        return None
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if rest[0] == "watch" and len(rest) > 1:
        rest, watch = rest[1:], True
    return _resource(method, group, version, rest, watch=watch)


def _resource(method: str, group: str, version: str, rest: list[str], *, watch: bool) -> Target | None:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 and rest[2] != "proxy":
        return None
    resource, name, subresource = (*rest[:3], "", "")[:3]
    verb = VERBS.get(method, method.lower())
    if verb == "get" and watch:
        verb = "watch"
    elif not name:
        verb = _OF_COLLECTION.get(verb, verb)
    kind = BY_PATH.get((group, version, resource))
    if kind is not None and not _fits(kind, namespace, name):
        kind = None
    if resource == "namespaces" and not namespace:
        namespace = name
    return Target(verb, group, version, resource, namespace, name, subresource, kind, method)


def _fits(kind: Kind, namespace: str, name: str) -> bool:
    """A namespaced object needs its namespace; a cluster-scoped one has none."""
    return bool(namespace) or not name if kind.namespaced else not namespace
