"""Laws of JSON patch, server-side apply, continue tokens and of what a server hands out to many at once."""

import asyncio
import ipaddress
from typing import Any

import jsonpatch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from netplane.api import kinds, patch
from netplane.api.errors import StatusError
from netplane.api.managed import entries as managed
from netplane.apiserver.wire.options import Position, decode_token, encode_token
from tests import apiserver_app
from tests.apiserver_app import Server, serving

Json = dict[str, Any]

KEYS = st.sampled_from(["a", "b", "c/d", "e~f", ""])
SCALARS = st.none() | st.integers(0, 3) | st.text(max_size=2) | st.booleans()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
DOCS = st.dictionaries(KEYS, VALUES, max_size=4)


# Where the library and the real server differ: nulls, and 1 that is True.
PLAIN = st.recursive(
    st.integers(2, 4) | st.text(max_size=2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)
PLAIN_DOCS = st.dictionaries(KEYS, PLAIN, max_size=4)


@given(PLAIN_DOCS, PLAIN_DOCS)
def test_a_json_patch_made_from_two_documents_leads_to_the_second(old: Json, new: Json) -> None:
    before = repr(old)
    assert patch.json_patch(old, jsonpatch.make_patch(old, new).patch) == new
    assert repr(old) == before


POINTERS = st.lists(st.sampled_from(["/a", "/b", "/0", "/-", "/c~1d"]), max_size=2).map("".join)
POINTED = st.lists(st.sampled_from(["/a", "/b", "/0", "/-", "/c~1d"]), min_size=1, max_size=3).map("".join)
STRICT = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTED,
        "from": POINTED,
        "value": PLAIN,
    }
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
    optional={
        "path": POINTERS,
        "from": st.sampled_from(["/a", "/b", ""]),
        "value": VALUES,
    },
)  # fmt: skip


def outcome(doc: Json, operations: list[Json]) -> Json | int:
    """The document after a patch, or the code of its refusal."""
    try:
        return patch.json_patch(doc, operations)
    except StatusError as error:
        return error.code


@given(PLAIN_DOCS, st.lists(STRICT, max_size=4))
def test_any_json_patch_that_the_library_applies_does_the_same_here(doc: Json, operations: list[Json]) -> None:
    try:
        wanted: Any = jsonpatch.apply_patch(doc, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, AttributeError):
        wanted = None
    assume(isinstance(wanted, dict))
    assert outcome(doc, operations) == wanted


@given(DOCS, st.lists(OPERATIONS, max_size=4))
def test_any_json_patch_is_applied_or_refused(doc: Json, operations: list[Json]) -> None:
    before = repr(doc)
    found = outcome(doc, operations)
    assert isinstance(found, dict) or found == 422
    assert repr(doc) == before


# Server-side apply ------------------------------------------------------------------------------------------------

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), max_size=4)


def writer(name: str) -> managed.Writer:
    return managed.Writer(name, "2026-01-01T00:00:00Z", "", frozenset())


def said(data: dict[str, str]) -> Json:
    return {"metadata": {"name": "c", "namespace": "d"}, **({"data": dict(data)} if data else {})}


def applied(old: Json | None, data: dict[str, str], name: str, *, force: bool = False) -> Json:
    made = managed.apply(kinds.CONFIG_MAP, old, said(data), writer(name), force=force)
    obj = made.obj if old is not None else said(data)
    return {**obj, "metadata": {**obj["metadata"], "managedFields": made.entries}}


@given(DATA, DATA, DATA)
def test_what_a_manager_no_longer_says_goes_unless_others_say_it(
    one: dict[str, str], two: dict[str, str], then: dict[str, str]
) -> None:
    obj = applied(None, one, "m1")
    obj = applied(obj, two, "m2", force=True)
    again = applied(obj, two, "m2")
    assert again.get("data") == obj.get("data"), "the same again changes nothing"
    obj = applied(obj, then, "m1", force=True)
    shared = {key: value for key, value in two.items() if key not in then}
    assert (obj.get("data") or {}) == {**shared, **then}


@given(DATA, DATA)
def test_there_is_a_conflict_exactly_where_two_say_different_things(one: dict[str, str], two: dict[str, str]) -> None:
    obj = applied(None, one, "m1")
    differ = sorted(key for key in one if key in two and one[key] != two[key])
    try:
        applied(obj, two, "m2")
        refused: tuple[int, list[str]] = (0, [])
    except StatusError as error:
        refused = (error.code, sorted(cause["field"] for cause in (error.details or {})["causes"]))
    assert refused == ((409, [f".data.{key}" for key in differ]) if differ else (0, []))


@given(st.integers(1, 2**62), st.lists(st.from_regex(r"[a-c][a-c.-]{0,5}", fullmatch=True), min_size=1, max_size=3))
def test_a_continue_token_says_where_it_was(rev: int, steps: list[str]) -> None:
    start = "/" + "/".join(steps) + "\0"
    assert decode_token(encode_token(Position(rev, start))) == Position(rev, start)


# What is handed out -----------------------------------------------------------------------------------------------

SERVICES = "/api/v1/namespaces/default/services"
TYPES = st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"])
NAMES = st.sampled_from([f"s{i}" for i in range(9)])
STEPS = st.lists(st.tuples(st.sampled_from(["make", "drop", "retype", "dry"]), NAMES, TYPES), min_size=1, max_size=40)


def service(name: str, kind: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}


async def step(ask: Server, what: str, name: str, kind: str) -> None:
    if what == "make":
        answer = await ask("POST", SERVICES, service(name, kind))
    elif what == "dry":
        answer = await ask("POST", f"{SERVICES}?dryRun=All", service(name, kind))
    elif what == "drop":
        answer = await ask("DELETE", f"{SERVICES}/{name}")
    else:
        answer = await ask.patch(f"{SERVICES}/{name}", {"spec": {"type": kind}})
    assert answer.status in (200, 201, 404, 409, 422, 500), answer.body
    if answer.status in (422, 500):
        assert b"range is full" in answer.body or b"allocate" in answer.body, answer.body


async def consistent(ask: Server) -> None:
    """No address and no port is two Services'; each address has its object, and no other has one."""
    items = (await ask("GET", SERVICES)).json["items"]
    addresses = [one["spec"]["clusterIP"] for one in items]
    ports = [port["nodePort"] for one in items for port in one["spec"]["ports"] if port.get("nodePort")]
    assert len(set(addresses)) == len(addresses)
    assert len(set(ports)) == len(ports)
    objects = (await ask("GET", "/apis/networking.k8s.io/v1/ipaddresses")).json["items"]
    assert {one["metadata"]["name"] for one in objects} == set(addresses)
    assert all(ipaddress.ip_address(one) in ipaddress.ip_network("10.96.0.0/28") for one in addresses)


@given(STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_is_handed_out_twice_however_many_ask_at_once(steps: list[tuple[str, str, str]]) -> None:
    async def story() -> None:
        async with serving(apiserver_app.settings("10.96.0.0/28", ports=(30000, 30005))) as ask:
            for i in range(0, len(steps), 8):
                await asyncio.gather(*(step(ask, *one) for one in steps[i : i + 8]))
                await consistent(ask)
            for name in [one["metadata"]["name"] for one in (await ask("GET", SERVICES)).json["items"]]:
                await ask("DELETE", f"{SERVICES}/{name}")
            await consistent(ask)

    asyncio.run(story())
