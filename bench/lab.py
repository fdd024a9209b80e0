"""How long a lab takes, from nothing to the first answered ClusterIP request, in stages; and to nothing again.

./run bench lab [--nodes 3] [--runs 5] [-o json]
"""

import asyncio
import secrets
import statistics
import time
from typing import Any

import click

from bench import _table
from labs import cluster, wiring


def once(nodes: int) -> dict[str, float]:
    """One lab up and down: seconds per stage."""
    name = "b" + secrets.token_hex(4)
    try:
        began = time.perf_counter()
        _, stages = asyncio.run(cluster.up(name, nodes, [cluster.FIRST_WALK], lambda _title, _took: None))
        total = time.perf_counter() - began
    finally:
        began = time.perf_counter()
        wiring.remove(name)
        gone = time.perf_counter() - began
    return {stage.name: stage.took_s for stage in stages} | {"first answer": total, "down": gone}


@click.command()
@click.option("--nodes", default=3, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def main(nodes: int, runs: int, output: str) -> None:
    """Bring labs up and down, one after the other."""
    done = [once(nodes) for _ in range(runs)]
    rows: list[dict[str, Any]] = []
    total = statistics.median(run["first answer"] for run in done)
    for stage in done[0]:
        values = sorted(run[stage] for run in done)
        rows.append(
            {
                "stage": stage,
                "median s": statistics.median(values),
                "best s": values[0],
                "worst s": values[-1],
                "share": f"{statistics.median(values) / total:.0%}" if stage != "down" else "",
            }
        )
    _table.show(f"lab up: {nodes} nodes, 6 pods, {runs} runs", rows, as_json=output == "json")


if __name__ == "__main__":
    main()
