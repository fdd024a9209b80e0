"""Many watchers while several write: does every one of them see everything, in order, and is memory free again after?

Each watcher's stream of lines is summed up as it comes; equal sums are equal streams. The first one's is read in full.
"""

import asyncio
import json
import time
from collections.abc import Callable

from bench._apiserver import Server, config_map
from bench._wire import Target, Watchers, Wire

NS = "churn"
PATH = f"/api/v1/namespaces/{NS}/configmaps"
MERGE = "application/merge-patch+json"


class Writer:
    """Makes, changes and deletes objects of its own, one request after the other; `done` counts them."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire, self._number = wire, number
        self.done = 0
        self.wrote: list[tuple[str, str, str]] = []

    async def run(self, until: float) -> None:
        """Write until the loop's time `until`."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            name = f"w{self._number}-{self.done}"
            await self._one("ADDED", name, "POST", PATH, config_map(NS, name))
            patch = json.dumps({"data": {"k": name}}).encode()
            await self._one("MODIFIED", name, "PATCH", f"{PATH}/{name}", patch, MERGE)
            await self._one("DELETED", name, "DELETE", f"{PATH}/{name}")

    async def _one(self, kind: str, name: str, method: str, path: str, body: bytes = b"", media: str = "") -> None:
        answer = await self._wire.send(method, path, body, media or "application/json")
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


async def churn(server: Server, watchers: int, writers: int, seconds: float) -> dict[str, str]:
    """What was found, for a table. Raises AssertionError when a watcher missed, repeated or reordered anything."""
    target = server.target
    wires = await target.wires(writers)
    await wires[0].send("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": NS}}).encode())
    before_mib = server.rss_mib
    seen = Seen()
    many = await Watchers.open(target, await _from_now(wires[0]), watchers, seen)
    open_mib = server.rss_mib
    writing = [Writer(wire, i) for i, wire in enumerate(wires)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(one.run(began + seconds) for one in writing))
    took = asyncio.get_running_loop().time() - began
    await _until(lambda: len(set(zip(many.sums, many.sizes, strict=True))) == 1 and _all_there(seen, writing))
    check(seen.events(), [one.wrote for one in writing])
    most_mib = server.rss_mib
    many.close()
    await _gone(target)
    writes = sum(one.done for one in writing)
    return {
        f"{watchers} watchers, {writers} writers, {seconds:g} s": f"{writes * watchers} events, none missed",
        "writes then": f"{writes / took:.0f} /s",
        "events then": f"{writes * watchers / took:.0f} /s",
        "memory before, with the watches, at the end, without them": (
            f"{before_mib}, {open_mib}, {most_mib}, {server.rss_mib} MiB"
        ),
    }


async def _from_now(wire: Wire) -> str:
    listed = json.loads((await wire.send("GET", f"{PATH}?limit=1")).body)
    return f"{PATH}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"


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
