"""The verbs of `netplane lab`."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from labs import called, lock, state, wiring
from labs.topology import Lab, checked_name
from netplane.api.objects import Pod
from netplane.errors import NetplaneError, UsageError

OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="What to print.")
NAME = click.argument("name", default="lab")
DEFAULT_NODES = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Whole clusters out of network namespaces, in seconds.

    A lab has nodes (each a namespace with the node agent and the service proxy), an underlay that joins them, a machine
    outside, and an apiserver with controllers. Several labs live side by side; each is gone without a trace after
    `netplane lab down`.
    """


@command.command()
@NAME
@click.option("--nodes", type=int, default=None, help=f"Number of nodes.  [default: {DEFAULT_NODES}]")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Apply these manifests instead of the first walk's (repeatable).",
)
@click.option(
    "--check", is_flag=True, help="Verify, take the lab down if this made it, exit with 1 if anything was wrong."
)
@OUTPUT
def up(name: str, nodes: int | None, files: tuple[Path, ...], check: bool, output: str) -> None:
    """Bring a lab up and ask its Service from everywhere."""
    from labs import cluster, requirements, show, verify  # noqa: PLC0415 - the other verbs start faster without

    requirements.check()
    with lock.held(checked_name(name)), show.telling(quiet=output == "json") as tell:
        lab = cluster.running(name)
        stages: list[cluster.Stage] = []
        ours = lab is None
        if lab is None:
            lab, stages = _make(
                name, DEFAULT_NODES if nodes is None else nodes, list(files) or [cluster.FIRST_WALK], tell, check=check
            )
        else:
            _join(lab, nodes, list(files), tell)
        report = None
        if not files:
            tell("ask the Service from everywhere", None)
            began = time.perf_counter()
            report = asyncio.run(verify.verify(lab))
            tell("ask the Service from everywhere", time.perf_counter() - began)
        down = check and ours
        if down:
            tell("take the lab down", None)
            began = time.perf_counter()
            wiring.remove(name)
            tell("take the lab down", time.perf_counter() - began)
    _print_up(lab, stages, report, output=output, left_up=not down)
    if report is not None and report.problems:
        sys.exit(1)


def _make(name: str, nodes: int, files: list[Path], tell: Any, *, check: bool) -> tuple[Lab, list[Any]]:
    from labs import cluster  # noqa: PLC0415

    try:
        return asyncio.run(cluster.up(name, nodes, files, tell))
    except BaseException:
        if check:
            wiring.remove(name)
        raise


def _join(lab: Lab, nodes: int | None, files: list[Path], tell: Any) -> None:
    """The lab is up already: apply what is given, and refuse what would make it another lab."""
    from labs import cluster  # noqa: PLC0415

    if nodes is not None and nodes != lab.node_count:
        raise UsageError(
            f"lab {lab.name} is up with {lab.node_count} nodes, not {nodes}",
            hint=f"take it down first: {called.lab('down', lab.name)}",
        )
    tell(f"lab {lab.name} is up already", 0.0)
    objects = [obj for path in files for obj in cluster.read_manifests(path)]
    if objects:
        began = time.perf_counter()
        asyncio.run(cluster.apply_to(lab, objects))
        tell(f"apply {len(objects)} objects", time.perf_counter() - began)


def _print_up(lab: Lab, stages: list[Any], report: Any, *, output: str, left_up: bool) -> None:
    from labs import show  # noqa: PLC0415

    if output == "json":
        _print_json(
            {
                "lab": lab.name,
                "kubeconfig": str(lab.kubeconfig),
                "stages": stages,
                "report": report,
                "left_up": left_up,
            }
        )
        return
    if stages:
        show.stages(stages)
    if report is not None:
        show.report(report)
    if left_up:
        show.what_next(lab.name, str(lab.kubeconfig), report.cluster_ip if report else "")


@command.command(short_help="What runs in a lab; or all labs, if several.")
@click.argument("name", default="", required=False)
@OUTPUT
def status(name: str, output: str) -> None:
    """Show one lab (programs, nodes, pods, Services), or list all labs when there are several."""
    _need_root("looking into labs")
    names = [name] if name else state.names()
    if not names:
        raise UsageError("there is no lab", hint=f"make one: {called.lab('up')}")
    if len(names) > 1:
        _list_labs(names, output)
        return
    from labs import inspect, show_status  # noqa: PLC0415

    lab = state.by_name(names[0])
    seen = asyncio.run(inspect.look(lab))
    if output == "json":
        _print_json(seen)
    else:
        show_status.show(seen)
    if seen.trouble or not all(program.alive for program in seen.programs):
        sys.exit(1)


