"""Lists: chunks, selectors, the past."""

from typing import Any

import pytest

from netplane.store.memory import MemoryStore
from tests.apiserver_app import Server, fill, run

CONFIG = "/api/v1/namespaces/default/configmaps"


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


def test_a_chunked_list_is_one_list_at_one_revision() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 25)
        first = await ask("GET", f"{CONFIG}?limit=10")
        meta = first.json["metadata"]
        assert (len(names(first)), meta["remainingItemCount"]) == (10, 15)
        await ask("DELETE", f"{CONFIG}/c015")
        await ask.create(CONFIG, {"metadata": {"name": "c0155"}})
        got, token = names(first), meta["continue"]
        while token:
            page = await ask("GET", f"{CONFIG}?limit=10&continue={token}")
            assert page.json["metadata"]["resourceVersion"] == meta["resourceVersion"]
            got += names(page)
            token = page.json["metadata"].get("continue", "")
        assert got == [f"c{i:03}" for i in range(25)]

    run(test)


def test_chunks_of_a_selected_list_are_full_and_uncounted() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 30)
        page = await ask("GET", f"{CONFIG}?limit=10&labelSelector=even%3DTrue")
        assert names(page) == [f"c{i:03}" for i in range(0, 20, 2)]
        assert "remainingItemCount" not in page.json["metadata"]
        rest = await ask(
            "GET", f"{CONFIG}?limit=10&labelSelector=even%3DTrue&continue={page.json['metadata']['continue']}"
        )
        assert names(rest) == [f"c{i:03}" for i in range(20, 30, 2)]
        assert "continue" not in rest.json["metadata"]

    run(test)


def test_a_chunk_whose_revision_is_gone_has_expired() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 5)
        token = (await ask("GET", f"{CONFIG}?limit=2")).json["metadata"]["continue"]
        await fill(ask, 5, "kube-public")
        await ask.store.compact(await ask.store.current_rev())
        expired = await ask("GET", f"{CONFIG}?limit=2&continue={token}")
        assert (expired.status, expired.json["reason"]) == (410, "Expired")
        await ask("DELETE", f"{CONFIG}/c003")
        rest = await ask("GET", f"{CONFIG}?continue={expired.json['metadata']['continue']}")
        assert names(rest) == ["c002", "c004"], "it goes on where it was, with what there is now"

    run(test, store=MemoryStore(keep_revisions=1))


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("resourceVersion=abc", 400, "invalid resource version"),
        ("resourceVersion=999999", 504, "Too large resource version: 999999"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "is forbidden for resourceVersion"),
        ("resourceVersionMatch=Exact", 422, "unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Sometimes", 422, "Unsupported value"),
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("continue=nonsense", 400, "continue key is not valid"),
        ("continue=bm9uc2Vuc2U", 400, "invalid character 'o' in literal null (expecting 'u')"),
        ("continue=a!b", 400, "illegal base64 data at input byte 1"),
        ("continue=W10", 400, "json: cannot unmarshal array into Go value of type storage.continueToken"),
        ("continue=e30", 400, "server does not recognize this encoded version "),
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MH0",
            400,
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NX0", 400, "encoded start key empty (version meta.k8s.io/v1)"),
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiIuLi9hIn0",
            400,
            "continue key is not valid: ../a",
        ),
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhIn0&resourceVersion=5",
            400,
            "not allowed when using continue",
        ),
        ("limit=", 400, 'strconv.ParseInt: parsing "": invalid syntax'),
        ("limit=1_0", 400, 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        ("resourceVersion=%2B1", 400, 'strconv.ParseUint: parsing "+1": invalid syntax'),
        ("resourceVersion=99999999999999999999", 400, "value out of range"),
        (f"resourceVersion={'9' * 5000}", 400, "value out of range"),
        (f"limit={'9' * 5000}", 400, "value out of range"),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement"),
        ("fieldSelector=spec.colour%3Dblue", 400, "field"),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
    ],
)
def test_lists_that_cannot_be(query: str, status: int, message: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask("GET", f"{CONFIG}?{query}")
        assert answer.status == status, answer.body
        assert message in answer.json["message"]

    run(test)


def test_lists_of_the_past_and_of_everything() -> None:
    async def test(ask: Server) -> None:
        made = await fill(ask, 3)
        await fill(ask, 2, "kube-public")
        rev = made[1]["metadata"]["resourceVersion"]
        assert names(await ask("GET", f"{CONFIG}?resourceVersion={rev}&resourceVersionMatch=Exact")) == ["c000", "c001"]
        assert len(names(await ask("GET", f"{CONFIG}?resourceVersion={rev}"))) == 3
        everywhere = names(await ask("GET", "/api/v1/configmaps"))
        assert len([one for one in everywhere if one.startswith("c00")]) == 5
        assert len(names(await ask("GET", f"{CONFIG}?resourceVersion=0&limit=1"))) == 3
        assert names(await ask("GET", "/api/v1/namespaces/nowhere/configmaps")) == []
        one = await ask("GET", f"{CONFIG}?fieldSelector=metadata.name%3Dc001")
        assert names(one) == ["c001"]
        assert names(await ask("GET", f"{CONFIG}?labelSelector=even,n+notin+(0,1)")) == ["c002"]

    run(test)
