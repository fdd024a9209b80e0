"""The nouns of the service plan.

A service port is reached at frontends (address, protocol, port) and answered by endpoints (address, port). Both are
kept in nftables register form from the start: they are compared, stored and sent as bytes, and a hundred thousand of
them weigh little.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from netplane.nft import types
from netplane.nft.types import Family

REJECT, NO_LOCAL = types.goto("do-reject"), types.goto("do-drop")
LB, SHORT = "lb", "sc"
STICKY, STICKY_SHORT = "st", "ss"
ROW_SHARDS = ("endpoints", *(f"endpoints-{number}" for number in range(1, 16)))
"""Maps of frontends' rows. The kernel dumps a map in time that grows with the square of its size (each message begins
from the start again), so rows are spread over several: each frontend's are in one, which its verdict names."""
CLUSTER_IP, LOAD_BALANCER, EXTERNAL, NODE_PORT = range(4)
"""Ranks of frontends."""
SHARD_ROWS = 32_768
"""From this many rows on, newcomers go to the next map. 0.04 s to dump, where 250,000 in one map take 3 s."""
READY, SERVING, TERMINATING, LOCAL = 1, 2, 4, 8

TRANSPORTS = {name: types.PROTOCOLS[name] for name in ("tcp", "udp", "sctp")}
"""What services and slices speak, by the API's names in small letters."""

OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"
"""Labels of services, and of slices, that this proxy leaves alone. Each counts for its own kind only."""

DetectLocal = Literal["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", ""]


class Options(msgspec.Struct, frozen=True):
    """What the operator chose. `local` is an interface name (prefix) in the interface modes, and in the CIDR modes the
    one network that a family's pods are in; "" where there are several (see `detector`).
    """

    masquerade_bit: int = 1 << 14
    masquerade_all: bool = False
    detect_local: DetectLocal = ""
    local: str = ""
    node_port_addresses: tuple[str, ...] = ("primary",)


class Node(msgspec.Struct, frozen=True):
    """The node this proxy runs on. Addresses packed, of both families; `primary` at most one of each."""

    name: str = ""
    zone: str = ""
    primary: tuple[bytes, ...] = ()
    addresses: frozenset[bytes] = frozenset()


class Endpoint(NamedTuple):
    """Where a connection can go. `data` is address . port in register form; `flags` as in `slices`."""

    data: bytes
    flags: int
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Takes new connections."""
        return bool(self.flags & READY)

    @property
    def draining(self) -> bool:
        """Terminating but still answering: used when nothing is ready."""
        return self.flags & (SERVING | TERMINATING) == SERVING | TERMINATING

    @property
    def serving(self) -> bool:
        """Answers, whether or not it takes new connections."""
        return bool(self.flags & READY) or self.draining

    @property
    def local(self) -> bool:
        """On this proxy's node."""
        return bool(self.flags & LOCAL)


class Port(NamedTuple):
    """A port of a service: `protocol` is the protocol number; `node_port` 0 for none."""

    name: str
    protocol: int
    port: int
    node_port: int


class ServiceView(NamedTuple):
    """One family's side of a service; addresses packed, source ranges as first . last address (None: all)."""

    key: str
    family: Family
    ports: tuple[Port, ...]
    cluster_ip: bytes
    external_ips: tuple[bytes, ...]
    load_balancer_ips: tuple[bytes, ...]
    source_ranges: tuple[bytes, ...] | None
    internal_local: bool
    external_local: bool
    affinity_timeout_s: int
    health_port: int

    def externally_accessible(self, port: Port) -> bool:
        """Whether anyone but a ClusterIP's clients can ask for this port."""
        return bool(port.node_port or self.external_ips or self.load_balancer_ips)


class Frontend(NamedTuple):
    """What the maps hold for one frontend. Verdicts are "" where the map has no entry.

    entry       services        goto lb_N[_S] | goto ext | goto ext-local | goto fw | goto do-reject | goto do-drop
    firewall    fw-services     what `entry` would be, once the source is allowed
    external    ext-services    goto lb_N[_S]
    short       sc-services     goto sc_N: pods and the node itself, under externalTrafficPolicy Local
    rows        endpoints[-S]   data of index 0, 1, 2 …, one after the other
    short_rows  sc-endpoints    likewise
    sources     lb-sources      allowed source ranges
    sticky      the service port whose clients stick to their endpoint for `timeout_s`; "" without affinity. Verdicts
                then say st_N_T and ss_N_T, and rows are found by handles:
    handles     sticky-ids      handle of index 0, 1, 2 …; sticky-endpoints: handle → row
    short_handles               likewise for short_rows
    rank        of two services that ask for one frontend, who has it: a ClusterIP before a load balancer's IP before an
                external IP before a NodePort
    shard       S: which of the endpoint maps (`ROW_SHARDS`) holds the rows; verdicts name it, 0 by saying nothing
    """

    entry: str
    rows: bytes = b""
    external: str = ""
    firewall: str = ""
    short: str = ""
    short_rows: bytes = b""
    sources: tuple[bytes, ...] = ()
    sticky: str = ""
    timeout_s: int = 0
    handles: bytes = b""
    short_handles: bytes = b""
    shard: int = 0
    rank: int = 0


class Fragment(NamedTuple):
    """Everything one service puts into one family's table. `hairpin` are this node's endpoint addresses."""

    frontends: Mapping[bytes, Frontend]
    cluster_ips: tuple[bytes, ...] = ()
    hairpin: tuple[bytes, ...] = ()


EMPTY = Fragment({})


class Health(NamedTuple):
    """A healthCheckNodePort and how many ready endpoints this node has for its service."""

    service: str
    port: int
    local_endpoints: int


def frontend_types(family: Family) -> tuple[types.DataType, ...]:
    """The key of the service maps: address . protocol . port."""
    return (family.address, types.INET_PROTO, types.INET_SERVICE)


def endpoint_types(family: Family) -> tuple[types.DataType, ...]:
    """The data of the endpoint maps: address . port."""
    return (family.address, types.INET_SERVICE)


def frontend_key(address: bytes, protocol: int, port: int) -> bytes:
    """address . protocol . port in register form."""
    return address + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + b"\0\0"
