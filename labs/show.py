"""What a person sees of a lab: progress while it works, tables when it is done."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.status import Status
from rich.table import Table

from labs import called
from labs.cluster import Stage, Tell
from labs.verify import Report

# Progress goes to stderr, results to stdout, so that `-o json` and pipes hold nothing but the result.
progress = Console(stderr=True, highlight=False)
out = Console(highlight=False)


@contextlib.contextmanager
def telling(*, quiet: bool = False) -> Iterator[Tell]:
    """Yields a function that shows stages: a spinner while one runs on a terminal, a line when it is done."""
    spinner: Status | None = progress.status("") if progress.is_terminal and not quiet else None

    def tell(title: str, took_s: float | None) -> None:
        if quiet:
            return
        if took_s is None:
            if spinner is not None:
                spinner.update(f"{title} …")
                spinner.start()
            return
        if spinner is not None:
            spinner.stop()
        progress.print(f"[green]✓[/] {title:<46} [dim]{took_s:6.2f} s[/]")

    try:
        yield tell
    finally:
        if spinner is not None:
            spinner.stop()


def report(result: Report) -> None:
    """The tables of pods and of answers, and what is wrong if anything is."""
    pods = _table("Pods", "pod", "node", "address", "ready")
    for row in result.pods:
        pods.add_row(row.name, row.node, row.address or "-", "[green]yes[/]" if row.ready else "[red]no[/]")
    out.print()
    out.print(pods)
    backends = [row.name for row in result.pods if row.backend]
    answers = _table(f"Service {result.service}, {result.cluster_ip}: answers per endpoint", "asked from", "through")
    for name in backends:
        answers.add_column(name, justify="right")
    for view in result.views:
        counts = [str(view.answers.by_pod.get(name, 0)) for name in backends]
        answers.add_row(view.origin, view.frontend, *counts)
    out.print()
    out.print(answers)
    out.print()
    if result.problems:
        out.print("[red bold]✗[/] not as it should be:")
        for problem in result.problems:
            out.print(f"  - {problem}")
    else:
        total = sum(sum(view.answers.by_pod.values()) for view in result.views)
        out.print(f"[green]✓[/] {total} connections, every one answered by an endpoint of the Service")


def what_next(name: str, kubeconfig: str, cluster_ip: str) -> None:
    """How to go on with a lab that is up."""
    option, word = ("", "") if name == "lab" else (f"--lab {name}", name)
    lines = [
        "\nThe lab is up. Use it:",
        f"  export KUBECONFIG={kubeconfig}",
        f"  {called.kubectl()} get pods -o wide",
        *([f"  {called.lab('exec', option)} client -- curl -s {cluster_ip}"] if cluster_ip else []),
        f"  {called.lab('status', word)}",
        f"  {called.lab('down', word)}",
    ]
    out.print("\n".join(lines), soft_wrap=True)


def stages(done: list[Stage]) -> None:
    """A line that sums up how long it took."""
    progress.print(f"[dim]first answered ClusterIP request {done[-1].at_s:.2f} s after the start[/]")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    return table
