"""`netplane cni install|uninstall|leases`: the plugin's files, and who has which address."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path

import click

from cni import install
from cni.__main__ import DEFAULT_STATE_DIR
from cni.plan import conflist, ipam, pod
from cni.plan.lease import Key, Lease
from netplane.errors import NetplaneError, UsageError, reason
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import IP, Link, Network

_DIR = click.Path(path_type=Path)
_bin_dir = click.option(
    "--bin-dir", type=_DIR, default=install.DEFAULT_BIN_DIR, show_default=True, help="Where runtimes look for plugins."
)
_conf_dir = click.option(
    "--conf-dir", type=_DIR, default=install.DEFAULT_CONF_DIR, show_default=True, help="Where they look for networks."
)


@click.group("cni", short_help="Install the CNI plugin; see who has which address.")
def command() -> None:
    """The CNI plugin: install it, remove it, see who has which address."""


@command.command("install")
@_bin_dir
@click.option("--socket", type=_DIR, default=install.DEFAULT_SOCKET, show_default=True, help="Where the agent listens.")
@click.option("--standalone", is_flag=True, help="Work without an agent: each call does everything itself.")
@click.option(
    "--state-dir", type=_DIR, default=DEFAULT_STATE_DIR, show_default=True, help="Standalone: where leases are kept."
)
@click.option(
    "--subnet", "subnets", multiple=True, help="Standalone: also write a network's configuration; one for each family."
)
@_conf_dir
def install_(
    bin_dir: Path, socket: Path, standalone: bool, state_dir: Path, subnets: tuple[str, ...], conf_dir: Path
) -> None:
    """Put the plugin's first hop where runtimes look. The agent does this by itself, and writes the network's
    configuration once its node is ready.
    """
    cidrs = _subnets(subnets, standalone=standalone)
    if standalone:
        install.install_standalone(bin_dir, state_dir)
        what = f"it works without an agent and keeps leases in {state_dir}"
    else:
        install.install_relay(bin_dir, socket)
        what = f"it calls the agent at {socket}"
    built = install.built_relay()
    kind = "the C relay" if built else "the Python relay (no C compiler was there when netplane was installed)"
    click.echo(f"installed {bin_dir / install.PLUGIN}: {kind}; {what}")
    if cidrs:
        install.install_conflist(conf_dir, conflist.standalone(cidrs))
        click.echo(f"wrote {conf_dir / conflist.FILE}: pods get addresses of {', '.join(subnets)}")


def _subnets(texts: Sequence[str], *, standalone: bool) -> list[Network]:
    if texts and not standalone:
        raise UsageError("--subnet goes with --standalone", hint="with an agent, the Node's podCIDR says the ranges")
    try:
        cidrs = [ip_network(text) for text in texts]
        for cidr in cidrs:
            ipam.Range.of(cidr)
    except ValueError as error:
        raise UsageError(f"--subnet: {error}", hint="give a network such as 10.88.0.0/16") from error
    if len({cidr.version for cidr in cidrs}) < len(cidrs):
        raise UsageError("--subnet: a pod gets one address of each; give at most one IPv4 and one IPv6 network")
    return cidrs


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
    """List addresses with the containers that have them. Run it in the node's network namespace.

    STATE is `active`, `reserved` while an ADD is under way, or says what makes it an orphan: `no link` for a lease
    whose pod is gone without a DEL, `no lease` for a link that no lease knows. An agent that starts reaps both.
    """
    path = state_dir / "leases.db"
    now_s = time.time()
    rows = read(path, network)
    with Rtnl() as rtnl:
        links = rtnl.links()
    for line in table(mark_orphans(rows, links, pod.owner_mark(str(state_dir.resolve())), network), now_s):
        click.echo(line)


def read(path: Path, network: str) -> list[Lease]:
    """The lease store, which is only read, whoever else has it open.

    Raises:
        NetplaneError: there is none, or it cannot be read.
    """
    try:
        path.stat()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT network, container, ifname, state, link, ips, pod, since_s FROM attachments"
                " WHERE ? IN ('', network) ORDER BY id",
                (network,),
            ).fetchall()
    except FileNotFoundError as error:
        raise NetplaneError(
            f"there is no lease store {path}", hint="no pod was given an address yet, or it is in another --state-dir"
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise NetplaneError(
            f"the lease store {path}: {reason(error)}", hint="run as root; name the --state-dir"
        ) from error
    return [
        Lease(Key(*row[:3]), row[3], row[4], _addresses(row[5] or ""), pod=row[6] or "", since_s=row[7]) for row in rows
    ]


def _addresses(text: str) -> tuple[IP, ...]:
    return tuple(ip_address(word) for word in text.split(",") if word)


def mark_orphans(
    rows: Sequence[Lease], links: Sequence[Link], owner: str, network: str = ""
) -> list[tuple[Lease, str]]:
    """Leases with their state in words, then links of ours that have none.

    Args:
        rows: the leases.
        links: of the node.
        owner: the mark of the store's links.
        network: only this one's links; "" for all.
    """
    there, known = {link.name for link in links}, {row.link for row in rows}
    found: list[tuple[Lease, str]] = [
        (row, row.state if row.link in there or row.state == "reserved" else "orphan: no link") for row in rows
    ]
    for link in links:
        words = pod.read_alias(link.alias, owner)
        if words is not None and link.name not in known and network in ("", words[0]):
            found.append((Lease(Key(*words[:3]), "active", link.name, words[3]), "orphan: no lease"))
    return found


def table(rows: Sequence[tuple[Lease, str]], now_s: float) -> list[str]:
    """Leases as lines of text, under a heading."""
    head = ("ADDRESSES", "STATE", "NETWORK", "POD", "CONTAINER", "INTERFACE", "LINK", "AGE")
    cells = [head, *(_cells(lease, state, now_s) for lease, state in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(lease: Lease, state: str, now_s: float) -> tuple[str, ...]:
    key = lease.key
    age = _age(now_s - lease.since_s) if lease.since_s else ""
    words = (",".join(map(str, lease.addresses)), state, key.network, lease.pod)
    return tuple(word or "-" for word in (*words, key.container[:13], key.ifname, lease.link, age))


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(seconds, 0))}s"
