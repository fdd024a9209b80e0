"""What connects one pod: a veth pair whose far end is born in the pod's namespace, and the node's bridge.

        node                                    pod
    ┌──────────────────────────┐   ┌───────────────────────────┐
    │ bridge .1/24 ── vethXXXX ┼───┼ eth0 .5/32                │
    │   MTU and MAC pinned     │   │ default via .1 onlink     │
    └──────────────────────────┘   └───────────────────────────┘

With `host_prefix` a pod has no neighbours: its only route is the gateway, so whatever two pods of one node say to each
other is routed by the node, where a Service's translation can be undone, with br_netfilter or without. Three sends do
it all: the pair with its bridge port, then everything inside the pod.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_interface

import msgspec

from cni.addressing import ROUTE_SCOPES
from cni.config import MTU_MIN_BYTES, Network
from cni.plan import ipam, vlan
from cni.results import AssignedIP, NetInterface, Result, RouteTo
from netplane.net import names
from netplane.rtnl import (
    IP,
    MAIN_TABLE,
    Address,
    Bridge,
    BridgePort,
    Change,
    Interface,
    Link,
    Request,
    Route,
    Veth,
    add,
    append,
    delete,
)

ALIAS_MAX_BYTES = 255
# Of a pod's pair. The kernel uses one each way unless it is told otherwise later, but would make one for each processor
# first and take them away again, which is a tenth of an ADD.
QUEUES = 1


class Attachment(msgspec.Struct, frozen=True):
    """One pod's interface in one network.

    Args:
        network: the configuration.
        owner: whose links these are: a reaper touches only links that carry its own mark.
        link: the node's end.
        ifname: the pod's end.
        addresses: one per range set, in their order.
        mtu_bytes: of both ends.
        netns: path of the pod's namespace, for the result.
        bridge_mac: the bridge's, for the result.
    """

    network: Network
    owner: str
    container: str
    link: str
    ifname: str
    addresses: tuple[IP, ...]
    mtu_bytes: int
    netns: str = ""
    bridge_mac: str = ""


class Wiring(msgspec.Struct, frozen=True):
    """Requests for the node's namespace, then for the pod's."""

    node: tuple[Request, ...]
    pod: tuple[Request, ...]


def link_name(network: str, container: str, ifname: str) -> str:
    """The node's end of a pod's pair: the same for the same attachment, so DEL finds it even without its lease."""
    return names.fitted("veth", network, container, ifname)


def owner_mark(state_dir: str) -> str:
    """Whose links are whose: one mark per lease store, so that two stores on one node do not reap each other's."""
    return names.fitted("np-", state_dir)


def alias(attachment: Attachment) -> str:
    """The mark on the node's end: whose it is, what it belongs to, and its addresses: enough to find a lost lease."""
    addresses = ",".join(map(str, attachment.addresses))
    words = (attachment.owner, attachment.network.name, attachment.container, attachment.ifname, addresses)
    return " ".join(words)[:ALIAS_MAX_BYTES]


def read_alias(text: str, owner: str) -> tuple[str, str, str, tuple[IP, ...]] | None:
    """(network, container, interface, addresses) of a link of `owner`; None when the mark is cut short or another's."""
    words = text.split(" ")
    if len(words) != 5 or words[0] != owner or len(text) == ALIAS_MAX_BYTES:
        return None
    return words[1], words[2], words[3], tuple(ip_address(a) for a in words[4].split(",") if a)


def pod_mac(attachment: Attachment) -> str:
    """The pod's MAC address: asked for, or made of its IPv4 address, so that a reused address is never a stale ARP
    entry; a hash of the address when there is no IPv4, and of who it is when there is none at all.
    """
    if attachment.network.mac:
        return attachment.network.mac
    for address in attachment.addresses:
        if address.version == 4:
            return "0a:58:" + address.packed.hex(":")
    if not attachment.addresses:
        return names.mac("pod", attachment.link)
    return names.mac(*map(str, attachment.addresses))


