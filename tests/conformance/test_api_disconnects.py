"""List and watch over HTTP with clients that hang up at random: nobody misses an event, nobody sees one twice."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2

from tests.apiserver_process import Apiserver

PATH = "/api/v1/namespaces/default/configmaps"
CLIENTS, WRITERS, WRITES = 12, 4, 60
Event = tuple[str, str, int]


def client(server: Apiserver) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx2.AsyncClient(base_url=server.url, verify=server.tls(), headers=headers, timeout=30)


async def write(server: Apiserver, writer: int) -> None:
    """Create, change and delete a few objects over and over, in an order that the writer's number decides."""
    dice = random.Random(writer)
    there: set[str] = set()
    async with client(server) as http:
        for i in range(WRITES):
            name = f"c-{writer}-{dice.randrange(4)}"
            if name not in there:
                body = {"metadata": {"name": name, "labels": {"run": "yes"}}}
                answer = await http.post(PATH, json=body)
                there.add(name)
            elif dice.random() < 0.3:
                answer = await http.delete(f"{PATH}/{name}")
                there.discard(name)
            else:
                headers = {"Content-Type": "application/merge-patch+json"}
                answer = await http.patch(
                    f"{PATH}/{name}", content=json.dumps({"data": {"i": str(i)}}), headers=headers
                )
            answer.raise_for_status()
            await asyncio.sleep(dice.random() / 100)
        done = await http.post(PATH, json={"metadata": {"name": f"done-{writer}", "labels": {"run": "yes"}}})
        done.raise_for_status()


async def lines(http: httpx2.AsyncClient, rev: int) -> AsyncGenerator[Any, None]:
    query = {"watch": "1", "resourceVersion": str(rev), "labelSelector": "run=yes", "timeoutSeconds": "60"}
    async with http.stream("GET", PATH, params=query) as answer:
        async for line in answer.aiter_lines():
            yield json.loads(line)


async def follow(server: Apiserver, seed: int, start: int, *, patience: tuple[int, int]) -> list[Event]:
    """Everything from `start` to the last writer's last word; hangs up after so many lines, and comes again."""
    dice, seen, rev, over = random.Random(seed), list[Event](), start, set[str]()
    while len(over) < WRITERS:
        async with client(server) as http:
            left = dice.randint(*patience)
            watch = lines(http, rev)
            async for event in watch:
                metadata = event["object"]["metadata"]
                rev = int(metadata["resourceVersion"])
                seen.append((event["type"], metadata["name"], rev))
                if metadata["name"].startswith("done-"):
                    over.add(metadata["name"])
                left -= 1
                if not left or len(over) == WRITERS:
                    break
            await watch.aclose()
    return seen


async def story(server: Apiserver) -> tuple[list[Event], list[list[Event]], set[tuple[str, int]]]:
    async with client(server) as http:
        start = int((await http.get(PATH)).json()["metadata"]["resourceVersion"])
    steady = asyncio.create_task(follow(server, 0, start, patience=(10**6, 10**6)))
    restless = [asyncio.create_task(follow(server, seed, start, patience=(1, 12))) for seed in range(1, CLIENTS + 1)]
    await asyncio.gather(*(write(server, writer) for writer in range(WRITERS)))
    async with asyncio.timeout(60):
        all_of_it, views = await steady, list(await asyncio.gather(*restless))
    async with client(server) as http:
        items = (await http.get(PATH, params={"labelSelector": "run=yes"})).json()["items"]
    return all_of_it, views, {(one["metadata"]["name"], int(one["metadata"]["resourceVersion"])) for one in items}


def test_who_hangs_up_and_comes_again_misses_nothing(tmp_path: Path) -> None:
    with Apiserver(tmp_path) as server:
        steady, views, left = asyncio.run(story(server))
    assert len(steady) == WRITERS * (WRITES + 1)
    revisions = [rev for _, _, rev in steady]
    assert revisions == sorted(set(revisions)), "each change once, in its order"
    for view in views:
        assert view == steady
    state: dict[str, int] = {}
    for kind, name, rev in steady:
        if kind == "DELETED":
            del state[name]
        else:
            assert (name in state) is (kind == "MODIFIED")
            state[name] = rev
    assert set(state.items()) == left
