"""What is wrong with a configuration, all of it, in kube-proxy's field names and words.

Source: the tables of kube-proxy 1.36's own validation.
"""

import contextlib
import ipaddress
from collections.abc import Iterator, Sequence

from netplane.api.fields import FieldError, invalid, not_supported
from netplane.errors import UsageError
from netplane.net.addresses import lenient
from proxy import durations
from proxy.settings import IPVS, Config, Conntrack, DetectLocalConfig

Problems = Iterator[FieldError]

ROOT = "KubeProxyConfiguration"
MODES = ("", "iptables", "ipvs", "nftables")
DETECT_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", "")
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "")
_PAIR = "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]"
_CIDR = "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)"
_NOT_NEGATIVE = "must be greater than or equal to 0"


def check(config: Config, where: str) -> None:
    """Raise one UsageError with everything that is wrong."""
    found = [str(problem) for problem in problems(config)]
    if found:
        raise UsageError(f"{where}: {'; '.join(found)}")


def problems(config: Config) -> Problems:
    """All that is wrong with a configuration."""
    yield from masquerade_bit(config.iptables.masquerade_bit, f"{ROOT}.KubeProxyIPTablesConfiguration")
    yield from masquerade_bit(config.nftables.masquerade_bit, f"{ROOT}.KubeProxyNFTablesConfiguration")
    if config.mode == "ipvs":
        yield from ipvs(config.ipvs, f"{ROOT}.KubeProxyIPVSConfiguration")
    yield from _periods(config)
    yield from linux(config.conntrack, config.oom_score_adj, f"{ROOT}.KubeProxyLinuxConfiguration")
    yield from mode(config.mode, f"{ROOT}.Mode")
    if config.client_connection.burst < 0:
        yield invalid(f"{ROOT}.ClientConnection.Burst", config.client_connection.burst, _NOT_NEGATIVE)
    yield from _duration(f"{ROOT}.ConfigSyncPeriod", config.config_sync_period, at_least_s=None)
    yield from bind_address(config.bind_address, f"{ROOT}.BindAddress")
    for field, address in (("Healthz", config.healthz_address), ("Metrics", config.metrics_address)):
        if address:
            yield from host_port(address, f"{ROOT}.{field}BindAddress")
    yield from detect_local_mode(config.detect_local_mode, f"{ROOT}.DetectLocalMode")
    yield from detect_local(
        config.detect_local_mode, config.detect_local, config.cluster_cidrs, f"{ROOT}.DetectLocalConfiguration"
    )
    yield from node_port_addresses(config.node_port_addresses or (), f"{ROOT}.NodePortAddresses")
    if config.logging.verbosity < 0:
        yield invalid(f"{ROOT}.logging.verbosity", config.logging.verbosity, _NOT_NEGATIVE)
    if config.logging.format not in ("", "text", "json"):
        yield invalid(f"{ROOT}.logging.format", config.logging.format, "Unsupported log format")


def bind_address(text: str, path: str) -> Problems:
    """One IP address."""
    if not _is_address(text):
        yield invalid(path, text, "not a valid textual representation of an IP address")


