"""Gives running pods the node's new MTU, at both ends of their pairs (see `cni/plan/resize.py`).

A pod's end is changed in its namespace, by the path the runtime gave with ADD. Where that leads nowhere (the agent in a
container that does not see the folder, or a pod that has gone) or to another pod's link, both ends stay as they are:
smaller packets still pass, and the node answers larger ones.
"""

from collections.abc import Sequence

from cni.errors import CniError
from cni.leases import Leases
from cni.plan import resize
from cni.plan.lease import Lease
from cni.spaces import pod_space
from netplane.kernel.netlink import KernelError
from netplane.kernel.rtnl import Rtnl
from netplane.obs import logs
from netplane.rtnl import Change, Link, Veth

log = logs.get("cni.resize")


class PodEnds:
    """The links of one network's pods.

    Args:
        leases: the store.
        network: its name.
        bridge: its bridge.
    """

    def __init__(self, leases: Leases, network: str, bridge: str) -> None:
        self._leases = leases
        self._network = network
        self._bridge = bridge
        self._stuck: dict[str, int] = {}

    def widen(self, node: Rtnl, mtu_bytes: int) -> int:
        """Give pods with a smaller MTU this one, before the bridge has it. Returns what the bridge may pass on then."""
        links = node.links()
        if self._follow(node, links, mtu_bytes, wider=True):
            links = node.links()
        return resize.bridge_mtu(links, self._bridge, mtu_bytes)

    def narrow(self, node: Rtnl, mtu_bytes: int) -> None:
        """Give pods with a larger MTU this one, after the bridge has it."""
        self._follow(node, node.links(), mtu_bytes, wider=False)

    def _follow(self, node: Rtnl, links: Sequence[Link], mtu_bytes: int, *, wider: bool) -> bool:
        """Returns whether any pod was changed."""
        ports = {link.name: link for link in links if link.master == self._bridge}
        pods = resize.due(self._leases.all(self._network), ports, mtu_bytes, wider=wider)
        done = [lease for lease, end in pods if self._resize(node, lease, end, mtu_bytes)]
        if done:
            log.info("running pods have a new MTU", mtu=mtu_bytes, pods=len(done))
        return bool(done)

    def _resize(self, node: Rtnl, lease: Lease, end: Link, mtu_bytes: int) -> bool:
        try:
            _set(node, lease, end, mtu_bytes)
        except (CniError, KernelError, OSError) as error:
            if self._stuck.get(lease.link) != mtu_bytes:
                self._stuck[lease.link] = mtu_bytes
                log.warning("a running pod keeps its MTU", container=lease.key.container, error=str(error))
            return False
        self._stuck.pop(lease.link, None)
        return True


def _set(node: Rtnl, lease: Lease, end: Link, mtu_bytes: int) -> None:
    """The node's end last: by it a pass that was cut short is noticed by the next."""
    ifname = lease.key.ifname
    with pod_space(lease.netns, None) as space, Rtnl(space) as inside:
        found = inside.link(ifname)
        if found is None or not isinstance(found.kind, Veth) or found.kind.peer_index != end.index:
            raise OSError(f"{ifname} in {lease.netns} is not the other end of {end.name}")
        inner = resize.inner_mtu(end, found, mtu_bytes)
        if inner != found.mtu:
            inside.apply([Change(ifname, mtu=inner)], undo=False)
    node.apply([Change(end.name, mtu=mtu_bytes)], undo=False)
