"""Which of the node's addresses answer NodePorts."""

import ipaddress
from collections.abc import Iterable

from netplane.nft.types import Family
from proxy.plan.model import Node, Options

PRIMARY = "primary"


def addresses(family: Family, node: Node, options: Options) -> tuple[bytes, ...]:
    """The node's addresses of a family that nodePortAddresses selects, sorted: CIDRs, or `primary`.

    A primary address that no interface has is somebody else's, whose packets only pass here.

    Loopback addresses never answer: nat in the output hook cannot bring such a packet out of the host.
    """
    found = selected(family, node, options)
    return tuple(address for address in found if not ipaddress.ip_address(address).is_loopback)


def selected(family: Family, node: Node, options: Options) -> tuple[bytes, ...]:
    """The same, loopback included: health checks can be asked there."""
    policy = options.node_port_addresses
    size = family.address.size
    if PRIMARY in policy:
        return tuple(address for address in node.primary if len(address) == size and address in node.addresses)
    mine = [n for n in (ipaddress.ip_network(cidr, strict=False) for cidr in policy) if n.version == family.version]
    everything = matches_all(family, options)
    return tuple(sorted(a for a in node.addresses if len(a) == size and (everything or _within(a, mine))))


def matches_all(family: Family, options: Options) -> bool:
    """Whether every address of a family is selected: nothing is said of it, or a CIDR that holds everything."""
    policy = options.node_port_addresses
    if PRIMARY in policy:
        return False
    mine = [n for n in (ipaddress.ip_network(cidr, strict=False) for cidr in policy) if n.version == family.version]
    return not mine or any(network.prefixlen == 0 for network in mine)


def health_hosts(families: Iterable[Family], node: Node, options: Options) -> tuple[str, ...]:
    """Where healthCheckNodePorts listen: where NodePorts answer; "" for everywhere."""
    kinds = tuple(families)
    if all(matches_all(family, options) for family in kinds):
        return ("",)
    found = [address for family in kinds for address in selected(family, node, options)]
    return tuple(str(ipaddress.ip_address(address)) for address in found)


def _within(address: bytes, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    ip = ipaddress.ip_address(address)
    return any(ip in network for network in networks)
