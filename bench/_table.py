"""What every benchmark prints: a table of figures with ratios, plain in a pipe, JSON with `-o json`."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, rows: list[dict[str, Any]], *, as_json: bool = False) -> None:
    """Print rows (all with the same keys) as a table, or as one JSON object with `title` and `rows`."""
    if as_json:
        json.dump({"title": title, "rows": rows}, sys.stdout, indent=1)
        print()
        return
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(rows[0]):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    # A pipe has no width: give tables the room they need.
    Console(width=None if sys.stdout.isatty() else 160).print(table)
