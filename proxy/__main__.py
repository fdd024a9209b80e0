"""`netplane-proxy`: flags named as kube-proxy's."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from netplane import __version__
from netplane.cli import run as run_command
from netplane.errors import UsageError
from netplane.obs import logs
from proxy import config as configuration
from proxy import reload, validation
from proxy.config import Config, Conntrack
from proxy.tools import rules

if TYPE_CHECKING:
    from netplane.client.config import Connection
    from netplane.kernel.nft import Nft
    from netplane.nft.types import Family

log = logs.get("proxy")

_UNUSED = (
    "config-sync-period",
    "feature-gates",
    "iptables-localhost-nodeports",
    "iptables-min-sync-period",
    "iptables-sync-period",
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "log-flush-frequency",
    "log-json-info-buffer-size",
    "log-json-split-stream",
    "log-text-info-buffer-size",
    "log-text-split-stream",
    "proxy-port-range",
    "profiling",
    "show-hidden-metrics-for-version",
    "vmodule",
)


def _switch(name: str, about: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A boolean flag as Go programs take it: `--name`, `--name=true` or `--name=false`."""
    return click.option(name, type=bool, is_flag=False, flag_value=True, metavar="[=BOOL]", help=about)


def _level(_: click.Context, __: click.Parameter, said: str | None) -> int | None:
    """A verbosity as Go programs take it: `-v 4`, `-v4`, and `-v=4`, of which click leaves the sign."""
    try:
        return None if said is None else int(said.removeprefix("="))
    except ValueError as error:
        raise click.BadParameter(f"{said!r} is no number") from error


def _unused(command: Callable[..., None]) -> Callable[..., None]:
    """kube-proxy's flags that mean nothing here: taken, hidden, and named in a warning when given."""
    for name in _UNUSED:
        command = click.option(f"--{name}", name.replace("-", "_"), hidden=True, is_flag=False, flag_value="true")(
            command
        )
    return command


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    subcommand_metavar="[plan|diff …]",
)
@click.version_option(__version__, prog_name="netplane-proxy")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="A KubeProxyConfiguration (YAML).")
@click.option("--kubeconfig", default="", help="How to reach the apiserver.  [default: $KUBECONFIG, or in-cluster]")
@click.option("--master", default="", help="The apiserver's URL, instead of the kubeconfig's.")
@click.option("--hostname-override", help="The node's name.  [default: the host name]")
@click.option("--cluster-cidr", help="Where pods' addresses come from; one CIDR, or one of each family.")
@click.option("--detect-local-mode", help="ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.")
@click.option("--pod-bridge-interface", help="Bridge of local pods, for BridgeInterface.")
@click.option("--pod-interface-name-prefix", help="Prefix of local pods' interfaces, for InterfaceNamePrefix.")
@click.option("--nodeport-addresses", multiple=True, help="CIDRs whose addresses answer NodePorts.  [default: primary]")
@_switch("--masquerade-all", "Masquerade everything that asks a ClusterIP.")
@click.option("--bind-address", help="The node's primary address of its family, whatever its Node object says.")
@_switch("--bind-address-hard-fail", "End where a port of health or metrics is taken, instead of trying again.")
@click.option("--healthz-bind-address", help="[default: 0.0.0.0:10256; empty: none]")
@click.option("--metrics-bind-address", help="[default: 127.0.0.1:10249; empty: none]")
@click.option("--healthz-port", type=int, hidden=True)
@click.option("--metrics-port", type=int, hidden=True)
@click.option("--proxy-mode", help="Any of kube-proxy's; nftables is what runs.")
@click.option("--iptables-masquerade-bit", type=int, help="Bit of the packet mark that asks for masquerading.")
@click.option("--oom-score-adj", type=int, help="From -1000 to 1000.  [default: -999]")
@click.option("--write-config-to", type=click.Path(path_type=Path), help="Write the configuration and exit.")
@click.option(
    "--conntrack-max-per-core", type=int, help="Connections to track per core; 0 leaves it.  [default: 32768]"
)
@click.option("--conntrack-min", type=int, help="At least so many, whatever the cores.  [default: 131072]")
@click.option("--conntrack-tcp-timeout-established", help="0 leaves it.  [default: 24h]")
@click.option("--conntrack-tcp-timeout-close-wait", help="0 leaves it.  [default: 1h]")
@click.option("--conntrack-udp-timeout", help="For example 30s.  [default: left alone]")
@click.option("--conntrack-udp-timeout-stream", help="For example 2m.  [default: left alone]")
@_switch("--conntrack-tcp-be-liberal", "Accept TCP packets out of the window.")
@_switch("--cleanup", "Remove this proxy's rules and exit.")
@_switch("--init-only", "Write the sysctls and exit.")
@_switch("--take-over", "Replace kube-proxy's rules, without dropping connections.")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", help="How to log.")
@click.option("--logging-format", help="As kube-proxy's: text or json.")
@click.option("-v", "--v", "verbosity", callback=_level, help="4 or more logs every sync.", metavar="LEVEL")
@_unused
@click.pass_context
def command(context: click.Context, /, **flags: Any) -> None:
    """Bring packets for Kubernetes Services to their endpoints, with nftables.

    Without a command it runs, with the flags that kube-proxy takes; a command's own flags come after it.
    """
    if context.invoked_subcommand is not None:
        return
    logs.setup("info", flags["log_format"])
    config = _config(flags)
    _set_up_logs(config, flags["log_format"])
    if flags["write_config_to"]:
        _write_config(config, flags["write_config_to"])
        return
    if flags["cleanup"]:
        _cleanup()
        return
    if flags["init_only"]:
        _write_sysctls(config)
        return
    _serve(config, flags)


