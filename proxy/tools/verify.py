"""`netplane verify`: unit tests for a network."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from netplane.errors import UsageError, reason
from proxy.plan import fixtures, verdicts
from proxy.plan.fixtures import BadFixture, World
from proxy.plan.verdicts import Judged
from proxy.tools import report, show

Loaded = tuple[str, World]


@click.command("verify", context_settings={"max_content_width": 110})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--case", "only", default="", metavar="TEXT", help="Only cases whose id contains this.")
@click.option("--kernel", is_flag=True, help="Send real packets through real rules, in namespaces of their own (root).")
@click.option("--strict", is_flag=True, help="Refuse fields that mean nothing, instead of warning of them.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Show the flows that pass, too.")
def command(files: tuple[Path, ...], only: str, output: str, *, kernel: bool, strict: bool, verbose: bool) -> None:
    """Check what becomes of packets: unit tests for a network.

    Each FILE holds cases: a node, Services, EndpointSlices, and flows with the verdict, endpoints and masquerading
    that are expected of them (docs/proxy-tools.md has the format). Every flow is evaluated on the rules that
    netplane-proxy would load, without touching the kernel.

    Exit status: 0 when everything is as expected, 1 when something is not, 2 when a file cannot be used.
    """
    started = time.perf_counter()
    cases = [loaded for file in files for loaded in _load(file, strict=strict) if only in loaded[1].case.id]
    if not cases:
        raise UsageError("there is no case to verify", hint="loosen --case" if only else "add cases to the files")
    judge = _in_kernel if kernel else _in_tracer
    judged = list(zip((file for file, _ in cases), judge([world for _, world in cases]), strict=True))
    _print(judged, "kernel" if kernel else "tracer", time.perf_counter() - started, output, verbose=verbose)


def _in_tracer(worlds: list[World]) -> Iterable[Judged]:
    return map(verdicts.verify, worlds)


def _in_kernel(worlds: list[World]) -> Iterable[Judged]:
    from proxy.tools import kernel  # noqa: PLC0415 - the tracer needs no kernel

    if os.geteuid() != 0:
        raise UsageError("--kernel makes network namespaces", hint="run it as root, or without --kernel")
    return kernel.verify_all(worlds)


def _print(judged: Sequence[tuple[str, Judged]], by: str, took_s: float, output: str, *, verbose: bool) -> None:
    made = report.Report(judged, by, took_s)
    if output == "json":
        report.json(made)
    elif output == "junit":
        report.junit(made)
    else:
        report.text(made, verbose=verbose)
    if made.failed:
        raise click.exceptions.Exit(1)


def _load(file: Path, *, strict: bool) -> Iterator[Loaded]:
    """The cases of a file. Raises UsageError naming file, case and field."""
    document = _parse(file)
    try:
        worlds = fixtures.read(document)
    except BadFixture as error:
        raise UsageError(f"{file}: {error}", hint="correct that field; the format is in docs/proxy-tools.md") from error
    unknown = fixtures.unknown_fields(document)
    if strict and unknown:
        raise UsageError(
            f"{file}: {', '.join(unknown)}: no field of a case", hint="the format is in docs/proxy-tools.md"
        )
    for name in unknown:
        show.say(f"{click.style('warning:', fg='yellow')} {file}: {name} is no field of a case; ignored", error=True)
    return ((str(file), world) for world in worlds)


def _parse(file: Path) -> Any:
    try:
        return yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{file}: {reason(error)}", hint="give a YAML or JSON file with a list named `cases`"
        ) from error
