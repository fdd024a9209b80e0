"""The node's bridges, made when the first pod needs them: device, addresses, forwarding, firewall.

What was made once in this process is not made again as long as the link is the same one: one that was deleted and made
by somebody else has another index.
"""

import errno
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from cni import rules
from cni.config import Network
from cni.doors import Doors
from cni.errors import CniError, Code
from cni.plan import firewall, pod, resize
from netplane.kernel import sysctl
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.kernel.sysctl import SysctlError
from netplane.obs import logs
from netplane.rtnl import IP, Bridge, Link, Request
from netplane.rtnl import Network as Subnet

log = logs.get("cni.bridges")


class Bridges:
    """Bridges of the namespace it was made in. Methods may be called from any thread."""

    def __init__(self, rtnl: Doors) -> None:
        self._rtnl = rtnl
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._done: dict[tuple[str, str], tuple[Network, Link]] = {}

    def ensure(self, network: Network) -> Link:
        """The network's bridge, as it should be.

        Raises:
            CniError: a link of that name is no bridge.
            NetplaneError: the kernel refused.
        """
        with self._locks[network.bridge]:
            known, made = self._done.get((network.bridge, network.name), (None, None))
            if made is not None and same_bridge(known, network) and self._rtnl.here.find(network.bridge) == made.index:
                return made
            made = _make(self._rtnl.here, network)
            self._done[network.bridge, network.name] = network, made
            return made

    def check(self, pods: Sequence[IP]) -> None:
        """Whether what these pods send out is still masqueraded.

        Raises:
            CniError: CHECK_FAILED, naming those whose is not.
        """
        lost = [str(pod) for pod in pods if not rules.ask(firewall.question(pod))]
        if lost:
            raise CniError(Code.CHECK_FAILED, f"ipMasq: {', '.join(lost)} is not masqueraded any more")

    def restore(self) -> None:
        """Make the firewall of the bridges again that were made, if somebody flushed it.

        Raises:
            NetplaneError: the kernel refused.
        """
        for network, _ in list(self._done.values()):
            with self._locks[network.bridge]:
                _firewall(network)


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
        "vlans",
    )
    return one is not None and all(getattr(one, field) == getattr(other, field) for field in fields)


def _make(rtnl: Rtnl, network: Network) -> Link:
    found = rtnl.link(network.bridge)
    if found is not None and not isinstance(found.kind, Bridge):
        raise CniError(
            Code.INVALID_CONFIG, f"bridge: the link {network.bridge} is no bridge but {str(found.kind) or 'hardware'}"
        )
    if found is not None and network.mtu_bytes > found.mtu:
        fits = resize.bridge_mtu(rtnl.links(), network.bridge, network.mtu_bytes)
        network = msgspec.structs.replace(network, mtu_bytes=fits)
    _apply(rtnl, pod.bridge(network, found))
    mtu_bytes = network.mtu_bytes or (found.mtu if found is not None else 1500)
    addresses = rtnl.addresses(network.gateway_dev) if rtnl.find(network.gateway_dev) else None
    _apply(rtnl, pod.gateway(network, mtu_bytes, addresses))
    _forwarding(network)
    _redirects(network)
    _firewall(network)
    made = rtnl.link(network.bridge)
    assert made is not None, "it was there a moment ago"
    return made


def _apply(rtnl: Rtnl, requests: Sequence[Request]) -> None:
    try:
        rtnl.apply(requests)
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP and any("vlan" in str(request) for request in requests):
            advice = "it needs CONFIG_BRIDGE_VLAN_FILTERING; else use a bridge per VLAN"
            raise CniError(
                Code.UNSUPPORTED_BY_KERNEL, f"vlan: this kernel's bridges know no VLANs: {error.message}", advice
            ) from error
        raise


def _forwarding(network: Network) -> None:
    if not network.is_gateway:
        return
    if 4 in pod.families(network):
        sysctl.write("net/ipv4/ip_forward", 1)
    if 6 in pod.families(network):
        sysctl.write("net/ipv6/conf/all/forwarding", 1)


def _redirects(network: Network) -> None:
    """Spare each packet between two pods the look whether the sender is due a redirect, which would be dropped.

    It is sent when `all` or the interface says so (ip-sysctl): other interfaces go on as they say themselves. Who may
    not write this, or has it switched on again, has the firewall's rule.
    """
    if network.host_prefix and network.is_gateway and 4 in pod.families(network):
        with suppress(SysctlError):
            for where in ("all", network.gateway_dev):
                sysctl.write(f"net/ipv4/conf/{where}/send_redirects", 0)


def _firewall(network: Network) -> None:
    text = firewall.bridge(network.gateway_dev) if network.host_prefix else ""
    if network.ip_masq:
        subnets = [r.subnet for ranges in network.ranges for r in ranges]
        text += firewall.masquerade(subnets) + firewall.plain(subnets, network.masq_exceptions)
    if text:
        rules.run(firewall.table() + text)
    if network.is_gateway:
        let_through([r.subnet for ranges in network.ranges for r in ranges])


def let_through(pods: Sequence[Subnet]) -> None:
    """Let these ranges through an iptables FORWARD chain whose policy is to drop (Docker's habit)."""
    for version, word in firewall.WORDS.items():
        if text := firewall.forward(rules.ask(f"list chain {word} filter FORWARD"), version, pods):
            log.info("letting pods through a FORWARD chain that drops", table=f"{word} filter")
            rules.run(text)
