"""`netplane top`: what the services of one node are asked, live in a terminal."""

import http.client
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netplane.errors import NetplaneError, reason
from netplane.obs.health import parse_bind
from proxy.config import METRICS_PORT
from proxy.tools import keys, traffic
from proxy.tools.traffic import Reading, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

TIMEOUT_S = 5.0
FRAME_LINES = 7  # heading, the table's frame and title, how to end
NARROW = 100  # columns below which totals are left out


class Unanswered(NetplaneError):
    """The proxy's metrics could not be read."""


@click.command(
    short_help="Services by connections per second, live.", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--address",
    default=f"127.0.0.1:{METRICS_PORT}",
    show_default=True,
    help="Where netplane-proxy serves its metrics (its --metrics-bind-address).",
)
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds per reading.")
@click.option("-n", "--namespace", default="", help="Only the services of this namespace.")
@click.option("--once", is_flag=True, help="Print one table over one interval, and end; so it is in a pipe.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="json implies --once.")
def command(address: str, interval: float, namespace: str, once: bool, output: str) -> None:
    """Services by connections per second, with rejects, drops and endpoints; q ends it."""
    host, port = parse_bind(address, "--address", default_port=METRICS_PORT)
    first = scrape(host, port)
    if not (once or output == "json" or not sys.stdout.isatty()):
        _live(host, port, first, interval, namespace)
        return
    time.sleep(interval)
    now = scrape(host, port)
    rows = _of(namespace, traffic.rows(first, now))
    if output == "json":
        click.echo(json.dumps(as_json(now, rows)))
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and JSON does without

    Console().print(view(now, rows, width=Console().width))


def scrape(host: str, port: int) -> Reading:
    """Read the proxy's metrics now. Raises Unanswered."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(
            f"no metrics from {host}:{port}: {reason(error) or type(error).__name__}",
            hint="is netplane-proxy running here? --address says where it serves its metrics",
        ) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Unanswered(
            f"{host}:{port}/metrics answered {answer.status} {answer.reason}", hint="give a proxy's --address"
        )
    return traffic.read(text, time.monotonic())


def _live(host: str, port: int, before: Reading, interval_s: float, namespace: str) -> None:
    from rich.console import Console, Group  # noqa: PLC0415 - as above
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console, now, trouble = Console(), before, ""

    def picture() -> "RenderableType":
        width, height = console.size
        rows = _of(namespace, traffic.rows(before, now))
        shown = view(now, rows, width=width, most=max(1, height - FRAME_LINES), trouble=trouble)
        return Group(shown, Text("q ends", style="dim"))

    try:
        with keys.reading() as typed, Live(picture(), console=console, screen=True, auto_refresh=False) as screen:
            while not typed.typed(b"qQ", interval_s):
                try:
                    before, now, trouble = now, scrape(host, port), ""
                except Unanswered as error:
                    before, trouble = now, error.message
                screen.update(picture(), refresh=True)
    except KeyboardInterrupt:
        return


def _of(namespace: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if not namespace or row.namespace == namespace]


def as_json(now: Reading, rows: Sequence[Row]) -> dict[str, Any]:
    """For programs: every service with its rates and totals, and what the proxy counts of itself."""
    own = {name: value for name, value in now.totals.items() if name.startswith(("netplane_proxy_", "kubeproxy_"))}
    return {"services": [msgspec.structs.asdict(row) for row in rows], "proxy": own}


# Picture ------------------------------------------------------------------------------------------------------


def view(
    now: Reading, rows: Sequence[Row], *, width: int, most: int | None = None, trouble: str = ""
) -> "RenderableType":
    """The whole picture; at most `most` services."""
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    lines = [Text(line, style="bold" if i == 0 else "dim") for i, line in enumerate(heading(now, rows))]
    if trouble:
        lines.append(Text(trouble, style="bold red"))
    if not rows:
        return Group(*lines, Text("no service was asked yet, or this proxy does not count per service"))
    shown = rows if most is None else rows[:most]
    return Group(*lines, _table(shown, width))


def heading(now: Reading, rows: Sequence[Row]) -> list[str]:
    """Two lines: what is asked of all services, and how the proxy keeps up."""
    total = now.totals.get
    asked = sum(row.connections_per_s for row in rows)
    refused = sum(row.rejects_per_s for row in rows)
    dropped = sum(row.drops_per_s for row in rows)
    syncs = max(now.buckets.values(), default=0.0)
    slowest = traffic.quantile_s(now.buckets, 0.99)
    pace = f"99 % under {slowest * 1e3:.1f} ms" if slowest is not None else "none yet"
    return [
        f"{total('netplane_proxy_services', 0):,.0f} services · {asked:,.0f} connections/s"
        f" · {refused:,.0f} rejects/s · {dropped:,.0f} drops/s",
        f"{total('netplane_proxy_frontends', 0):,.0f} frontends · {syncs:,.0f} syncs, {pace}"
        f" · {total('netplane_proxy_flows_deleted_total', 0):,.0f} stale flows ended",
    ]


def _table(rows: Sequence[Row], width: int) -> "RenderableType":
    from rich import box  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415

    wide = width >= NARROW
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("service", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("port", no_wrap=True)
    names = ("conn/s", "conn", "rej/s", "rej", "drop/s", "drop") if wide else ("conn/s", "rej/s", "drop/s")
    for name in (*names, "endpoints"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(f"{row.namespace}/{row.service}", row.port, *_figures(row, wide), style=_style(row))
    return table


def _figures(row: Row, wide: bool) -> list[str]:
    pairs = (
        (row.connections_per_s, row.connections),
        (row.rejects_per_s, row.rejects),
        (row.drops_per_s, row.drops),
    )
    found = [text for rate, total in pairs for text in ((_rate(rate), f"{total:,.0f}") if wide else (_rate(rate),))]
    return [*found, "-" if row.endpoints is None else f"{row.endpoints:.0f}"]


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"


def _style(row: Row) -> str:
    if row.rejects_per_s or row.drops_per_s:
        return "red"
    return "" if row.connections_per_s else "dim"
