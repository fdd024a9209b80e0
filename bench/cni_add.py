"""CNI ADD and DEL, as a runtime sees them: our two relays against Debian's reference plugins, interleaved in one run.

    ./run bench cni_add [--runs 50] [--parallel 32] [-o json]

Each call is a process with an environment, stdin and stdout, started by posix_spawn: the plugins are measured, not
Python's subprocess, of which 32 at once wait for one another. All work in one node namespace; the agent is a real
process. The reference (containernetworking-plugins: bridge with host-local) is measured where it is installed, its
masquerade where iptables is.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from bench._table import show
from netplane.kernel import netns
from tests.cnitools import AgentProcess, Spaces, config, environment, relays, spaces

REFERENCE = Path("/usr/lib/cni")
WARM_UP = 3
BURSTS = 5


class Contestant(NamedTuple):
    """A plugin and the configuration it is called with; `inside` runs it in the node's namespace."""

    name: str
    program: Path
    stdin: bytes


def contestants(folder: Path, agent: AgentProcess) -> list[Contestant]:
    ours = relays(folder / "relays", agent.socket)
    found = [
        Contestant(f"netplane, {name} relay{label}", ours[kind], _ours(i * 2 + j, masq))
        for i, (kind, name) in enumerate((("c", "C"), ("python", "Python")))
        for j, (label, masq) in enumerate((("", False), (", masquerade", True)))
    ]
    if (REFERENCE / "bridge").exists():
        found.append(Contestant("reference", REFERENCE / "bridge", _reference(folder, "r0", masq=False)))
        if shutil.which("iptables"):
            found.append(Contestant("reference, masquerade", REFERENCE / "bridge", _reference(folder, "r1", masq=True)))
    return found


def _ours(number: int, masq: bool) -> bytes:
    ipam = {"ranges": [[{"subnet": f"10.{20 + number}.0.0/16"}]]}
    return json.dumps(config(name=f"n{number}", bridge=f"br{number}", ipMasq=masq, ipam=ipam)).encode()


def _reference(folder: Path, bridge: str, *, masq: bool) -> bytes:
    ipam = {"type": "host-local", "dataDir": str(folder / bridge), "ranges": [[{"subnet": f"10.{40 + masq}.0.0/16"}]]}
    keys = {"bridge": bridge, "isDefaultGateway": True, "hairpinMode": True, "mtu": 1400, "ipMasq": masq, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": bridge, "type": "bridge", **keys}).encode()


def call(who: Contestant, command: str, container: str, space: str) -> None:
    variables = environment(command, container, space) | {"CNI_PATH": str(REFERENCE), "PATH": "/usr/sbin:/usr/bin"}
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        os.pwrite(stdin, who.stdin, 0)
        files = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        _, status = os.waitpid(os.posix_spawn(who.program, [str(who.program)], variables, file_actions=files), 0)
        if status:
            sys.exit(f"{who.name}: {command}: {os.pread(stdout, 1 << 16, 0).decode()}")
    finally:
        os.close(stdin)
        os.close(stdout)


def timed(who: Contestant, command: str, containers: Sequence[tuple[str, str]], pool: ThreadPoolExecutor) -> float:
    """Milliseconds for these calls, (container, namespace) each, as many at once as the pool has threads."""
    start = time.perf_counter()
    list(pool.map(lambda pod: call(who, command, *pod), containers))
    return (time.perf_counter() - start) * 1e3


def one_by_one(
    players: Sequence[Contestant], place: Spaces, runs: int, pool: ThreadPoolExecutor
) -> dict[str, dict[str, list[float]]]:
    pods = {who.name: place.name(f"pod{i}") for i, who in enumerate(players)}
    found: dict[str, dict[str, list[float]]] = {who.name: {"ADD": [], "DEL": []} for who in players}
    for run in range(runs + WARM_UP):
        for who in players:
            for command in ("ADD", "DEL"):
                ms = timed(who, command, [(f"c{run}", pods[who.name])], pool)
                if run >= WARM_UP:
                    found[who.name][command].append(ms)
    return found


def together(
    players: Sequence[Contestant], place: Spaces, count: int, pool: ThreadPoolExecutor
) -> dict[str, tuple[float, float]]:
    """(ADDs per second, DELs per second) of `count` at once: the medians of BURSTS, interleaved."""
    pods = [(f"m{i}", place.name(f"many{i}")) for i in range(count)]
    rates: dict[str, dict[str, list[float]]] = {who.name: {"ADD": [], "DEL": []} for who in players}
    for burst in range(BURSTS + 1):
        for who in players:
            for command in ("ADD", "DEL"):
                rate = count / timed(who, command, pods, pool) * 1e3
                if burst:  # the first one starts the pool's and the agent's threads
                    rates[who.name][command].append(rate)
    return {name: (statistics.median(r["ADD"]), statistics.median(r["DEL"])) for name, r in rates.items()}


def rows(single: dict[str, dict[str, list[float]]], many: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    table = []
    for name, times in single.items():
        row: dict[str, Any] = {"plugin": name}
        for command in ("ADD", "DEL"):
            ordered = sorted(times[command])
            row[f"{command} p50 ms"] = statistics.median(ordered)
            row[f"{command} p95 ms"] = ordered[int(len(ordered) * 0.95)]
        base = single.get("reference, masquerade" if "masquerade" in name else "reference")
        if base:
            row["ADD / ref"] = row["ADD p50 ms"] / statistics.median(base["ADD"])
            row["DEL / ref"] = row["DEL p50 ms"] / statistics.median(base["DEL"])
        row["ADD/s"], row["DEL/s"] = many[name]
        reference = many.get("reference, masquerade" if "masquerade" in name else "reference")
        if reference:
            row["ADD/s / ref"], row["DEL/s / ref"] = many[name][0] / reference[0], many[name][1] / reference[1]
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("-o", choices=["table", "json"], default="table")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with spaces() as place, tempfile.TemporaryDirectory(prefix="npt-bench-") as folder:
        node = place.name("node")
        agent = AgentProcess(node, Path(folder, "agent"))
        agent.start()

        def enter() -> None:
            with netns.opened(node) as fd:
                netns.setns(fd)

        try:
            players = contestants(Path(folder), agent)
            with ThreadPoolExecutor(1, initializer=enter) as pool:
                single = one_by_one(players, place, options.runs, pool)
            with ThreadPoolExecutor(options.parallel, initializer=enter) as pool:
                many = together(players, place, options.parallel, pool)
        finally:
            agent.stop()
    title = f"CNI calls one by one ({options.runs} runs, interleaved), and {options.parallel} at once"
    title += f" (load average before: {load:.1f})"
    show(title, rows(single, many), as_json=options.o == "json")


if __name__ == "__main__":
    main()
