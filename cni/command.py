"""`netplane cni install|uninstall|leases`: the plugin's files, and who has which address."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import click

from cni import install
from cni.__main__ import DEFAULT_STATE_DIR
from netplane.errors import NetplaneError

_DIR = click.Path(path_type=Path)
_bin_dir = click.option(
    "--bin-dir", type=_DIR, default=install.DEFAULT_BIN_DIR, show_default=True, help="Where runtimes look for plugins."
)
_conf_dir = click.option(
    "--conf-dir", type=_DIR, default=install.DEFAULT_CONF_DIR, show_default=True, help="Where they look for networks."
)


@click.group("cni")
def command() -> None:
    """The CNI plugin: install it, remove it, see who has which address."""


@command.command("install")
@_bin_dir
@click.option("--socket", type=_DIR, default=install.DEFAULT_SOCKET, show_default=True, help="Where the agent listens.")
@click.option("--standalone", is_flag=True, help="Work without an agent: each call does everything itself.")
@click.option(
    "--state-dir", type=_DIR, default=DEFAULT_STATE_DIR, show_default=True, help="Standalone: where leases are kept."
)
def install_(bin_dir: Path, socket: Path, standalone: bool, state_dir: Path) -> None:
    """Put the plugin's first hop where runtimes look. The agent does this by itself, and writes the network's
    configuration once its node is ready.
    """
    if standalone:
        install.install_standalone(bin_dir, state_dir)
        what = f"it works without an agent and keeps leases in {state_dir}"
    else:
        install.install_relay(bin_dir, socket)
        what = f"it calls the agent at {socket}"
    built = install.built_relay()
    kind = "the C relay" if built else "the Python relay (no C compiler was there when netplane was installed)"
    click.echo(f"installed {bin_dir / install.PLUGIN}: {kind}; {what}")


@command.command("uninstall")
@_bin_dir
@_conf_dir
def uninstall(bin_dir: Path, conf_dir: Path) -> None:
    """Remove what `install` and the agent put there. Pods keep running."""
    removed = install.uninstall(bin_dir, conf_dir)
    for path in removed:
        click.echo(f"removed {path}")
    if not removed:
        click.echo("nothing was installed")


@command.command("leases")
@click.option("--state-dir", type=_DIR, default=DEFAULT_STATE_DIR, show_default=True, help="The agent's.")
@click.option("--network", default="", help="Only this network's.")
def leases(state_dir: Path, network: str) -> None:
    """List addresses with the containers that have them."""
    for line in table(state_dir / "leases.db", network):
        click.echo(line)


def table(path: Path, network: str) -> list[str]:
    """The lease store as lines of text; the store is only read, whoever else has it open.

    Raises:
        NetplaneError: there is none, or it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT ips, state, network, pod, container, ifname, link, since_s FROM attachments"
                " WHERE ? IN ('', network) ORDER BY id",
                (network,),
            ).fetchall()
    except sqlite3.Error as error:
        raise NetplaneError(f"the lease store {path}: {error}", hint="name the agent's --state-dir") from error
    head = ("ADDRESSES", "STATE", "NETWORK", "POD", "CONTAINER", "INTERFACE", "LINK", "AGE")
    now_s = time.time()
    body = [(*row[:4], row[4][:13], *row[5:7], _age(now_s - row[7])) for row in rows]
    cells = [head, *([str(cell or "-") for cell in row] for row in body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(seconds, 0))}s"
