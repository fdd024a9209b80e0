"""Pod-to-pod throughput: what the agent made, against the same devices wired by hand with `ip`.

    ./run bench cni_throughput [--megabytes 700] [--rounds 15] [-o json]

Four clusters of two nodes, each node a namespace: one with our agents, and three wired with `ip` and `bridge` alone:

    by hand               the node routes between its pods, as ours does; nothing in the kernel tracks connections
    by hand, tracked      it also masquerades what leaves the cluster, by one rule, as any cluster's nodes do: from then
                          on every packet of every pod is tracked. What netplane is to this one is its own doing
    by hand, redirected   the node may send ICMP redirects, the kernel's default: after the first packet two pods of one
                          node go past its routing (`ip route get` says `<redirected>`), which is quicker, and which no
                          cluster can allow whose Services lead to pods on their client's own bridge

Measured in turns, within a node (bridge) and between nodes (VXLAN). Every round begins with another cluster, and a
ratio is the median of the rounds' own: what else the machine does hits all alike. One TCP stream of iperf3, client and
server on a CPU each; CPU seconds per GB are those of both, with what the kernel does in their name. And datagrams of
100 bytes that nobody reads, one sender on one CPU that carries each of them all the way: µs/packet is what a packet
costs, large or small, and says how few of them a difference is.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench._table import show
from cni.plan import overlay
from netplane.kernel import netns
from netplane.rtnl import Bridge, Link
from tests.cnitools import Spaces, door, spaces
from tests.overlay_cluster import Cluster

NODES = (1, 2)
POD_MTU = 1450
CPUS = sorted(os.sched_getaffinity(0))
# (bytes, packets in one go, goes); the quickest go is the one that nothing else interrupted.
DATAGRAMS = (100, 2500, 8)
# Before whatever else runs on the machine.
FIRST = ("nice", "-n", "-20")
MASQUERADE = (
    "add table ip nat; add chain ip nat post { type nat hook postrouting priority srcnat; }; "
    "add rule ip nat post ip saddr 10.99.0.0/16 ip daddr != 10.99.0.0/16 masquerade"
)
Pod = tuple[str, str]  # namespace, address


def ip(space: str, *lines: str) -> None:
    """Run lines of `ip` (or `bridge …`) in a namespace."""
    for line in lines:
        words = line.split()
        execute(space, *(words if words[0] == "bridge" else ["ip", *words]))


def execute(space: str, *words: str) -> None:
    netns.run_in(space, lambda: subprocess.run(words, check=True))


def by_hand(place: Spaces, tag: str, *, masquerade: bool = False, redirects: bool = False) -> dict[int, list[Pod]]:
    """Two nodes, a bridge and a tunnel each, two pods on the first and one on the second."""
    switch = place.name(f"{tag}sw")
    ip(switch, "link add br0 up type bridge")
    nodes = {n: place.name(f"{tag}{n}") for n in NODES}
    for n, node in nodes.items():
        ip(switch, f"link add p{n} up master br0 type veth peer name eth0 netns {node}")
        ip(node, "link set lo up", "link set eth0 up", f"address add 192.0.2.{n}/24 dev eth0")
        ip(node, f"link add br0 mtu {POD_MTU} type bridge", f"address add 10.99.{n}.1/24 dev br0", "link set br0 up")
        ip(node, f"link add vx0 mtu {POD_MTU} type vxlan id 1 dstport 8472 local 192.0.2.{n} dev eth0 nolearning")
        ip(node, f"link set vx0 address 02:00:00:00:00:0{n} up", f"address add 10.99.{n}.1/32 dev vx0")
        ip(node, f"route add 10.99.{3 - n}.0/24 via 10.99.{3 - n}.1 dev vx0 onlink")
        ip(node, f"neighbour add 10.99.{3 - n}.1 lladdr 02:00:00:00:00:0{3 - n} dev vx0 nud permanent")
        ip(node, f"bridge fdb add 02:00:00:00:00:0{3 - n} dev vx0 dst 192.0.2.{3 - n} self permanent")
        execute(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        if not redirects:
            execute(node, "sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.br0.send_redirects=0")
        if masquerade:
            execute(node, "nft", MASQUERADE)
    return {n: [hand_pod(place, nodes[n], n, i) for i in range(3 - n)] for n in NODES}


def hand_pod(place: Spaces, node: str, number: int, i: int) -> Pod:
    space, address = place.name(f"{node[-2:]}p{i}"), f"10.99.{number}.{i + 2}"
    ip(node, f"link add v{i} up mtu {POD_MTU} master br0 type veth peer name eth0 netns {space} mtu {POD_MTU}")
    ip(space, "link set lo up", "link set eth0 up", f"address add {address}/32 dev eth0")
    ip(space, f"route add default via 10.99.{number}.1 dev eth0 onlink")
    return space, address


def by_agent(place: Spaces, cluster: Cluster) -> dict[int, list[Pod]]:
    cluster.up()
    return {n: [cluster.pod(n, f"p{n}{i}")[:2] for i in range(3 - n)] for n in NODES}


class Run(NamedTuple):
    """Gbit/s as the receiver saw it; CPU seconds of both ends per GB; µs that a packet takes."""

    gbits: float
    cpu: float
    packet_us: float


def talk(client: Pod, server: Pod, megabytes: int) -> Run:
    """One iperf3 stream, then datagrams."""
    listen = [*FIRST, "iperf3", "-s", "-1", "-B", server[1]]
    send = [*FIRST, "iperf3", "-c", server[1], "-n", f"{megabytes}M", "-A", f"{CPUS[0]},{CPUS[-1]}", "-J"]
    process = netns.run_in(server[0], lambda: subprocess.Popen(listen, stdout=subprocess.DEVNULL))
    try:
        for _ in range(50):
            time.sleep(0.05)
            done = netns.run_in(client[0], lambda: subprocess.run(send, capture_output=True, text=True, check=False))
            report: dict[str, Any] = json.loads(done.stdout)
            if "error" not in report:
                end, load = report["end"], report["end"]["cpu_utilization_percent"]
                received, seconds = end["sum_received"]["bytes"] / 1e9, end["sum_received"]["seconds"]
                cpu = (load["host_total"] + load["remote_total"]) / 100 * seconds
                return Run(received * 8 / seconds, cpu / received, packet_us(client, server))
        sys.exit(f"iperf3: {report['error']}")
    finally:
        process.kill()
        process.wait()


def packet_us(client: Pod, server: Pod) -> float:
    """How long a datagram takes from a pod's socket to another's, µs: the sender's CPU does all of it."""
    size, packets, goes = DATAGRAMS
    found: list[float] = []

    def work() -> None:
        os.sched_setaffinity(0, CPUS[:1])  # this thread's
        with netns.opened(client[0]) as here, netns.opened(server[0]) as there:
            receives = netns.socket_in(there, socket.AF_INET, socket.SOCK_DGRAM)
            sends = netns.socket_in(here, socket.AF_INET, socket.SOCK_DGRAM)
        with receives, sends:
            receives.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            receives.bind((server[1], 9))
            sends.connect((server[1], 9))
            for _ in range(goes):
                begin = time.perf_counter()
                for _ in range(packets):
                    sends.send(bytes(size))
                found.append((time.perf_counter() - begin) / packets * 1e6)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return min(found)


