"""Setting up a connection through the last of 10,000 services: ours, the reference's shape, and no service at all.

    ./run bench proxy_connect [--services 10000] [--endpoints 3] [--rounds 40] [--reference-binary PATH] [-o json]

Namespaces that differ in nothing but their nftables: what a real netplane-proxy loads; one chain with one rule and an
anonymous map per service, one verdict map in front (kube-proxy's shape, loaded with `nft -f`); and empty nat chains
with one rule that no packet reaches, since the kernel tracks connections only where some rule needs it: without it,
"no service" would be the price without connection tracking. They take turns: in each round, each sets up a batch of
TCP connections from a pod's address, to the service or directly to an endpoint. Timed is connect() alone: on loopback,
the whole handshake. What it costs above no service is the first packet's way through the rules and the translation.
With --reference-binary the rules of that kube-proxy take the place of those in its shape. With another service each
time, the rules and elements are not in the processor's caches, as on a node with many services.
"""

import itertools
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from ipaddress import IPv4Address
from itertools import cycle, islice
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, NamedTuple

import click

from bench._proxy import Space, busy, cluster_ip, reference_option
from bench._table import show
from netplane.client import fake_cluster
from netplane.kernel.nft import Nft

BATCH, WARM_UP = 100, 3
CLIENT, POD_CIDR = "10.255.255.254", "10.128.0.0/9"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # no TIME_WAIT: the ports are needed again
TRACKED = ("add chain ip reference unreached", "add rule ip reference unreached masquerade")
HOOKS = (("prerouting", -100), ("output", -100), ("postrouting", 100))


class Contestant(NamedTuple):
    """Where a batch of connections goes, one after the other."""

    name: str
    space: Space
    targets: Iterator[tuple[str, int]]


def endpoint(service: int, endpoints: int, index: int) -> str:
    return str(IPv4Address(fake_cluster.POD_BASE + service * endpoints + index))


def hook_lines() -> Iterator[str]:
    """Chains at the hooks where services are translated, still empty."""
    yield "add table ip reference"
    for hook, priority in HOOKS:
        yield f"add chain ip reference {hook} {{ type nat hook {hook} priority {priority}; }}"


def reference_lines(count: int, endpoints: int) -> Iterator[str]:
    """It does the same job for this connection: marks what comes from outside, translates, masquerades hairpins."""
    yield from hook_lines()
    yield "add map ip reference services { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield "add chain ip reference dispatch"
    yield "add rule ip reference dispatch ip daddr . meta l4proto . th dport vmap @services"
    yield "add set ip reference cluster-ips { type ipv4_addr; }"
    yield "add set ip reference hairpin { type ipv4_addr . ipv4_addr; }"
    for hook in ("prerouting", "output"):
        yield f"add rule ip reference {hook} ip saddr != {POD_CIDR} ip daddr @cluster-ips mark set mark or 0x4000"
        yield f"add rule ip reference {hook} goto dispatch"
    yield "add rule ip reference postrouting mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random"
    yield "add rule ip reference postrouting ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random"
    for number in range(count):
        rows = ", ".join(f"{i} : {endpoint(number, endpoints, i)} . 8080" for i in range(endpoints))
        yield f"add chain ip reference service-{number}"
        yield (
            f"add rule ip reference service-{number} meta l4proto tcp "
            f"dnat ip to numgen random mod {endpoints} map {{ {rows} }}"
        )
        yield f"add element ip reference cluster-ips {{ {cluster_ip(number)} }}"
        yield f"add element ip reference services {{ {cluster_ip(number)} . tcp . 80 : goto service-{number} }}"


def load_ours(space: Space, count: int, endpoints: int) -> None:
    """The rules stay when the proxy has ended."""
    with (
        tempfile.TemporaryDirectory(prefix="npt-bench-") as folder,
        space.fake(count, endpoints) as fake,
        space.proxy(fake.url, Path(folder, "log")) as proxy,
    ):
        space.wait_reached(count - 1, proxy)


