"""Configuration: KubeProxyConfiguration files (kubeproxy.config.k8s.io/v1alpha1) and kube-proxy's flags.

The structs below hold the fields that mean something here; a file's other fields are accepted and named in a warning,
so that a cluster's existing file can be used as it is. A value that cannot be used is one error that names the field.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from netplane.errors import UsageError
from proxy import durations
from proxy.plan.model import DetectLocal, Options

API_VERSION, KIND = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"
HEALTHZ_PORT, METRICS_PORT = 10256, 10249


class Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the file's parts."""


class ClientConnection(Section, frozen=True, kw_only=True):
    """clientConnection."""

    kubeconfig: str = ""


class Conntrack(Section, frozen=True, kw_only=True):
    """conntrack: sysctls of net.netfilter; what is not set is left as the node has it."""

    max_per_core: int | None = None
    min: int | None = None
    tcp_established_timeout: str | None = None
    tcp_close_wait_timeout: str | None = None
    tcp_be_liberal: bool = msgspec.field(name="tcpBeLiberal", default=False)
    udp_timeout: str | None = None
    udp_stream_timeout: str | None = None


class NFTables(Section, frozen=True, kw_only=True):
    """nftables."""

    masquerade_all: bool = False
    masquerade_bit: int | None = None
    sync_period: str = "30s"
    min_sync_period: str = "0s"


