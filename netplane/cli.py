"""The command `netplane`: finds its verbs among the installed packages and prints errors a person can act on.

It knows no verb itself: packages offer theirs in the entry-point group `netplane.commands`, so that the library
never imports the programs built on it (docs/architecture.md, rule 7).
"""

import os
import sys
from importlib.metadata import EntryPoint, entry_points

import click

from netplane import __version__
from netplane.errors import NetplaneError


class DiscoveredGroup(click.Group):
    """A click group whose commands are entry points, loaded only when they are called or listed."""

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="netplane.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all installed verbs, sorted."""
        return sorted(self._entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb; None when no installed package offers it."""
        entry = self._entries().get(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        assert isinstance(command, click.Command), f"{entry.value} is not a click command"
        return command


@click.command(cls=DiscoveredGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netplane")
def cli() -> None:
    """Kubernetes networking in Python: apiserver, controllers, CNI, service proxy and labs."""


def run(command: click.Command, prog_name: str) -> None:
    """Run a click command as a program: expected errors in red on stderr, with the exit code they carry."""
    try:
        command(prog_name=prog_name)
    except NetplaneError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(error.exit_code)


def main() -> None:
    """Entry point of the console script `netplane`."""
    if "CNI_COMMAND" in os.environ:
        # Runtimes look plugins up by file name; this command shares the plugin's name but never its folder.
        click.echo(
            '{"code": 100, "msg": "this is the netplane command, not the CNI plugin", '
            '"details": "install the plugin with: netplane cni install --bin-dir /opt/cni/bin"}'
        )
        sys.exit(1)
    run(cli, os.environ.get("NETPLANE_CALLED_AS", "netplane"))


if __name__ == "__main__":
    main()
