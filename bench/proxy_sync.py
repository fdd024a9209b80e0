"""Service proxy, plan to kernel: a cold load and one endpoint's change, beside a ruleset in the reference's shape.

    python bench/proxy_sync.py [--services 1000 --services 10000] [--endpoints 10] [-o json]

The reference's shape: one chain with one rule and an anonymous map per service, one verdict map in front, loaded with
`nft -f`. Its change is the least it could do (flush one chain, add its rule again); what its program spends on listing
the table before is not in these figures.
"""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from bench._table import show
from netplane.kernel import netns
from netplane.kernel.nft import Nft
from netplane.nft.types import IPV4
from proxy.plan import desired, services, slices
from proxy.plan.model import LOCAL, READY, SERVING, Fragment, Node, Options, Port, ServiceView
from proxy.plane import Plane

NAMESPACE = "np-bench-proxy"
NODE, OPTIONS = Node("here"), Options(detect_local="ClusterCIDR")


def address(number: int, network: int) -> bytes:
    return bytes((network, number >> 16 & 255, number >> 8 & 255, number & 255))


def served(number: int) -> services.Served:
    port = Port("http", 6, 80, 0)
    view = ServiceView(f"ns/s{number}", IPV4, (port,), address(number, 11), (), (), None, False, False, 0, 0)
    return services.Served(view.key, (view,))


def piece(number: int, count: int, first: int = 0) -> slices.Slice:
    addresses = b"".join(address(number * 64 + first + i, 10) for i in range(count))
    flags = bytes([READY | SERVING]) * (count - 1) + bytes([READY | SERVING | LOCAL])
    ports = (slices.SlicePort("http", 6, b"\x1f\x90\0\0"),)
    return slices.Slice(f"ns/s{number}", f"ns/s{number}-1", IPV4, ports, addresses, flags, (), ())


def fragment(number: int, item: slices.Slice) -> dict[str, Fragment]:
    return {f"ns/s{number}": desired.fragment(served(number), [item], IPV4, NODE, OPTIONS, [])}


def timed(work: Callable[..., Any], *arguments: Any, **named: Any) -> float:
    began = time.perf_counter()
    work(*arguments, **named)
    return time.perf_counter() - began


def ours(nft: Nft, count: int, endpoints: int, repeats: int) -> dict[str, Any]:
    plane = Plane(IPV4, OPTIONS, nft)
    plan_s = time.perf_counter()
    fragments: dict[str, Fragment] = {}
    for number in range(count):
        fragments |= fragment(number, piece(number, endpoints))
    plan_s = time.perf_counter() - plan_s
    load_s = timed(plane.apply, fragments, full=True)
    replaced, added = [], []
    for turn in range(repeats):
        number = turn * 7919 % count
        swapped = fragment(number, piece(number, endpoints, 1 + turn // count))
        replaced.append(timed(plane.apply, swapped, full=False))
        grown = fragment(number, piece(number, endpoints + 1, 1 + turn // count))
        added.append(timed(plane.apply, grown, full=False))
    check_s = timed(plane.apply, {}, full=True)
    return {
        "": f"netplane {count:,} x {endpoints}",
        "plan (s)": plan_s,
        "load (s)": load_s,
        "replace p50 (ms)": statistics.median(replaced) * 1e3,
        "add p50 (ms)": statistics.median(added) * 1e3,
        "add p99 (ms)": statistics.quantiles(added, n=100)[98] * 1e3,
        "verify all (s)": check_s,
    }


def reference_lines(count: int, endpoints: int) -> Iterator[str]:
    yield "add table ip reference"
    yield "add map ip reference services { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield "add chain ip reference pre { type nat hook prerouting priority -100; }"
    yield "add rule ip reference pre ip daddr . meta l4proto . th dport vmap @services"
    for number in range(count):
        yield f"add chain ip reference s{number}"
        yield reference_rule(number, endpoints)
        yield f"add element ip reference services {{ {text(number, 11)} . tcp . 80 : goto s{number} }}"


def reference_rule(number: int, endpoints: int, first: int = 0) -> str:
    rows = ", ".join(f"{i} : {text(number * 64 + first + i, 10)} . 8080" for i in range(endpoints))
    return f"add rule ip reference s{number} meta l4proto tcp dnat ip to numgen random mod {endpoints} map {{ {rows} }}"


def text(number: int, network: int) -> str:
    return ".".join(map(str, address(number, network)))


def nft_file(script: str) -> None:
    command = ["ip", "netns", "exec", NAMESPACE, "nft", "-f", "-"]
    subprocess.run(command, input=script, text=True, check=True)


def in_reference_shape(_: Nft, count: int, endpoints: int, repeats: int) -> dict[str, Any]:
    script = "\n".join(reference_lines(count, endpoints)) + "\n"
    load_s = timed(nft_file, script)
    changes = []
    for turn in range(min(repeats, 10)):
        number = turn * 7919 % count
        change = f"flush chain ip reference s{number}\n{reference_rule(number, endpoints, 1)}\n"
        changes.append(timed(nft_file, change))
    return {
        "": f"reference's shape {count:,} x {endpoints}",
        "plan (s)": "-",
        "load (s)": load_s,
        "replace p50 (ms)": statistics.median(changes) * 1e3,
        "add p50 (ms)": "-",
        "add p99 (ms)": "-",
        "verify all (s)": "-",
    }


@click.command()
@click.option("--services", "counts", type=int, multiple=True, default=(1_000, 10_000), show_default=True)
@click.option("--endpoints", default=10, show_default=True)
@click.option("--repeats", default=200, show_default=True, help="Changes to measure.")
@click.option("--reference/--no-reference", default=True, help="Measure the reference's shape too.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
def main(counts: tuple[int, ...], endpoints: int, repeats: int, reference: bool, output: str) -> None:
    """Measure in a namespace that is made for it."""
    rows = []
    for count in counts:
        for measure in (ours, *((in_reference_shape,) if reference else ())):
            netns.create(NAMESPACE)
            try:
                with netns.opened(NAMESPACE) as fd:
                    nft = Nft(fd)
                    rows.append(measure(nft, count, endpoints, repeats))
                    nft.close()
            finally:
                netns.delete(NAMESPACE)
    show("service proxy: plan to kernel", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