class DetectLocalConfig(Section, frozen=True, kw_only=True):
    """detectLocal."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Config(Section, frozen=True, kw_only=True):
    """A KubeProxyConfiguration, as far as it means something here."""

    api_version: str = API_VERSION
    kind: str = KIND
    bind_address: str = "0.0.0.0"  # noqa: S104 - the reference's default: every address
    healthz_bind_address: str = f"0.0.0.0:{HEALTHZ_PORT}"
    metrics_bind_address: str = f"127.0.0.1:{METRICS_PORT}"
    hostname_override: str = ""
    client_connection: ClientConnection = ClientConnection()
    cluster_cidr: str = msgspec.field(name="clusterCIDR", default="")
    detect_local_mode: str = ""
    detect_local: DetectLocalConfig = DetectLocalConfig()
    node_port_addresses: list[str] | None = None
    mode: str = ""
    conntrack: Conntrack = Conntrack()
    nftables: NFTables = NFTables()

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """clusterCIDR is one CIDR or a comma-separated pair, one per family."""
        return tuple(cidr.strip() for cidr in self.cluster_cidr.split(",") if cidr.strip())


def load(path: Path) -> tuple[Config, list[str]]:
    """A configuration file, and the names of its fields that are not supported here.

    Raises:
        UsageError: naming the field, when the file cannot be used.
    """
    try:
        said = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).replace("\n", " ")
        raise UsageError(f"--config {path}: {reason}") from error
    if not isinstance(said, dict) or said.get("kind") != KIND:
        raise UsageError(f"--config {path}: kind must be {KIND}")
    if said.get("apiVersion") != API_VERSION:
        raise UsageError(f"--config {path}: apiVersion must be {API_VERSION}")
    return decode(said, str(path)), sorted(_unsupported(said, Config, ""))


def decode(said: Mapping[str, Any], where: str) -> Config:
    """A checked configuration from a plain document. Raises UsageError naming the field."""
    # Null means "the default" in these files.
    try:
        config = msgspec.convert(_without_nulls(said), Config)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$.")
        raise UsageError(f"{where}: {field.rstrip('`')}: {reason}") from error
    check(config, where)
    return config


def _without_nulls(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {key: _without_nulls(value) for key, value in document.items() if value is not None}
    return document


def _unsupported(said: Mapping[str, Any], cls: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    known = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    for name, value in said.items():
        if name not in known:
            if value not in (None, "", {}, [], False, 0):
                yield prefix + name
        elif isinstance(value, dict) and isinstance(known[name], type) and issubclass(known[name], msgspec.Struct):
            yield from _unsupported(value, known[name], f"{prefix}{name}.")


# Where each flag's value goes: the path of the file's field.
_FLAGS = {
    "hostname_override": "hostnameOverride",
    "cluster_cidr": "clusterCIDR",
    "detect_local_mode": "detectLocalMode",
    "pod_bridge_interface": "detectLocal.bridgeInterface",
    "pod_interface_name_prefix": "detectLocal.interfaceNamePrefix",
    "masquerade_all": "nftables.masqueradeAll",
    "bind_address": "bindAddress",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
    "proxy_mode": "mode",
    "conntrack_max_per_core": "conntrack.maxPerCore",
    "conntrack_min": "conntrack.min",
    "conntrack_tcp_timeout_established": "conntrack.tcpEstablishedTimeout",
    "conntrack_tcp_timeout_close_wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack_udp_timeout": "conntrack.udpTimeout",
    "conntrack_udp_timeout_stream": "conntrack.udpStreamTimeout",
    "conntrack_tcp_be_liberal": "conntrack.tcpBeLiberal",
}


def with_flags(config: Config, flags: Mapping[str, Any]) -> Config:
    """A configuration with the flags that were given (by parameter name) over it.

    Raises:
        UsageError: naming the field, when a value cannot be used.
    """
    said = msgspec.to_builtins(config)
    for flag, path in _FLAGS.items():
        if flag in flags:
            *parents, field = path.split(".")
            place = said
            for parent in parents:
                place = place[parent]
            place[field] = flags[flag]
    if "nodeport_addresses" in flags:
        said["nodePortAddresses"] = [one for given in flags["nodeport_addresses"] for one in given.split(",") if one]
    return decode(said, "flags")


# Checks -------------------------------------------------------------------------------------------------------


def check(config: Config, where: str) -> None:
    """Raise UsageError for the first field whose value cannot be used."""
    for field, reason in _problems(config):
        raise UsageError(f"{where}: {field}: {reason}")


def _problems(config: Config) -> Iterator[tuple[str, str]]:
    if config.mode not in ("", "nftables"):
        yield "mode", f"{config.mode!r} is not offered here; only nftables is"
    if config.detect_local_mode not in get_args(DetectLocal):
        modes = ", ".join(mode for mode in get_args(DetectLocal) if mode)
        yield "detectLocalMode", f"{config.detect_local_mode!r} is none of {modes}"
    try:
        ipaddress.ip_address(config.bind_address)
    except ValueError:
        yield "bindAddress", f"{config.bind_address!r} is no IP address"
    yield from _problems_of_interfaces(config)
    yield from _problems_of_cidrs("clusterCIDR", config.cluster_cidrs)
    if len(config.cluster_cidrs) > 2 or len({":" in cidr for cidr in config.cluster_cidrs}) < len(config.cluster_cidrs):
        yield "clusterCIDR", f"{config.cluster_cidr!r} must be one CIDR, or one of each family"
    yield from _problems_of_node_ports(config.node_port_addresses or [])
    bit = config.nftables.masquerade_bit
    if bit is not None and not 0 <= bit <= 31:
        yield "nftables.masqueradeBit", f"{bit} is not within 0 to 31"
    yield from _problems_of_durations(config)


def _problems_of_interfaces(config: Config) -> Iterator[tuple[str, str]]:
    for mode, field, value in (
        ("BridgeInterface", "bridgeInterface", config.detect_local.bridge_interface),
        ("InterfaceNamePrefix", "interfaceNamePrefix", config.detect_local.interface_name_prefix),
    ):
        if config.detect_local_mode == mode and not value:
            yield f"detectLocal.{field}", f"must not be empty with detectLocalMode {mode}"
        if len(value) > 15 or any(c in value for c in '/"\\ \n*'):
            yield f"detectLocal.{field}", f"{value!r} cannot be an interface's name"


def _problems_of_cidrs(field: str, cidrs: tuple[str, ...] | list[str]) -> Iterator[tuple[str, str]]:
    for cidr in cidrs:
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            yield field, f"{cidr!r} is no CIDR such as 10.100.0.0/16 or fde4:8dba:82e1::/48"
        else:
            if "/" not in cidr:
                yield field, f"{cidr!r} has no prefix length"


def _problems_of_node_ports(addresses: list[str]) -> Iterator[tuple[str, str]]:
    if "primary" in addresses:
        if len(addresses) > 1:
            yield "nodePortAddresses", "primary must stand alone"
        return
    yield from _problems_of_cidrs("nodePortAddresses", addresses)


def _problems_of_durations(config: Config) -> Iterator[tuple[str, str]]:
    tracked = config.conntrack
    for field, text in (
        ("nftables.syncPeriod", config.nftables.sync_period),
        ("nftables.minSyncPeriod", config.nftables.min_sync_period),
        ("conntrack.tcpEstablishedTimeout", tracked.tcp_established_timeout),
        ("conntrack.tcpCloseWaitTimeout", tracked.tcp_close_wait_timeout),
        ("conntrack.udpTimeout", tracked.udp_timeout),
        ("conntrack.udpStreamTimeout", tracked.udp_stream_timeout),
    ):
        try:
            seconds = durations.parse_s(text or "0")
        except ValueError as error:
            yield field, str(error)
        else:
            if seconds < 0:
                yield field, f"{text!r} is negative"
    for field, number in (("conntrack.maxPerCore", tracked.max_per_core), ("conntrack.min", tracked.min)):
        if number is not None and number < 0:
            yield field, f"{number} is negative"


# What the programs make of it -------------------------------------------------------------------------------------


def options(config: Config) -> Options:
    """What the plan needs to know. Without a mode or without CIDRs for it, nothing tells pods from strangers."""
    mode: DetectLocal = config.detect_local_mode or ("ClusterCIDR" if config.cluster_cidrs else "")  # type: ignore[assignment]  # checked above
    if mode == "ClusterCIDR" and not config.cluster_cidrs:
        mode = ""
    local = {
        "BridgeInterface": config.detect_local.bridge_interface,
        "InterfaceNamePrefix": config.detect_local.interface_name_prefix,
    }.get(mode, "")
    bit = 14 if config.nftables.masquerade_bit is None else config.nftables.masquerade_bit
    return Options(
        masquerade_bit=1 << bit,
        masquerade_all=config.nftables.masquerade_all,
        detect_local=mode,
        local=local,
        node_port_addresses=tuple(config.node_port_addresses or ("primary",)),
    )


def sysctls(config: Config, cores: int) -> dict[str, int]:
    """Conntrack parameters to write, by name under /proc/sys; only what was configured."""
    tracked = config.conntrack
    prefix = "net/netfilter/nf_conntrack_"
    found: dict[str, int] = {}
    if tracked.max_per_core:
        found[f"{prefix}max"] = max(tracked.max_per_core * cores, tracked.min or 0)
    for name, text in (
        ("tcp_timeout_established", tracked.tcp_established_timeout),
        ("tcp_timeout_close_wait", tracked.tcp_close_wait_timeout),
        ("udp_timeout", tracked.udp_timeout),
        ("udp_timeout_stream", tracked.udp_stream_timeout),
    ):
        seconds = durations.parse_s(text or "0")
        if seconds:
            found[prefix + name] = int(seconds)
    if tracked.tcp_be_liberal:
        found[f"{prefix}tcp_be_liberal"] = 1
    return found