def _list_labs(names: list[str], output: str) -> None:
    from labs import cluster  # noqa: PLC0415

    rows = [(name, cluster.running(name) is not None, list(wiring.leftovers(name))) for name in names]
    if output == "json":
        _print_json([{"name": name, "running": alive, "there_is": there} for name, alive, there in rows])
        return
    for name, alive, there in rows:
        word = click.style("running", fg="green") if alive else click.style("killed ", fg="red")
        click.echo(f"{name:<14} {word}   {', '.join(there)}")


@command.command(
    short_help="Run a command in a pod, on a node, outside.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--lab", "name", default="lab", show_default=True, help="Which lab.")
@click.option("-n", "--namespace", default="default", show_default=True, help="The pod's Kubernetes namespace.")
@click.argument("where")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec(name: str, namespace: str, where: str, argv: tuple[str, ...]) -> None:  # noqa: A001 - kubectl's verb
    """Run a command inside WHERE: a pod, a node (node-1), `outside`, or `underlay`.

    Example: netplane lab exec client -- curl -s http://10.96.0.10/
    """
    from netplane.kernel import netns  # noqa: PLC0415

    _need_root("entering a lab's namespaces")
    lab = state.by_name(name)
    space = _space(lab, where, namespace)
    with netns.opened(space) as fd:
        netns.setns(fd)
    words = list(argv[1:] if argv[0] == "--" else argv)
    os.environ["NETPLANE_LAB"] = str(lab.folder)
    os.environ.pop(called.VARIABLE, None)
    try:
        os.execvp(words[0], words)  # noqa: S606 - the user's own command, no shell
    except OSError as error:
        raise UsageError(f"{words[0]}: {error.strerror}") from error


def _space(lab: Lab, where: str, namespace: str) -> str:
    from labs import verify  # noqa: PLC0415
    from netplane.client import config  # noqa: PLC0415
    from netplane.client.api import Api  # noqa: PLC0415

    machines = {node.name: node.netns for node in lab.nodes} | {"outside": lab.outside, "underlay": lab.underlay}
    if where in machines:
        return machines[where]

    async def find() -> list[Pod]:
        async with Api(config.load(str(lab.kubeconfig))) as api:
            return (await api.list(Pod, namespace)).items

    pods = {pod.metadata.name: pod for pod in asyncio.run(find())}
    if where not in pods:
        raise UsageError(
            f"lab {lab.name} has no pod or machine {where!r}",
            hint=f"pods of namespace {namespace}: {', '.join(pods) or 'none'}; machines: {', '.join(machines)}",
        )
    pod = pods[where]
    if not pod.spec.node_name:
        raise UsageError(f"pod {where} is not on a node yet", hint=f"see: {called.lab('status', lab.name)}")
    return verify.pod_netns(lab.node(pod.spec.node_name), pod)


@command.command(short_help="The log of a program, or of a pod.")
@click.option("--lab", "name", default="lab", show_default=True, help="Which lab.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written.")
@click.option("-n", "--lines", default=40, show_default=True, help="How many lines from the end; 0 for all.")
@click.argument("program", default="")
def logs(name: str, follow: bool, lines: int, program: str) -> None:
    """Print the log of a PROGRAM (apiserver, agent-node-1, …) or of a pod; without one, list what there is."""
    lab = state.by_name(name)
    found = {path.stem: path for path in sorted(lab.logs.glob("*.log"))}
    if not program:
        click.echo("\n".join(found))
        return
    for candidate in (program, f"pod-default-{program}", f"pod-{program.replace('/', '-')}"):
        if candidate in found:
            _print_log(found[candidate], lines, follow=follow)
            return
    raise UsageError(f"lab {name} has no log {program!r}", hint=f"there are: {', '.join(found)}")


def _print_log(path: Path, lines: int, *, follow: bool) -> None:
    with path.open(errors="replace") as file:
        click.echo("".join(file.readlines()[-lines or None :]), nl=False)
        while follow:
            if text := file.read():
                click.echo(text, nl=False)
            else:
                time.sleep(0.1)


@command.command()
@click.argument("name", default="lab")
@click.option("--all", "everything", is_flag=True, help="Take down every lab on this machine.")
@click.option("--own", is_flag=True, help="Take down every lab that runs from this installation.")
def down(name: str, everything: bool, own: bool) -> None:
    """Take a lab down, whatever state it is in, and leave nothing."""
    _need_root("taking a lab down")
    names = state.names() if everything else state.own_names() if own else [name]
    for each in names:
        with lock.held(checked_name(each)):
            found = wiring.remove(each)
        if found:
            click.echo(f"lab {each} is down: removed {', '.join(found)}")
        else:
            click.echo(f"there is no lab {each}; nothing to remove")


def _need_root(doing: str) -> None:
    if os.geteuid() != 0:
        raise NetplaneError(f"{doing} needs root", hint="run it with sudo")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2))
