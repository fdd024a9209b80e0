"""`netplane-agent`: the node's CNI agent. Flags and wiring."""

import asyncio
import fcntl
import gc
import os
import signal
import threading
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

import click

from cni.install import DEFAULT_BIN_DIR, DEFAULT_CONF_DIR, DEFAULT_SOCKET
from cni.node import NodeLoop, NodeSync, Settings, Snapshot
from cni.plan import conflist, overlay
from cni.plan.underlay import Rule, RuleKind
from netplane import __version__
from netplane.cli import run
from netplane.errors import NetplaneError, UsageError
from netplane.obs import logs
from netplane.rtnl import Network

if TYPE_CHECKING:
    from netplane.client.config import Connection

DEFAULT_STATE_DIR = Path("/var/lib/netplane")
# How long a stop may take whatever hangs: a call's IPAM plugin, a name server, the kernel. Ending in the middle is
# safe at any point, as kill -9 is: the next start puts right what was left.
STOP_S = 8.0
_DIR = click.Path(path_type=Path)


@click.command("netplane-agent", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", type=click.Path(), help="Default: $KUBECONFIG, then the pod's service account.")
@click.option("--node-name", envvar="NODE_NAME", default="", help="This node's name [default: $NODE_NAME, host name].")
@click.option("--cluster-cidr", required=True, help="Ranges of all pods, comma-separated; reached without masquerade.")
@click.option("--state-dir", type=_DIR, default=DEFAULT_STATE_DIR, show_default=True, help="Where leases are kept.")
@click.option("--socket", type=_DIR, default=DEFAULT_SOCKET, show_default=True, help="Where the relay finds the agent.")
@click.option(
    "--cni-bin-dir", type=_DIR, default=DEFAULT_BIN_DIR, show_default=True, help="Where plugins are looked up."
)
@click.option("--cni-conf-dir", type=_DIR, default=DEFAULT_CONF_DIR, show_default=True, help="Where networks are.")
@click.option(
    "--overlay",
    "mode",
    type=click.Choice(["vxlan", "host-gw", "none"]),
    default="vxlan",
    show_default=True,
    help="How pods of other nodes are reached.",
)
@click.option(
    "--vxlan-vni", type=click.IntRange(1, 2**24 - 1), default=overlay.VNI, show_default=True, help="Tunnel id."
)
@click.option("--vxlan-port", type=click.IntRange(1, 65535), default=overlay.PORT, show_default=True, help="UDP port.")
@click.option(
    "--underlay",
    nargs=2,
    metavar="RULE VALUE",
    help="Interface to the other nodes: `address ADDR`, `interface NAME` or `can-reach ADDR`"
    " [default: the one with the Node's InternalIP, else the default route's].",
)
@click.option(
    "--direct-routing", is_flag=True, help="With vxlan: nodes on the underlay's own network by routes, without tunnel."
)
@click.option(
    "--orphan-grace",
    "orphan_grace_s",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="Seconds until the lease of a pod that vanished without a DEL is released.",
)
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", show_default=True)
@click.option("-v", "--verbosity", type=int, default=0, help="2 and above logs more.")
@click.version_option(__version__, prog_name="netplane-agent")
def command(  # noqa: PLR0913, PLR0917 - flags
    kubeconfig: str | None,
    node_name: str,
    cluster_cidr: str,
    state_dir: Path,
    socket: Path,
    cni_bin_dir: Path,
    cni_conf_dir: Path,
    mode: str,
    vxlan_vni: int,
    vxlan_port: int,
    underlay: tuple[str, str] | None,
    direct_routing: bool,
    orphan_grace_s: float,
    log_format: str,
    verbosity: int,
) -> None:
    """Give this node's pods their addresses, and connect them with those of other nodes.

    Works in the network namespace it is started in, which is the node's.
    """
    logs.setup("debug" if verbosity >= 2 else "info", cast(Literal["auto", "console", "json"], log_format))
    if os.geteuid() != 0:
        raise UsageError("netplane-agent makes network interfaces and must run as root")
    settings = Settings(
        node_name=node_name or os.uname().nodename.lower(),
        cluster_cidrs=parse_cidrs(cluster_cidr),
        tunnel=overlay.Tunnel(cast(overlay.Mode, mode), vxlan_vni, vxlan_port, direct_routing),
        underlay=parse_underlay(underlay),
        socket=socket,
        bin_dir=cni_bin_dir,
        conf_dir=cni_conf_dir,
    )
    # The client costs 0.1 s to import; mistakes in flags are told before that, and all of them before anything is made.
    from netplane.client import config  # noqa: PLC0415

    connection = config.load(kubeconfig)
    with locked(state_dir):
        asyncio.run(_main(settings, state_dir, connection, orphan_grace_s))


def parse_cidrs(text: str) -> tuple[Network, ...]:
    """`10.244.0.0/16,fd00::/48` → networks.

    Raises:
        UsageError: naming the flag.
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--cluster-cidr: {error}", hint="give networks such as 10.244.0.0/16") from error


def parse_underlay(words: tuple[str, str] | None) -> Rule:
    """`("can-reach", "192.0.2.254")` → a rule.

    Raises:
        UsageError: naming the flag.
    """
    if words is None:
        return Rule()
    kind, value = words
    if kind not in ("address", "interface", "can-reach"):
        raise UsageError(
            f"--underlay: there is no rule {kind!r}", hint="give: address ADDR, interface NAME or can-reach ADDR"
        )
    try:
        return Rule.of(cast(RuleKind, kind), value)
    except ValueError as error:
        raise UsageError(f"--underlay {kind}: {error}") from error


def locked(state_dir: Path) -> IO[str]:
    """Hold the state folder for this process alone.

    Raises:
        NetplaneError: another agent has it, or it cannot be made.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (state_dir / "lock").open("w")
    except OSError as error:
        raise NetplaneError(f"--state-dir {state_dir}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise NetplaneError(
            f"--state-dir {state_dir} is in use by another agent", hint="stop that one, or name another folder"
        ) from error
    return file


async def _main(settings: Settings, state_dir: Path, connection: "Connection", orphan_grace_s: float) -> None:
    from cni.agent import Agent  # noqa: PLC0415
    from cni.engine import Engine  # noqa: PLC0415
    from cni.leases import Leases, boot_id  # noqa: PLC0415
    from cni.patrol import Patrol  # noqa: PLC0415
    from cni.resize import PodEnds  # noqa: PLC0415
    from netplane.api.objects import Node  # noqa: PLC0415
    from netplane.client.api import Api  # noqa: PLC0415
    from netplane.client.informer import Informer  # noqa: PLC0415

    log = logs.get("cni")
    leases = Leases(state_dir / "leases.db", boot_id())
    node = NodeSync(settings, PodEnds(leases, conflist.NETWORK, conflist.BRIDGE))
    engine = Engine(leases, trouble=lambda: node.trouble)
    async with AsyncExitStack() as stack:
        stack.callback(engine.close)
        await asyncio.to_thread(engine.reconcile)
        api = await stack.enter_async_context(Api(connection, agent="netplane-agent"))
        loop = NodeLoop(lambda: Snapshot(informer.objects), node.sync, lambda: node.watched)
        informer = Informer(api, Node, on_change=loop.changed, convert=overlay.peer)
        agent = Agent(settings.socket, engine.handle)
        patrol = Patrol(engine.mender, agent.when_idle, orphan_grace_s)
        gc.freeze()  # what is loaded stays: no collection walks it while an ADD waits
        log.info("started", node=settings.node_name, apiserver=connection.server, socket=str(settings.socket))
        with suppress(asyncio.CancelledError):
            jobs = agent.run(), informer.run(), loop.follow(), _after(informer.synced, loop), patrol.run()
            await _until_signal(*jobs)
    log.info("stopped; pods keep running")


async def _after(synced: asyncio.Event, loop: NodeLoop) -> None:
    """No pass before the first whole list: what is not known yet would look like peers that are gone."""
    await synced.wait()
    await loop.run()


async def _until_signal(*jobs: "asyncio._CoroutineLike[None]") -> None:
    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)

    task = asyncio.ensure_future(together())

    def stop() -> None:
        end = threading.Timer(STOP_S, _end_now)
        end.daemon = True
        end.start()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await task


def _end_now() -> None:
    busy = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    logs.get("cni").warning("stopped without waiting any longer; pods keep running", waited_s=STOP_S, threads=busy)
    os._exit(0)


def main() -> None:
    """Entry point of the console script."""
    run(command, "netplane-agent")


if __name__ == "__main__":
    main()
