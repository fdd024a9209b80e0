"""From the start of netplane-proxy to the last service reachable, its memory and CPU time; and a restart.

    ./run bench proxy_start [--size 10000x3 …] [-o json]

The proxy is a process in a namespace of its own; the fake apiserver is another one, so list and watch come over a
socket. "Reachable" is a TCP connection to the last service's ClusterIP that is answered by one of its endpoints.
The reference's figures are kube-proxy 1.36's in nftables mode, fed in the same way on 2 cores.
"""

import tempfile
from pathlib import Path
from typing import Any

import click

from bench._proxy import Heard, Space, busy
from bench._table import show

SIZES = ("1000x3", "5000x3", "10000x3", "5000x50", "30000x10")
# (first sync s, RSS MB); at 5000x50 it was reachable 15 s after process start.
REFERENCE = {"1000x3": (0.2, 95), "5000x3": (3.0, 208), "10000x3": (10.0, 279), "5000x50": (15.0, 529)}


def measure(services: int, endpoints: int, folder: Path) -> dict[str, Any]:
    with Space() as space, space.fake(services, endpoints) as fake:
        with space.proxy(fake.url, folder / "first.log") as proxy:
            reached_s = space.wait_reached(services - 1, proxy)
            proxy.wait_synced()
            used = proxy.usage()
        with space.events() as events, space.proxy(fake.url, folder / "second.log") as again:
            restart_s = again.wait_synced()
            written = events.pending()
    return row(f"{services}x{endpoints}", reached_s, used, restart_s, written)


def row(size: str, reached_s: float, used: Any, restart_s: float, written: list[Heard]) -> dict[str, Any]:
    reference_s, reference_mb = REFERENCE.get(size, (None, None))
    return {
        "services x endpoints": size,
        "reachable s": reached_s,
        "reference s": reference_s or "-",
        "ratio": f"1/{reference_s / reached_s:.1f}" if reference_s else "-",
        "CPU s": used.cpu_s,
        "RSS MB": round(used.rss_mb),
        "peak MB": round(used.peak_mb),
        "reference MB": reference_mb or "-",
        "RSS ratio": f"{used.rss_mb / reference_mb:.2f}" if reference_mb else "-",
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
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(sizes: tuple[str, ...], output: str) -> None:
    """Measure each size in a namespace of its own."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        for size in sizes:
            services, endpoints = map(int, size.split("x"))
            rows.append(measure(services, endpoints, Path(folder)))
    show(
        f"netplane-proxy: process start to last service reachable{growth(rows)}, {busy()}",
        rows,
        as_json=output == "json",
    )


if __name__ == "__main__":
    main()
