"""PURE: which running pods' links must get another MTU, and how large a packet the bridge may pass on meanwhile.

    shrinking   bridge and tunnel ─▶ pods   from the first step on the node answers "too big" (RFC 1191, RFC 8201), and
                                            a pod that knows its MTU asks its peers for smaller segments by itself
    growing     pods ─▶ bridge and tunnel   a bridge drops in silence what is too big for a port: no pod may be left
                                            behind

So the bridge never passes on more than its smallest port takes. A pod whose own end was given another MTU by somebody
else (a chained `tuning`) keeps it as long as it fits.
"""

from collections.abc import Iterable, Mapping

from cni.plan.lease import Lease
from netplane.rtnl import Link, Veth


def due(leases: Iterable[Lease], links: Mapping[str, Link], mtu_bytes: int, *, wider: bool) -> list[tuple[Lease, Link]]:
    """Attachments whose node's end has a smaller MTU than asked (`wider`), or a larger one; with that end."""
    ends = [(lease, links[lease.link]) for lease in leases if lease.state == "active" and lease.link in links]
    return [(lease, end) for lease, end in ends if (end.mtu < mtu_bytes if wider else end.mtu > mtu_bytes)]


def inner_mtu(node_end: Link, pod_end: Link, mtu_bytes: int) -> int:
    """What a pod's end gets: the same, unless somebody made it smaller than the node's end."""
    return mtu_bytes if pod_end.mtu >= node_end.mtu else min(pod_end.mtu, mtu_bytes)


def bridge_mtu(links: Iterable[Link], bridge: str, mtu_bytes: int) -> int:
    """The largest packet that all ports of the bridge take, `mtu_bytes` at most."""
    ports = [link.mtu for link in links if link.master == bridge and isinstance(link.kind, Veth)]
    return min([mtu_bytes, *ports])
