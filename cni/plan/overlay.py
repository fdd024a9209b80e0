"""How this node's pods reach the other nodes': what the kernel should hold, and what to change of what it holds.

    node A 192.0.2.1, pods 10.244.1.0/24            node B 192.0.2.2, pods 10.244.2.0/24
    route 10.244.2.0/24 via 10.244.2.1 dev vx onlink
    neighbour 10.244.2.1 ─▶ B's MAC, permanent      the MAC is a hash of B's underlay address: nothing has to be
    FDB B's MAC ─▶ 192.0.2.2                        published, every node knows every other's from the Node list

No multicast and no learning (RFC 7348 allows both): three entries per peer say everything. The tunnel device has the
same address as the bridge, with a host prefix: masquerading on the way out of it needs one (inet_select_addr), and a
peer sees the node by the address its pods know. `host-gw` is one route per peer and needs all nodes on one link.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Literal

import msgspec

from netplane.api.objects import Node
from netplane.net import names
from netplane.rtnl import (
    IP,
    Address,
    Change,
    FdbEntry,
    Link,
    Neighbour,
    Network,
    Request,
    Route,
    Vxlan,
    add,
    delete,
    delete_link,
    replace,
)

Mode = Literal["vxlan", "host-gw", "none"]
DEVICE = "netplane-vx1"
VNI, PORT = 1, 8472
# Outer Ethernet 14, UDP 8 and VXLAN 8 bytes, and an IP header of 20 or 40 (RFC 7348, section 5).
OVERHEAD_BYTES = {4: 50, 6: 70}
# Routes of ours carry this protocol number; others' on the same device are left alone.
ROUTE_PROTOCOL = 78


class Peer(msgspec.Struct, frozen=True):
    """A node: where it is and which pods it has."""

    name: str
    addresses: tuple[IP, ...]
    pod_cidrs: tuple[Network, ...]

    def address(self, version: int) -> IP | None:
        """Its first InternalIP of a family."""
        return next((a for a in self.addresses if a.version == version), None)


class Underlay(msgspec.Struct, frozen=True):
    """The interface that carries the node's traffic to its peers, and why it was chosen."""

    dev: str
    address: IP
    mtu_bytes: int
    reason: str

    def pod_mtu(self, mode: Mode) -> int:
        """What a pod's packet may measure so that its tunnel packet fits."""
        return self.mtu_bytes - (OVERHEAD_BYTES[self.address.version] if mode == "vxlan" else 0)


class State(msgspec.Struct, frozen=True):
    """The overlay's part of a node, as it should be or as it is."""

    link: Link | None = None
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()


def peer(node: Node) -> Peer | None:
    """A Node's addresses and pod ranges; None while it lacks either, or has one that cannot be read."""
    addresses = (node.status.addresses if node.status else None) or ()
    cidrs = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    try:
        internal = tuple(ip_address(a.address) for a in addresses if a.type == "InternalIP")
        ranges = tuple(ip_network(cidr) for cidr in cidrs)
    except ValueError:
        return None
    return Peer(node.metadata.name, internal, ranges) if internal and ranges else None


def choose_underlay(
    wanted: Sequence[IP], links: Sequence[Link], addresses: Sequence[Address], routes: Sequence[Route]
) -> Underlay | None:
    """The interface that has the node's InternalIP; where none has it (a NATed node), the default route's.

    Args:
        wanted: the node's InternalIPs, the first preferred.
        links: of the node.
        addresses: of the node.
        routes: of its main table.
    """
    by_name = {link.name: link for link in links if link.name != DEVICE}
    for ip in wanted:
        for address in addresses:
            if address.interface.ip == ip and address.dev in by_name:
                return Underlay(address.dev, ip, by_name[address.dev].mtu, f"it has the node's InternalIP {ip}")
    for route in sorted((r for r in routes if r.dst.prefixlen == 0), key=lambda r: r.metric):
        for address in addresses:
            mine = address.dev == route.dev and address.interface.version == route.dst.version and not address.scope
            if mine and address.dev in by_name:
                reason = "no interface has the node's InternalIP; this one has the default route"
                return Underlay(address.dev, address.interface.ip, by_name[address.dev].mtu, reason)
    return None


def device_mac(address: IP) -> str:
    """The MAC address of a node's tunnel end."""
    return names.mac("vxlan", str(address))


def gateway(cidr: Network) -> IP:
    """The first address of a node's range: its bridge has it."""
    return cidr.network_address + 1