def measure(place: Spaces, cluster: Cluster, rounds: int, megabytes: int) -> list[dict[str, Any]]:
    wirings = {
        "netplane": by_agent(place, cluster),
        "by hand": by_hand(place, "h"),
        "by hand, tracked": by_hand(place, "m", masquerade=True),
        "by hand, redirected": by_hand(place, "r", redirects=True),
    }
    check_devices(cluster)
    names = list(wirings)
    found: dict[str, list[dict[str, Run]]] = {"bridge": [], "vxlan": []}
    for number in range(rounds + 1):
        for path, runs in found.items():
            this: dict[str, Run] = {}
            for i in range(len(names)):
                who = names[(i + number) % len(names)]
                server = wirings[who][1][1] if path == "bridge" else wirings[who][2][0]
                this[who] = talk(wirings[who][1][0], server, megabytes)
            if number:  # the first round warms up
                runs.append(this)
    return [row(path, who, runs) for path, runs in found.items() for who in names]


def row(path: str, who: str, runs: list[dict[str, Run]]) -> dict[str, Any]:
    """One wiring, and what netplane is to it."""
    cells: dict[str, Any] = {"path": path, "wiring": who}
    cells["Gbit/s"] = statistics.median(run[who].gbits for run in runs)
    cells["CPU s/GB"] = statistics.median(run[who].cpu for run in runs)
    cells["netplane / it"] = statistics.median(run["netplane"].gbits / run[who].gbits for run in runs)
    cells["netplane CPU / its"] = statistics.median(run["netplane"].cpu / run[who].cpu for run in runs)
    cells["µs/packet"] = statistics.median(run[who].packet_us for run in runs)
    cells["netplane µs more"] = statistics.median(run["netplane"].packet_us - run[who].packet_us for run in runs)
    return cells


def check_devices(cluster: Cluster) -> None:
    """The comparison is fair only between like and like."""
    with door(cluster.agents[1].space) as rtnl:
        tunnel: Link | None = rtnl.link(overlay.DEVICE)
        bridges = [link for link in rtnl.links() if isinstance(link.kind, Bridge)]
    assert tunnel is not None, "the agent made no tunnel"
    assert {tunnel.mtu, *(bridge.mtu for bridge in bridges)} == {POD_MTU}, "other MTUs than those wired by hand"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", choices=["table", "json"], default="table")
    options = parser.parse_args()
    if not shutil.which("iperf3"):
        sys.exit("iperf3 is missing: ./run bench installs it")
    with spaces() as place, tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        cluster = Cluster(place, Path(folder))
        try:
            rows = measure(place, cluster, options.rounds, options.megabytes)
        finally:
            cluster.close()
    title = f"Pod to pod, medians of {options.rounds} rounds of {options.megabytes} MB in turns"
    show(title, rows, as_json=options.o == "json")


if __name__ == "__main__":
    main()
