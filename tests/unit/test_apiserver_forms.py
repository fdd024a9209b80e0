"""Answers in other formats than JSON, and the documents that describe the API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import yaml

from netplane.api import protobuf
from tests.apiserver_app import Server, serving

CONFIG = "/api/v1/namespaces/default/configmaps"


def run(test: Callable[[Server], Awaitable[None]]) -> None:
    async def body() -> None:
        async with serving() as server:
            await test(server)

    asyncio.run(body())


def test_protobuf_and_yaml_where_nothing_else_is_accepted() -> None:
    async def test(ask: Server) -> None:
        made = await ask.create(CONFIG, {"metadata": {"name": "c"}, "data": {"a": "ü"}})
        yaml_answer = await ask("GET", f"{CONFIG}/c", accept="application/yaml")
        assert yaml_answer.headers["content-type"] == "application/yaml"
        assert yaml.safe_load(yaml_answer.body) == made
        binary = "application/vnd.kubernetes.protobuf"
        answer = await ask("GET", f"{CONFIG}/c", accept=binary)
        assert answer.headers["content-type"] == binary
        assert protobuf.decode(answer.body)["data"] == {"a": "ü"}
        listed = await ask("GET", CONFIG, accept=binary)
        assert "c" in [one["metadata"]["name"] for one in protobuf.decode(listed.body)["items"]]
        missing = await ask("GET", f"{CONFIG}/zz", accept=binary)
        assert (missing.status, protobuf.decode(missing.body)["reason"]) == (404, "NotFound")
        watch = await ask("GET", f"{CONFIG}?watch=1&timeoutSeconds=1", accept=binary)
        assert watch.headers["content-type"] == f"{binary};stream=watch"
        length = int.from_bytes(watch.body[:4], "big")
        assert b"ADDED" in watch.body[4 : 4 + length]
        table = await ask("GET", CONFIG, accept="application/json;as=Table;g=meta.k8s.io;v=v1,application/json")
        assert table.json["kind"] == "Table"
        none = await ask("GET", f"{CONFIG}/c", accept="application/cbor")
        assert (none.status, none.json["reason"]) == (406, "NotAcceptable")

    run(test)


def references(node: Any) -> set[str]:
    """Every $ref in a document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(one) for one in node.values()))
    return set().union(*(references(one) for one in node)) if isinstance(node, list) else set()


def test_openapi_documents_are_whole() -> None:
    async def test(ask: Server) -> None:
        index = (await ask("GET", "/openapi/v3")).json["paths"]
        old = (await ask("GET", "/openapi/v2")).json
        assert references(old) <= {f"#/definitions/{name}" for name in old["definitions"]}
        for entry in index.values():
            new = (await ask("GET", entry["serverRelativeURL"])).json
            assert references(new) <= {f"#/components/schemas/{name}" for name in new["components"]["schemas"]}
            assert set(new["paths"]) <= set(old["paths"])
            for path, item in new["paths"].items():
                operations = {key: one for key, one in item.items() if key != "parameters"}
                assert operations.keys() == old["paths"][path].keys() - {"parameters"}
                told = {one["name"] for one in item.get("parameters", ()) if one["in"] == "path"}
                assert told == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        names = [one["operationId"] for item in old["paths"].values() for k, one in item.items() if k != "parameters"]
        assert len(set(names)) == len(names)

    run(test)


def test_openapi_v2_in_both_forms_and_not_twice() -> None:
    async def test(ask: Server) -> None:
        asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        binary = await ask("GET", "/openapi/v2", accept=asked)
        assert binary.headers["content-type"] == asked.replace("@", ".")
        assert binary.body.startswith(b"\x0a\x032.0")
        assert (await ask("GET", "/openapi/v2", accept=f"{asked}, application/json")).json["swagger"] == "2.0"
        again = await ask("GET", "/openapi/v2", accept=asked, if_none_match=binary.headers["etag"])
        assert (again.status, again.body) == (304, b"")

    run(test)
