"""How long until netplane-proxy has repaired what somebody did to its tables.

    ./run bench proxy_repair [--size 10000x3 …] [-o json]

The proxy is a process in a namespace of its own. Damage is done with `nft`; the clock starts before nftables is told of
it and stops when the proxy says in its log that it has repaired its table, which is after the kernel's commit.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click

from bench._proxy import Proxy, Space, busy, cluster_ip
from bench._table import show
from netplane.kernel.nft import Nft
from netplane.nft.elements import key_text
from netplane.nft.types import IPV4
from proxy.plan.model import Options
from proxy.plan.skeleton import skeleton

SIZES = ("10000x3", "5000x50")
TABLE = "ip netplane-proxy"
REPAIRED = b"repaired"
RULES = skeleton(IPV4, Options())
ROWS = RULES.set("endpoints")


def damages(services: int, row: str) -> dict[str, str]:
    """What is done, by what it is called. `row` is an element of the first map of rows."""
    return {
        "one element deleted": f"delete element {TABLE} endpoints {{ {row} }}",
        "a service's verdict changed": (
            f"delete element {TABLE} services {{ {cluster_ip(services - 1)} . tcp . 80 }}\n"
            f"add element {TABLE} services {{ {cluster_ip(services - 1)} . tcp . 80 : drop }}"
        ),
        "a chain flushed": f"flush chain {TABLE} dispatch",
        "the services' map flushed": f"flush map {TABLE} services",
        "a map of rows flushed": f"flush map {TABLE} endpoints",
        "the table deleted": f"delete table {TABLE}",
    }


def repaired(nft: Nft, proxy: Proxy, log: Path, damage: str) -> float:
    """Seconds."""
    before = log.read_bytes().count(REPAIRED)
    began = time.perf_counter()
    nft.run_text(damage)
    while log.read_bytes().count(REPAIRED) == before:
        proxy.pause(f"no repair after {damage}")
    return time.perf_counter() - began


def measure(services: int, endpoints: int, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"services x endpoints": f"{services}x{endpoints}"}
    log = folder / "log"
    with Space() as space, space.fake(services, endpoints) as fake, space.proxy(fake.url, log) as proxy:
        space.wait_reached(services - 1, proxy)
        proxy.wait_synced()
        time.sleep(1.0)  # it listens to nftables from its first sync on
        nft = Nft(space.fd)
        some = next(iter(nft.list_elements(RULES, ROWS) or {}))
        for name, damage in damages(services, key_text(ROWS, some)).items():
            row[f"{name} s"] = repaired(nft, proxy, log, damage)
            time.sleep(0.3)
        nft.close()
    return row


@click.command()
@click.option("--size", "sizes", multiple=True, default=SIZES, show_default=True, help="Services x endpoints of each.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(sizes: tuple[str, ...], output: str) -> None:
    """Measure each size in a namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        pairs = [size.split("x") for size in sizes]
        rows = [measure(int(services), int(endpoints), Path(folder)) for services, endpoints in pairs]
    show(f"netplane-proxy: from damage to its repair, {busy()}", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
