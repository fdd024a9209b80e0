"""Writes that are refused, or taken with a warning: what is said of each."""

from typing import Any

import pytest

from tests.apiserver_app import Server, config, run, service

CONFIG = "/api/v1/namespaces/default/configmaps"
REVISIONS = "/apis/apps/v1/namespaces/default/controllerrevisions"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", CONFIG, b"{oops", 400, "json parse error: invalid character 'o' looking for beginning of object key"),
        ("POST", CONFIG, b"[1]", 400, "cannot unmarshal array"),
        ("POST", CONFIG, {"metadata": "x"}, 400, "cannot unmarshal string into Go struct field ConfigMap.metadata"),
        ("POST", CONFIG, {"kind": 5}, 400, "json: cannot unmarshal number into Go struct field .kind of type string"),
        ("POST", CONFIG, {"apiVersion": [1]}, 400, "unmarshal array into Go struct field .apiVersion of type string"),
        ("POST", CONFIG, {"metadata": {"name": "c", "namespace": "other"}}, 400, "does not match the namespace"),
        ("POST", CONFIG, {"metadata": {"name": "c", "resourceVersion": "5"}}, 500, "should not be set on objects"),
        ("POST", CONFIG, {"metadata": {"name": "NOT", "resourceVersion": "5"}}, 422, "metadata.name"),
        ("PUT", f"{CONFIG}/kube", config("kube"), 404, 'configmaps \\"kube\\" not found'),
        ("POST", CONFIG, {"metadata": {"name": "NOT OK"}}, 422, "metadata.name"),
        ("POST", f"{CONFIG}?dryRun=Some", config("c"), 422, "dryRun"),
        ("POST", f"{CONFIG}?fieldValidation=Never", config("c"), 422, "fieldValidation"),
        ("PUT", f"{CONFIG}/a", config("b"), 400, "the name of the object (b) does not match the name on the URL (a)"),
        ("POST", f"{CONFIG}/a", config("a"), 405, "does not allow this method"),
        ("PATCH", CONFIG, {}, 405, "does not allow this method"),
        ("DELETE", "/api/v1/namespaces", None, 405, "does not allow this method"),
        ("GET", f"{CONFIG}/a/status", None, 404, "could not find the requested resource"),
        ("GET", f"{CONFIG}/a/b/c", None, 404, "could not find the requested resource"),
        ("DELETE", "/api/v1/namespaces/kube-system", None, 403, "this namespace may not be deleted"),
        ("DELETE", f"{CONFIG}/a", {"gracePeriodSeconds": "soon"}, 400, "cannot unmarshal string"),
        ("DELETE", f"{CONFIG}/a", {"propagationPolicy": "Maybe"}, 422, "propagationPolicy"),
        ("POST", CONFIG, b"x" * (3 * 1024 * 1024 + 1), 413, "Request entity too large"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(method: str, path: str, body: Any, status: int, message: str) -> None:
    async def test(ask: Server) -> None:
        before = await ask.store.current_rev()
        answer = await ask(method, path, body)
        assert answer.status == status, answer.body
        assert message in answer.body.decode()
        assert await ask.store.current_rev() == before

    run(test)


@pytest.mark.parametrize(
    ("metadata", "status", "message"),
    [
        (None, 400, "the name of the object (c based on URL) was undeterminable: name must be provided"),
        ([], 422, "json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        (
            {"name": {}},
            422,
            "json: cannot unmarshal object into Go struct field ObjectMeta.metadata.name of type string",
        ),
        ({"uid": "x"}, 422, 'metadata.uid: Invalid value: "x": field is immutable'),
        ({"namespace": "other"}, 400, "the namespace of the provided object does not match"),
    ],
)
def test_patches_of_metadata_that_cannot_be(metadata: Any, status: int, message: str) -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, config("c"))
        answer = await ask.patch(f"{CONFIG}/c", {"metadata": metadata}, "merge")
        assert (answer.status, message in answer.json["message"]) == (status, True), answer.body

    run(test)


def test_an_object_that_a_put_makes_is_none_that_there_was() -> None:
    async def test(ask: Server) -> None:
        path = "/api/v1/namespaces/default/services/s"
        for query, root in (("", "/registry"), ("?dryRun=All", "")):
            answer = await ask("PUT", path + query, {**service("s"), "metadata": {"name": "s", "uid": "x"}})
            where = f"Code: 4, Key: {root}/services/specs/default/s, ResourceVersion: 0"
            assert (answer.status, where in answer.json["message"]) == (409, True), answer.body
            assert answer.json["message"].endswith("UID in precondition: x, UID in object meta: ")

    run(test)


def test_patches_that_cannot_be() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, config("c"))
        renamed = await ask.patch(f"{CONFIG}/c", {"metadata": {"name": "d"}})
        assert (renamed.status, "does not match the name on the URL" in renamed.json["message"]) == (400, True)
        other = await ask("PATCH", f"{CONFIG}/c", {}, content_type="application/json")
        assert (other.status, other.json["reason"]) == (415, "UnsupportedMediaType")
        assert (await ask.patch(f"{CONFIG}/c", b"{", "merge")).status == 400
        assert (await ask.patch(f"{CONFIG}/c", {"not": "a list"}, "json")).status == 400
        assert (await ask.patch(f"{CONFIG}/c", [{"op": "remove", "path": "/nothing"}], "json")).status == 422

    run(test)


