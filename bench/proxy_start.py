"""From the start of netplane-proxy to the last service reachable, its memory and CPU time; and a restart.

    ./run bench proxy_start [--size 10000x3 …] [--reference-binary PATH] [-o json]

The proxy is a process in a namespace of its own; the fake apiserver is another one, so list and watch come over a
socket. "Reachable" is a TCP connection to the last service's ClusterIP that is answered by one of its endpoints.
The reference's figures are kube-proxy 1.36's in nftables mode, fed in the same way on 2 cores; with
--reference-binary, those of that kube-proxy in this run, "reachable" meaning the same for both.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click

from bench._proxy import Heard, Space, Usage, busy, reference_option
from bench._table import show

SIZES = ("1000x3", "5000x3", "10000x3", "5000x50", "30000x10")


class Reference(NamedTuple):
    """kube-proxy's seconds (until reachable where it was measured now), memory, and CPU seconds where known."""

    seconds: float
    rss_mb: float
    cpu_s: float | None = None


# Seconds of its first sync; at 5000x50 it was reachable 15 s after process start.
REFERENCE = {
    "1000x3": Reference(0.2, 95),
    "5000x3": Reference(3.0, 208),
    "10000x3": Reference(10.0, 279),
    "5000x50": Reference(15.0, 529),
}


def measure_reference(binary: Path, services: int, endpoints: int, folder: Path) -> Reference:
    with (
        Space() as space,
        space.fake(services, endpoints) as fake,
        space.reference(binary, fake.url, folder) as proxy,
    ):
        reached_s = space.wait_reached(services - 1, proxy)
        proxy.wait_at_rest()
        used = proxy.usage()
    return Reference(reached_s, used.rss_mb, used.cpu_s)


def measure(services: int, endpoints: int, folder: Path, binary: Path | None) -> dict[str, Any]:
    with Space() as space, space.fake(services, endpoints) as fake:
        with space.proxy(fake.url, folder / "first.log") as proxy:
            reached_s = space.wait_reached(services - 1, proxy)
            proxy.wait_synced()
            used = proxy.usage()
        with space.events() as events, space.proxy(fake.url, folder / "second.log") as again:
            restart_s = again.wait_synced()
            written = events.pending()
    size = f"{services}x{endpoints}"
    beside = measure_reference(binary, services, endpoints, folder) if binary else REFERENCE.get(size)
    return row(size, reached_s, used, restart_s, written, beside)


def row(
    size: str, reached_s: float, used: Usage, restart_s: float, written: list[Heard], beside: Reference | None
) -> dict[str, Any]:
    return {
        "services x endpoints": size,
        "reachable s": reached_s,
        "reference s": beside.seconds if beside else "-",
        "ratio": f"1/{beside.seconds / reached_s:.1f}" if beside else "-",
        "CPU s": used.cpu_s,
        "reference CPU s": beside.cpu_s if beside and beside.cpu_s else "-",
        "RSS MB": round(used.rss_mb),
        "peak MB": round(used.peak_mb),
        "reference MB": round(beside.rss_mb) if beside else "-",
        "RSS ratio": f"{used.rss_mb / beside.rss_mb:.2f}" if beside else "-",
        "restart s": restart_s,
        "its kernel writes": len(written),
    }


def growth(rows: list[dict[str, Any]]) -> str:
    """Memory per endpoint, from two sizes with equally many services."""
    rss = {found["services x endpoints"]: found["RSS MB"] for found in rows}
    if not {"5000x3", "5000x50"} <= rss.keys():
        return ""
    return f", {(rss['5000x50'] - rss['5000x3']) * 2**20 / (5000 * 47):.0f} bytes more per endpoint"


@click.command()
@click.option("--size", "sizes", multiple=True, default=SIZES, show_default=True, help="SERVICESxENDPOINTS.")
@reference_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(sizes: tuple[str, ...], binary: Path | None, output: str) -> None:
    """Measure each size in a namespace of its own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        for size in sizes:
            services, endpoints = map(int, size.split("x"))
            rows.append(measure(services, endpoints, Path(folder), binary))
    show(
        f"netplane-proxy: process start to last service reachable{growth(rows)}, {busy()}",
        rows,
        as_json=output == "json",
    )


if __name__ == "__main__":
    main()
