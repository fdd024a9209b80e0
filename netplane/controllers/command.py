"""`netplane controllers`: what keeps a cluster's network objects true, in one process, or one of several that leads."""

import asyncio
from typing import Literal, cast

import click

from netplane.controllers import controllers, flags
from netplane.controllers.controllers import Options
from netplane.obs import logs


@click.command("controllers", short_help="Keep slices, nodes, pod ranges … up to date.")
@click.option("--kubeconfig", type=click.Path(), help="Default: $KUBECONFIG, then the pod's service account.")
@click.option("--master", default="", help="Address of the apiserver; overrides the kubeconfig's.")
@click.option(
    "--controllers", "chosen", default="*", show_default=True, help="Which to run: *, names, and -name for not."
)
@click.option("--cluster-cidr", default="", help="Range(s) of pod addresses, IPv4 and/or IPv6, comma-separated.")
@click.option("--node-cidr-mask-size", type=int, help="Prefix length of a node's part of it (24; IPv6: 64).")
@click.option("--node-cidr-mask-size-ipv4", type=int, help="The same, for IPv4 in a dual-stack cluster.")
@click.option("--node-cidr-mask-size-ipv6", type=int, help="The same, for IPv6 in a dual-stack cluster.")
@click.option(
    "--node-monitor-grace-period", default="40s", show_default=True, help="Silence after which a node is dead."
)
@click.option(
    "--load-balancer-pool",
    default="",
    help="Addresses for Services of type LoadBalancer: networks and ranges, comma-separated.",
)
@click.option(
    "--max-endpoints-per-slice",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="More make fewer, larger slices.",
)
@click.option(
    "--terminated-pod-gc-threshold",
    type=int,
    default=controllers.FINISHED_PODS,
    show_default=True,
    help="Finished pods that may stay, the oldest go first. 0 or less: all of them.",
)
@click.option("--root-ca-file", default="", help="What pods trust the apiserver by. Default: the kubeconfig's CA.")
@click.option("--leader-elect/--no-leader-elect", default=False, help="Work only while leading; for several of us.")
@click.option("--leader-elect-lease-duration", "lease", default="15s", show_default=True, help="Respect for silence.")
@click.option("--leader-elect-renew-deadline", "renew", default="10s", show_default=True, help="Writing stops after.")
@click.option("--leader-elect-retry-period", "retry", default="2s", show_default=True, help="Between attempts.")
@click.option("--leader-elect-resource-name", "lock_name", default="netplane-controllers", show_default=True)
@click.option("--leader-elect-resource-namespace", "lock_namespace", default="kube-system", show_default=True)
@click.option("--healthz-bind-address", default="", help="host:port of /healthz, /readyz, /metrics. Default: none.")
@click.option("--log-format", type=click.Choice(["auto", "console", "json"]), default="auto", show_default=True)
@click.option("-v", "--verbosity", type=int, default=0, help="2 and above logs every write.")
def command(  # noqa: PLR0913 - a flag each
    *,
    kubeconfig: str | None,
    master: str,
    chosen: str,
    cluster_cidr: str,
    node_cidr_mask_size: int | None,
    node_cidr_mask_size_ipv4: int | None,
    node_cidr_mask_size_ipv6: int | None,
    node_monitor_grace_period: str,
    load_balancer_pool: str,
    max_endpoints_per_slice: int,
    terminated_pod_gc_threshold: int,
    root_ca_file: str,
    leader_elect: bool,
    lease: str,
    renew: str,
    retry: str,
    lock_name: str,
    lock_namespace: str,
    healthz_bind_address: str,
    log_format: str,
    verbosity: int,
) -> None:
    """Keep EndpointSlices, podCIDRs, nodes, load balancer addresses and pod placement up to date.

    Several can run at once with --leader-elect: one works, the others stand by.
    """
    logs.setup("debug" if verbosity >= 2 else "info", cast(Literal["auto", "console", "json"], log_format))
    sizes = {4: node_cidr_mask_size_ipv4 or node_cidr_mask_size, 6: node_cidr_mask_size_ipv6 or node_cidr_mask_size}
    options = Options(
        pools=flags.parse_pools(cluster_cidr, sizes),
        grace_s=flags.parse_duration("--node-monitor-grace-period", node_monitor_grace_period),
        addresses=flags.parse_addresses(load_balancer_pool),
        root_ca=flags.read_root_ca(root_ca_file) if root_ca_file else "",
        slice_limit=max_endpoints_per_slice,
        finished_pods=terminated_pod_gc_threshold,
        only=flags.parse_controllers(chosen, controllers.names()),
    )
    timing = flags.parse_timing(lease, renew, retry)
    # The client costs 0.1 s to import; mistakes in flags are told before that.
    from netplane.controllers import program  # noqa: PLC0415

    lock = program.Lock(lock_name, lock_namespace, timing) if leader_elect else None
    asyncio.run(program.run(kubeconfig, master, options, lock, healthz_bind_address))
