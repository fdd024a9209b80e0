"""The apiserver under load, over TLS with everything on, beside kube-apiserver 1.36 with etcd under the same load.

The real server's figures were measured once, on two cores shared with the client, and are constants here; ours are of
this run, with a client that costs little. CPU is the server's own for each request: it depends least on what else runs.

    ./run bench apiserver [-o json] [--services N] [--watchers N] [--requests N] [--churn S]

`--churn S` adds 16 writers and all the watchers at once for S seconds: whether every watcher saw every event, in order,
and what memory is left when they are gone.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import uvloop

from bench import _table
from bench._apiserver import Server, config_map, endpoint_slice, service
from bench._churn import churn
from bench._wire import Answer, Target, Watchers, Wire

NS = "bench"
CORE = f"/api/v1/namespaces/{NS}"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NS}/endpointslices"
MERGE = "application/merge-patch+json"
MANY = 16
Row = dict[str, Any]


class Job(NamedTuple):
    method: str
    path: str
    body: bytes = b""
    media: str = "application/json"


REAL_PER_S = {
    "create EndpointSlice": (782, 1452),
    "create Service": (383, 178),
    "merge patch": (516, 791),
    "get": (None, 3011),
    "fill": (None, 115),
}


class Bench:
    """One run against one server."""

    def __init__(self, server: Server, requests: int, services: int, watchers: int) -> None:
        self.server = server
        self.target: Target = server.target
        self.requests, self.services, self.watchers = requests, services, watchers
        self.rows: list[Row] = []

    async def run(self) -> None:
        """Everything, in an order in which each part needs what those before it made."""
        self.wires = await self.target.wires(MANY)
        await self.one("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": NS}}).encode())
        few, many = max(self.requests // 6, 50), self.requests
        names = {1: [f"a-{i}" for i in range(few)], MANY: [f"b-{i}" for i in range(many)]}
        for clients, those in names.items():
            await self.rate("create Service", clients, [Job("POST", f"{CORE}/services", service(NS, n)) for n in those])
            slices = [Job("POST", SLICES, endpoint_slice(NS, n, n)) for n in those]
            await self.rate("create EndpointSlice", clients, slices)
        for clients, those in names.items():
            await self.rate("get", clients, [Job("GET", f"{CORE}/services/{n}") for n in those])
        for clients, those in names.items():
            notes = [
                json.dumps({"metadata": {"annotations": {"t": f"{clients}-{i}"}}}).encode() for i in range(len(those))
            ]
            patches = [Job("PATCH", f"{SLICES}/a-{i % few}", note, MERGE) for i, note in enumerate(notes)]
            await self.rate("merge patch", clients, patches)
        left = self.services - few - many
        await self.rate("fill", MANY, [Job("POST", f"{CORE}/services", service(NS, f"f-{i}")) for i in range(left)])
        await self.lists()
        await self.fan_out()
        self.add("memory (RSS)", self.server.rss_mib, "MiB", 863 + 197, lower=True)
        took = await self.timed(lambda: self.one("DELETE", f"{CORE}/services"))
        self.add(f"delete collection of {self.services} Services", took, "s", None, note="504 after 60 s")

    async def one(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request that must succeed."""
        answer = await self.wires[0].send(method, path, body)
        assert answer.status < 300, answer
        return answer

    async def timed(self, what: Callable[[], Awaitable[Any]]) -> float:
        begin = time.perf_counter()
        await what()
        return time.perf_counter() - begin

    async def rate(self, what: str, clients: int, jobs: Sequence[Job]) -> None:
        """A row of requests per second."""
        if not jobs:
            return
        waits: list[float] = []
        todo = iter(jobs)

        async def client(wire: Wire) -> None:
            for job in todo:
                begin = time.perf_counter()
                answer = await wire.send(*job)
                waits.append(time.perf_counter() - begin)
                assert answer.status < 300, answer

        cpu, begin = self.server.cpu_s, time.perf_counter()
        await asyncio.gather(*(client(wire) for wire in self.wires[:clients]))
        took = time.perf_counter() - begin
        real = REAL_PER_S[what][clients != 1]
        note = f"p99 {1e3 * sorted(waits)[int(len(waits) * 0.99)]:.1f} ms"
        self.add(
            f"{what}, {clients} at once", len(jobs) / took, "/s", real, note, (self.server.cpu_s - cpu) / len(jobs)
        )

    def add(
        self,
        what: str,
        ours: float,
        unit: str,
        real: float | None,
        note: str = "",
        cpu_s: float = 0,
        *,
        lower: bool = False,
    ) -> None:
        lower = lower or unit in ("ms", "s")
        ratio = "" if not real else f"{ours / real:.2f}" if lower else f"{ours / real:.1f} x"
        cpu = f"{1e6 * cpu_s:.0f}" if cpu_s else ""
        shown = f"{ours:.0f}" if ours >= 100 else f"{ours:.3g}"
        self.rows.append(
            {"what": what, "ours": shown, "unit": unit, "real": real or "", "ratio": ratio, "CPU us": cpu, "note": note}
        )

    async def lists(self) -> None:
        """Lists of all Services: the best of five, as one client sees it."""
        times = [await self.timed(lambda: self.one("GET", f"{CORE}/services")) for _ in range(5)]
        self.add(f"list {self.services} Services", 1e3 * min(times), "ms", 94)
        times = [await self.timed(self.watch_list) for _ in range(3)]
        self.add(f"watch-list {self.services} Services", 1e3 * min(times), "ms", 242)

    async def watch_list(self) -> None:
        """As an informer starts: a stream of all objects, until the bookmark that says so."""
        wire, done = await self.target.wire(), asyncio.Event()

        def look(lines: bytes) -> None:
            if b'"k8s.io/initial-events-end"' in lines:
                done.set()

        ask = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        await wire.watch(f"{CORE}/services?{ask}", look)
        await done.wait()
        wire.close()

    async def fan_out(self) -> None:
        """From before a POST is sent to when each watcher has the event, one event after the other."""
        sent: list[float] = []
        delays: list[float] = []
        got = asyncio.Event()

        def seen(_: int, lines: bytes) -> None:
            count = lines.count(b'{"type":"ADDED"')
            delays.extend([time.perf_counter() - sent[-1]] * count)
            if len(delays) >= self.watchers * len(sent):
                got.set()

        begin = time.perf_counter()
        rev = json.loads((await self.one("GET", f"{CORE}/configmaps?limit=1")).body)["metadata"]["resourceVersion"]
        watch = f"{CORE}/configmaps?watch=1&resourceVersion={rev}"
        watchers = await Watchers.open(self.target, watch, self.watchers, seen)
        self.add(f"open {self.watchers} watches", time.perf_counter() - begin, "s", None)
        cpu = self.server.cpu_s
        for i in range(50):
            got.clear()
            sent.append(time.perf_counter())
            await self.one("POST", f"{CORE}/configmaps", config_map(NS, f"fan-{i}"))
            await asyncio.wait_for(got.wait(), 60)
            await asyncio.sleep(0.03)
        each = (self.server.cpu_s - cpu) / 50 / self.watchers
        delays.sort()
        of = f"event at {self.watchers} watchers"
        self.add(f"{of}, p50", 1e3 * statistics.median(delays), "ms", 24, "CPU: for each watcher", each)
        self.add(f"{of}, p99", 1e3 * delays[int(len(delays) * 0.99)], "ms", 38)
        watchers.close()


async def measure(options: argparse.Namespace) -> list[Row]:
    with Server() as server:
        bench = Bench(server, options.requests, options.services, options.watchers)
        await bench.run()
        if options.churn:
            found = await churn(server, options.watchers, MANY, options.churn)
            what = f"{MANY} writers beside {options.watchers} watchers, {options.churn:g} s"
            mib = "MiB before, with watches, at the end, without: " + ", ".join(map(str, found.mib))
            bench.add(what, found.per_s, "/s", None, f"all saw all {found.writes} events, in order")
            bench.add("events to all watchers then", found.per_s * options.watchers, "/s", None, mib)
        return bench.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--requests", type=int, default=3000, help="of each kind, at 16 clients")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--churn", type=float, default=0, metavar="S", help="seconds of 16 writers beside the watchers")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = uvloop.run(measure(options))
    _table.show(f"Apiserver (load average before: {load:.1f})", rows, as_json=options.output == "json")


if __name__ == "__main__":
    main()
