"""How this node's pods reach the other nodes': what the kernel should hold, and what to change of what it holds.

    node A 192.0.2.1, pods 10.244.1.0/24            node B 192.0.2.2, pods 10.244.2.0/24
    route 10.244.2.0/24 via 10.244.2.1 dev vx onlink
    neighbour 10.244.2.1 ─▶ B's MAC, permanent      the MAC is a hash of B's underlay address: nothing has to be
    FDB B's MAC ─▶ 192.0.2.2                        published, every node knows every other's from the Node list

No multicast and no learning (RFC 7348 allows both): three entries per peer say everything. The tunnel device has the
same address as the bridge, with a host prefix: masquerading on the way out of it needs one (inet_select_addr), and a
peer sees the node by the address its pods know. `host-gw` is one route per peer and needs all nodes on one link; direct
routing does the same for those peers that are, and a tunnel for the others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Literal

import msgspec

from cni.plan.underlay import Underlay
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
_MAC = re.compile("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
# Routes of ours carry this protocol number; others' on the same device are left alone.
ROUTE_PROTOCOL = 78


class Peer(msgspec.Struct, frozen=True):
    """A node: where it is and which pods it has.

    Args:
        name: of its Node.
        addresses: its tunnel ends, at most one of them of each family counts: the first.
        pod_cidrs: of its pods.
        macs: of its tunnel end by family, where something else than Netplane gave it one.
    """

    name: str
    addresses: tuple[IP, ...]
    pod_cidrs: tuple[Network, ...]
    macs: tuple[tuple[int, str], ...] = ()

    def address(self, version: int) -> IP | None:
        """Its first address of a family."""
        return next((a for a in self.addresses if a.version == version), None)

    def mac(self, address: IP) -> str:
        """The MAC address of its tunnel end."""
        return dict(self.macs).get(address.version) or device_mac(address)


class Tunnel(msgspec.Struct, frozen=True):
    """How pods of other nodes are reached.

    Args:
        mode: through VXLAN, by plain routes (all nodes on one link), or by somebody else.
        vni: VXLAN network identifier.
        port: UDP port.
        direct: peers on the underlay's own link by plain routes, the others through VXLAN.
    """

    mode: Mode = "vxlan"
    vni: int = VNI
    port: int = PORT
    direct: bool = False

    def pod_mtu(self, underlay: Underlay) -> int:
        """What a pod's packet may measure so that its tunnel packet fits."""
        overhead = OVERHEAD_BYTES[underlay.address.version] if self.mode == "vxlan" else 0
        return underlay.mtu_bytes - overhead


class State(msgspec.Struct, frozen=True):
    """The overlay's part of a node, as it should be or as it is."""

    link: Link | None = None
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()


# What flannel keeps in a Node's annotations: by family, where its tunnel end is and which MAC address that has.
_FLANNEL = "flannel.alpha.coreos.com/"
_FLANNEL_ADDRESSES = ("public-ip-overwrite", "public-ipv6-overwrite", "public-ip", "public-ipv6")
_FLANNEL_BACKENDS = {4: "backend-data", 6: "backend-v6-data"}


class _Backend(msgspec.Struct, frozen=True):
    mac: str = msgspec.field(name="VtepMAC", default="")


def peer(node: Node) -> Peer | None:
    """A Node's addresses and pod ranges; None while it lacks either, or has one that cannot be read.

    A node that flannel runs on, or ran on, is found where flannel's annotations say: the two can share a cluster, and
    one can take the other's place node by node.
    """
    addresses = (node.status.addresses if node.status else None) or ()
    cidrs = node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else [])
    notes = {
        key.removeprefix(_FLANNEL): text
        for key, text in (node.metadata.annotations or {}).items()
        if key.startswith(_FLANNEL)
    }
    texts = [notes[key] for key in _FLANNEL_ADDRESSES if notes.get(key)]
    try:
        ends = tuple(ip_address(text) for text in [*texts, *(a.address for a in addresses if a.type == "InternalIP")])
        ranges = tuple(ip_network(cidr) for cidr in cidrs)
    except ValueError:
        return None
    return Peer(node.metadata.name, ends, ranges, tuple(_flannel_macs(notes))) if ends and ranges else None


