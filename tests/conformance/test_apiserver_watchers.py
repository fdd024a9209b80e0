"""A thousand watchers of a real apiserver process while sixteen clients write, and one watcher that does not read.

NETPLANE_CHURN_S is for how many seconds they write (`./run bench apiserver --churn 60` does the same for a minute).
"""

import asyncio
import json
import os
import re

import pytest

from bench._apiserver import Server, config_map
from bench._churn import MERGE, churn, from_now, path
from bench._wire import Answer, Wire

pytestmark = pytest.mark.timeout(300)

SECONDS = float(os.environ.get("NETPLANE_CHURN_S", "2"))
WATCHERS, WRITERS = 1000, 16
LEAK_MIB = 24  # a thousand connections that stay would be more
LARGE = 900_000
WRITES = 90  # of LARGE bytes: more than the watch's buffer and the sockets' together


def test_a_thousand_watchers_see_all_that_sixteen_writers_do_and_leave_nothing_behind() -> None:
    async def test() -> None:
        with Server() as server:
            await churn(server, WATCHERS, WRITERS, SECONDS, "warm")  # fills what is kept of the past
            before_mib = server.rss_mib
            for namespace in ("first", "second"):
                found = await churn(server, WATCHERS, WRITERS, SECONDS, namespace)
                assert found.writes > WRITERS
            while server.rss_mib > before_mib + LEAK_MIB:  # a leak ends in the test's timeout
                await asyncio.sleep(0.2)

    asyncio.run(test())


def test_watchers_that_stop_reading_now_and_then_see_the_same_as_all() -> None:
    async def test() -> None:
        with Server() as server:
            found = await churn(server, 200, WRITERS, SECONDS, "stutter", stutter=100)
            assert found.writes > WRITERS

    asyncio.run(test())


def test_a_watcher_that_does_not_read_is_closed_and_loses_nothing_by_watching_on() -> None:
    async def test() -> None:
        with Server() as server:
            writer, slow, on = await server.target.wires(3)
            await ok(writer, "POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": "slow"}}).encode())
            seen: list[bytes] = []
            since = await from_now(writer, "slow")
            await slow.watch(since, seen.append)
            assert slow.transport is not None
            slow.transport.pause_reading()
            revisions = [await write(writer, i) for i in range(WRITES)]
            slow.transport.resume_reading()
            await slow.ended.wait()
            had = revisions_of(seen)
            assert had == revisions[: len(had)]
            assert len(had) < WRITES

            seen.clear()
            await on.watch(re.sub(r"resourceVersion=\d+", f"resourceVersion={had[-1]}", since), seen.append)
            while len(rest := revisions_of(seen)) < WRITES - len(had):
                await asyncio.sleep(0.01)
            assert had + rest == revisions

    asyncio.run(test())


async def write(wire: Wire, number: int) -> int:
    """Create the large object, or change it; its revision."""
    if not number:
        answer = await ok(wire, "POST", path("slow"), config_map("slow", "large", LARGE))
    else:
        patch = json.dumps({"data": {"k": str(number % 10) * LARGE}}).encode()
        answer = await ok(wire, "PATCH", f"{path('slow')}/large", patch, MERGE)
    return int(json.loads(answer.body)["metadata"]["resourceVersion"])


async def ok(wire: Wire, method: str, where: str, body: bytes, media: str = "application/json") -> Answer:
    answer = await wire.send(method, where, body, media)
    assert answer.status < 300, answer
    return answer


def revisions_of(seen: list[bytes]) -> list[int]:
    """Of the events in what came."""
    return [int(found) for found in re.findall(rb'"metadata":{"resourceVersion":"(\d+)"', b"".join(seen))]