command.add_command(rules.plan)
command.add_command(rules.diff)


def _config(flags: dict[str, Any]) -> Config:
    """The file's settings, with the flags that were given over them; whole and right, or an error with all of it."""
    for name in _UNUSED:
        if flags[name.replace("-", "_")] is not None:
            log.warning("flag has no effect here", flag=f"--{name}")
    config, file = Config(), flags["config_file"]
    if file is not None:
        config, unsupported = configuration.load(file)
        for field in unsupported:
            log.warning("field has no effect here", field=field, file=str(file))
        for field in configuration.repeated(file):
            log.warning("field is there twice; the last counts", field=field, file=str(file))
        validation.check(config, f"--config {file}")
    config = configuration.with_flags(config, {name: value for name, value in flags.items() if value not in (None, ())})
    validation.check(config, "flags")
    if flags["proxy_mode"] in ("iptables", "ipvs"):
        log.warning("only mode nftables is offered here, so that is used", mode=config.mode)
    return config


def _set_up_logs(config: Config, form: logs.LogFormat) -> None:
    if form == "auto" and config.logging.format == "json":
        form = "json"
    logs.setup("debug" if config.logging.verbosity >= 4 else "info", form)


def _write_config(config: Config, path: Path) -> None:
    import msgspec  # noqa: PLC0415 - rarely asked for
    import yaml  # noqa: PLC0415 - as above

    try:
        path.write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False))
    except OSError as error:
        raise UsageError(f"--write-config-to {path}: {error.strerror}") from error
    log.info("configuration written", file=str(path))


def _write_sysctls(config: Config) -> None:
    from netplane.kernel import sysctl  # noqa: PLC0415 - `--help` needs no kernel

    buckets = sysctl.read(configuration.BUCKETS) or ""
    wanted = configuration.sysctls(config, os.cpu_count() or 1, int(buckets) if buckets.isdigit() else None)
    for name, value in wanted.items():
        try:
            if sysctl.write(name, value):
                log.info("sysctl written", name=name, value=value)
        except sysctl.SysctlError as error:
            # A node in a namespace of its own cannot change what belongs to the whole machine; packets flow without.
            level = log.info if config.conntrack == Conntrack() else log.warning
            level("sysctl not written", name=name, value=value, why=error.message)


