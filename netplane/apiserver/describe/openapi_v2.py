"""OpenAPI v2 of everything that is served, for older clients and for kubectl where it checks objects by itself.

Made of the v3 documents: definitions instead of components, bodies and queries as parameters. kubectl asks for it as
protobuf only (netplane.api.protobuf.swagger); everybody else gets JSON.
"""

from functools import cache
from typing import Any

import orjson

from netplane.apiserver.describe import openapi, tagged, version
from netplane.apiserver.describe.tagged import Document
from netplane.apiserver.wire import negotiate
from netplane.apiserver.wire.reply import Reply

Json = dict[str, Any]

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_ASKED = (PROTOBUF, PROTOBUF.replace(".v1.0", "@v1.0"))  # asked for with an @, which Go's own parser refuses in answers
_OLD, _NEW = "#/components/schemas/", "#/definitions/"
_CONSUMED = ["*/*"]
_PRODUCED = [negotiate.JSON, negotiate.YAML, negotiate.PROTOBUF]
_PLAIN_FORMS: dict[str, Json] = {"int-or-string": {"type": "string", "format": "int-or-string"}}
_NOT_METHODS = frozenset({"parameters"})


def serve(accept: str, if_none_match: str) -> Reply:
    """The document in the form the client wants; 304 when it has it."""
    wanted = [negotiate.split(media)[0] for media in accept.split(",")]
    binary = any(one in wanted for one in _ASKED) and negotiate.JSON not in wanted
    found, media = (_protobuf(), PROTOBUF) if binary else (_json(), negotiate.JSON)
    return tagged.answer(found, if_none_match, media.encode())


@cache
def _json() -> Document:
    return tagged.document(orjson.dumps(document()))


@cache
def _protobuf() -> Document:
    from netplane.api.protobuf import swagger  # noqa: PLC0415 - few clients ask for it

    return tagged.document(swagger.encode(document()))


def document() -> Json:
    """The whole document."""
    paths: Json = {}
    definitions: Json = {}
    for path in sorted(openapi.paths()):
        one = orjson.loads(openapi.document(path).body)
        paths |= {where: _item(item) for where, item in one["paths"].items()}
        definitions |= {name: _schema(form) for name, form in one["components"]["schemas"].items()}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"v{version.MAJOR}.{version.MINOR}.0"},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
    }


def _schema(form: Any) -> Any:
    """A schema as v2 writes it: references into #/definitions, beside what is said of them; no oneOf."""
    if isinstance(form, list):
        return [_schema(one) for one in form]
    if not isinstance(form, dict):
        return form
    out = {key: _schema(value) for key, value in form.items() if key not in ("allOf", "oneOf")}
    if "$ref" in form and isinstance(form["$ref"], str):
        out["$ref"] = form["$ref"].replace(_OLD, _NEW)
    for one in form.get("allOf", ()):
        out |= _schema(one)
    if "oneOf" in form:
        out |= _PLAIN_FORMS.get(form.get("format", ""), {"type": "string"})
    return out


def _item(item: Json) -> Json:
    operations = {method: _operation(one) for method, one in item.items() if method not in _NOT_METHODS}
    if "parameters" not in item:
        return operations
    return {**operations, "parameters": [_parameter(one) for one in item["parameters"]]}


def _parameter(given: Json) -> Json:
    own = {key: value for key, value in given.items() if key != "schema"}
    return {**own, **given["schema"]}


def _operation(given: Json) -> Json:
    out = {key: value for key, value in given.items() if key not in ("requestBody", "responses", "parameters")}
    out["consumes"], out["produces"], out["schemes"] = _CONSUMED, _PRODUCED, ["https"]
    body = given.get("requestBody")
    out["parameters"] = [_parameter(one) for one in given["parameters"]]
    if body is not None:
        out["consumes"] = list(body["content"])
        form = next(iter(body["content"].values()))["schema"]
        about: Json = {"name": "body", "in": "body", "schema": _schema(form)}
        out["parameters"].insert(0, {**about, "required": True} if body.get("required") else about)
    out["responses"] = {code: _response(one) for code, one in given["responses"].items()}
    return out


def _response(given: Json) -> Json:
    content = given.get("content")
    if not content:
        return given
    return {"description": given["description"], "schema": _schema(next(iter(content.values()))["schema"])}
