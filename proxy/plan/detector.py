"""How one family's pods are told from strangers, where they are told by their addresses.

One network is compared with in the rule itself: that costs less than to look into a set of one range. Several are the
set `pod-cidrs`. A family that has none has no detection, whatever the other has.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from netplane.nft.types import Family
from proxy.plan.model import Options

_BY_ADDRESS = ("ClusterCIDR", "NodeCIDR")


def of_family(options: Options, family: Family, cidrs: Iterable[str]) -> Options:
    """The options of one family, whose pods' addresses are in these CIDRs (those of the other family do not count)."""
    if options.detect_local not in _BY_ADDRESS:
        return options
    networks = {ipaddress.ip_network(cidr, strict=False) for cidr in cidrs}
    texts = [_text(network) for network in networks if network.version == family.version]
    if not texts:
        return msgspec.structs.replace(options, detect_local="", local="")
    return msgspec.structs.replace(options, local=texts[0] if len(texts) == 1 else "")


def _text(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """As nft lists it; "" where it would list something else, since everything is in it."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network) if network.prefixlen else ""