def load_reference(space: Space, count: int, endpoints: int) -> None:
    script = "\n".join(reference_lines(count, endpoints)) + "\n"
    subprocess.run(["ip", "netns", "exec", space.name, "nft", "-f", "-"], input=script, text=True, check=True)


def load_by(binary: Path, space: Space, count: int, endpoints: int) -> None:
    """What that kube-proxy writes; it stays, as ours does."""
    with (
        tempfile.TemporaryDirectory(prefix="npt-bench-") as folder,
        space.fake(count, endpoints) as fake,
        space.reference(binary, fake.url, Path(folder)) as proxy,
    ):
        space.wait_reached(count - 1, proxy)


def load_nothing(space: Space, _count: int, _endpoints: int) -> None:
    with closing(Nft(space.fd)) as nft:
        nft.run_text("\n".join((*hook_lines(), *TRACKED)) + "\n")


def contestants(stack: ExitStack, count: int, endpoints: int, binary: Path | None) -> list[Contestant]:
    last, direct = cycle([(cluster_ip(count - 1), 80)]), cycle([(endpoint(count - 1, endpoints, 0), 8080)])
    found = []
    kinds: tuple[tuple[str, Callable[[Space, int, int], None], Iterator[tuple[str, int]]], ...] = (
        ("no service", load_nothing, direct),
        ("netplane", load_ours, last),
        ("kube-proxy", partial(load_by, binary), last) if binary else ("reference's shape", load_reference, last),
    )
    for name, load, targets in kinds:
        space = stack.enter_context(Space())
        load(space, count, endpoints)
        found.append(Contestant(name, space, targets))
    cold = [Contestant(f"{who.name}, another service each time", who.space, strides(count)) for who in found[1:]]
    return [*found, *cold, Contestant("netplane, past its services", found[1].space, direct)]


def strides(count: int) -> Iterator[tuple[str, int]]:
    """Services far from one another, so that no cache has seen them lately."""
    return ((cluster_ip(number * 7919 % count), 80) for number in itertools.count())


def batch(who: Contestant) -> list[int]:
    """Nanoseconds of each connect()."""
    taken = []
    with ExitStack() as stack:
        socks = [stack.enter_context(who.space.socket()) for _ in range(BATCH)]
        for sock in socks:
            sock.bind((CLIENT, 0))
            sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_AT_CLOSE)
        for sock, target in zip(socks, list(islice(who.targets, BATCH)), strict=True):
            began = time.perf_counter_ns()
            sock.connect(target)
            taken.append(time.perf_counter_ns() - began)
        who.space.accept_all()
    return taken


def measure(players: list[Contestant], rounds: int) -> list[dict[str, Any]]:
    medians: dict[str, list[float]] = {who.name: [] for who in players}
    for turn in range(rounds + WARM_UP):
        for i in range(len(players)):
            who = players[(i + turn) % len(players)]
            median_us = statistics.median(batch(who)) / 1e3
            if turn >= WARM_UP:
                medians[who.name].append(median_us)
    base = medians["no service"]
    return [row(name, found, base) for name, found in medians.items()]


def row(name: str, found: list[float], base: list[float]) -> dict[str, Any]:
    """Medians of the rounds' medians; the cost is the median difference of the same round."""
    quarters = statistics.quantiles(found, n=4)
    above = [mine - none for mine, none in zip(found, base, strict=True)]
    return {
        "": name,
        "connect p50 us": statistics.median(found),
        "quartiles us": f"{quarters[0]:.2f} … {quarters[2]:.2f}",
        "above no service us": statistics.median(above),
    }


@click.command()
@click.option("--services", "count", default=10_000, show_default=True)
@click.option("--endpoints", default=3, show_default=True)
@click.option("--rounds", default=40, show_default=True, help=f"Turns of {BATCH} connections each.")
@reference_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(count: int, endpoints: int, rounds: int, binary: Path | None, output: str) -> None:
    """Measure in namespaces that are made for it."""
    with ExitStack() as stack:
        rows = measure(contestants(stack, count, endpoints, binary), rounds)
    title = f"connection setup through the last of {count:,} services x {endpoints}, {busy()}"
    show(title, rows, as_json=output == "json")


if __name__ == "__main__":
    main()
