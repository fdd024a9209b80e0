"""OpenAPI v3: an index, and one document for each group version, built from the registry and the schemas.

/openapi/v3                      {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=…"}, …}}
/openapi/v3/api/v1?hash=…        cacheable for ever; ETag and 304; another hash redirects to the right one
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from netplane.api import schema
from netplane.api.kinds import KINDS, Kind
from netplane.apiserver.describe import discovery, tagged, version
from netplane.apiserver.describe.tagged import Document
from netplane.apiserver.verbs import handlers
from netplane.apiserver.wire.negotiate import JSON
from netplane.apiserver.wire.reply import NO_CACHE, Header, Reply, of_json

Json = dict[str, Any]

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def paths() -> dict[str, tuple[str, str]]:
    """The documents there are: path below /openapi/v3 → (group, version)."""
    return {kind.root.strip("/"): (kind.group, kind.version) for kind in KINDS}


def index() -> Reply:
    """The document at /openapi/v3."""
    listed = {path: {"serverRelativeURL": _url(path)} for path in sorted(paths())}
    return Reply(orjson.dumps({"paths": listed}), 200, b"text/plain; charset=utf-8")


def _url(path: str) -> str:
    return f"/openapi/v3/{path}?hash={document(path).digest}"


def serve(path: str, digest: str, if_none_match: str) -> Reply | None:
    """The document of one group version; None when there is none."""
    if path not in paths():
        return None
    found = document(path)
    if digest and digest != found.digest:
        return Reply(b"", 301, headers=((b"location", _url(path).encode()),))
    cache: Header = (b"cache-control", b"public, immutable") if digest else NO_CACHE
    return tagged.answer(found, if_none_match, JSON.encode(), cache)


@cache
def document(path: str) -> Document:
    """Built when first asked for, then kept."""
    group, served = paths()[path]
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group, served)]
    roots = {name for kind in kinds for name in (_name(kind), _name(kind, "List"))}
    roots |= {_name(_spoken(kind, name)) for kind in kinds for name in kind.subresources}
    roots |= {_META + name for name in ("Status", "Patch", "DeleteOptions", "WatchEvent")}
    body = orjson.dumps(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": f"v{version.MAJOR}.{version.MINOR}.0"},
            "paths": {path: item for kind in kinds for path, item in _items(kind).items()},
            "components": {"schemas": closure(roots)},
        }
    )
    return tagged.document(body)


def closure(roots: set[str]) -> Json:
    """The definitions named, and all that they refer to."""
    table = schema.definitions()
    out: Json = {}
    todo = [name for name in sorted(roots) if name in table]
    while todo:
        name = todo.pop()
        if name not in out:
            out[name] = table[name]
            todo += _references(table[name])
    return dict(sorted(out.items()))


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(_REF)] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []


def _name(of: "Kind | _Spoken", suffix: str = "") -> str:
    try:
        return schema.name_for(of.group, of.version, of.kind + suffix)
    except KeyError:
        return _META + "Status"


class _Spoken(NamedTuple):
    """What an operation is about: group, version and kind; `name` is its place in operation ids."""

    group: str
    version: str
    kind: str
    name: str


def _spoken(kind: Kind, subresource: str = "") -> _Spoken:
    group, served, response = discovery.response_kind(kind, subresource)
    if not served:
        group, served = kind.group, kind.version
    name = ("Namespaced" if kind.namespaced else "") + kind.kind + subresource.capitalize()
    return _Spoken(group, served, response, name)


def _items(kind: Kind) -> Json:
    """The path items of one kind."""
    namespaced = "{namespace}" if kind.namespaced else ""
    collection, one = kind.path(namespaced), kind.path(namespaced, "{name}")
    verbs, own = kind.verbs, _spoken(kind)
    place = [_path_parameter("namespace", "object name and auth scope, such as for teams and projects")]
    named = [_path_parameter("name", f"name of the {kind.kind}"), *place[: kind.namespaced]]
    of_one = [verb for verb in ("get", "update", "patch", "delete") if verb in verbs]
    of_all = [verb for verb in ("list", "create", "deletecollection") if verb in verbs]
    items: Json = {collection: _item(kind, own, of_all, place[: kind.namespaced])}
    if of_one:
        items[one] = _item(kind, own, of_one, named)
    if kind.namespaced and "list" in verbs:
        everywhere = own._replace(name=f"{kind.kind}ForAllNamespaces")
        items[kind.path()] = _item(kind, everywhere, ["list"], [])
    for name in kind.subresources:
        wanted = [verb for verb in handlers.subresource_verbs(kind.plural, name) if verb != "watch"]
        items[kind.path(namespaced, "{name}", name)] = _item(kind, _spoken(kind, name), wanted, named)
    return items


_METHODS = {"list": "get", "get": "get", "create": "post", "update": "put", "patch": "patch"}
_ACTIONS = {"create": "post", "update": "put"}
_NAMES = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}


def _item(kind: Kind, spoken: _Spoken, verbs: Sequence[str], parameters: list[Json]) -> Json:
    item: Json = {_METHODS.get(verb, "delete"): _operation(kind, spoken, verb) for verb in verbs}
    return {**item, "parameters": parameters} if parameters else item


def _operation(kind: Kind, spoken: _Spoken, verb: str) -> Json:
    about, answer = _name(spoken), _answer(spoken, verb)
    codes = _CODES.get(verb, ("200",))
    group = (kind.group.split(".")[0] or "core").capitalize() + kind.version.capitalize()
    operation: Json = {
        "description": f"{verb} {kind.kind}",
        "operationId": f"{_NAMES.get(verb, verb)}{group}{spoken.name}",
        "tags": [f"{kind.group.split('.')[0] or 'core'}_{kind.version}"],
        "parameters": _query(verb),
        "responses": {code: {"description": "OK", "content": _json_of(answer)} for code in codes}
        | {"401": {"description": "Unauthorized"}},
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": {"group": spoken.group, "version": spoken.version, "kind": spoken.kind},
    }
    if verb in ("create", "update"):
        operation["requestBody"] = {"required": True, "content": _json_of(about, "*/*")}
    elif verb == "patch":
        content = {media: {"schema": {"$ref": f"{_REF}{_META}Patch"}} for media in _PATCHES}
        operation["requestBody"] = {"required": True, "content": content}
    elif verb in ("delete", "deletecollection"):
        operation["requestBody"] = {"content": _json_of(_META + "DeleteOptions", "*/*")}
    return operation


_CODES = {
    "create": ("200", "201", "202"),
    "update": ("200", "201"),
    "patch": ("200", "201"),
    "delete": ("200", "202"),
}
_STATUS_ANSWERS = frozenset({"delete", "deletecollection"})


def _answer(spoken: _Spoken, verb: str) -> str:
    if verb in _STATUS_ANSWERS:
        return _META + "Status"
    return _name(spoken, "List" if verb == "list" else "")


def _json_of(name: str, media: str = "application/json") -> Json:
    return {media: {"schema": {"$ref": _REF + name}}}


_STRING, _INTEGER, _BOOLEAN = ({"type": kind, "uniqueItems": True} for kind in ("string", "integer", "boolean"))
_WRITE = {"dryRun": _STRING, "fieldManager": _STRING, "fieldValidation": _STRING}
_LIST = {
    "allowWatchBookmarks": _BOOLEAN,
    "continue": _STRING,
    "fieldSelector": _STRING,
    "labelSelector": _STRING,
    "limit": _INTEGER,
    "resourceVersion": _STRING,
    "resourceVersionMatch": _STRING,
    "sendInitialEvents": _BOOLEAN,
    "timeoutSeconds": _INTEGER,
    "watch": _BOOLEAN,
}
_DELETE = {
    "dryRun": _STRING,
    "gracePeriodSeconds": _INTEGER,
    "orphanDependents": _BOOLEAN,
    "propagationPolicy": _STRING,
}
_QUERIES: dict[str, dict[str, Json]] = {
    "list": _LIST,
    "create": _WRITE,
    "update": _WRITE,
    "patch": {**_WRITE, "force": _BOOLEAN},
    "delete": _DELETE,
    "deletecollection": {
        **_DELETE,
        **{name: form for name, form in _LIST.items() if name not in ("allowWatchBookmarks", "watch")},
    },
}


def _query(verb: str) -> list[Json]:
    return [{"name": name, "in": "query", "schema": form} for name, form in _QUERIES.get(verb, {}).items()]


def _path_parameter(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def root_paths() -> Reply:
    """The document at /: every path worth knowing."""
    fixed = ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
    groups = [f"/apis/{kind.group}" for kind in KINDS if kind.group]
    return of_json({"paths": sorted({*fixed, *groups, *(kind.root for kind in KINDS)})})
