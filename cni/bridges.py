"""The node's bridges, made when the first pod needs them: device, addresses, forwarding, firewall.

What was made once in this process is not made again as long as the link is the same one: one that was deleted and made
by somebody else has another index.
"""

import threading
from collections import defaultdict

from cni.config import Network
from cni.doors import Doors
from cni.errors import CniError, Code
from cni.plan import firewall, pod
from netplane.kernel import sysctl
from netplane.kernel.nft import Nft
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Bridge, Link


class Bridges:
    """Bridges of the namespace it was made in. Methods may be called from any thread."""

    def __init__(self, rtnl: Doors) -> None:
        self._rtnl = rtnl
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._done: dict[str, tuple[Network, Link]] = {}

    def ensure(self, network: Network) -> Link:
        """The network's bridge, as it should be.

        Raises:
            CniError: a link of that name is no bridge.
            NetplaneError: the kernel refused.
        """
        with self._locks[network.bridge]:
            known, made = self._done.get(network.bridge, (None, None))
            if made is not None and same_bridge(known, network) and self._rtnl.here.find(network.bridge) == made.index:
                return made
            made = _make(self._rtnl.here, network)
            self._done[network.bridge] = network, made
            return made


def same_bridge(one: Network | None, other: Network) -> bool:
    """Whether two configurations ask the same of their bridge."""
    fields = (
        "mtu_bytes",
        "is_gateway",
        "ip_masq",
        "promisc",
        "force_address",
        "masq_exceptions",
        "host_prefix",
        "ranges",
    )
    return one is not None and all(getattr(one, field) == getattr(other, field) for field in fields)


def _make(rtnl: Rtnl, network: Network) -> Link:
    found = rtnl.link(network.bridge)
    if found is not None and not isinstance(found.kind, Bridge):
        raise CniError(Code.INVALID_CONFIG, f"bridge: the link {network.bridge} is no bridge: {found.kind}")
    addresses = rtnl.addresses(network.bridge) if found is not None else []
    rtnl.apply(pod.bridge(network, found, addresses))
    _forwarding(network)
    _firewall(network)
    made = rtnl.link(network.bridge)
    assert made is not None, "it was there a moment ago"
    return made


def _forwarding(network: Network) -> None:
    if not network.is_gateway:
        return
    if 4 in pod.families(network):
        sysctl.write("net/ipv4/ip_forward", 1)
    if 6 in pod.families(network):
        sysctl.write("net/ipv6/conf/all/forwarding", 1)


def _firewall(network: Network) -> None:
    text = firewall.bridge(network.bridge) if network.host_prefix else ""
    if network.ip_masq:
        subnets = [r.subnet for ranges in network.ranges for r in ranges]
        text += firewall.masquerade(subnets) + firewall.plain(subnets, network.masq_exceptions)
    if text:
        nft = Nft()
        try:
            nft.run_text(firewall.table() + text)
        finally:
            nft.close()
