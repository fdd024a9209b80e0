"""A namespace on its way out: what it waits for is told, and it goes when nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from netplane.apiserver import namespaces
from netplane.apiserver.namespaces import Remaining
from tests.apiserver_app import Server, serving

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
SPACE = "/api/v1/namespaces/x"
PATIENCE_S = 10.0


def told(conditions: list[Any]) -> dict[str, tuple[str, str, str]]:
    return {one["type"]: (one["status"], one["reason"], one["lastTransitionTime"]) for one in conditions}


def test_conditions_say_what_remains_and_keep_the_time_of_what_stays() -> None:
    left = Remaining({"pods.": 2, "leases.coordination.k8s.io": 1}, {"x.io/hold": 2})
    first = namespaces.conditions([{"type": "Mine", "status": "True"}], left, "", NOW)
    assert first[0] == {"type": "Mine", "status": "True"}
    messages = {one["type"]: one["message"] for one in first[1:]}
    remain = "Some resources are remaining: leases.coordination.k8s.io has 1 resource instances, "
    assert messages["NamespaceContentRemaining"] == f"{remain}pods. has 2 resource instances"
    hold = "Some content in the namespace has finalizers remaining: x.io/hold in 2 resource instances"
    assert messages["NamespaceFinalizersRemaining"] == hold
    second = namespaces.conditions(first, Remaining({"pods.": 1}, {}), "no", LATER)
    assert told(second[1:]) == {
        "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered", NOW),
        "NamespaceDeletionGroupVersionParsingFailure": ("False", "ParsedGroupVersions", NOW),
        "NamespaceDeletionContentFailure": ("True", "ContentDeletionFailed", LATER),
        "NamespaceContentRemaining": ("True", "SomeResourcesRemain", NOW),
        "NamespaceFinalizersRemaining": ("False", "ContentHasNoFinalizers", LATER),
    }


@asynccontextmanager
async def finishing() -> AsyncIterator[Server]:
    """A server that finishes namespaces, with one; at the end the namespace must go."""
    with patch.object(namespaces, "AGAIN_S", 0.02):
        async with serving() as server, asyncio.timeout(PATIENCE_S):
            task = asyncio.create_task(namespaces.run(server.cluster))
            await server.create("/api/v1/namespaces", {"metadata": {"name": "x"}})
            yield server
            while (await server("GET", SPACE)).status == 200:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def said(server: Server) -> list[Any]:
    """The namespace's conditions, once it has any."""
    while True:
        conditions: list[Any] | None = (await server("GET", SPACE)).json.get("status", {}).get("conditions")
        if conditions:
            return conditions
        await asyncio.sleep(0.01)


def test_a_namespace_that_is_held_says_by_what_and_goes_when_it_is_let_go() -> None:
    async def whole() -> None:
        async with finishing() as server:
            for name, finalizers in (("free", None), ("held", ["x.io/hold"])):
                await server.create(f"{SPACE}/configmaps", {"metadata": {"name": name, "finalizers": finalizers}})
            await server("DELETE", SPACE)
            conditions = await said(server)
            statuses = {one["type"]: one["status"] for one in conditions}
            assert statuses["NamespaceContentRemaining"] == statuses["NamespaceFinalizersRemaining"] == "True"
            names = [one["metadata"]["name"] for one in (await server("GET", f"{SPACE}/configmaps")).json["items"]]
            assert "held" in names
            assert "free" not in names
            await server.patch(f"{SPACE}/configmaps/held", {"metadata": {"finalizers": None}})

    asyncio.run(whole())


def test_pods_go_before_what_they_use() -> None:
    async def whole() -> None:
        async with finishing() as server:
            await server.create(f"{SPACE}/configmaps", {"metadata": {"name": "used"}})
            pod = {"metadata": {"name": "p", "finalizers": ["x.io/hold"]}, "spec": {"containers": [CONTAINER]}}
            await server.create(f"{SPACE}/pods", pod)
            await server("DELETE", SPACE)
            conditions = await said(server)
            messages = {one["type"]: one["message"] for one in conditions}
            waits = "Some resources are remaining: pods. has 1 resource instances"
            assert messages["NamespaceContentRemaining"] == waits
            await asyncio.sleep(3 * namespaces.AGAIN_S)
            assert (await server("GET", f"{SPACE}/configmaps/used")).status == 200
            await server.patch(f"{SPACE}/pods/p", {"metadata": {"finalizers": None}})

    asyncio.run(whole())


CONTAINER = {"name": "c", "image": "example.test/i:1"}