def _flannel_macs(notes: Mapping[str, str]) -> Iterable[tuple[int, str]]:
    if notes.get("backend-type") != "vxlan":
        return
    for version, key in _FLANNEL_BACKENDS.items():
        try:
            mac = msgspec.json.decode(notes.get(key, "{}"), type=_Backend | None)
        except msgspec.DecodeError:
            continue
        if mac is not None and _MAC.fullmatch(mac.mac):
            yield version, mac.mac.lower()


def device_mac(address: IP) -> str:
    """The MAC address of a node's tunnel end."""
    return names.mac("vxlan", str(address))


def gateway(cidr: Network) -> IP:
    """The first address of a node's range: its bridge has it."""
    return cidr.network_address + 1


def desired(tunnel: Tunnel, me: Peer, underlay: Underlay, peers: Iterable[Peer]) -> State:
    """What the kernel should hold. `peers` may hold this node; a peer without an address of the family is left out."""
    if tunnel.mode == "none":
        return State()
    others = [p for p in peers if p.name != me.name]
    direct = [route for p in others for route in _direct(tunnel, underlay, p)]
    if tunnel.mode == "host-gw":
        return State(routes=tuple(direct))
    done = {route.dst for route in direct}
    version = underlay.address.version
    ends = [(p, ip) for p in others if (ip := p.address(version)) is not None]
    ranges = [(cidr, p.mac(ip)) for p, ip in ends for cidr in p.pod_cidrs if cidr not in done]
    used = {mac for _, mac in ranges}
    kind = Vxlan(tunnel.vni, tunnel.port, underlay.address, underlay.dev, learning=False)
    mac = me.mac(me.address(version) or underlay.address)
    return State(
        link=Link(DEVICE, kind, mac=mac, mtu=tunnel.pod_mtu(underlay), up=True),
        addresses=tuple(_own_address(cidr) for cidr in me.pod_cidrs),
        routes=(*direct, *(Route(c, gateway(c), DEVICE, onlink=True, proto=ROUTE_PROTOCOL) for c, _ in ranges)),
        neighbours=tuple(Neighbour(DEVICE, gateway(c), mac) for c, mac in ranges),
        fdb=tuple(FdbEntry(DEVICE, p.mac(ip), ip) for p, ip in ends if p.mac(ip) in used),
    )


def _direct(tunnel: Tunnel, underlay: Underlay, peer: Peer) -> Iterable[Route]:
    """Plain routes to a peer's pods: to each family's by the peer's address of that family."""
    for cidr in peer.pod_cidrs:
        ip = peer.address(cidr.version)
        if ip is not None and _is_plain(tunnel, underlay, ip):
            yield Route(cidr, ip, underlay.dev, onlink=True, proto=ROUTE_PROTOCOL)


def _is_plain(tunnel: Tunnel, underlay: Underlay, ip: IP | None) -> bool:
    """Whether packets go to a peer as they are: with `host-gw` every peer is taken to be on the link."""
    return tunnel.mode == "host-gw" or (tunnel.direct and ip is not None and underlay.on_link(ip))


def unreachable(tunnel: Tunnel, me: Peer) -> str:
    """Why nobody can reach some of this node's pods, "" when all can: a plain route's next hop is of its own family."""
    lost = [str(cidr) for cidr in me.pod_cidrs if tunnel.mode == "host-gw" and me.address(cidr.version) is None]
    return f"--overlay host-gw: {me.name} has no address of the family of its pods {', '.join(lost)}" if lost else ""


def left_out(tunnel: Tunnel, me: Peer, underlay: Underlay, peers: Iterable[Peer]) -> list[str]:
    """What of other nodes' pods cannot be reached, one line per node."""
    if tunnel.mode == "none":
        return []
    lines = []
    for p in peers:
        lost = [str(cidr) for cidr in p.pod_cidrs if p.address(_carrier(tunnel, underlay, p, cidr)) is None]
        if lost and p.name != me.name:
            lines.append(f"{p.name} has no address by which its pods {', '.join(lost)} can be reached")
    return lines


def _carrier(tunnel: Tunnel, underlay: Underlay, peer: Peer, cidr: Network) -> int:
    """The family of the packets that carry those of a range."""
    return cidr.version if _is_plain(tunnel, underlay, peer.address(cidr.version)) else underlay.address.version


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
