"""`netplane controllers`: endpoint slices, pod ranges, node lifecycle and a small scheduler in one process."""

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Literal, cast

import click

from netplane.controllers.controllers import Options, build
from netplane.controllers.plan.pod_cidr import Network, Pool
from netplane.errors import UsageError
from netplane.obs import logs

if TYPE_CHECKING:
    from netplane.controllers.runtime import Runtime

DEFAULT_MASK = {4: 24, 6: 64}
# How many parts one range may have: bounds what a single look for a free one can cost.
MAX_PARTS_BITS = 16


@click.command("controllers")
@click.option("--kubeconfig", type=click.Path(), help="Default: $KUBECONFIG, then the pod's service account.")
@click.option("--master", default="", help="Address of the apiserver; overrides the kubeconfig's.")
@click.option("--cluster-cidr", default="", help="Range(s) of pod addresses, IPv4 and/or IPv6, comma-separated.")
@click.option("--node-cidr-mask-size", type=int, help="Prefix length of a node's part of it (24; IPv6: 64).")
@click.option("--node-cidr-mask-size-ipv4", type=int, help="The same, for IPv4 in a dual-stack cluster.")
@click.option("--node-cidr-mask-size-ipv6", type=int, help="The same, for IPv6 in a dual-stack cluster.")
@click.option(
    "--node-monitor-grace-period", default="40s", show_default=True, help="Silence after which a node is dead."
)
@click.option("--healthz-bind-address", default="", help="host:port of /healthz, /readyz, /metrics. Default: none.")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", show_default=True)
@click.option("-v", "--verbosity", type=int, default=0, help="2 and above logs every write.")
def command(  # noqa: PLR0913 - a flag each
    *,
    kubeconfig: str | None,
    master: str,
    cluster_cidr: str,
    node_cidr_mask_size: int | None,
    node_cidr_mask_size_ipv4: int | None,
    node_cidr_mask_size_ipv6: int | None,
    node_monitor_grace_period: str,
    healthz_bind_address: str,
    log_format: str,
    verbosity: int,
) -> None:
    """Keep EndpointSlices, Endpoints, podCIDRs, node conditions and pod placement up to date."""
    logs.setup("debug" if verbosity >= 2 else "info", cast(Literal["auto", "console", "json"], log_format))
    sizes = {4: node_cidr_mask_size_ipv4 or node_cidr_mask_size, 6: node_cidr_mask_size_ipv6 or node_cidr_mask_size}
    options = Options(parse_pools(cluster_cidr, sizes), parse_grace(node_monitor_grace_period))
    asyncio.run(_main(kubeconfig, master, options, healthz_bind_address))


def parse_pools(cluster_cidr: str, sizes: dict[int, int | None]) -> tuple[Pool, ...]:
    """--cluster-cidr with the mask sizes per IP version → pools, at most one per family."""
    pools = tuple(_pool(text.strip(), sizes) for text in cluster_cidr.split(",") if text.strip())
    if len({pool.network.version for pool in pools}) != len(pools):
        raise UsageError(f"--cluster-cidr {cluster_cidr}: two ranges of one family", hint="give one IPv4, one IPv6")
    return pools


def _pool(text: str, sizes: dict[int, int | None]) -> Pool:
    try:
        network: Network = ip_network(text)
    except ValueError as error:
        raise UsageError(f"--cluster-cidr: {error}", hint="give a network such as 10.244.0.0/16") from error
    size = sizes[network.version] or DEFAULT_MASK[network.version]
    longest = min(network.prefixlen + MAX_PARTS_BITS, network.max_prefixlen)
    if not network.prefixlen <= size <= longest:
        raise UsageError(
            f"--node-cidr-mask-size {size} does not divide --cluster-cidr {network}",
            hint=f"give a prefix length from {network.prefixlen} to {longest}",
        )
    return Pool(network, size)


def parse_grace(text: str) -> float:
    """A duration as Go writes it (`40s`, `1m30s`, `500ms`), or plain seconds."""
    import re  # noqa: PLC0415 - only here

    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s|)", text)
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise UsageError(f"--node-monitor-grace-period is {text!r}", hint="give a duration such as 40s or 1m30s")
    return seconds


async def _main(kubeconfig: str | None, master: str, options: Options, bind: str) -> None:
    # The client costs 0.1 s to import; mistakes in flags are told before that.
    from netplane.client import config  # noqa: PLC0415
    from netplane.client.api import Api  # noqa: PLC0415
    from netplane.controllers.runtime import Runtime  # noqa: PLC0415

    log = logs.get("controllers")
    connection = config.load(kubeconfig, server=master)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(connection, agent="netplane-controllers"))
        runtime = Runtime(api, build(options))
        if bind:
            await _serve(stack, runtime, bind)
        task = asyncio.create_task(runtime.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        log.info("started", apiserver=connection.server)
        with suppress(asyncio.CancelledError):
            await task
        log.info("stopped", writes=runtime.writes)


async def _serve(stack: AsyncExitStack, runtime: "Runtime", bind: str) -> None:
    from netplane.obs import health, metrics  # noqa: PLC0415 - only when asked for

    registry = metrics.new_registry()
    for name, text, read in (
        ("netplane_controllers_writes", "Writes to the apiserver.", lambda: runtime.writes),
        ("netplane_controllers_failures", "Writes and plans that failed.", lambda: runtime.failures),
        ("netplane_controllers_queue_depth", "Keys that wait for a worker.", lambda: runtime.depth),
    ):
        metrics.Gauge(name, text, registry=registry).set_function(read)
    synced = health.Check("informers", lambda: ", ".join(runtime.not_synced) and f"{runtime.not_synced} not listed yet")
    routes = {
        "/healthz": health.alive,
        "/livez": health.alive,
        "/readyz": health.checks(synced),
        "/metrics": metrics.route(registry),
    }
    host, port = health.parse_bind(bind, "--healthz-bind-address", default_port=10257)
    await stack.enter_async_context(health.serve(routes, health.listen(host, port, "--healthz-bind-address")))
