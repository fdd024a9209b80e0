"""`netplane apiserver`: its flags."""

from pathlib import Path
from typing import get_args

import click

from netplane.apiserver.process.backups import backup, restore
from netplane.apiserver.process.storage import chosen
from netplane.apiserver.process.storage import flags as storage_flags
from netplane.obs import logs

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where everything is kept.  [required]"
)
@storage_flags
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
    help="Leave these out, with commas between: ServiceAccount, NodeRestriction.",
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
def command(  # noqa: PLR0913, PLR0917 - one parameter for each flag
    ctx: click.Context,
    data_dir: Path | None,
    storage: str,
    etcd_servers: str,
    etcd_prefix: str,
    etcd_cafile: Path | None,
    etcd_certfile: Path | None,
    etcd_keyfile: Path | None,
    bind_address: str,
    secure_port: str,
    netns: tuple[str, ...],
    advertise_address: str,
    service_cluster_ip_range: str,
    service_node_port_range: str,
    token_auth_file: Path | None,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    client_ca_file: Path | None,
    kubeconfig_out: Path | None,
    max_requests_inflight: int,
    max_mutating_requests_inflight: int,
    request_timeout: str,
    anonymous_auth: bool,
    disable_admission_plugins: str,
    audit_log_path: str,
    audit_policy_file: Path | None,
    audit_log_maxsize: int,
    audit_log_maxbackup: int,
    audit_log_maxage: int,
    log_format: logs.LogFormat,
    verbose: bool,
) -> None:
    """Serve the Kubernetes API: TLS, tokens and client certificates, RBAC; on one SQLite file, or on etcd."""
    if ctx.invoked_subcommand is not None:
        return
    if data_dir is None:
        raise click.MissingParameter(ctx=ctx, param_hint="'--data-dir'", param_type="option")
    from netplane.apiserver.process import flags, server  # noqa: PLC0415 - `--help` must not wait for a web framework
    from netplane.apiserver.process.settings import Audit, Listener, Load, Settings  # noqa: PLC0415

    logs.setup("debug" if verbose else "info", log_format)
    own = Listener(flags.address("--bind-address", bind_address), flags.port("--secure-port", secure_port))
    listeners = (own, *(flags.netns_listener(text) for text in netns))
    cert, key = flags.key_pair(tls_cert_file, tls_private_key_file)
    settings = Settings(
        data_dir=data_dir,
        listeners=listeners,
        networks=flags.service_networks(service_cluster_ip_range),
        node_ports=flags.node_ports(service_node_port_range),
        advertise=flags.advertised(advertise_address, listeners),
        token_file=token_auth_file,
        tls_cert=cert,
        tls_key=key,
        kubeconfig_out=kubeconfig_out,
        client_ca=client_ca_file,
        anonymous=anonymous_auth,
        etcd=chosen(storage, etcd_servers, etcd_prefix, etcd_cafile, etcd_certfile, etcd_keyfile),
        without_plugins=flags.plugins("--disable-admission-plugins", disable_admission_plugins),
        audit=flags.audit(
            Audit(audit_log_path, audit_policy_file, audit_log_maxsize, audit_log_maxbackup, audit_log_maxage)
        ),
        load=Load(
            max_requests_inflight,
            max_mutating_requests_inflight,
            flags.duration_s("--request-timeout", request_timeout),
        ),
    )
    server.run(settings)


command.add_command(backup)
command.add_command(restore)
