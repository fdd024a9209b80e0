"""The forms that answers come in, and the documents that describe the API."""

from typing import Any

import pytest
import yaml

from netplane.api import protobuf
from tests.apiserver_app import Server, Watching, fill, run
from tests.waiting import until_async

CONFIG = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def test_tables_for_get_list_and_watch() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        listed = (await ask("GET", CONFIG, accept=TABLE)).json
        assert [column["name"] for column in listed["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert [row["cells"][:2] for row in listed["rows"]] == [["c000", 0], ["c001", 0]]
        assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        whole = (await ask("GET", f"{CONFIG}/c000?includeObject=Object", accept=TABLE)).json
        assert whole["rows"][0]["object"]["kind"] == "ConfigMap"
        bare = (await ask("GET", f"{CONFIG}/c000?includeObject=None", accept=TABLE)).json
        assert bare["rows"][0]["object"] is None
        odd = await ask("GET", f"{CONFIG}?includeObject=Some", accept=TABLE)
        assert (odd.status, "must be 'Metadata', 'Object', 'None', or empty" in odd.json["message"]) == (400, True)
        watch = Watching(ask, f"{CONFIG}?watch=1", accept=TABLE)
        lines = await watch.until(2)
        assert lines[0]["object"]["columnDefinitions"] is not None
        assert lines[1]["object"]["columnDefinitions"] is None
        await watch.end()

    run(test)


def test_metadata_alone() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        one = (await ask("GET", f"{CONFIG}/c000", accept=PARTIAL)).json
        assert (one["kind"], one["apiVersion"], set(one)) == (
            "PartialObjectMetadata", "meta.k8s.io/v1", {"kind", "apiVersion", "metadata"},
        )  # fmt: skip
        many = (await ask("GET", CONFIG, accept=PARTIAL_LIST)).json
        assert many["kind"] == "PartialObjectMetadataList"
        assert many["items"][0]["metadata"]["name"] == "c000"

    run(test)


@pytest.mark.parametrize(
    "accept",
    ["application/vnd.kubernetes.protobuf, */*", "*/*", "", "application/json;stream=watch", "text/html, */*;q=0.8"],
)
def test_json_is_answered_wherever_it_is_accepted(accept: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask("GET", CONFIG, accept=accept)
        assert (answer.headers["content-type"], answer.json["kind"]) == ("application/json", "ConfigMapList")

    run(test)


def test_one_and_many_are_not_mixed_up() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        many = await ask("GET", CONFIG, accept=PARTIAL)
        words = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
        assert (many.status, many.json["reason"], many.json["message"]) == (406, "NotAcceptable", words)
        one = await ask("GET", f"{CONFIG}/c000", accept=PARTIAL_LIST)
        assert one.json["message"].endswith("but the requested object is not a list (*core.ConfigMap)")

    run(test)


@pytest.mark.parametrize("form", [TABLE.partition(",")[0], PARTIAL_LIST])
def test_v1beta1_of_the_forms_is_spoken_too(form: str) -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        new, old = [(await ask("GET", CONFIG, accept=form.replace("v=v1", f"v={v}"))).json for v in ("v1", "v1beta1")]
        assert (new["apiVersion"], old["apiVersion"]) == ("meta.k8s.io/v1", "meta.k8s.io/v1beta1")
        item = old["rows"][0]["object"] if "rows" in old else old["items"][0]
        assert item["apiVersion"] == "meta.k8s.io/v1beta1"
        unknown = await ask("GET", CONFIG, accept=form.replace("v=v1", "v=v2"))
        assert unknown.status == 406

    run(test)


@pytest.mark.parametrize(
    ("query", "agent", "lines"),
    [("?pretty=true", "x", True), ("?pretty=false", "curl/8", False), ("", "curl/8", True), ("", "kubectl", False)],
)
def test_people_get_lines(query: str, agent: str, lines: bool) -> None:
    async def test(ask: Server) -> None:
        for path, status in ((CONFIG, 200), (f"{CONFIG}/none", 404), ("/api", 200), ("/version", 200)):
            answer = await ask("GET", path + query, user_agent=agent)
            assert (answer.status, answer.body.startswith(b'{\n  "')) == (status, lines), path
            assert int(answer.headers["content-length"]) == len(answer.body)

    run(test)


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
        watch = Watching(ask, f"{CONFIG}?watch=1", accept=binary)
        await until_async(lambda: len(watch.sent) > 1)
        assert (b"content-type", f"{binary};stream=watch".encode()) in watch.sent[0]["headers"]
        body = watch.sent[1]["body"]
        length = int.from_bytes(body[:4], "big")
        assert b"ADDED" in body[4 : 4 + length]
        await watch.end()
        table = await ask("GET", CONFIG, accept="application/json;as=Table;g=meta.k8s.io;v=v1,application/json")
        assert table.json["kind"] == "Table"
        only_tables = "application/json;as=Table;g=meta.k8s.io;v=v1"
        review = await ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, accept=only_tables)
        assert review.status == 406
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