def link_mac(attachment: Attachment) -> str:
    """The MAC address of the node's end."""
    return names.mac("node end", attachment.link)


def wiring(attachment: Attachment, pod_netns: int | None) -> Wiring:
    """Everything ADD asks of the kernel for one pod. `pod_netns` is a descriptor of the pod's namespace."""
    network, mtu = attachment.network, attachment.mtu_bytes
    veth = Veth(attachment.ifname, pod_netns, pod_mac(attachment), mtu, QUEUES)
    end = Link(attachment.link, veth, mac=link_mac(attachment), mtu=mtu, master=network.bridge, up=True, queues=QUEUES)
    node = (
        add(end),
        Change(
            attachment.link,
            port=BridgePort(hairpin=network.hairpin, isolated=network.isolated),
            alias=alias(attachment),
        ),
        *vlan.requests(attachment.link, network.vlans),
    )
    pod: list[Request] = [Change("lo", up=True)]
    pod += [] if network.pod_end_down else [Change(attachment.ifname, up=True)]
    nodad = {4: False, 6: not network.dad}
    pod += [add(Address(attachment.ifname, i, nodad=nodad[i.version])) for i in interfaces(attachment)]
    # A second interface may lead to the same places: the first one's routes stay the ones that are taken.
    pod += [append(_route(attachment, route)) for route in routes(attachment)]
    return Wiring(node, tuple(pod))


def interfaces(attachment: Attachment) -> list[Interface]:
    """The pod's addresses with their prefixes."""
    found: list[Interface] = []
    for address, ranges in zip(attachment.addresses, attachment.network.ranges, strict=True):
        length = address.max_prefixlen if attachment.network.host_prefix else _range(ranges, address).subnet.prefixlen
        found.append(ip_interface((address, length)))
    return found


def routes(attachment: Attachment) -> list[RouteTo]:
    """The pod's routes, each with its gateway: the configured ones, and with `host_prefix` at least its own subnets."""
    network = attachment.network
    found = [msgspec.structs.replace(r, via=r.via or _gateway(attachment, r.dst.version)) for r in network.routes]
    if network.host_prefix:
        default = {route.dst.version for route in found if route.dst.prefixlen == 0}
        subnets = [
            _range(ranges, address) for address, ranges in zip(attachment.addresses, network.ranges, strict=True)
        ]
        found += [RouteTo(r.subnet, r.gateway) for r in subnets if r.subnet.version not in default]
    return [route for route in found if route.via is not None]


def _route(attachment: Attachment, route: RouteTo) -> Route:
    return Route(
        route.dst,
        route.via,
        attachment.ifname,
        onlink=attachment.network.host_prefix,
        scope="" if route.scope is None else ROUTE_SCOPES[route.scope],
        metric=route.priority,
        table=MAIN_TABLE if route.table is None else route.table,
        mtu=route.mtu,
        advmss=route.advmss,
    )


def _range(ranges: ipam.RangeSet, address: IP) -> ipam.Range:
    found = ipam.range_of(ranges, address)
    assert found is not None, f"{address} was not taken from {ipam.describe(ranges)}"
    return found


def _gateway(attachment: Attachment, version: int) -> IP | None:
    for address, ranges in zip(attachment.addresses, attachment.network.ranges, strict=True):
        if address.version == version:
            return _range(ranges, address).gateway
    return None


def result(attachment: Attachment) -> Result:
    """What ADD answers: bridge, node's end, pod's end, a VLAN's gateway; addresses and routes of the pod's end."""
    network = attachment.network
    mtu = attachment.mtu_bytes
    links = [
        NetInterface(network.bridge, mtu=mtu, mac=attachment.bridge_mac),
        NetInterface(attachment.link, link_mac(attachment), mtu=mtu),
        NetInterface(attachment.ifname, pod_mac(attachment), attachment.netns, mtu),
    ]
    if network.vlans.own and network.is_gateway and attachment.addresses:
        links.append(NetInterface(network.gateway_dev, gateway_mac(network), mtu=mtu))
    ips = tuple(AssignedIP(i, _gateway(attachment, i.version), 2) for i in interfaces(attachment))
    return Result(tuple(links), ips, tuple(routes(attachment)), network.dns)


