"""Pod-to-pod TCP throughput: what the agent made, against the same devices wired by hand with `ip`.

    ./run bench cni_throughput [--seconds 2] [--rounds 5] [-o json]

Three clusters of two nodes, each node a namespace: one with our agents, one wired with `ip` and `bridge` alone, and one
wired so with a rule that masquerades what leaves the cluster, as any cluster's nodes have: what tracking connections
costs shows as the difference of those two. Measured with iperf3, in turns, within a node (bridge) and between nodes
(VXLAN).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._table import show
from cni.plan import overlay
from netplane.kernel import netns
from netplane.rtnl import Bridge, Link
from tests.cnitools import Spaces, door, spaces
from tests.overlay_cluster import Cluster

NODES = (1, 2)
POD_MTU = 1450
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


def by_hand(place: Spaces, tag: str, *, masquerade: bool) -> dict[int, list[Pod]]:
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
        execute(node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
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


def gbits(client: Pod, server: Pod, seconds: float) -> float:
    """One iperf3 run, in Gbit/s as the receiver saw it."""
    listen = ["iperf3", "-s", "-1", "-B", server[1]]
    talk = ["iperf3", "-c", server[1], "-t", str(seconds), "-J"]
    process = netns.run_in(server[0], lambda: subprocess.Popen(listen, stdout=subprocess.DEVNULL))
    try:
        for _ in range(50):
            time.sleep(0.05)
            done = netns.run_in(client[0], lambda: subprocess.run(talk, capture_output=True, text=True, check=False))
            report: dict[str, Any] = json.loads(done.stdout)
            if "error" not in report:
                return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
        sys.exit(f"iperf3: {report['error']}")
    finally:
        process.kill()
        process.wait()


def measure(place: Spaces, cluster: Cluster, rounds: int, seconds: float) -> list[dict[str, Any]]:
    wirings = {
        "netplane": by_agent(place, cluster),
        "by hand": by_hand(place, "h", masquerade=False),
        "by hand, masquerade": by_hand(place, "m", masquerade=True),
    }
    check_devices(cluster)
    found: dict[str, dict[str, list[float]]] = {"bridge": {}, "vxlan": {}}
    for _ in range(rounds):
        for who, pods in wirings.items():
            for path, server in (("bridge", pods[1][1]), ("vxlan", pods[2][0])):
                found[path].setdefault(who, []).append(gbits(pods[1][0], server, seconds))
    rows = []
    for path, rates in found.items():
        medians = {who: statistics.median(rates[who]) for who in wirings}
        row: dict[str, Any] = {"path": path} | {f"{who} Gbit/s": rate for who, rate in medians.items()}
        row |= {f"/ {who}": medians["netplane"] / rate for who, rate in medians.items() if who != "netplane"}
        rows.append(row)
    return rows


def check_devices(cluster: Cluster) -> None:
    """The comparison is fair only between like and like."""
    with door(cluster.agents[1].space) as rtnl:
        tunnel: Link | None = rtnl.link(overlay.DEVICE)
        bridges = [link for link in rtnl.links() if isinstance(link.kind, Bridge)]
    assert tunnel is not None, "the agent made no tunnel"
    assert {tunnel.mtu, *(bridge.mtu for bridge in bridges)} == {POD_MTU}, "other MTUs than those wired by hand"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", choices=["table", "json"], default="table")
    options = parser.parse_args()
    if not shutil.which("iperf3"):
        sys.exit("iperf3 is missing: ./run bench installs it")
    with spaces() as place, tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        cluster = Cluster(place, Path(folder))
        try:
            rows = measure(place, cluster, options.rounds, options.seconds)
        finally:
            cluster.close()
    title = f"Pod-to-pod TCP, medians of {options.rounds} runs of {options.seconds:g} s in turns"
    show(title, rows, as_json=options.o == "json")


if __name__ == "__main__":
    main()