def desired(mode: Mode, me: Peer, underlay: Underlay, peers: Iterable[Peer]) -> State:
    """What the kernel should hold. `peers` may hold this node; a peer without an address of the family is left out."""
    version = underlay.address.version
    others = [(p, ip) for p in peers if p.name != me.name and (ip := p.address(version)) is not None]
    if mode == "none":
        return State()
    if mode == "host-gw":
        return State(
            routes=tuple(
                Route(cidr, ip, underlay.dev, onlink=True, proto=ROUTE_PROTOCOL)
                for p, ip in others
                for cidr in p.pod_cidrs
                if cidr.version == version
            )
        )
    kind = Vxlan(VNI, PORT, underlay.address, underlay.dev, learning=False)
    link = Link(DEVICE, kind, mac=device_mac(_published(me, underlay)), mtu=underlay.pod_mtu(mode), up=True)
    ranges = [(cidr, ip) for p, ip in others for cidr in p.pod_cidrs]
    return State(
        link=link,
        addresses=tuple(_own_address(cidr) for cidr in me.pod_cidrs),
        routes=tuple(Route(c, gateway(c), DEVICE, onlink=True, proto=ROUTE_PROTOCOL) for c, _ in ranges),
        neighbours=tuple(Neighbour(DEVICE, gateway(c), device_mac(ip)) for c, ip in ranges),
        fdb=tuple(FdbEntry(DEVICE, device_mac(ip), ip) for _, ip in others),
    )


def _published(me: Peer, underlay: Underlay) -> IP:
    """The address peers make our MAC of: the one in the Node, even when NAT makes it differ from the interface's."""
    return me.address(underlay.address.version) or underlay.address


def _own_address(cidr: Network) -> Address:
    address = gateway(cidr)
    return Address(DEVICE, ip_interface((address, address.max_prefixlen)), nodad=address.version == 6)


def repair(want: State, have: State) -> list[Request]:
    """The difference, as requests that never take away what traffic uses now: replace by key, then delete the rest."""
    if _must_remake(want, have):
        return [delete_link(DEVICE, missing_ok=True), *repair(want, State(routes=_elsewhere(have)))]
    requests: list[Request] = []
    if want.link is not None:
        requests += _link(want.link, have.link)
    requests += [add(a) for a in want.addresses if a not in have.addresses]
    # Neighbour and FDB entry first: a route must never lead to a peer whose tunnel end is not known.
    fdb, neighbours = _by(have.fdb, "mac"), _by(have.neighbours, "ip")
    routes = {(r.dst, r.dev): r for r in have.routes}
    requests += [replace(entry) for entry in want.fdb if fdb.get(entry.mac) != entry]
    requests += [replace(n) for n in want.neighbours if neighbours.get(n.ip) != n]
    requests += [replace(r) for r in want.routes if routes.get((r.dst, r.dev)) != r]
    kept = {(r.dst, r.dev) for r in want.routes}
    requests += [delete(r, missing_ok=True) for key, r in routes.items() if key not in kept]
    requests += [delete(n, missing_ok=True) for ip, n in neighbours.items() if ip not in _by(want.neighbours, "ip")]
    requests += [delete(e, missing_ok=True) for mac, e in fdb.items() if mac not in _by(want.fdb, "mac")]
    requests += [delete(a, missing_ok=True) for a in have.addresses if a not in want.addresses]
    return requests


def _must_remake(want: State, have: State) -> bool:
    if have.link is None or want.link is None:
        return have.link is not None
    found, asked = have.link.kind, want.link.kind
    if not isinstance(found, Vxlan) or not isinstance(asked, Vxlan):
        return True
    return msgspec.structs.replace(found, tx_checksum=asked.tx_checksum) != asked


def _elsewhere(have: State) -> tuple[Route, ...]:
    return tuple(r for r in have.routes if r.dev != DEVICE)


def _link(want: Link, have: Link | None) -> list[Request]:
    if have is None:
        return [add(want)]
    if (have.mac, have.mtu, have.up) == (want.mac, want.mtu, want.up):
        return []
    mac = want.mac if want.mac != have.mac else None
    mtu = want.mtu if want.mtu != have.mtu else None
    return [Change(DEVICE, mac=mac, mtu=mtu, up=True)]


def _by(values: Iterable[FdbEntry | Neighbour], field: str) -> Mapping[object, FdbEntry | Neighbour]:
    return {getattr(value, field): value for value in values}


def observe(
    links: Sequence[Link],
    addresses: Sequence[Address],
    routes: Sequence[Route],
    neighbours: Sequence[Neighbour],
    fdb: Sequence[FdbEntry],
) -> State:
    """The overlay's part of what dumps found: our device with all that hangs on it, and our routes anywhere."""
    return State(
        link=next((link for link in links if link.name == DEVICE), None),
        addresses=tuple(a for a in addresses if a.dev == DEVICE and a.scope != "link"),
        routes=tuple(r for r in routes if r.proto == ROUTE_PROTOCOL),
        neighbours=tuple(n for n in neighbours if n.dev == DEVICE and n.state == "permanent"),
        fdb=tuple(e for e in fdb if e.dev == DEVICE and e.dst is not None),
    )
