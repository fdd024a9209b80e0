"""`netplane apiserver`: its flags."""

from pathlib import Path
from typing import Any, get_args

import click

from netplane.apiserver.process.backups import backup, restore
from netplane.apiserver.process.settings import ISSUER
from netplane.apiserver.process.storage import flags as storage_flags
from netplane.obs import logs

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    invoke_without_command=True,
    short_help="Serve the Kubernetes API.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where everything is kept.  [required]"
)
@storage_flags
@click.option(
    "--unsafe-no-fsync",
    is_flag=True,
    show_default=False,
    help="With SQLite: do not wait for the disk. A crash of the machine may lose everything; kill -9 loses nothing.",
)
@click.option("--bind-address", default="127.0.0.1", help="Address to listen on.")
@click.option("--secure-port", default="6443", help="Port to listen on with TLS; 0: any that is free.")
@click.option(
    "--listen-netns",
    "netns",
    multiple=True,
    metavar="NETNS=ADDR:PORT",
    help="One more listener, made inside this network namespace. May be repeated.",
)
@click.option(
    "--advertise-address",
    default="",
    show_default=False,
    help="Where the kubernetes Service leads to.  [default: the bind address]",
)
@click.option(
    "--service-cluster-ip-range", default="10.96.0.0/16", help="ClusterIPs come from here; IPv4, IPv6 or both."
)
@click.option("--service-node-port-range", default="30000-32767", help="Node ports come from here.")
@click.option(
    "--token-auth-file",
    type=_FILE,
    help='CSV: token,user,uid,"groups". Group system:masters may do everything, others what RBAC says.  '
    "[default: one admin token is made]",
)
@click.option(
    "--service-account-issuer",
    default=ISSUER,
    metavar="URL",
    help="Who ServiceAccount tokens say has issued them, and whom they are for.",
)
@click.option("--tls-cert-file", type=_FILE, help="PEM certificate (chain).  [default: a CA and certificate are made]")
@click.option("--tls-private-key-file", type=_FILE, help="PEM key of --tls-cert-file.")
@click.option(
    "--client-ca-file",
    type=_FILE,
    help="PEM CAs whose client certificates name users (CN) and groups (O).  [default: the CA that was made, if any]",
)
@click.option("--kubeconfig-out", type=_FILE, help="Write the administrator's kubeconfig here (mode 0600).")
@click.option(
    "--max-requests-inflight", type=click.IntRange(1), default=400, help="Requests that read, at once; others queue."
)
@click.option(
    "--max-mutating-requests-inflight",
    type=click.IntRange(1),
    default=200,
    help="Requests that change something, at once; others queue.",
)
@click.option("--request-timeout", default="60s", help="Give up on a request (not a watch) after this time.")
@click.option("--anonymous-auth", type=bool, default=True, help="Requests without credentials are system:anonymous.")
@click.option(
    "--disable-admission-plugins",
    default="",
    show_default=False,
    metavar="NAMES",
    help="Leave these out, with commas between: NodeRestriction, PodSecurity, ServiceAccount.",
)
@click.option(
    "--audit-log-path", default="", show_default=False, help="Write audit events here, as JSON lines; -: to stdout."
)
@click.option("--audit-policy-file", type=_FILE, help="audit.k8s.io/v1 Policy.  [default: metadata of every request]")
@click.option("--audit-log-maxsize", type=click.IntRange(1), default=100, help="MiB after which the log is rotated.")
@click.option("--audit-log-maxbackup", type=click.IntRange(0), default=0, help="Rotated logs to keep; 0: all.")
@click.option("--audit-log-maxage", type=click.IntRange(0), default=0, help="Days to keep rotated logs; 0: for ever.")
@click.option("--log-format", type=click.Choice(get_args(logs.LogFormat)), default="auto", help="How to log on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def command(
    ctx: click.Context, /, data_dir: Path | None, *, log_format: logs.LogFormat, verbose: bool, **given: Any
) -> None:
    """Serve the Kubernetes API: TLS, tokens and client certificates, RBAC; on one SQLite file, or on etcd."""
    if ctx.invoked_subcommand is not None:
        return
    if data_dir is None:
        raise click.MissingParameter(ctx=ctx, param_hint="'--data-dir'", param_type="option")
    from netplane.apiserver.process import flags, server  # noqa: PLC0415 - `--help` must not wait for a web framework

    logs.setup("debug" if verbose else "info", log_format)
    server.run(flags.settings(data_dir, given))


command.add_command(backup)
command.add_command(restore)
