"""`netplane-proxy`: flags named as kube-proxy's."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from netplane import __version__
from netplane.cli import run as run_command
from netplane.errors import UsageError
from netplane.obs import logs
from proxy import config as configuration
from proxy.config import Config

log = logs.get("proxy")

_UNUSED = (
    "bind-address-hard-fail",
    "config-sync-period",
    "feature-gates",
    "iptables-localhost-nodeports",
    "iptables-masquerade-bit",
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
    "logging-format",
    "oom-score-adj",
    "proxy-port-range",
    "profiling",
    "show-hidden-metrics-for-version",
    "vmodule",
    "write-config-to",
)


def _switch(name: str, about: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A boolean flag as Go programs take it: `--name`, `--name=true` or `--name=false`."""
    return click.option(name, type=bool, is_flag=False, flag_value=True, metavar="[=BOOL]", help=about)


def _unused(command: Callable[..., None]) -> Callable[..., None]:
    """kube-proxy's flags that mean nothing here: taken, hidden, and named in a warning when given."""
    for name in _UNUSED:
        command = click.option(f"--{name}", name.replace("-", "_"), hidden=True, is_flag=False, flag_value="true")(
            command
        )
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
@click.option("--bind-address", help="The node's address, until its Node object tells.")
@click.option("--healthz-bind-address", help="[default: 0.0.0.0:10256; empty: none]")
@click.option("--metrics-bind-address", help="[default: 127.0.0.1:10249; empty: none]")
@click.option("--proxy-mode", help="Only nftables.")
@click.option("--conntrack-max-per-core", type=int, help="Connections to track per core.  [default: left alone]")
@click.option("--conntrack-min", type=int, help="At least so many, whatever the cores.")
@click.option("--conntrack-tcp-timeout-established", help="For example 24h.  [default: left alone]")
@click.option("--conntrack-tcp-timeout-close-wait", help="For example 1h.  [default: left alone]")
@click.option("--conntrack-udp-timeout", help="For example 30s.  [default: left alone]")
@click.option("--conntrack-udp-timeout-stream", help="For example 2m.  [default: left alone]")
@_switch("--conntrack-tcp-be-liberal", "Accept TCP packets out of the window.")
@_switch("--cleanup", "Remove the rules and exit.")
@_switch("--init-only", "Write the sysctls and exit.")
@_switch("--take-over", "Start although another proxy's tables are there.")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", help="How to log.")
@click.option("-v", "--v", "verbosity", default="0", help="4 or more logs every sync.", metavar="LEVEL")
@_unused
def command(**flags: Any) -> None:
    """Bring packets for Kubernetes Services to their endpoints, with nftables."""
    verbose = str(flags["verbosity"]).isdigit() and int(flags["verbosity"]) >= 4
    logs.setup("debug" if verbose else "info", flags["log_format"])
    for name in _UNUSED:
        if flags[name.replace("-", "_")] is not None:
            log.warning("flag has no effect here", flag=f"--{name}")
    config = _config(flags)
    if flags["cleanup"]:
        _cleanup()
        return
    _write_sysctls(config)
    if not flags["init_only"]:
        _serve(config, flags)


def _config(flags: dict[str, Any]) -> Config:
    """The file's settings, with the flags that were given over them."""
    config = Config()
    if flags["config_file"] is not None:
        config, unsupported = configuration.load(flags["config_file"])
        for field in unsupported:
            log.warning("field has no effect here", field=field, file=str(flags["config_file"]))
    return configuration.with_flags(config, {name: value for name, value in flags.items() if value not in (None, ())})


def _write_sysctls(config: Config) -> None:
    from netplane.kernel import sysctl  # noqa: PLC0415 - `--help` needs no kernel

    for name, value in configuration.sysctls(config, os.cpu_count() or 1).items():
        try:
            if sysctl.write(name, value):
                log.info("sysctl written", name=name, value=value)
        except sysctl.SysctlError as error:
            # A node in a namespace of its own cannot change what belongs to the whole machine; packets flow without.
            log.warning("sysctl not written", name=name, value=value, why=error.message)


def _cleanup() -> None:
    from netplane.kernel.nft import Nft  # noqa: PLC0415 - as above
    from netplane.nft.types import FAMILIES  # noqa: PLC0415
    from proxy.plane import cleanup  # noqa: PLC0415

    nft = Nft()
    for family in FAMILIES:
        if cleanup(family, nft):
            log.info("table deleted", family=family.name)


def _serve(config: Config, flags: dict[str, Any]) -> None:
    import uvloop  # noqa: PLC0415 - as above

    from netplane.client import config as client_config  # noqa: PLC0415
    from netplane.kernel.nft import Nft  # noqa: PLC0415
    from netplane.nft.types import FAMILIES  # noqa: PLC0415
    from proxy import probe  # noqa: PLC0415
    from proxy.program import Program  # noqa: PLC0415

    connection = client_config.load(flags["kubeconfig"] or config.client_connection.kubeconfig, server=flags["master"])
    nft = Nft()
    if not flags["take_over"]:
        probe.refuse_rivals(nft)
    families = probe.usable_families(nft, FAMILIES, configuration.options(config))
    name = (config.hostname_override or os.uname().nodename).strip().lower()
    if not name:
        raise UsageError("--hostname-override is blank", hint="give the name of this machine's Node object")

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await Program(config, name, connection, nft, families).run()
        except asyncio.CancelledError:
            log.info("stopped; the rules stay")

    uvloop.run(main())


def main() -> None:
    """Entry point of the console script `netplane-proxy`."""
    run_command(command, "netplane-proxy")


if __name__ == "__main__":
    main()
