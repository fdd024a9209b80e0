"""What goes with its owner, what holds it, and what is left alone."""

import asyncio
from typing import Any

from netplane.apiserver import garbage
from tests.apiserver_app import Server, serving

MAPS = "/api/v1/namespaces/default/configmaps"
PATIENCE_S = 10.0


def run(test: Any) -> None:
    async def whole() -> None:
        async with serving() as server:
            collecting = asyncio.create_task(garbage.run(server.cluster))
            try:
                await test(server)
            finally:
                collecting.cancel()
                await asyncio.gather(collecting, return_exceptions=True)

    asyncio.run(whole())


async def make(server: Server, name: str, *owners: Any, block: bool = False, **metadata: Any) -> Any:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": one["metadata"]["name"],
            "uid": one["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for one in owners
    ]
    return await server.create(MAPS, {"metadata": {"name": name, "ownerReferences": references, **metadata}})


async def delete(server: Server, name: str, policy: str) -> int:
    return (await server("DELETE", f"{MAPS}/{name}", {"propagationPolicy": policy})).status


async def names(server: Server) -> list[str]:
    return [one["metadata"]["name"] for one in (await server("GET", MAPS)).json["items"]]


async def until(server: Server, *want: str) -> None:
    """Wait for exactly these."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await names(server) != list(want):
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"{await names(server)} instead of {list(want)}") from error


def test_dependents_follow_their_owner_through_generations() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        b = await make(server, "b", a)
        await make(server, "c", b)
        await make(server, "z")
        assert await delete(server, "a", "Background") == 200
        await until(server, "z")

    run(test)


def test_one_owner_left_is_enough() -> None:
    async def test(server: Server) -> None:
        a, b = await make(server, "a"), await make(server, "b")
        await make(server, "c", a, b)
        await delete(server, "a", "Background")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                left = (await server("GET", f"{MAPS}/c")).json["metadata"]["ownerReferences"]
                if [one["name"] for one in left] == ["b"]:
                    break
                await asyncio.sleep(0.01)
        await delete(server, "b", "Background")
        await until(server)

    run(test)


def test_orphans_stay_without_their_reference() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        await make(server, "b", a)
        await delete(server, "a", "Orphan")
        await until(server, "b")
        assert "ownerReferences" not in (await server("GET", f"{MAPS}/b")).json["metadata"]

    run(test)


def test_in_the_foreground_dependents_go_first() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        b = await make(server, "b", a, block=True, finalizers=["x.io/hold"])
        await make(server, "c", b, block=True)
        assert await delete(server, "a", "Foreground") == 200
        await until(server, "a", "b")
        held = (await server("GET", f"{MAPS}/a")).json["metadata"]
        assert held["finalizers"] == ["foregroundDeletion"]
        assert "deletionTimestamp" in held
        await server.patch(f"{MAPS}/b", {"metadata": {"finalizers": None}})
        await until(server)

    run(test)


def test_a_reference_to_what_never_was_is_garbage_and_an_unknown_kind_is_not() -> None:
    async def test(server: Server) -> None:
        await make(server, "a", {"metadata": {"name": "never", "uid": "1-2-3"}})
        foreign = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "4-5-6"}
        await server.create(MAPS, {"metadata": {"name": "b", "ownerReferences": [foreign]}})
        await until(server, "b")

    run(test)


def test_an_owner_of_the_same_name_is_not_the_same_owner() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        await delete(server, "a", "Background")
        await make(server, "a")
        await make(server, "b", a)
        await until(server, "a")

    run(test)


def test_two_that_own_each_other_do_not_wait_for_ever() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        b = await make(server, "b", a, block=True)
        back = {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": b["metadata"]["uid"]}
        owners = {"metadata": {"ownerReferences": [{**back, "blockOwnerDeletion": True}]}}
        await server.patch(f"{MAPS}/a", owners)
        assert await delete(server, "a", "Foreground") == 200
        await until(server)

    run(test)


def test_an_owner_goes_on_when_nobody_holds_it_any_more() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        await make(server, "b", a, block=True, finalizers=["x.io/hold"])
        await delete(server, "a", "Foreground")
        async with asyncio.timeout(PATIENCE_S):
            while "deletionTimestamp" not in (await server("GET", f"{MAPS}/b")).json["metadata"]:
                await asyncio.sleep(0.01)
        await server.patch(f"{MAPS}/b", {"metadata": {"ownerReferences": None}})
        await until(server, "b")

    run(test)


def test_a_way_that_somebody_said_before_is_kept() -> None:
    """An object that carries the finalizer `orphan` leaves its dependents behind, also when it goes with its owner."""

    async def test(server: Server) -> None:
        a = await make(server, "a")
        b = await make(server, "b", a, finalizers=["orphan"])
        await make(server, "c", b)
        await delete(server, "a", "Background")
        await until(server, "c")
        assert "ownerReferences" not in (await server("GET", f"{MAPS}/c")).json["metadata"]

    run(test)


def test_what_has_no_namespace_is_not_owned_by_what_has() -> None:
    async def test(server: Server) -> None:
        a = await make(server, "a")
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": a["metadata"]["uid"]}
        nodes = "/api/v1/nodes"
        await server.create(nodes, {"metadata": {"name": "n", "ownerReferences": [owner]}})
        dependent = await make(server, "b", a)
        await delete(server, "a", "Background")
        await until(server)
        assert dependent["metadata"]["uid"]
        assert (await server("GET", f"{nodes}/n")).status == 200

    run(test)


def test_what_was_left_over_is_collected_at_start() -> None:
    async def whole() -> None:
        async with serving() as server:
            a = await make(server, "a")
            await make(server, "b", a)
            await delete(server, "a", "Background")
            assert await names(server) == ["b"]
            collecting = asyncio.create_task(garbage.run(server.cluster))
            await until(server)
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)

    asyncio.run(whole())


def test_both_ways_to_say_it_at_once_are_refused() -> None:
    async def test(server: Server) -> None:
        await make(server, "a")
        both = {"propagationPolicy": "Orphan", "orphanDependents": True}
        answer = await server("DELETE", f"{MAPS}/a", both)
        assert answer.status == 422

    run(test)


def test_a_token_secret_without_its_account_goes() -> None:
    secrets, accounts = "/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/serviceaccounts"

    async def test(server: Server) -> None:
        for name in ("here", "goes"):
            await server.create(accounts, {"metadata": {"name": name}})
        for name in ("here", "goes", "never"):
            note = {"kubernetes.io/service-account.name": name}
            secret = {"metadata": {"name": name, "annotations": note}, "type": "kubernetes.io/service-account-token"}
            await server.create(secrets, secret)
        await server("DELETE", f"{accounts}/goes", {"propagationPolicy": "Orphan"})
        async with asyncio.timeout(PATIENCE_S):
            while (listed := [one["metadata"]["name"] for one in (await server("GET", secrets)).json["items"]]) != [
                "here"
            ]:
                assert "here" in listed
                await asyncio.sleep(0.01)

    run(test)
