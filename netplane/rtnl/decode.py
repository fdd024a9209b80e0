"""Dumps → values. What the kernel fills in by itself (a route's automatic scope, IPv6's default metric) reads back as
the default, so that a value that was added equals the value that a dump finds.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import Any

import msgspec

from netplane.net import netlink as nl
from netplane.rtnl import encode as e
from netplane.rtnl.values import (
    IP,
    Address,
    Bridge,
    BridgePort,
    Dummy,
    FdbEntry,
    Ifb,
    Link,
    LinkKind,
    Neighbour,
    Network,
    Other,
    PortVlan,
    Route,
    Veth,
    Vxlan,
)

_IPV6_DEFAULT_METRIC = 1024
_RTM_F_CLONED = 0x200
_SCOPE_NAMES = {number: name for name, number in e.SCOPES.items()}
_KIND_NAMES = {number: name for name, number in e.ROUTE_KINDS.items()}
_STATE_NAMES = {number: name for name, number in e.STATES.items()}

Names = Mapping[int, str]


def ip(packed: bytes) -> IP:
    """4 or 16 bytes → address."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def network(family: int, packed: bytes | None, prefixlen: int) -> Network:
    """A prefix; without bytes the whole family."""
    if family == e.AF_INET:
        return IPv4Network((packed or bytes(4), prefixlen))
    return IPv6Network((packed or bytes(16), prefixlen))


def link_names(messages: Iterable[nl.Message]) -> dict[int, str]:
    """Index → name."""
    found = {}
    for message in messages:
        _, _, index, _, _ = e.IFINFO.unpack_from(message.payload)
        found[index] = nl.string(nl.attr_map(message.payload, e.IFINFO.size).get(e.IFLA_IFNAME, b""))
    return found


def links(messages: Iterable[nl.Message], names: Names | None = None) -> list[Link]:
    """All links of a dump. `names` knows the masters when the dump is not whole."""
    batch = [m for m in messages if m.type == e.RTM_NEWLINK]
    known = dict(names or {}) | link_names(batch)
    return [_link(message, known) for message in batch]


def _link(message: nl.Message, names: Names) -> Link:
    _, _, index, flags, _ = e.IFINFO.unpack_from(message.payload)
    found = nl.attr_map(message.payload, e.IFINFO.size)
    info = nl.attr_map(found.get(e.IFLA_LINKINFO, b""))
    return Link(
        name=names[index],
        kind=_kind(found, info, names),
        mac=found[e.IFLA_ADDRESS].hex(":") if len(found.get(e.IFLA_ADDRESS, b"")) == 6 else "",
        mtu=nl.u32(found[e.IFLA_MTU]),
        up=bool(flags & e.IFF_UP),
        master=names.get(nl.u32(found[e.IFLA_MASTER]), "") if e.IFLA_MASTER in found else "",
        port=_port(info),
        group=nl.u32(found.get(e.IFLA_GROUP, bytes(4))),
        alias=nl.string(found.get(e.IFLA_IFALIAS, b"")),
        promisc=bool(flags & e.IFF_PROMISC),
        index=index,
    )


def _kind(found: Mapping[int, bytes], info: Mapping[int, bytes], names: Names) -> LinkKind:
    name, data = nl.string(info.get(e.INFO_KIND, b"")), nl.attr_map(info.get(e.INFO_DATA, b""))
    match name:
        case "veth":
            return Veth(peer_index=nl.u32(found.get(e.IFLA_LINK, bytes(4))))
        case "bridge":
            return Bridge(_bool(data, e.BR_MCAST_SNOOPING), _bool(data, e.BR_VLAN_FILTERING))
        case "vxlan":
            return _vxlan(data, names)
        case "dummy":
            return Dummy()
        case "ifb":
            return Ifb()
        case _:
            return Other(name)


def _bool(data: Mapping[int, bytes], kind: int) -> bool | None:
    return bool(data[kind][0]) if kind in data else None