def _cleanup() -> None:
    from netplane.kernel.nft import Nft  # noqa: PLC0415 - as above
    from netplane.nft.types import FAMILIES  # noqa: PLC0415
    from proxy.plane import cleanup  # noqa: PLC0415

    nft = Nft()
    deleted = [family.name for family in FAMILIES if cleanup(family, nft)]
    log.info("tables deleted" if deleted else "there was no table to delete", families=deleted)


def _serve(config: Config, flags: dict[str, Any]) -> None:
    import uvloop  # noqa: PLC0415 - as above

    from netplane.client import config as client_config  # noqa: PLC0415
    from netplane.kernel.nft import Nft  # noqa: PLC0415
    from netplane.nft.types import FAMILIES  # noqa: PLC0415
    from proxy import probe, takeover  # noqa: PLC0415

    connection = client_config.load(flags["kubeconfig"] or config.client_connection.kubeconfig, server=flags["master"])
    nft = Nft()
    rivals = takeover.find(nft)
    takeover.refuse(rivals, take_over=bool(flags["take_over"]))
    families = probe.usable_families(nft, FAMILIES, configuration.options(config))
    name = (config.hostname_override or os.uname().nodename).strip().lower()
    if not name:
        raise UsageError("--hostname-override is blank", hint="give the name of this machine's Node object")
    _write_sysctls(config)
    _set_oom_score(config)
    running = _Running(config, name, connection, nft, families, lambda: takeover.remove(nft, rivals), not rivals)
    uvloop.run(running.until_stopped(flags["config_file"]))


def _set_oom_score(config: Config) -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(config.oom_score_adj))
    except OSError as error:
        # Only who may do so can ask to be spared; who did not ask for anything need not be told loudly.
        level = log.debug if config.oom_score_adj == Config().oom_score_adj else log.warning
        level("oom score not set", score=config.oom_score_adj, why=error.strerror)


class _Running(NamedTuple):
    """The program with everything it needs, from here to its end."""

    config: Config
    name: str
    connection: "Connection"
    nft: "Nft"
    families: "list[Family]"
    once_synced: Callable[[], None]
    alone: bool

    async def until_stopped(self, config_file: Path | None) -> None:
        """Run until a signal comes, or the configuration file changes (then an error says so)."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        work = [asyncio.ensure_future(self._run())]
        if config_file is not None:
            work.append(asyncio.ensure_future(reload.until_changed(config_file)))
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                finished.result()
        except asyncio.CancelledError:
            log.info("stopped; the rules stay")
        finally:
            for one in work:
                one.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _run(self) -> None:
        from netplane.api.objects import Node  # noqa: PLC0415 - as above
        from netplane.client.api import Api  # noqa: PLC0415
        from netplane.client.errors import ApiError  # noqa: PLC0415
        from proxy import node  # noqa: PLC0415
        from proxy.program import Program  # noqa: PLC0415

        cidrs: tuple[str, ...] = ()
        if configuration.detect_local(self.config) == "NodeCIDR":
            async with Api(self.connection, agent="netplane-proxy") as api:

                async def read() -> Node | None:
                    try:
                        return await api.get(Node, self.name)
                    except ApiError as error:
                        log.info("waiting for the node's pod CIDRs", node=self.name, why=error.message)
                        return None

                cidrs = await node.pod_cidrs(read, self.name)
        await Program(
            self.config,
            self.name,
            self.connection,
            self.nft,
            self.families,
            node_cidrs=cidrs,
            once_synced=self.once_synced,
            alone=self.alone,
        ).run()


def main() -> None:
    """Entry point of the console script `netplane-proxy`."""
    run_command(command, "netplane-proxy")


if __name__ == "__main__":
    main()
