"""What one apiserver was told to do, after its flags were checked."""

import ipaddress
from pathlib import Path
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Who ServiceAccount tokens say has issued them, if nobody says otherwise."""


class Listener(NamedTuple):
    """One listening socket; `netns` is the network namespace it is made in ("" is where the program runs)."""

    address: Address
    port: int
    netns: str = ""

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        where = f" in network namespace {self.netns}" if self.netns else ""
        return f"https://{host}:{self.port}{where}"


class EtcdServers(NamedTuple):
    """Where etcd is: URLs of its members, the prefix of the keys there, and PEM files for TLS."""

    servers: tuple[str, ...]
    prefix: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class PortRange(NamedTuple):
    """Node ports, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Load(NamedTuple):
    """How much is taken on at once: requests that read, requests that change something, seconds for one request."""

    reading: int = 400
    changing: int = 200
    timeout_s: float = 60.0


class Audit(NamedTuple):
    """The audit log: its file ("-": stdout; "": none), its policy's (None: metadata of all), when it is rotated."""

    path: str = ""
    policy: Path | None = None
    max_mib: int = 100
    backups: int = 0
    days: int = 0


class Settings(NamedTuple):
    """Everything a person may set. `networks` are the service ranges, one for each family, the primary first; no
    `etcd` means SQLite in the data folder.
    """

    data_dir: Path
    listeners: tuple[Listener, ...]
    networks: tuple[Network, ...]
    node_ports: PortRange
    advertise: Address
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    kubeconfig_out: Path | None = None
    client_ca: Path | None = None
    load: Load = Load()
    anonymous: bool = True
    audit: Audit = Audit()
    etcd: EtcdServers | None = None
    without_plugins: frozenset[str] = frozenset()
    fsync: bool = True
    issuer: str = ISSUER

    @property
    def service_ip(self) -> Address:
        """The address of the `kubernetes` Service: the first of the primary range."""
        return self.networks[0].network_address + 1

    @property
    def clients_ca(self) -> Path | None:
        """The CAs of client certificates: those given, or the cluster's own, which then signs the server's, too."""
        if self.client_ca is not None or self.tls_cert is not None:
            return self.client_ca
        return self.data_dir / "pki" / "ca.crt"

    @property
    def advertise_port(self) -> int:
        """The port of the listener at the advertised address; the first listener's when none is there itself."""
        at_address = (one.port for one in self.listeners if one.address == self.advertise)
        return next(at_address, self.listeners[0].port)
