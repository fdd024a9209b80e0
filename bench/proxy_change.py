"""One endpoint's change, from the apiserver's write to the kernel's commit; and 1,000 changes that arrive at once.

    ./run bench proxy_change [--services 10000 …] [--repeats 300] [--scrape-ms 1000] [--reference-binary PATH] [-o json]

The clock starts before the change is sent to the fake apiserver (so its own work and the event's way over the socket
count) and stops when nftables' notification of the committed element is there. "add" is one endpoint more, "remove" one
less, "replace" another address. For the burst the proxy is stopped (SIGSTOP) until all 1,000 events wait in its socket;
the clock starts as it goes on and stops at the last element. kube-proxy 1.36 in nftables mode took, by the same
measure: 0.15 s at 1,000 services, 6 to 9 s at 10,000; with --reference-binary, that kube-proxy's median of a few
changes in this run (in rest, so that it need not wait for its own interval of 1 s). With --scrape-ms somebody reads
/metrics all the while.
"""

import contextlib
import http.client
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bench._proxy import Events, Fake, Proxy, Space, busy, reference_option
from bench._table import show
from netplane.nft.wire import NEWSETELEM

WARM_UP = 20
METRICS_PORT = 10_249
REFERENCE_CHANGES, REFERENCE_PATIENCE_S = 5, 300.0
SPARE = [f"10.255.{i // 250}.{i % 250 + 1}" for i in range(2500)]


def committed(events: Events, began: float) -> float:
    """Milliseconds until the first element of the endpoints or services map is announced."""
    while True:
        heard = events.wait()
        now = time.perf_counter()
        if any(one.set.startswith(("endpoints", "services")) for one in heard):
            return (now - began) * 1e3


def one_by_one(fake: Fake, events: Events, count: int, repeats: int, pause_s: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"replace": [], "add": [], "remove": []}
    for turn in range(repeats + WARM_UP):
        service = turn * 7919 % count
        first, *others = fake.addresses(service)
        other, more = SPARE[turn % 1200], SPARE[1200 + turn % 1200]
        for what, addresses in (
            ("replace", [other, *others]),
            ("add", [other, *others, more]),
            ("remove", [first, *others]),
        ):
            time.sleep(pause_s)
            events.pending()
            began = time.perf_counter()
            fake.patch(service, addresses)
            taken_ms = committed(events, began)
            if turn >= WARM_UP:
                times[what].append(taken_ms)
    return times


def burst(fake: Fake, events: Events, proxy: Proxy, count: int, changes: int) -> float:
    """Milliseconds until the kernel has all of `changes` replaced endpoints."""
    services = [count - 1 - i for i in range(min(changes, count))]
    events.pending()
    proxy.signal(signal.SIGSTOP)
    for i, service in enumerate(services):
        fake.patch(service, [SPARE[-1 - i], *fake.addresses(service)[1:]])
    time.sleep(0.2)
    began = time.perf_counter()
    proxy.signal(signal.SIGCONT)
    waiting = len(services)
    while waiting > 0:
        for heard in events.wait():
            if heard.set.startswith("endpoints") and heard.kind == NEWSETELEM:
                waiting -= len(heard.keys)
    return (time.perf_counter() - began) * 1e3


def measure_reference(binary: Path, count: int, endpoints: int, folder: Path) -> dict[str, Any]:
    """Median and longest of a few changes of kube-proxy's, each made when it rests."""
    times = []
    with (
        Space() as space,
        space.fake(count, endpoints) as fake,
        space.reference(binary, fake.url, folder) as proxy,
    ):
        space.wait_reached(count - 1, proxy)
        with space.events() as events:
            for turn in range(REFERENCE_CHANGES):
                _rest(events)
                began = time.perf_counter()
                fake.patch(turn, [SPARE[turn], *fake.addresses(turn)[1:]])
                events.wait(REFERENCE_PATIENCE_S)
                times.append((time.perf_counter() - began) * 1e3)
    return {"reference p50 ms": statistics.median(times), "reference max ms": max(times)}


def _rest(events: Events) -> None:
    """Until nothing has been written for two of its intervals."""
    with contextlib.suppress(TimeoutError):
        while True:
            events.wait(2.0)


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def touch_all(space: Space, count: int) -> None:
    """One connection to every service: from now on each has numbers that a scrape tells."""
    for service in range(count):
        space.reached(service)


@contextlib.contextmanager
def scraped(space: Space, every_s: float) -> Iterator[list[float]]:
    """Somebody reads /metrics again and again; yields the milliseconds that each reading took. 0 for nobody."""
    took_ms: list[float] = []
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(every_s):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", METRICS_PORT)) as asker:
                asker.sock = space.socket()
                asker.sock.connect(("127.0.0.1", METRICS_PORT))
                began = time.perf_counter()
                asker.request("GET", "/metrics")
                asker.getresponse().read()
                took_ms.append((time.perf_counter() - began) * 1e3)

    thread = threading.Thread(target=scrape)
    if every_s:
        thread.start()
    try:
        yield took_ms
    finally:
        ended.set()
        if every_s:
            thread.join()


def measure(
    count: int, endpoints: int, repeats: int, changes: int, pause_s: float, scrape_s: float, folder: Path
) -> dict[str, Any]:
    with (
        Space() as space,
        space.fake(count, endpoints) as fake,
        space.proxy(fake.url, folder / "log") as proxy,
    ):
        space.wait_reached(count - 1, proxy)
        proxy.wait_synced()
        time.sleep(1.0)  # its HTTP server is imported after the first sync
        if scrape_s:
            touch_all(space, count)
        with space.events() as events:
            with scraped(space, scrape_s) as scrapes_ms:
                times = one_by_one(fake, events, count, repeats, pause_s)
            burst_ms = burst(fake, events, proxy, count, changes)
    row: dict[str, Any] = {"services x endpoints": f"{count}x{endpoints}"}
    for what, values in times.items():
        row |= {f"{what} p50 ms": statistics.median(values), f"{what} p99 ms": p99(values)}
    together = times["replace"] + times["add"] + times["remove"]
    if scrapes_ms:
        row["a scrape ms"] = statistics.median(scrapes_ms)
    return row | {
        "all p50 ms": statistics.median(together),
        "all p99 ms": p99(together),
        f"{min(changes, count)} at once ms": burst_ms,
    }


@click.command()
@click.option("--services", "counts", type=int, multiple=True, default=(1_000, 10_000, 30_000), show_default=True)
@click.option("--endpoints", default=3, show_default=True)
@click.option("--repeats", default=300, show_default=True, help="Changes of each sort.")
@click.option("--at-once", default=1_000, show_default=True, help="Changes of the burst.")
@click.option("--pause-ms", default=30.0, show_default=True, help="Between two changes.")
@click.option("--scrape-ms", default=0.0, show_default=True, help="Between two readings of /metrics; 0: none.")
@reference_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(
    counts: tuple[int, ...],
    endpoints: int,
    repeats: int,
    at_once: int,
    pause_ms: float,
    scrape_ms: float,
    binary: Path | None,
    output: str,
) -> None:
    """Measure each size in a namespace of its own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        for count in counts:
            row = measure(count, endpoints, repeats, at_once, pause_ms / 1e3, scrape_ms / 1e3, Path(folder))
            beside = measure_reference(binary, count, endpoints, Path(folder)) if binary else {}
            rows.append(row | beside)
    show(f"netplane-proxy: apiserver's write to kernel's commit, {busy()}", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