def test_keys_twice_in_yaml_and_odd_members_of_a_json_patch() -> None:
    text = b"metadata:\n  name: c\ndata:\n  a: x\n  a: y\n"

    async def test(ask: Server) -> None:
        where, yaml = f"{CONFIG}?fieldValidation=", "application/yaml"
        strict = await ask("POST", f"{where}Strict", text, content_type=yaml)
        why = 'strict decoding error: yaml: unmarshal errors:\n  line 5: key "a" already set in map'
        assert (strict.status, strict.json["message"].endswith(why)) == (400, True), strict.json
        warned = await ask("POST", f"{where}Warn", text, content_type=yaml)
        assert warned.headers["warning"] == '299 - "line 5: key \\"a\\" already set in map"'
        assert warned.json["data"] == {"a": "y"}
        whole, media = b"apiVersion: v1\nkind: ConfigMap\n" + text, "application/apply-patch+yaml"
        applied = await ask("PATCH", f"{CONFIG}/c?fieldManager=m&fieldValidation=Strict", whole, content_type=media)
        assert (applied.status, "line 7: key" in applied.json["message"]) == (400, True), applied.json
        ops = [{"op": "add", "path": "/data/b", "value": "1", "odd": 1}]
        odd = await ask.patch(f"{CONFIG}/c?fieldValidation=Strict", ops, "json")
        assert (odd.status, 'json patch unknown field "[0].odd"' in odd.json["message"]) == (422, True), odd.json
        told = await ask.patch(f"{CONFIG}/c?fieldValidation=Warn", ops, "json")
        assert (told.status, "json patch unknown field" in told.headers["warning"]) == (200, True)

    run(test)


def test_yaml_that_is_more_than_json_becomes_json() -> None:
    odd = b"metadata: {name: c}\ndata: {1: a, 1.5: b, true: c, 0x10: !!binary aGk=}\n"
    odd += b"x: !!set {a}\ny: !!timestamp 2020-01-01\n2.0: z\n"

    async def test(ask: Server) -> None:
        made = await ask("POST", f"{CONFIG}?fieldValidation=Warn", odd, content_type="application/yaml")
        assert (made.status, made.json["data"]) == (201, {"1": "a", "1.5": "b", "true": "c", "16": "hi"}), made.json
        large = b"metadata: {name: r}\nrevision: 1\ndata: {a: 123456789012345678901234567890}"
        made = await ask("POST", REVISIONS, large, content_type="application/yaml")
        assert (made.status, made.json["data"]) == (201, {"a": 123456789012345678901234567890.0})
        for text in (
            b"x: .inf",
            b"x: -.inf",
            b"x: .nan",
            b"x: " + b"9" * 400,
            b"x: " + b"9" * 5000,
            b"? null\n: x",
            b"? [a]\n: x",
            b"? {a: b}\n: x",
            b"x: !!map [a]",
            b"x: !!set a",
        ):
            refused = await ask("POST", CONFIG, text, content_type="application/yaml")
            assert (refused.status, refused.json["reason"]) == (400, "BadRequest"), refused.json

    run(test)


