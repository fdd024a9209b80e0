"""Configuration: KubeProxyConfiguration files (kubeproxy.config.k8s.io/v1alpha1), with kube-proxy's flags over them.

Every field of kube-proxy 1.36 is taken and checked as kube-proxy checks it, so that a cluster's existing file works as
it is; fields that change nothing here are named in a warning. What is wrong is told all at once, in the reference's
field names and words. Settings of the mode that the file chose apply: `masqueradeAll` of its iptables section counts
where the nftables section says nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netplane.errors import UsageError, reason
from netplane.nft.types import Family
from proxy import durations
from proxy.plan import detector
from proxy.plan.model import DetectLocal, Options
from proxy.settings import API_VERSION, HEALTHZ_PORT, KIND, METRICS_PORT, Config, Conntrack, with_port

__all__ = [
    "BUCKETS",
    "HEALTHZ_PORT",
    "METRICS_PORT",
    "WITHOUT_EFFECT",
    "Config",
    "Conntrack",
    "decode",
    "detect_local",
    "load",
    "options",
    "repeated",
    "shown",
    "sysctls",
    "with_flags",
]

# Reading --------------------------------------------------------------------------------------------------------


def load(path: Path) -> tuple[Config, list[str]]:
    """A configuration file, unchecked, and the names of its fields that have no effect here.

    Raises:
        UsageError: naming the field, when the file is none of this kind or a field is of another type.
    """
    try:
        said = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"--config {path}: {reason(error)}") from error
    if not isinstance(said, dict) or said.get("kind") != KIND:
        raise UsageError(f"--config {path}: kind must be {KIND}")
    if said.get("apiVersion") != API_VERSION:
        raise UsageError(f"--config {path}: apiVersion must be {API_VERSION}")
    return decode(_without(said, _unset), f"--config {path}"), sorted(_unsupported(said, Config, ""))


_PERIODS = ("syncPeriod", "minSyncPeriod", "configSyncPeriod")


def _unset(key: str, value: Any) -> bool:
    """An empty text and a period of 0 mean the default in a file, as in those that kubeadm writes."""
    if key not in _PERIODS or not isinstance(value, str):
        return bool(value == "")
    with contextlib.suppress(ValueError):
        return durations.parse_s(value) == 0
    return False  # what is no duration is told later


def repeated(path: Path) -> list[str]:
    """Fields of a file that are said twice; the last counts, as for kube-proxy. The file is known to be readable."""
    return list(_repeated(yaml.compose(path.read_text(), yaml.SafeLoader), ""))


def _repeated(node: yaml.Node | None, prefix: str) -> Iterator[str]:
    seen: set[str] = set()
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{prefix}{key.value}"
        if name in seen:
            yield name
        seen.add(name)
        yield from _repeated(value, f"{name}.")


def decode(said: Mapping[str, Any], where: str) -> Config:
    """A configuration from a plain document, unchecked. Raises UsageError naming a field of the wrong type."""
    # Null means "the default" in these files.
    try:
        return msgspec.convert(_without(said, lambda _, value: value is None), Config)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$.")
        raise UsageError(f"{where}: {field.rstrip('`')}: {reason}") from error


def _without(document: Any, left_out: Callable[[str, Any], bool]) -> Any:
    """A document without the fields, at any depth, of which `left_out` says so by their name and value."""
    if isinstance(document, Mapping):
        return {key: _without(value, left_out) for key, value in document.items() if not left_out(key, value)}
    return document


WITHOUT_EFFECT = frozenset(
    {
        *(f"clientConnection.{name}" for name in ("acceptContentTypes", "contentType", "qps", "burst")),
        *("logging.flushFrequency", "logging.vmodule", "logging.options", "iptables.localhostNodePorts", "ipvs"),
        *("iptables.syncPeriod", "iptables.minSyncPeriod", "winkernel", "featureGates"),
        *("enableProfiling", "showHiddenMetricsForVersion", "configSyncPeriod", "portRange"),
        "windowsRunAsService",
    }
)
"""Fields that kube-proxy has and that change nothing here."""


def _unsupported(said: Mapping[str, Any], cls: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    known = {field.encode_name: field.type for field in msgspec.structs.fields(cls)}
    for name, value in said.items():
        path = prefix + name
        if name not in known or path in WITHOUT_EFFECT:
            if not _empty(value):
                yield path
        elif isinstance(value, dict) and isinstance(known[name], type) and issubclass(known[name], msgspec.Struct):
            yield from _unsupported(value, known[name], f"{path}.")
    if not prefix and said.get("mode") in ("iptables", "ipvs"):
        yield "mode"


def _empty(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_empty, value.values()))
    return value in (None, "", [], False, 0, "0", "0s")


# Where each flag's value goes: the path of the file's field.
FLAGS = {
    "hostname_override": "hostnameOverride",
    "cluster_cidr": "clusterCIDR",
    "detect_local_mode": "detectLocalMode",
    "pod_bridge_interface": "detectLocal.bridgeInterface",
    "pod_interface_name_prefix": "detectLocal.interfaceNamePrefix",
    "masquerade_all": "nftables.masqueradeAll",
    "iptables_masquerade_bit": "iptables.masqueradeBit",
    "bind_address": "bindAddress",
    "bind_address_hard_fail": "bindAddressHardFail",
    "healthz_bind_address": "healthzBindAddress",
    "metrics_bind_address": "metricsBindAddress",
    "proxy_mode": "mode",
    "logging_format": "logging.format",
    "verbosity": "logging.verbosity",
    "oom_score_adj": "oomScoreAdj",
    "conntrack_max_per_core": "conntrack.maxPerCore",
    "conntrack_min": "conntrack.min",
    "conntrack_tcp_timeout_established": "conntrack.tcpEstablishedTimeout",
    "conntrack_tcp_timeout_close_wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack_udp_timeout": "conntrack.udpTimeout",
    "conntrack_udp_timeout_stream": "conntrack.udpStreamTimeout",
    "conntrack_tcp_be_liberal": "conntrack.tcpBeLiberal",
}


def with_flags(config: Config, flags: Mapping[str, Any]) -> Config:
    """A configuration with the flags that were given (by parameter name) over it, unchecked.

    Raises:
        UsageError: naming the field, when a value is of the wrong type.
    """
    said = msgspec.to_builtins(config)
    for flag, path in FLAGS.items():
        if flag in flags:
            *parents, field = path.split(".")
            place = said
            for parent in parents:
                place = place[parent]
            place[field] = flags[flag]
    if "nodeport_addresses" in flags:
        said["nodePortAddresses"] = [one for given in flags["nodeport_addresses"] for one in given.split(",") if one]
    for server, kept in (("healthz", config.healthz_address), ("metrics", config.metrics_address)):
        port = flags.get(f"{server}_port")
        if port is not None:
            # Older than the address, whose port counts where it has one.
            address = flags.get(f"{server}_bind_address", kept.rpartition(":")[0])
            said[f"{server}BindAddress"] = with_port(address, "", port) if port else ""
    return decode(said, "flags")


# What the programs make of it -------------------------------------------------------------------------------------


def detect_local(config: Config) -> DetectLocal:
    """How pods are told from strangers: by default as ClusterCIDR."""
    mode: DetectLocal = config.detect_local_mode or "ClusterCIDR"  # type: ignore[assignment]  # checked before
    return mode


def options(config: Config, family: Family | None = None, node_cidrs: tuple[str, ...] = ()) -> Options:
    """What the plan needs to know, of one family or (None) of any.

    In the two CIDR modes a family without a CIDR has nothing that tells pods from strangers, and no detection.
    """
    mode = detect_local(config)
    if mode == "ClusterCIDR" and not config.cluster_cidrs:
        mode = ""
    local = {
        "BridgeInterface": config.detect_local.bridge_interface,
        "InterfaceNamePrefix": config.detect_local.interface_name_prefix,
    }.get(mode, "")
    made = Options(
        masquerade_bit=1 << _first(config.nftables.masquerade_bit, config.iptables.masquerade_bit, 14),
        masquerade_all=bool(_first(config.nftables.masquerade_all, config.iptables.masquerade_all, 0)),
        detect_local=mode,
        local=local,
        node_port_addresses=tuple(config.node_port_addresses or ("primary",)),
    )
    cidrs = node_cidrs if mode == "NodeCIDR" else config.cluster_cidrs
    return made if family is None else detector.of_family(made, family, cidrs)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def shown(config: Config) -> bytes:
    """The whole configuration as it is in force, for /configz."""
    chosen = options(config)
    in_force = msgspec.structs.replace(
        config,
        healthz_bind_address=config.healthz_address,
        metrics_bind_address=config.metrics_address,
        mode="nftables",
        detect_local_mode=detect_local(config),
        node_port_addresses=list(chosen.node_port_addresses),
        nftables=msgspec.structs.replace(
            config.nftables,
            masquerade_all=chosen.masquerade_all,
            masquerade_bit=chosen.masquerade_bit.bit_length() - 1,
        ),
    )
    return msgspec.json.encode({"kubeproxy.config.k8s.io": _as_go(msgspec.to_builtins(in_force))})


def _as_go(value: Any, name: str = "") -> Any:
    """Durations as Go prints them: `24h` is `24h0m0s`."""
    if isinstance(value, dict):
        return {key: _as_go(inner, key) for key, inner in value.items()}
    if name.endswith(("Period", "Timeout")) and isinstance(value, str):
        with contextlib.suppress(ValueError):  # sections without effect may say anything
            return durations.text(durations.parse_s(value))
    return value


BUCKETS = "net/netfilter/nf_conntrack_buckets"


def sysctls(config: Config, cores: int, buckets: int | None = None) -> dict[str, int]:
    """Conntrack parameters to write, by name under /proc/sys; `buckets` are those that its hash table has now."""
    tracked = config.conntrack
    prefix = "net/netfilter/nf_conntrack_"
    found: dict[str, int] = {}
    if tracked.max_per_core:
        found[f"{prefix}max"] = limit = max(tracked.max_per_core * cores, tracked.min)
        if buckets is not None and buckets < limit // 4:
            found[BUCKETS] = limit // 4  # more than four connections in each would make every packet search
    for name, text in (
        ("tcp_timeout_established", tracked.tcp_established_timeout),
        ("tcp_timeout_close_wait", tracked.tcp_close_wait_timeout),
        ("udp_timeout", tracked.udp_timeout),
        ("udp_timeout_stream", tracked.udp_stream_timeout),
    ):
        seconds = durations.parse_s(text)
        if seconds:
            found[prefix + name] = int(seconds)
    if tracked.tcp_be_liberal:
        found[f"{prefix}tcp_be_liberal"] = 1
    return found
