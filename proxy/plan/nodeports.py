"""Which of the node's addresses answer NodePorts."""

import ipaddress

from netplane.nft.types import Family
from proxy.plan.model import Node, Options

PRIMARY = "primary"


def addresses(family: Family, node: Node, options: Options) -> tuple[bytes, ...]:
    """The node's addresses of a family that nodePortAddresses selects, sorted: CIDRs, or `primary`.

    Loopback addresses never answer: nat in the output hook cannot bring such a packet out of the host.
    """
    policy = options.node_port_addresses
    size = family.address.size
    if PRIMARY in policy:
        return tuple(address for address in node.primary if len(address) == size)
    networks = [ipaddress.ip_network(cidr, strict=False) for cidr in policy]
    mine = [network for network in networks if network.version == family.version]
    return tuple(sorted(a for a in node.addresses if len(a) == size and _selected(a, mine, everything=not policy)))


def _selected(
    address: bytes, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network], *, everything: bool
) -> bool:
    ip = ipaddress.ip_address(address)
    return not ip.is_loopback and (everything or any(ip in network for network in networks))