def host_port(text: str, path: str) -> Problems:
    """`address:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        yield invalid(path, text, "must be IP:port")
        return
    if not _is_address(host.strip("[]")):
        yield invalid(path, host, "must be a valid IP")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        yield invalid(path, port, "must be a valid port")


def mode(text: str, path: str) -> Problems:
    """The proxy modes of Linux. All are taken; nftables is what runs."""
    if text not in MODES:
        yield invalid(
            f"{path}.ProxyMode",
            text,
            "must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])",
        )


def detect_local_mode(text: str, path: str) -> Problems:
    """The ways to tell local traffic."""
    if text not in DETECT_LOCAL_MODES:
        yield not_supported(path, text, DETECT_LOCAL_MODES)


def detect_local(mode: str, said: DetectLocalConfig, cluster_cidrs: Sequence[str], path: str) -> Problems:
    """What the chosen way to tell local traffic needs.

    Stricter than the reference in one thing: a name that no interface can have would fail at every sync.
    """
    if mode in ("", "ClusterCIDR") and cluster_cidrs:
        yield from dual_stack(cluster_cidrs, f"{path}.ClusterCIDRs")
    for when, field, value in (
        ("BridgeInterface", "InterfaceName", said.bridge_interface),
        ("InterfaceNamePrefix", "InterfacePrefix", said.interface_name_prefix),
    ):
        if mode != when:
            continue
        if not value:
            yield invalid(f"{path}.{field}", value, "must not be empty")
        elif len(value) > 15 or any(c in value for c in '/"\\*') or not value.isprintable() or " " in value:
            yield invalid(f"{path}.{field}", value, "must be an interface's name, at most 15 characters long")


def dual_stack(cidrs: Sequence[str], path: str) -> Problems:
    """One CIDR, or one of each family."""
    if not cidrs:
        yield invalid(path, list(cidrs), "must contain at least one CIDR")
        return
    broken = [index for index, cidr in enumerate(cidrs) if not _is_cidr(cidr)]
    if broken and len(cidrs) <= 2:
        yield from (invalid(f"{path}[{index}]", cidrs[index], _CIDR) for index in broken)
    elif len({":" in cidr for cidr in cidrs}) != len(cidrs):
        yield invalid(path, list(cidrs), _PAIR)


def node_port_addresses(addresses: Sequence[str], path: str) -> Problems:
    """`primary` alone, or CIDRs."""
    for index, text in enumerate(addresses):
        if text == "primary":
            if len(addresses) > 1:
                yield invalid(f"{path}[{index}]", text, "can't use both 'primary' and CIDRs")
        elif not _is_cidr(text):
            yield invalid(f"{path}[{index}]", text, "must be a valid CIDR")


def ipvs(said: IPVS, path: str) -> Problems:
    """The ipvs section."""
    for field, text in (
        ("TCPTimeout", said.tcp_timeout),
        ("TCPFinTimeout", said.tcp_fin_timeout),
        ("UDPTimeout", said.udp_timeout),
    ):
        yield from _duration(f"{path}.{field}", text)
    if said.scheduler not in SCHEDULERS:
        known = " ".join(SCHEDULERS)
        yield invalid(
            f"{path}.Scheduler.Scheduler",
            said.scheduler,
            f"must be in [{known}], blank means the default algorithm method (currently rr)",
        )
    yield from exclude_cidrs(said.exclude_cidrs, f"{path}.ExcludeCidrs")


def exclude_cidrs(cidrs: Sequence[str], path: str) -> Problems:
    """CIDRs that ipvs leaves alone."""
    for index, text in enumerate(cidrs):
        if not _is_cidr(text):
            yield invalid(f"{path}[{index}]", text, "must be a valid CIDR")


def linux(tracked: Conntrack, oom_score_adj: int | None, path: str) -> Problems:
    """Connection tracking, and how readily the kernel kills the process when memory ends."""
    prefix = f"{path}.KubeProxyConntrackConfiguration"
    for field, number in (("MaxPerCore", tracked.max_per_core), ("Min", tracked.min)):
        if number < 0:
            yield invalid(f"{prefix}.{field}", number, _NOT_NEGATIVE)
    for field, text in (
        ("TCPEstablishedTimeout", tracked.tcp_established_timeout),
        ("TCPCloseWaitTimeout", tracked.tcp_close_wait_timeout),
        ("UDPTimeout", tracked.udp_timeout),
        ("UDPStreamTimeout", tracked.udp_stream_timeout),
    ):
        yield from _duration(f"{prefix}.{field}", text)
    if oom_score_adj is not None and not -1000 <= oom_score_adj <= 1000:
        yield invalid(f"{path}.OOMScoreAdj", oom_score_adj, "must be within the range [-1000, 1000]")


def masquerade_bit(bit: int | None, path: str) -> Problems:
    """A bit of the packet mark."""
    if bit is not None and not 0 <= bit <= 31:
        yield invalid(f"{path}.MasqueradeBit", bit, "must be within the range [0, 31]")


def _periods(config: Config) -> Problems:
    """Periods of the chosen mode's section, and of the one that is used."""
    used = config.nftables
    if config.mode == "nftables":
        yield from periods(used.sync_period, used.min_sync_period, ROOT)
        return
    yield from periods(used.sync_period, used.min_sync_period, f"{ROOT}.KubeProxyNFTablesConfiguration")
    chosen = config.ipvs if config.mode == "ipvs" else config.iptables
    yield from periods(chosen.sync_period, chosen.min_sync_period, ROOT)


def periods(sync: str, least: str, path: str) -> Problems:
    """How often everything is looked through, and how long to wait between two syncs."""
    yield from _duration(f"{path}.SyncPeriod", sync, at_least_s=None)
    yield from _duration(f"{path}.MinSyncPeriod", least)
    with contextlib.suppress(ValueError):
        if durations.parse_s(least) > durations.parse_s(sync):
            yield invalid(f"{path}.SyncPeriod", least, f"must be greater than or equal to {path}.MinSyncPeriod")


def _duration(path: str, text: str, *, at_least_s: float | None = 0.0) -> Problems:
    """A duration that is at least so long, or (None) longer than nothing."""
    try:
        seconds = durations.parse_s(text)
    except ValueError as error:
        yield invalid(path, text, str(error))
        return
    if at_least_s is None and seconds <= 0:
        yield invalid(path, durations.text(seconds), "must be greater than 0")
    elif at_least_s is not None and seconds < at_least_s:
        yield invalid(path, durations.text(seconds), _NOT_NEGATIVE)


def _is_address(text: str) -> bool:
    try:
        lenient(text)
    except ValueError:
        return False
    return "%" not in text


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return text.rpartition("/")[2].isdigit() and "/" in text
