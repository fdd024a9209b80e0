"""Requests → rtnetlink bytes (rtnetlink(7); linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h).

Requests name links; most messages want an index, so encoders are given `index`, which looks one up. What a request
needs looked up before it can be encoded is `needs(request)`: a sender can put many messages in one send as long as
none needs a link that an earlier one of them makes.
"""

import struct
from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

from netplane.net import netlink as nl
from netplane.rtnl import shaping
from netplane.rtnl.requests import Add, Change, Delete, DeleteGroup, Request
from netplane.rtnl.shaping import Ingress, Redirect, TokenBucket
from netplane.rtnl.values import (
    IP,
    Address,
    Bridge,
    BridgePort,
    FdbEntry,
    Link,
    LinkKind,
    Neighbour,
    Network,
    PortVlan,
    Route,
    Veth,
    Vxlan,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
AF_OF_VERSION = {4: AF_INET, 6: AF_INET6}

IFF_UP, IFF_PROMISC = 0x1, 0x100
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 20, 26, 27, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6, VXLAN_UDP_CSUM = 1, 3, 4, 7, 15, 17, 18
BR_VLAN_FILTERING, BR_MCAST_SNOOPING = 7, 23
BRPORT_MODE, BRPORT_LEARNING, BRPORT_ISOLATED = 4, 8, 33
# linux/if_bridge.h, bridge_vlan_info: flags, then the identifier.
IFLA_BRIDGE_VLAN_INFO, RTEXT_FILTER_BRVLAN_COMPRESSED = 2, 4
VLAN_PVID, VLAN_UNTAGGED, VLAN_RANGE_BEGIN, VLAN_RANGE_END = 0x02, 0x04, 0x08, 0x10
VLAN_INFO = struct.Struct("=HH")

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_NOPREFIXROUTE = 0x02, 0x08, 0x40, 0x200

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_TABLE = (
    1,
    4,
    5,
    6,
    7,
    8,
    9,
    15,
)
RTAX_MTU, RTAX_ADVMSS = 2, 8
RTNH_F_ONLINK = 4
SCOPES = {"global": 0, "link": 253, "host": 254}
ROUTE_KINDS = {"unicast": 1, "local": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8}

NDA_DST, NDA_LLADDR = 1, 2
NTF_SELF, NTF_MASTER, NTF_PROXY = 0x02, 0x04, 0x08
STATES = {"permanent": 0x80, "noarp": 0x40, "reachable": 0x02, "stale": 0x04}
_NUD_NOARP = STATES["noarp"]

IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, protocol, scope, type, flags
NEXT_HOP = struct.Struct("=HBBi")  # length, flags, weight - 1, index; attributes follow
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

Index = Callable[[str], int]


class Encoded(NamedTuple):
    """A message without its sequence number."""

    type: int
    flags: int
    payload: bytes


_CREATE = nl.NLM_F_REQUEST | nl.NLM_F_ACK | nl.NLM_F_CREATE
_PLAIN = nl.NLM_F_REQUEST | nl.NLM_F_ACK


def needs(request: Request) -> set[str]:
    """Names of the links whose index the request's encoding looks up."""
    match request:
        case Add(Link() as link):
            return {n for n in (link.master, link.kind.dev if isinstance(link.kind, Vxlan) else "") if n}
        case Change():
            return {n for n in (request.master, request.name if request.rename else "") if n}
        case Delete(Link()) | DeleteGroup():
            return set()
        case Add(Redirect(dev, to)) | Delete(Redirect(dev, to)):
            return {dev, to}
        case Add(value) | Delete(value):
            dev = value.dev if not isinstance(value, Link) else ""
            return {dev} if dev else set()


def encode(request: Request, index: Index) -> Encoded:
    """The message that carries the request. `index` maps a link's name to its index (KeyError or OSError escape)."""
    match request:
        case Change():
            return Encoded(RTM_NEWLINK, _PLAIN, _change(request, index))
        case DeleteGroup(group):
            return Encoded(RTM_DELLINK, _PLAIN, IFINFO.pack(0, 0, 0, 0, 0) + nl.attr_u32(IFLA_GROUP, group))
        case Delete(PortVlan() as vlan):
            return Encoded(RTM_DELLINK, _PLAIN, _vlan(vlan, index))
        case Delete(Link() as link):
            return Encoded(RTM_DELLINK, _PLAIN, IFINFO.pack(0, 0, 0, 0, 0) + nl.attr_str(IFLA_IFNAME, link.name))
        case Add(value, replace, append):
            kind, payload = _body(value, index)
            how = nl.NLM_F_REPLACE if replace else nl.NLM_F_APPEND if append else nl.NLM_F_EXCL
            return Encoded(kind, _CREATE | how, payload)
        case Delete(value):
            kind, payload = _body(value, index)
            return Encoded(kind + 1, _PLAIN, payload)


@singledispatch
def _body(value: object, index: Index) -> tuple[int, bytes]:
    raise TypeError(f"{value!r} is no rtnetlink value")


@_body.register
def _(link: Link, index: Index) -> tuple[int, bytes]:
    flags = (IFF_UP if link.up else 0) | (IFF_PROMISC if link.promisc else 0)
    parts = [IFINFO.pack(0, 0, 0, flags, flags), nl.attr_str(IFLA_IFNAME, link.name)]
    parts += _link_attrs(link.mac or None, link.mtu or None, link.group or None, link.netns) + _queues(link.queues)
    if link.master:
        parts.append(nl.attr_u32(IFLA_MASTER, index(link.master)))
    parts.append(nl.nested(IFLA_LINKINFO, nl.attr_str(INFO_KIND, kind_name(link.kind)), _kind_data(link.kind, index)))
    return RTM_NEWLINK, b"".join(parts)


@_body.register
def _(address: Address, index: Index) -> tuple[int, bytes]:
    interface = address.interface
    flags = (IFA_F_NODAD if address.nodad else 0) | (IFA_F_NOPREFIXROUTE if address.noprefixroute else 0)
    head = IFADDR.pack(
        AF_OF_VERSION[interface.version],
        interface.network.prefixlen,
        0,
        SCOPES[address.scope or "global"],
        index(address.dev),
    )
    packed = interface.ip.packed
    parts = [head, nl.attr(IFA_LOCAL, packed), nl.attr(IFA_ADDRESS, packed)]
    if interface.version == 4 and interface.network.prefixlen < 31:
        parts.append(nl.attr(IFA_BROADCAST, interface.network.broadcast_address.packed))
    return RTM_NEWADDR, b"".join([*parts, nl.attr_u32(IFA_FLAGS, flags)])


@_body.register
def _(route: Route, index: Index) -> tuple[int, bytes]:
    head = RTMSG.pack(
        AF_OF_VERSION[route.dst.version],
        route.dst.prefixlen,
        0,
        0,
        route.table if route.table < 256 else 0,
        route.proto,
        SCOPES[route.scope or automatic_scope(route)],
        ROUTE_KINDS[route.kind],
        RTNH_F_ONLINK if route.onlink else 0,
    )
    parts = [head, nl.attr_u32(RTA_TABLE, route.table)]
    if route.dst.prefixlen:
        parts.append(nl.attr(RTA_DST, route.dst.network_address.packed))
    parts += [nl.attr(kind, ip.packed) for kind, ip in ((RTA_GATEWAY, route.via), (RTA_PREFSRC, route.src)) if ip]
    if route.dev:
        parts.append(nl.attr_u32(RTA_OIF, index(route.dev)))
    if route.metric:
        parts.append(nl.attr_u32(RTA_PRIORITY, route.metric))
    if metrics := [nl.attr_u32(k, v) for k, v in ((RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss)) if v]:
        parts.append(nl.nested(RTA_METRICS, *metrics))
    return RTM_NEWROUTE, b"".join(parts)


@_body.register
def _(neighbour: Neighbour, index: Index) -> tuple[int, bytes]:
    flags = NTF_PROXY if neighbour.proxy else 0
    state = STATES.get(neighbour.state, 0)
    head = NDMSG.pack(AF_OF_VERSION[neighbour.ip.version], index(neighbour.dev), state, flags, 0)
    mac = nl.attr(NDA_LLADDR, mac_bytes(neighbour.mac)) if neighbour.mac else b""
    return RTM_NEWNEIGH, head + nl.attr(NDA_DST, neighbour.ip.packed) + mac


@_body.register
def _(entry: FdbEntry, index: Index) -> tuple[int, bytes]:
    state = STATES["permanent"] if entry.permanent else _NUD_NOARP
    head = NDMSG.pack(AF_BRIDGE, index(entry.dev), state, NTF_MASTER if entry.master else NTF_SELF, 0)
    dst = nl.attr(NDA_DST, entry.dst.packed) if entry.dst is not None else b""
    return RTM_NEWNEIGH, head + nl.attr(NDA_LLADDR, mac_bytes(entry.mac)) + dst


@_body.register
def _(value: PortVlan, index: Index) -> tuple[int, bytes]:
    return RTM_SETLINK, _vlan(value, index)


def _vlan(vlan: PortVlan, index: Index) -> bytes:
    flags = (VLAN_PVID if vlan.pvid else 0) | (VLAN_UNTAGGED if vlan.untagged else 0)
    ends = [(flags, vlan.first)]
    if vlan.last > vlan.first:
        ends = [(flags | VLAN_RANGE_BEGIN, vlan.first), (flags | VLAN_RANGE_END, vlan.last)]
    found = (nl.attr(IFLA_BRIDGE_VLAN_INFO, VLAN_INFO.pack(*end)) for end in ends)
    return IFINFO.pack(AF_BRIDGE, 0, index(vlan.dev), 0, 0) + nl.nested(IFLA_AF_SPEC, *found)


@_body.register
def _(value: TokenBucket, index: Index) -> tuple[int, bytes]:
    return shaping.bucket(value, index(value.dev))


@_body.register
def _(value: Ingress, index: Index) -> tuple[int, bytes]:
    return shaping.ingress(index(value.dev))


@_body.register
def _(value: Redirect, index: Index) -> tuple[int, bytes]:
    return shaping.redirect(index(value.dev), index(value.to), value.classifier)


def _change(change: Change, index: Index) -> bytes:
    flags = (IFF_UP if change.up else 0) | (IFF_PROMISC if change.promisc else 0)
    mask = (IFF_UP if change.up is not None else 0) | (IFF_PROMISC if change.promisc is not None else 0)
    parts: list[bytes] = []
    if change.rename is None:
        # By name: no lookup is needed, so the message may share a send with the one that makes the link.
        parts += [IFINFO.pack(0, 0, 0, flags, mask), nl.attr_str(IFLA_IFNAME, change.name)]
    else:
        parts += [IFINFO.pack(0, 0, index(change.name), flags, mask), nl.attr_str(IFLA_IFNAME, change.rename)]
    parts += _link_attrs(change.mac, change.mtu, change.group, change.netns)
    if change.alias is not None:
        parts.append(nl.attr(IFLA_IFALIAS, change.alias.encode()))
    if change.master is not None:
        parts.append(nl.attr_u32(IFLA_MASTER, index(change.master) if change.master else 0))
    if change.port is not None:
        slave = (nl.attr_str(INFO_SLAVE_KIND, "bridge"), _port_data(change.port))
        parts.append(nl.nested(IFLA_LINKINFO, *slave))
    if change.vlan_filtering is not None:
        data = nl.nested(INFO_DATA, nl.attr_u8(BR_VLAN_FILTERING, int(change.vlan_filtering)))
        parts.append(nl.nested(IFLA_LINKINFO, nl.attr_str(INFO_KIND, "bridge"), data))
    return b"".join(parts)


def _link_attrs(mac: str | None, mtu: int | None, group: int | None, netns: int | None) -> list[bytes]:
    parts = [nl.attr(IFLA_ADDRESS, mac_bytes(mac))] if mac else []
    numbers = ((IFLA_MTU, mtu), (IFLA_GROUP, group), (IFLA_NET_NS_FD, netns))
    return parts + [nl.attr_u32(kind, value) for kind, value in numbers if value is not None]


def _queues(count: int) -> list[bytes]:
    return [nl.attr_u32(kind, count) for kind in (IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES) if count]


def kind_name(kind: LinkKind) -> str:
    """The kind's name in the kernel: `veth`, `bridge`, …"""
    return str(kind).split(" ", 1)[0]


def _kind_data(kind: LinkKind, index: Index) -> bytes:
    match kind:
        case Veth():
            peer = [IFINFO.pack(0, 0, 0, 0, 0), nl.attr_str(IFLA_IFNAME, kind.peer)]
            peer += _link_attrs(kind.peer_mac or None, kind.peer_mtu or None, None, kind.peer_netns)
            peer += _queues(kind.peer_queues)
            return nl.nested(INFO_DATA, nl.nested(VETH_INFO_PEER, *peer))
        case Vxlan():
            return nl.nested(INFO_DATA, *_vxlan_data(kind, index))
        case Bridge():
            switches = ((BR_VLAN_FILTERING, kind.vlan_filtering), (BR_MCAST_SNOOPING, kind.mcast_snooping))
            return nl.nested(INFO_DATA, *(nl.attr_u8(k, int(v)) for k, v in switches if v is not None))
        case _:
            return b""


def _vxlan_data(kind: Vxlan, index: Index) -> list[bytes]:
    parts = [
        nl.attr_u32(VXLAN_ID, kind.vni),
        nl.attr_be16(VXLAN_PORT, kind.port),
        nl.attr_u8(VXLAN_LEARNING, int(kind.learning)),
    ]
    if kind.dev:
        parts.append(nl.attr_u32(VXLAN_LINK, index(kind.dev)))
    if kind.local is not None:
        parts.append(nl.attr(VXLAN_LOCAL if kind.local.version == 4 else VXLAN_LOCAL6, kind.local.packed))
    if kind.tx_checksum is not None:
        parts.append(nl.attr_u8(VXLAN_UDP_CSUM, int(kind.tx_checksum)))
    return parts


def _port_data(port: BridgePort) -> bytes:
    switches = ((BRPORT_MODE, port.hairpin), (BRPORT_LEARNING, port.learning), (BRPORT_ISOLATED, port.isolated))
    return nl.nested(INFO_SLAVE_DATA, *(nl.attr_u8(kind, int(on)) for kind, on in switches))


def automatic_scope(route: Route) -> str:
    """The scope `ip route` gives a route that names none: host for local ones, link without a next hop."""
    if route.kind == "local":
        return "host"
    if route.dst.version == 6 or route.via is not None or route.kind != "unicast":
        return "global"
    return "link"


def mac_bytes(mac: str) -> bytes:
    """`0a:58:…` → 6 bytes. Raises ValueError on anything else."""
    packed = bytes.fromhex(mac.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"{mac!r} is no MAC address")
    return packed


def family_of(value: IP | Network) -> int:
    """AF_INET or AF_INET6."""
    return AF_OF_VERSION[value.version]