def test_unknown_and_duplicate_fields() -> None:
    async def test(ask: Server) -> None:
        odd = b'{"metadata":{"name":"c"},"dta":{"a":"b"},"data":{"k":"1","k":"2"}}'
        warned = await ask("POST", f"{CONFIG}?fieldValidation=Warn", odd)
        assert warned.status == 201
        assert warned.headers["warning"].startswith('299 - "')
        assert "dta" not in warned.json
        split = b'{"metadata":{"name":"s"},"dta\\r\\nset-cookie: a":"b","x":1}'
        warned = await ask("POST", f"{CONFIG}?fieldValidation=Warn", split)
        assert warned.headers["warning"] == '299 - "unknown field \\"x\\""', "no header is made of a body"
        refused = await ask("POST", f"{CONFIG}?fieldValidation=Strict", odd.replace(b'"c"', b'"d"'))
        assert refused.status == 400
        assert 'unknown field "dta", duplicate field "data.k"' in refused.json["message"]
        quiet = await ask("POST", f"{CONFIG}?fieldValidation=Ignore", odd.replace(b'"c"', b'"e"'))
        assert (quiet.status, "warning" in quiet.headers) == (201, False)

    run(test)


def test_what_only_go_takes_for_json_is_looked_through_for_duplicates_too() -> None:
    async def test(ask: Server) -> None:
        strict = f"{CONFIG}?fieldValidation=Strict"
        made = await ask("POST", strict, b'{"metadata":{"name":"u"},"data":{"a":"\xff"}}')
        assert (made.status, made.json["data"]) == (201, {"a": "\ufffd"})
        unknown = await ask("POST", strict, b'{"metadata":{"name":"n"},"x":%b}' % (b"1" * 5000))
        assert unknown.json["message"].endswith('strict decoding error: unknown field "x"')
        twice = await ask("POST", strict, b'{"metadata":{"name":"t"},"data":{"\\ud800":"","\\ud800":""}}')
        assert twice.json["message"].endswith('strict decoding error: duplicate field "data.\ufffd"')
        deep = await ask("POST", strict, b'{"metadata":{"name":"d"},"x":%b%b}' % (b"[" * 1000, b"]" * 1000))
        assert (deep.status, deep.json["message"]) == (400, "exceeded max depth")
        deeper = await ask("POST", CONFIG, b'{"metadata":{"name":"d"},"x":%b%b}' % (b"[" * 5000, b"]" * 5000))
        assert (deeper.status, ": exceeded max depth" in deeper.json["message"]) == (400, True)

    run(test)


def test_slices_of_names_are_told_that_they_are_deprecated_and_ordinary_ones_nothing() -> None:
    async def test(ask: Server) -> None:
        for family, address, told in (("FQDN", "a.b", True), ("IPv6", "fd00::1", False), ("IPv4", "10.0.0.1", False)):
            slice_ = {
                "metadata": {"name": family.lower()},
                "addressType": family,
                "endpoints": [{"addresses": [address]}],
            }
            answer = await ask("POST", SLICES, slice_)
            assert (answer.status, "FQDN" in answer.headers.get("warning", "")) == (201, told), answer

    run(test)


def test_only_a_strategic_patch_cannot_say_another_kind() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, config("c", a="1"))
        strategic = "application/strategic-merge-patch+json"
        kept = await ask("PATCH", f"{CONFIG}/c", {"kind": "Foo", "apiVersion": "v9"}, content_type=strategic)
        assert (kept.status, kept.json["kind"], kept.json["apiVersion"]) == (200, "ConfigMap", "v1")
        merged = await ask("PATCH", f"{CONFIG}/c", {"kind": "Foo"}, content_type="application/merge-patch+json")
        assert (merged.status, merged.json["reason"]) == (422, "Invalid")
        assert 'no kind "Foo" is registered for version "v1"' in merged.json["message"]

    run(test)


def test_nothing_depends_on_an_event() -> None:
    async def test(ask: Server) -> None:
        events = "/api/v1/namespaces/default/events"
        await ask.create(events, {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}})
        answer = await ask("DELETE", f"{events}/e", {"propagationPolicy": "Foreground"})
        assert (answer.json["status"], (await ask("GET", f"{events}/e")).status) == ("Success", 404)

    run(test)
