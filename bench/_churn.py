"""Many watchers while several write: does every one of them see everything, in order, and is memory free again after?

Each watcher's stream of lines is summed up as it comes; equal sums are equal streams. The first one's is read in full.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from bench._apiserver import Server, config_map
from bench._wire import Target, Watchers, Wire

MERGE = "application/merge-patch+json"


def path(namespace: str) -> str:
    """Of the objects that are written."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


class Writer:
    """Makes, changes and deletes objects of its own, one request after the other; `done` counts them."""

    def __init__(self, wire: Wire, namespace: str, number: int) -> None:
        self._wire, self._namespace, self._number = wire, namespace, number
        self._path = path(namespace)
        self.done = 0
        self.wrote: list[tuple[str, str, str]] = []

    async def run(self, until: float) -> None:
        """Write until the loop's time `until`."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            name = f"w{self._number}-{self.done}"
            await self._one("ADDED", name, "POST", self._path, config_map(self._namespace, name))
            patch = json.dumps({"data": {"k": name}}).encode()
            await self._one("MODIFIED", name, "PATCH", f"{self._path}/{name}", patch, MERGE)
            await self._one("DELETED", name, "DELETE", f"{self._path}/{name}")

    async def _one(self, kind: str, name: str, method: str, where: str, body: bytes = b"", media: str = "") -> None:
        answer = await self._wire.send(method, where, body, media or "application/json")
        assert answer.status < 300, answer
        self.done += 1
        self.wrote.append((kind, name, method))


class Seen:
    """What the first watcher saw, read in full."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __call__(self, number: int, lines: bytes) -> None:
        if number == 0:
            self.lines.append(lines)

    def events(self) -> list[tuple[str, str, int]]:
        """(type, name, revision) of each."""
        events = [json.loads(line) for line in b"".join(self.lines).splitlines()]
        meta = [(event["type"], event["object"]["metadata"]) for event in events]
        return [(kind, one["name"], int(one["resourceVersion"])) for kind, one in meta]


class Found(NamedTuple):
    """Writes per second, and MiB before, with the watches, at the end of writing, and when they were gone."""

    writes: int
    per_s: float
    mib: tuple[int, int, int, int]


async def churn(
    server: Server, watchers: int, writers: int, seconds: float, namespace: str = "churn", *, stutter: int = 0
) -> Found:
    """Write while many watch. Raises AssertionError when a watcher missed, repeated or reordered anything.

    `stutter` of the watchers stop reading now and then.
    """
    target = server.target
    wires = await target.wires(writers)
    await wires[0].send("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": namespace}}).encode())
    before_mib = server.rss_mib
    seen = Seen()
    many = await Watchers.open(target, await from_now(wires[0], namespace), watchers, seen)
    open_mib = server.rss_mib
    writing = [Writer(wire, namespace, i) for i, wire in enumerate(wires)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(
        *(one.run(began + seconds) for one in writing),
        *(stuttering(wire, i, began + seconds) for i, wire in enumerate(many.wires[watchers - stutter :])),
    )
    took = asyncio.get_running_loop().time() - began
    await _until(lambda: len(set(zip(many.sums, many.sizes, strict=True))) == 1 and _all_there(seen, writing))
    check(seen.events(), [one.wrote for one in writing])
    most_mib = server.rss_mib
    many.close()
    await _gone(target)
    writes = sum(one.done for one in writing)
    for wire in wires:
        wire.close()
    return Found(writes, writes / took, (before_mib, open_mib, most_mib, server.rss_mib))


async def stuttering(wire: Wire, seed: int, until: float) -> None:
    """Read for a while, and for another while do not, until the loop's time `until`."""
    dice, loop = random.Random(seed), asyncio.get_running_loop()
    assert wire.transport is not None
    while loop.time() < until:
        await asyncio.sleep(dice.expovariate(20))
        wire.transport.pause_reading()
        await asyncio.sleep(min(dice.expovariate(2), max(until - loop.time(), 0)))
        wire.transport.resume_reading()


async def from_now(wire: Wire, namespace: str) -> str:
    """The path of a watch that begins now."""
    listed = json.loads((await wire.send("GET", f"{path(namespace)}?limit=1")).body)
    return f"{path(namespace)}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"


def _all_there(seen: Seen, writing: list[Writer]) -> bool:
    return sum(chunk.count(b"\n") for chunk in seen.lines) == sum(one.done for one in writing)


async def _until(true: Callable[[], bool], within_s: float = 120.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "some watchers did not see what others saw"
        await asyncio.sleep(0.05)


async def _gone(target: Target) -> None:
    """Let the server notice that the watchers left."""
    wire = await target.wire()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        text = (await wire.send("GET", "/metrics")).body
        open_now = [line for line in text.splitlines() if line.startswith(b"apiserver_longrunning_requests")]
        if open_now and all(float(line.split()[-1]) == 0 for line in open_now):
            break
        await asyncio.sleep(0.1)
    wire.close()


def check(events: list[tuple[str, str, int]], wrote: list[list[tuple[str, str, str]]]) -> None:
    """Every write is there once, revisions rise, and each object's events are in the order of their writes."""
    revisions = [rev for _, _, rev in events]
    assert revisions == sorted(set(revisions)), "revisions do not rise"
    by_writer: dict[str, list[tuple[str, str]]] = {f"w{i}": [] for i in range(len(wrote))}
    for kind, name, _ in events:
        by_writer[name.partition("-")[0]].append((kind, name))
    for i, one in enumerate(wrote):
        assert by_writer[f"w{i}"] == [(kind, name) for kind, name, _ in one], f"writer {i}'s events"