# The bridge ---------------------------------------------------------------------------------------------------


def bridge_mac(network: Network) -> str:
    """A MAC address that does not change with the bridge's ports."""
    gateways = [str(r.gateway) for ranges in network.ranges for r in ranges]
    return names.mac("bridge", network.bridge, *gateways[:1])


def gateways(network: Network) -> list[Address]:
    """The addresses the node has as its pods' gateway."""
    flat = [r for ranges in network.ranges for r in ranges]
    return [
        Address(network.gateway_dev, ip_interface((r.gateway, r.subnet.prefixlen)), nodad=r.subnet.version == 6)
        for r in flat
    ]


def gateway_mac(network: Network) -> str:
    """The MAC address of a VLAN's gateway."""
    return names.mac("gateway", network.gateway_dev)


def bridge(network: Network, found: Link | None) -> list[Request]:
    """What is missing of the bridge itself.

    Its MTU would follow its ports' until it has been changed once; so it is made one byte off and then changed.

    Args:
        network: what it should be.
        found: the link of that name, if there is one.
    """
    requests: list[Request] = []
    mtu = network.mtu_bytes or (found.mtu if found else 1500)
    filtering = True if network.vlans else None
    if found is None:
        kind = Bridge(vlan_filtering=filtering)
        off = mtu - 1 if mtu > MTU_MIN_BYTES else mtu + 1
        requests.append(add(Link(network.bridge, kind, mac=bridge_mac(network), mtu=off)))
    elif filtering and not (isinstance(found.kind, Bridge) and found.kind.vlan_filtering):
        requests.append(Change(network.bridge, vlan_filtering=True))
    if found is None or found.mtu != mtu or not found.up or (network.promisc and not found.promisc):
        promisc = True if network.promisc else None
        requests.append(Change(network.bridge, mtu=mtu, up=True, promisc=promisc))
    return requests


def gateway(network: Network, mtu_bytes: int, addresses: Sequence[Address] | None) -> list[Request]:
    """What is missing of the gateway: its addresses, and in a VLAN the interface that has them.

    Args:
        network: what it should be.
        mtu_bytes: the bridge's.
        addresses: those its interface has; None when there is no such interface.
    """
    if not network.is_gateway or not network.ranges:
        return []
    made = _vlan_gateway(network, mtu_bytes) if addresses is None else []
    found = addresses or ()
    have = {a.interface for a in found}
    in_the_way = [a for a in found if network.force_address and _in_the_way(a, gateways(network))]
    missing = [add(address) for address in gateways(network) if address.interface not in have]
    return [*made, *(delete(a) for a in in_the_way), *missing]


def _vlan_gateway(network: Network, mtu: int) -> list[Request]:
    """A veth pair, as the reference bridge makes it: it needs no VLAN devices of the kernel."""
    port = names.fitted("veth", "gateway", network.gateway_dev)
    veth = Veth(network.gateway_dev, peer_mac=gateway_mac(network), peer_mtu=mtu)
    own = msgspec.structs.replace(network.vlans, trunk=())
    return [
        add(Link(port, veth, mtu=mtu, master=network.bridge, up=True)),
        *vlan.requests(port, own),
        Change(network.gateway_dev, up=True),
    ]


def _in_the_way(have: Address, wanted: Sequence[Address]) -> bool:
    """What `forceAddress` removes, as the reference bridge does: other IPv4 addresses, and IPv6 of the same subnet."""
    mine, others = have.interface, [a.interface for a in wanted if a.interface.version == have.interface.version]
    if not others or mine in others or have.scope == "link":
        return False
    return mine.version == 4 or any(mine.ip in o.network or o.ip in mine.network for o in others)


def families(network: Network) -> set[int]:
    """IP versions of the ranges."""
    return {r.subnet.version for ranges in network.ranges for r in ranges}
