"""What people see of the tools: colours on a terminal, plain text in a pipe, JSON for programs."""

import json
import os
from collections.abc import Iterable
from typing import Any

import click

OUTCOME_COLOURS = {"dnat": "green", "none": "cyan", "reject": "red", "drop": "red"}


def say(text: str = "", *, error: bool = False) -> None:
    """A line on stdout (or stderr); colours only reach terminals, and none where NO_COLOR is set (no-color.org)."""
    click.echo(text, err=error, color=False if os.environ.get("NO_COLOR") else None)


def bold(text: str) -> str:
    """A heading."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """An aside."""
    return click.style(text, dim=True)


def good(text: str) -> str:
    """As it should be."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Not as it should be."""
    return click.style(text, fg="red")


def outcome(word: str) -> str:
    """A verdict in its colour."""
    return click.style(word, fg=OUTCOME_COLOURS.get(word), bold=True)


def as_json(value: Any) -> None:
    """For programs: indented, in the order given."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def skipped(problems: Iterable[str]) -> None:
    """What of the objects was skipped and why, each once, beside the output."""
    for problem in dict.fromkeys(problems):
        say(f"{click.style('skipped:', fg='yellow')} {problem}", error=True)


def plural(count: int, word: str) -> str:
    """`1 flow`, `2 flows`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
