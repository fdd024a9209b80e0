"""What it costs to know a cluster: listing Services and EndpointSlices into structs, and the delay of one change.

The apiserver is the fake one in a process of its own, so the figures are the client's. `./run bench informers`
prints them for 1,000, 10,000 and 25,000 services with 10 endpoints each.
"""

import asyncio
import gc
import resource
import statistics
import sys
import time
from contextlib import suppress
from typing import Any

import click

from bench import _table
from netplane.api.objects import EndpointSlice, Service
from netplane.client.api import Api
from netplane.client.config import Connection
from netplane.client.informer import Informer

CHANGES = 200


async def measure(services: int, endpoints: int) -> dict[str, Any]:
    """One row, in a process of its own so that memory is this size's alone."""
    fake = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "netplane.client.fake", "--services", str(services), "--endpoints", str(endpoints),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert fake.stdout is not None
    url = (await fake.stdout.readline()).decode().strip()
    try:
        async with Api(Connection(url)) as api:
            return await _client(api, services, endpoints)
    finally:
        fake.terminate()
        await fake.wait()


async def _client(api: Api, services: int, endpoints: int) -> dict[str, Any]:
    changed = asyncio.Event()
    informers: list[Informer[Any]] = [
        Informer(api, Service),
        Informer(api, EndpointSlice, on_change=lambda old, new: changed.set()),
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    tasks = [asyncio.create_task(one.run()) for one in informers]
    for one in informers:
        await one.synced.wait()
    row: dict[str, Any] = {
        "services": services,
        "endpoints": services * endpoints,
        "first list, s": time.perf_counter() - wall,
        "its CPU, s": time.process_time() - cpu,
        "peak RSS, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    gc.freeze()
    delays_ms = await _delays_ms(api, changed, services)
    row["change p50, ms"] = statistics.median(delays_ms)
    row["change p99, ms"] = sorted(delays_ms)[int(len(delays_ms) * 0.99)]
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return row


async def _delays_ms(api: Api, changed: asyncio.Event, services: int) -> list[float]:
    """From the start of a PATCH of one slice to the informer's report of it."""
    delays = []
    for i in range(CHANGES):
        changed.clear()
        began = time.perf_counter()
        patch = {"metadata": {"annotations": {"n": str(i)}}}
        name = f"svc-{i % services}-x"
        write = asyncio.create_task(api.patch(EndpointSlice, name, "default", patch))
        await changed.wait()
        delays.append((time.perf_counter() - began) * 1000)
        await write
    return delays


@click.command()
@click.option("--size", type=int, multiple=True, help="Services; repeat for several. Default: 1000, 10000, 25000.")
@click.option("--endpoints", default=10, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.option("--one-row", is_flag=True, hidden=True)
def main(size: tuple[int, ...], endpoints: int, output: str, one_row: bool) -> None:
    """Measure and print."""
    import json
    import subprocess

    if one_row:
        click.echo(json.dumps(asyncio.run(measure(size[0], endpoints))))
        return
    rows = []
    for services in size or (1000, 10000, 25000):
        args = [
            sys.executable,
            "-m",
            "bench.informers",
            "--one-row",
            "--size",
            str(services),
            "--endpoints",
            str(endpoints),
        ]
        rows.append(json.loads(subprocess.run(args, stdout=subprocess.PIPE, check=True).stdout))
    _table.show("informers of Services and EndpointSlices", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
