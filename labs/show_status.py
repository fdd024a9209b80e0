"""Prints what `labs.inspect` saw."""

from typing import Any

import msgspec
from rich.table import Table

from labs.inspect import Seen
from labs.show import out


def show(seen: Seen) -> None:
    """One table for each thing there is."""
    out.print(f"[bold]lab {seen.lab}[/]   KUBECONFIG={seen.kubeconfig}")
    _table(
        "Programs", [{"name": p.name, "pid": p.pid, "state": _word(p.alive, "running", "dead")} for p in seen.programs]
    )
    if seen.trouble:
        out.print(f"[red bold]✗[/] {seen.trouble}")
        return
    _table("Nodes", [_row(n, ready=_word(n.ready, "Ready", "NotReady")) for n in seen.nodes])
    pods = [_row(p, ready=_word(p.ready, "yes", "no")) for p in seen.pods]
    # The namespace's name is long, and would break the line: it is in the JSON.
    _table("Pods", [{key: value for key, value in pod.items() if key != "netns"} for pod in pods])
    _table("Services", [_row(s, ports=" ".join(s.ports)) for s in seen.services])


def _row(value: msgspec.Struct, **shown: str) -> dict[str, Any]:
    return {key: shown.get(key, item) for key, item in msgspec.structs.asdict(value).items()}


def _word(good: bool, yes: str, no: str) -> str:
    return f"[green]{yes}[/]" if good else f"[red]{no}[/]"


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in rows[0]:
        table.add_column(column.replace("_", " "), style="" if column != "pid" else "dim")
    for row in rows:
        table.add_row(*(str(value) or "-" for value in row.values()))
    out.print()
    out.print(table)
