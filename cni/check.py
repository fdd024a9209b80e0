"""PURE: CHECK: what ADD answered, and what the lease says, against what the kernel has now.

Only what this plugin made is compared. Plugins chained after it may have changed the MTU, added addresses, routes and
interfaces: none of that is a difference (CNI specification 1.1.0, CHECK).
"""

from collections.abc import Iterator, Sequence

import msgspec

from cni.plan.lease import Lease
from cni.protocol import Call
from cni.results import Result
from netplane.rtnl import Address, Link, Route


class Observed(msgspec.Struct, frozen=True):
    """What is there: the node's end, the pod's end, what the pod's end has, and the VLANs its port has lost."""

    node_end: Link | None
    pod_end: Link | None
    addresses: Sequence[Address]
    routes: Sequence[Route]
    vlans_lost: Sequence[int] = ()


def differences(call: Call, lease: Lease | None, result: Result, observed: Observed) -> Iterator[str]:
    """One line for each thing that is not as it was."""
    if lease is None or lease.state != "active":
        yield f"no lease is held for {call.ifname} of container {call.container}"
        return
    yield from _ends(call, lease, result, observed)
    if observed.vlans_lost:
        yield f"the node's end {lease.link} is not in the VLANs {', '.join(map(str, observed.vlans_lost))}"
    have = {address.interface.ip for address in observed.addresses}
    for address in lease.addresses:
        if address not in have:
            yield f"{call.ifname} has lost its address {address}"
    promised = {ip.interface.ip for ip in result.ips}
    for address in lease.addresses:
        if address not in promised:
            yield f"prevResult does not have {address}, which this container holds"
    reachable = {(route.dst, route.via) for route in observed.routes}
    for route in result.routes:
        if route.via is not None and (route.dst, route.via) not in reachable:
            yield f"the route to {route.dst} via {route.via} is gone"


def _ends(call: Call, lease: Lease, result: Result, observed: Observed) -> Iterator[str]:
    node, inside = observed.node_end, observed.pod_end
    if node is None:
        yield f"the node's end {lease.link} is gone"
    elif node.master != call.network.bridge:
        yield f"the node's end {lease.link} is not a port of {call.network.bridge}"
    elif not node.up:
        yield f"the node's end {lease.link} is down"
    if inside is None:
        yield f"{call.ifname} is gone from {call.netns}"
        return
    if not inside.up and not call.network.pod_end_down:
        yield f"{call.ifname} is down"
    for interface in result.interfaces:
        mine = interface.sandbox and interface.name == call.ifname
        if mine and interface.mac and interface.mac != inside.mac:
            yield f"{call.ifname} has the MAC address {inside.mac}, not {interface.mac}"
