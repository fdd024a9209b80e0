"""What a change costs the controllers in clusters of several sizes, and ranges for a whole cluster of new nodes.

Plans are run in this process on a made-up world, without an apiserver: the cost follows the change and not the cluster.
The last rows run the whole program against the fake apiserver, over HTTP, in one process.
`./run bench controllers` prints them for 100, 1,000 and 10,000 Services of 10 pods, and for 5,000 nodes.
"""

import asyncio
import statistics
import time
from contextlib import suppress
from ipaddress import IPv4Address, ip_network
from typing import Any

import click

from bench import _table
from netplane.api import kinds
from netplane.api.objects import Node, NodeSpec, ObjectMeta, Pod, Service
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.fake import FakeApiserver
from netplane.controllers import touched
from netplane.controllers.controllers import Options, build, empty_world
from netplane.controllers.plan import endpoint_slices, pod_cidr
from netplane.controllers.plan.ranges import Pool
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import Patch
from netplane.controllers.runtime import Runtime
from netplane.obs import logs
from tests import controller_objects as made

POOL = Pool(ip_network("10.0.0.0/8"), 24)
PODS = 10
CHANGES = 300


def service(i: int) -> Service:
    return made.service(f"s{i}")


def pod(i: int, j: int, *, ready: bool = True) -> Pod:
    return made.pod(f"s{i}-{j}", [str(IPv4Address(0x0A000000 + i * PODS + j))], ready, on=f"n{j}", app=f"s{i}")


def reconcile(count: int) -> dict[str, Any]:
    """A pod of one Service among `count` changes its readiness."""
    cluster = made.Cluster(*(made.node(f"n{j}") for j in range(PODS)))
    world = cluster.world

    def perform(key: str) -> None:
        cluster.perform(endpoint_slices.NAME, key, endpoint_slices.plan(world, key))

    for i in range(count):
        world.apply(None, service(i), 0.0)
        for j in range(PODS):
            world.apply(None, pod(i, j), 0.0)
    began = time.perf_counter()
    for i in range(count):
        perform(f"shop/s{i}")
    first_s = time.perf_counter() - began
    took: list[float] = []
    for n in range(CHANGES):
        i, ready = n * 7919 % count, n % 2 == 0
        old = world.pods[f"shop/s{i}-3"]
        new = pod(i, 3, ready=not ready)
        began = time.perf_counter()
        world.apply(old, new, 0.0)
        for key in touched.of_slices(world, old, new):
            perform(key)
        took.append(time.perf_counter() - began)
    return {
        "what": f"slices, {count:,} Services of {PODS} pods",
        "all at first, ms": first_s * 1e3,
        "one change p50, us": statistics.median(took) * 1e6,
        "p99, us": sorted(took)[int(CHANGES * 0.99)] * 1e6,
    }


def ranges(count: int) -> dict[str, Any]:
    """`count` nodes get their ranges, in this process."""
    world = World.of(*(Node(metadata=ObjectMeta(name=f"n{i}")) for i in range(count)), pools=[POOL])
    took: list[float] = []
    for i in range(count):
        began = time.perf_counter()
        [write] = pod_cidr.plan(world, f"n{i}", "").writes
        assert isinstance(write, Patch)
        cidrs = write.patch["spec"]["podCIDRs"]
        world.ranges.hold(f"n{i}", cidrs)
        node = Node(metadata=ObjectMeta(name=f"n{i}"), spec=NodeSpec(pod_cidr=cidrs[0], pod_cidrs=cidrs))
        world.apply(world.nodes[f"n{i}"], node, 0.0)
        took.append(time.perf_counter() - began)
    return {
        "what": f"podCIDRs, {count:,} nodes",
        "all at first, ms": sum(took) * 1e3,
        "one change p50, us": statistics.median(took) * 1e6,
        "p99, us": sorted(took)[int(count * 0.99)] * 1e6,
    }


async def over_http(count: int) -> dict[str, Any]:
    """The same by the whole program: watched, planned, patched."""
    options = Options(pools=(POOL,), only=frozenset({"pod-cidr"}))
    async with FakeApiserver() as fake, Api(Connection(fake.url)) as api:
        fake.store.load(kinds.NODE, ({"metadata": {"name": f"n{i}"}, "spec": {}} for i in range(count)))
        began = time.perf_counter()
        runtime = Runtime(api, build(options), world=empty_world(options))
        task = asyncio.create_task(runtime.run())
        while runtime.writes < count or runtime.depth:
            await asyncio.sleep(0.02)
        took_s = time.perf_counter() - began
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return {
        "what": f"podCIDRs over HTTP, {count:,} nodes",
        "all at first, ms": took_s * 1e3,
        "one change p50, us": took_s / count * 1e6,
        "p99, us": "",
    }


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.option("--services", multiple=True, type=int, default=(100, 1000, 10_000), show_default=True)
@click.option("--nodes", type=int, default=5000, show_default=True)
def main(services: tuple[int, ...], nodes: int, output: str) -> None:
    """Print the table."""
    logs.setup("warning")
    rows = [*map(reconcile, services), *map(ranges, (nodes // 10, nodes)), asyncio.run(over_http(nodes))]
    _table.show("What a change costs the controllers", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
