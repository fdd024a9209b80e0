"""The fields of a KubeProxyConfiguration with their defaults, as kube-proxy 1.36 has them; unchecked."""

from typing import Annotated, Any

import msgspec

API_VERSION, KIND = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"
HEALTHZ_PORT, METRICS_PORT = 10256, 10249


Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]


class Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the file's parts."""


class ClientConnection(Section, frozen=True, kw_only=True):
    """clientConnection."""

    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = "application/vnd.kubernetes.protobuf"
    qps: float = 5
    burst: Int32 = 10


class Logging(Section, frozen=True, kw_only=True):
    """logging."""

    format: str = "text"
    flush_frequency: str | int = "5s"
    verbosity: int = 0
    vmodule: list[dict[str, Any]] = []
    options: dict[str, Any] = {}


class Conntrack(Section, frozen=True, kw_only=True):
    """conntrack: sysctls of net.netfilter. Zero leaves one as the node has it."""

    max_per_core: Int32 = 32_768
    min: Int32 = 131_072
    tcp_established_timeout: str = "24h"
    tcp_close_wait_timeout: str = "1h"
    tcp_be_liberal: bool = msgspec.field(name="tcpBeLiberal", default=False)
    udp_timeout: str = "0s"
    udp_stream_timeout: str = "0s"


class IPTables(Section, frozen=True, kw_only=True):
    """iptables: settings of another mode, of which masquerading counts where `nftables` does not say."""

    masquerade_bit: int | None = None
    masquerade_all: bool = False
    localhost_node_ports: bool | None = None
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class IPVS(Section, frozen=True, kw_only=True):
    """ipvs: settings of another mode."""

    sync_period: str = "30s"
    min_sync_period: str = "0s"
    scheduler: str = ""
    exclude_cidrs: list[str] = msgspec.field(name="excludeCIDRs", default=[])
    strict_arp: bool = msgspec.field(name="strictARP", default=False)
    tcp_timeout: str = "0s"
    tcp_fin_timeout: str = "0s"
    udp_timeout: str = "0s"


class NFTables(Section, frozen=True, kw_only=True):
    """nftables. A change is applied at once: min_sync_period is 0 here, 1 s in the reference."""

    masquerade_all: bool | None = None
    masquerade_bit: int | None = None
    sync_period: str = "30s"
    min_sync_period: str = "0s"


class DetectLocalConfig(Section, frozen=True, kw_only=True):
    """detectLocal."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Config(Section, frozen=True, kw_only=True):
    """A KubeProxyConfiguration."""

    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] = {}
    client_connection: ClientConnection = ClientConnection()
    logging: Logging = Logging()
    hostname_override: str = ""
    bind_address: str = "0.0.0.0"  # noqa: S104 - the reference's default: every address
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: IPTables = IPTables()
    ipvs: IPVS = IPVS()
    nftables: NFTables = NFTables()
    winkernel: dict[str, Any] = {}
    detect_local_mode: str = ""
    detect_local: DetectLocalConfig = DetectLocalConfig()
    cluster_cidr: str = msgspec.field(name="clusterCIDR", default="")
    node_port_addresses: list[str] | None = None
    oom_score_adj: Int32 = -999
    conntrack: Conntrack = Conntrack()
    config_sync_period: str = "15m"
    port_range: str = ""
    windows_run_as_service: bool = False

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """clusterCIDR is one CIDR or a comma-separated pair, one per family."""
        return tuple(cidr.strip() for cidr in self.cluster_cidr.split(",") if cidr.strip())

    @property
    def healthz_address(self) -> str:
        """Where /healthz is served, with a port; "" for nowhere."""
        every = "[::]" if ":" in self.bind_address else "0.0.0.0"  # noqa: S104 - as above
        return with_port(self.healthz_bind_address, every, HEALTHZ_PORT)

    @property
    def metrics_address(self) -> str:
        """Where /metrics is served, with a port; "" for nowhere."""
        return with_port(self.metrics_bind_address, "[::1]" if ":" in self.bind_address else "127.0.0.1", METRICS_PORT)


def with_port(address: str | None, default: str, port: int) -> str:
    """An address with the port it lacks; None means the default, "" means none."""
    if address == "":
        return ""
    said = address or default
    if said.count(":") > 1 and not said.startswith("["):
        return f"[{said}]:{port}"
    return said if ":" in said.rpartition("]")[2] else f"{said}:{port}"