def _vxlan(data: Mapping[int, bytes], names: Names) -> Vxlan:
    local = data.get(e.VXLAN_LOCAL) or data.get(e.VXLAN_LOCAL6)
    return Vxlan(
        vni=nl.u32(data[e.VXLAN_ID]),
        port=int.from_bytes(data[e.VXLAN_PORT], "big"),
        local=ip(local) if local else None,
        dev=names.get(nl.u32(data[e.VXLAN_LINK]), "") if e.VXLAN_LINK in data else "",
        learning=bool(_bool(data, e.VXLAN_LEARNING)),
        tx_checksum=_bool(data, e.VXLAN_UDP_CSUM),
    )


def _port(info: Mapping[int, bytes]) -> BridgePort | None:
    if nl.string(info.get(e.INFO_SLAVE_KIND, b"")) != "bridge":
        return None
    data = nl.attr_map(info.get(e.INFO_SLAVE_DATA, b""))
    return BridgePort(*(bool(_bool(data, k)) for k in (e.BRPORT_MODE, e.BRPORT_LEARNING, e.BRPORT_ISOLATED)))


def addresses(messages: Iterable[nl.Message], names: Names) -> list[Address]:
    """All addresses of a dump."""
    return [_address(m, names) for m in messages if m.type == e.RTM_NEWADDR]


def _address(message: nl.Message, names: Names) -> Address:
    _, prefixlen, flags, scope, index = e.IFADDR.unpack_from(message.payload)
    found = nl.attr_map(message.payload, e.IFADDR.size)
    flags = nl.u32(found[e.IFA_FLAGS]) if e.IFA_FLAGS in found else flags
    packed = found.get(e.IFA_LOCAL) or found[e.IFA_ADDRESS]
    label: Any = {"global": ""}.get(_SCOPE_NAMES.get(scope, ""), _SCOPE_NAMES.get(scope, ""))
    nodad, noprefixroute = bool(flags & e.IFA_F_NODAD), bool(flags & e.IFA_F_NOPREFIXROUTE)
    asked: Any = "duplicate" if flags & e.IFA_F_DADFAILED else "tentative" if flags & e.IFA_F_TENTATIVE else ""
    return Address(names.get(index, ""), ip_interface((ip(packed), prefixlen)), nodad, noprefixroute, label, asked)


def routes(messages: Iterable[nl.Message], names: Names) -> list[Route]:
    """Routes of a dump, without the kernel's cached clones."""
    return [route for m in messages if m.type == e.RTM_NEWROUTE for route in _route(m, names)]


def _route(message: nl.Message, names: Names) -> Iterator[Route]:
    family, dst_len, _, _, table, proto, scope, kind, flags = e.RTMSG.unpack_from(message.payload)
    if family not in (e.AF_INET, e.AF_INET6) or flags & _RTM_F_CLONED:
        return
    found = nl.attr_map(message.payload, e.RTMSG.size)
    metric = nl.u32(found.get(e.RTA_PRIORITY, bytes(4)))
    metrics = nl.attr_map(found.get(e.RTA_METRICS, b""))
    route_kind: Any = _KIND_NAMES.get(kind, "other")
    route = Route(
        dst=network(family, found.get(e.RTA_DST), dst_len),
        src=ip(found[e.RTA_PREFSRC]) if e.RTA_PREFSRC in found else None,
        metric=0 if family == e.AF_INET6 and metric == _IPV6_DEFAULT_METRIC else metric,
        table=nl.u32(found[e.RTA_TABLE]) if e.RTA_TABLE in found else table,
        proto=proto,
        mtu=nl.u32(metrics.get(e.RTAX_MTU, bytes(4))),
        advmss=nl.u32(metrics.get(e.RTAX_ADVMSS, bytes(4))),
        kind=route_kind,
    )
    name: Any = _SCOPE_NAMES.get(scope, "")
    for via, dev, hop_flags in _hops(found, flags):
        onlink = bool(hop_flags & e.RTNH_F_ONLINK)
        one = msgspec.structs.replace(route, via=via, dev=names.get(dev, ""), onlink=onlink)
        yield one if name == e.automatic_scope(one) else msgspec.structs.replace(one, scope=name)


