"""What is done and looked up inside a pod's network namespace."""

import contextlib
import time

from cni.check import Observed
from cni.errors import CniError, Code
from cni.plan import vlan
from cni.protocol import Call
from cni.spaces import pod_space
from netplane.kernel import netns, sysctl
from netplane.kernel.rtnl import Rtnl
from netplane.rtnl import Veth, delete_link

# The reference plugin's: one probe takes a second, and a port of a bridge some more until it forwards.
DAD_TIMEOUT_S, DAD_POLL_S = 10.0, 0.05


def delete_foreign(call: Call, netns_fd: int | None) -> None:
    """The interface of a pod that the reference bridge connected before its network was moved to this plugin."""
    if not call.netns:
        return
    with contextlib.suppress(CniError), pod_space(call.netns, netns_fd) as space, Rtnl(space) as inside:
        found = inside.link(call.ifname)
        if found is not None and isinstance(found.kind, Veth):
            inside.apply([delete_link(call.ifname, missing_ok=True)], undo=False)


def enable_ipv6(ifname: str, space: int, *, dad: bool) -> None:
    """Runtimes may start a pod with IPv6 switched off; an IPv6 address is refused then."""
    with netns.entered(space), contextlib.suppress(sysctl.SysctlError):
        sysctl.write(f"net/ipv6/conf/{ifname}/disable_ipv6", 0)
        if dad:
            sysctl.write(f"net/ipv6/conf/{ifname}/accept_dad", 1)


def settle(inside: Rtnl, ifname: str) -> None:
    """Wait until the link has said whether somebody else has the addresses (RFC 4862, 5.4).

    Raises CniError TRY_AGAIN when somebody has, or when it does not say.
    """
    end = time.monotonic() + DAD_TIMEOUT_S
    while any(address.state == "tentative" and address.scope != "link" for address in inside.addresses(ifname)):
        if time.monotonic() > end:
            raise CniError(Code.TRY_AGAIN, f"enabledad: {ifname} does not know yet whether its addresses are free")
        time.sleep(DAD_POLL_S)
    for address in inside.addresses(ifname):
        if address.state == "duplicate":
            raise CniError(Code.TRY_AGAIN, f"enabledad: somebody else on the link has {address.interface.ip} already")


def observe(call: Call, link: str, netns_fd: int | None) -> Observed:
    """What CHECK compares with what was promised. Raises CniError when the namespace is gone."""
    with pod_space(call.netns, netns_fd) as space, Rtnl() as node, Rtnl(space) as inside:
        end = inside.link(call.ifname)
        addresses = inside.addresses(call.ifname) if end else []
        vlans = (
            vlan.missing(link, call.network.vlans, node.vlans(link)) if call.network.vlans and node.find(link) else []
        )
        return Observed(node.link(link), end, addresses, inside.routes(), vlans)