def _hops(found: Mapping[int, bytes], flags: int) -> Iterator[tuple[IP | None, int, int]]:
    """Next hop, index and flags of each way of a route; several ways lie in one attribute."""
    if e.RTA_MULTIPATH not in found:
        yield _gateway(found), nl.u32(found[e.RTA_OIF]) if e.RTA_OIF in found else 0, flags
        return
    packed = found[e.RTA_MULTIPATH]
    while len(packed) >= e.NEXT_HOP.size:
        length, flags, _, index = e.NEXT_HOP.unpack_from(packed)
        yield _gateway(nl.attr_map(packed[e.NEXT_HOP.size : length])), index, flags
        packed = packed[(max(length, e.NEXT_HOP.size) + 3) & ~3 :]


def _gateway(attrs: Mapping[int, bytes]) -> IP | None:
    return ip(attrs[e.RTA_GATEWAY]) if e.RTA_GATEWAY in attrs else None


def neighbours(messages: Iterable[nl.Message], names: Names) -> list[Neighbour]:
    """ARP and neighbour discovery entries of a dump."""
    found = []
    for message in messages:
        family, index, state, flags, _ = e.NDMSG.unpack_from(message.payload)
        attrs = nl.attr_map(message.payload, e.NDMSG.size)
        if message.type != e.RTM_NEWNEIGH or family not in (e.AF_INET, e.AF_INET6) or e.NDA_DST not in attrs:
            continue
        mac, name = attrs.get(e.NDA_LLADDR, b""), names.get(index, "")
        word: Any = _STATE_NAMES.get(state, "other")
        found.append(Neighbour(name, ip(attrs[e.NDA_DST]), mac.hex(":"), word, bool(flags & e.NTF_PROXY)))
    return found


def fdb(messages: Iterable[nl.Message], names: Names) -> list[FdbEntry]:
    """FDB entries of a dump."""
    found = []
    for message in messages:
        family, index, state, flags, _ = e.NDMSG.unpack_from(message.payload)
        attrs = nl.attr_map(message.payload, e.NDMSG.size)
        if message.type != e.RTM_NEWNEIGH or family != e.AF_BRIDGE or len(attrs.get(e.NDA_LLADDR, b"")) != 6:
            continue
        dst = ip(attrs[e.NDA_DST]) if e.NDA_DST in attrs else None
        permanent = bool(state & e.STATES["permanent"])
        mac = attrs[e.NDA_LLADDR].hex(":")
        found.append(FdbEntry(names.get(index, ""), mac, dst, not flags & e.NTF_SELF, permanent))
    return found


def vlans(messages: Iterable[nl.Message], dev: str, index: int) -> list[PortVlan]:
    """VLANs of one port, of a dump of AF_BRIDGE with its VLANs as ranges."""
    for message in messages:
        family, _, found, _, _ = e.IFINFO.unpack_from(message.payload)
        if message.type == e.RTM_NEWLINK and family == e.AF_BRIDGE and found == index:
            spec = nl.attr_map(message.payload, e.IFINFO.size).get(e.IFLA_AF_SPEC, b"")
            infos = [e.VLAN_INFO.unpack_from(body) for kind, body in nl.attrs(spec) if kind == e.IFLA_BRIDGE_VLAN_INFO]
            return list(_vlan_ranges(dev, infos))
    return []


def _vlan_ranges(dev: str, infos: Iterable[tuple[int, ...]]) -> Iterator[PortVlan]:
    begin = 0
    for flags, vid in infos:
        if flags & e.VLAN_RANGE_BEGIN:
            begin = vid
            continue
        range_end = vid if flags & e.VLAN_RANGE_END else 0
        yield PortVlan(dev, begin or vid, range_end, bool(flags & e.VLAN_PVID), bool(flags & e.VLAN_UNTAGGED))
        begin = 0
