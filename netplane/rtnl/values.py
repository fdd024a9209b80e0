"""What rtnetlink knows, as frozen values: links and their kinds, addresses, routes, neighbours, FDB entries.

The same values describe what should be and what a dump found, so a program can subtract one from the other. Fields
left at their default mean "the kernel's choice". MAC addresses are lower-case text, `0a:58:0a:f4:01:02`.
"""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Literal, Self

import msgspec

from netplane.rtnl.shaping import Ingress, Redirect, TokenBucket

IP = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

MAIN_TABLE = 254
# Who installed a route (linux/rtnetlink.h, RTPROT_*): what `ip route` itself writes.
PROTO_BOOT = 3


class Veth(msgspec.Struct, frozen=True):
    """One end of a pair; the other end is made with it.

    Args:
        peer: the other end's name. Empty in dumps.
        peer_netns: descriptor of the network namespace the other end is born in; None: the same one.
        peer_mac: the other end's MAC address.
        peer_mtu: the other end's MTU in bytes.
        peer_queues: requests only: the other end's `Link.queues`.
        peer_index: dumps only: the other end's index in its own namespace.
    """

    peer: str = ""
    peer_netns: int | None = None
    peer_mac: str = ""
    peer_mtu: int = 0
    peer_queues: int = 0
    peer_index: int = 0

    def __str__(self) -> str:
        words = ["veth"]
        if self.peer:
            words += ["peer name", self.peer]
        words += _words(address=self.peer_mac, mtu=self.peer_mtu, **_queues(self.peer_queues))
        if self.peer_netns is not None:
            words += ["netns", f"/proc/self/fd/{self.peer_netns}"]
        return " ".join(words)


class Bridge(msgspec.Struct, frozen=True):
    """A software bridge without spanning tree. `mcast_snooping` None: the kernel's default (on).

    Its MTU follows its ports' smallest until it is changed once: the one given at creation does not pin it.
    """

    mcast_snooping: bool | None = None
    vlan_filtering: bool | None = None

    def __str__(self) -> str:
        options = _words(
            mcast_snooping=_switch(self.mcast_snooping, "1", "0"), vlan_filtering=_switch(self.vlan_filtering, "1", "0")
        )
        return " ".join(["bridge", *options])


class Vxlan(msgspec.Struct, frozen=True):
    """A VXLAN tunnel end (RFC 7348).

    Args:
        vni: 24-bit network identifier.
        port: UDP destination port; Linux' own default is 8472, IANA's is 4789.
        local: source address of the outer packets.
        dev: underlay interface.
        learning: learn from received packets; off where an agent programs the FDB.
        tx_checksum: outer UDP checksums over IPv4 (None: kernel's default).
    """

    vni: int
    port: int = 8472
    local: IP | None = None
    dev: str = ""
    learning: bool = True
    tx_checksum: bool | None = None

    def __str__(self) -> str:
        words = ["vxlan id", str(self.vni), "dstport", str(self.port)]
        words += _words(local=self.local, dev=self.dev)
        words.append("learning" if self.learning else "nolearning")
        words += [w for w in (_switch(self.tx_checksum, "udpcsum", "noudpcsum"),) if w]
        return " ".join(words)


class Dummy(msgspec.Struct, frozen=True):
    """A link that swallows what it is given."""

    def __str__(self) -> str:
        return "dummy"


class Ifb(msgspec.Struct, frozen=True):
    """An intermediate functional block: gives ingress traffic an egress queue to be shaped by."""

    def __str__(self) -> str:
        return "ifb"


class Other(msgspec.Struct, frozen=True):
    """Any other kind of link, by its name in the kernel; "" is hardware (or `lo`)."""

    name: str = ""

    def __str__(self) -> str:
        return self.name


LinkKind = Veth | Bridge | Vxlan | Dummy | Ifb | Other


class BridgePort(msgspec.Struct, frozen=True):
    """Options of a bridge's port. `hairpin` sends a frame back out of the port it came in by."""

    hairpin: bool = False
    learning: bool = True
    isolated: bool = False

    def __str__(self) -> str:
        on = {True: "on", False: "off"}
        return f"type bridge_slave hairpin {on[self.hairpin]} learning {on[self.learning]} isolated {on[self.isolated]}"


class PortVlan(msgspec.Struct, frozen=True):
    """VLANs that a bridge's port belongs to (IEEE 802.1Q); deleting takes it out of them, of all those it is in.

    Args:
        dev: the port.
        first: VLAN identifier, 1 to 4094.
        last: of a range; 0: only `first`.
        pvid: frames that come in without a tag belong to it.
        untagged: its frames leave without a tag.
    """

    dev: str
    first: int
    last: int = 0
    pvid: bool = False
    untagged: bool = False

    def __str__(self) -> str:
        vid = f"{self.first}-{self.last}" if self.last > self.first else str(self.first)
        words = [w for w, on in (("pvid", self.pvid), ("untagged", self.untagged)) if on]
        return " ".join(["dev", self.dev, "vid", vid, *words])


class Link(msgspec.Struct, frozen=True):
    """A network interface.

    Args:
        name: at most 15 bytes.
        kind: what it is made of.
        mac: pin it, or a bridge's changes with its ports.
        mtu: in bytes.
        up: administratively up.
        master: name of the bridge it is a port of.
        port: options of that port.
        group: group number; deleting a group deletes all its links at once.
        alias: free text kept by the kernel with the link, up to 255 bytes.
        promisc: receive all frames.
        netns: requests only: descriptor of the namespace the link is born in.
        queues: requests only: how many there can ever be each way; 0 is the kind's default.
        index: dumps only.
    """

    name: str
    kind: LinkKind = Other()
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: str = ""
    port: BridgePort | None = None
    group: int = 0
    alias: str = ""
    promisc: bool = False
    netns: int | None = None
    queues: int = 0
    index: int = 0

    def __str__(self) -> str:
        words = [self.name, *_words(address=self.mac, mtu=self.mtu, master=self.master, group=self.group)]
        words += _words(**_queues(self.queues))
        words += _words(alias=self.alias, netns=None if self.netns is None else f"/proc/self/fd/{self.netns}")
        words += [w for w, on in (("promisc on", self.promisc), ("up", self.up)) if on]
        if str(self.kind):
            words += ["type", str(self.kind)]
        return " ".join(words)


class Address(msgspec.Struct, frozen=True):
    """An address of a link.

    Args:
        dev: the link's name.
        interface: address and prefix.
        nodad: IPv6: usable at once, without duplicate address detection (RFC 4862, 5.4).
        noprefixroute: make no route for the prefix.
        scope: "" lets the kernel's default stand (global).
        state: dumps only: IPv6 asks whether somebody else has it (`tentative`), or was answered (`duplicate`).
    """

    dev: str
    interface: Interface
    nodad: bool = False
    noprefixroute: bool = False
    scope: Literal["", "link", "host"] = ""
    state: Literal["", "tentative", "duplicate"] = ""

    @classmethod
    def of(cls, dev: str, interface: str, *, nodad: bool = False, noprefixroute: bool = False) -> Self:
        """`Address.of("br0", "10.244.1.1/24")`. Raises ValueError on what is no address."""
        return cls(dev, ip_interface(interface), nodad, noprefixroute)

    def __str__(self) -> str:
        words = [self.interface.with_prefixlen, "dev", self.dev, *_words(scope=self.scope)]
        words += [w for w, on in (("nodad", self.nodad), ("noprefixroute", self.noprefixroute)) if on]
        return " ".join(words)


class Route(msgspec.Struct, frozen=True):
    """A route.

    Args:
        dst: destination prefix; 0.0.0.0/0 or ::/0 is the default route.
        via: next hop.
        dev: link's name.
        src: preferred source address.
        onlink: believe that `via` is on the link, whatever the other routes say.
        scope: "" is link without a next hop and global with one.
        metric: 0 is the kernel's default.
        table: 254 is main.
        proto: who installed it.
        mtu: path MTU of the route in bytes.
        advmss: largest TCP segment that is advertised, in bytes.
        kind: what happens to a packet.
    """

    dst: Network
    via: IP | None = None
    dev: str = ""
    src: IP | None = None
    onlink: bool = False
    scope: Literal["", "global", "link", "host"] = ""
    metric: int = 0
    table: int = MAIN_TABLE
    proto: int = PROTO_BOOT
    mtu: int = 0
    advmss: int = 0
    kind: Literal["unicast", "local", "blackhole", "unreachable", "prohibit", "other"] = "unicast"

    @classmethod
    def of(  # the words of `ip route add` are keywords here
        cls, dst: str, *, via: str = "", dev: str = "", src: str = "", onlink: bool = False, metric: int = 0
    ) -> Self:
        """`Route.of("10.0.0.0/8", via="10.1.0.1", dev="eth0")`; "default" takes its family from `via`."""
        gateway = ip_address(via) if via else None
        if dst == "default":
            dst = "::/0" if gateway is not None and gateway.version == 6 else "0.0.0.0/0"
        return cls(ip_network(dst), gateway, dev, ip_address(src) if src else None, onlink, metric=metric)

    def __str__(self) -> str:
        words: list[str] = [] if self.kind == "unicast" else [self.kind]
        words.append("default" if self.dst.prefixlen == 0 else str(self.dst))
        words += _words(via=self.via, dev=self.dev, src=self.src, scope=self.scope, metric=self.metric)
        words += _words(mtu=self.mtu, advmss=self.advmss)
        words += _words(table=0 if self.table == MAIN_TABLE else self.table)
        words += _words(proto=0 if self.proto == PROTO_BOOT else self.proto)
        return " ".join([*words, "onlink"] if self.onlink else words)


class Neighbour(msgspec.Struct, frozen=True):
    """An ARP or neighbour discovery entry. `permanent` ones never expire and are never asked for."""

    dev: str
    ip: IP
    mac: str = ""
    state: Literal["permanent", "noarp", "reachable", "stale", "other"] = "permanent"
    proxy: bool = False

    @classmethod
    def of(cls, dev: str, ip: str, mac: str = "") -> Self:
        """`Neighbour.of("eth0", "10.1.0.1", "0a:…")`: a permanent one."""
        return cls(dev, ip_address(ip), mac)

    def __str__(self) -> str:
        if self.proxy:
            return f"proxy {self.ip} dev {self.dev}"
        return " ".join([str(self.ip), *_words(lladdr=self.mac), f"dev {self.dev} nud {self.state}"])


class FdbEntry(msgspec.Struct, frozen=True):
    """Where a bridge or a VXLAN tunnel sends frames for a MAC address: `dst` is the tunnel's other end.

    The entry lives in the device itself (`self`), which is what a tunnel asks; `master` in the bridge above it.
    """

    dev: str
    mac: str
    dst: IP | None = None
    master: bool = False
    permanent: bool = True

    @classmethod
    def of(cls, dev: str, mac: str, dst: str = "") -> Self:
        """`FdbEntry.of("vxlan0", "0a:…", "192.0.2.2")`."""
        return cls(dev, mac, ip_address(dst) if dst else None)

    def __str__(self) -> str:
        words = [self.mac, "dev", self.dev, *_words(dst=self.dst), "master" if self.master else "self"]
        return " ".join([*words, "permanent"] if self.permanent else words)


Value = Link | Address | Route | Neighbour | FdbEntry | PortVlan | TokenBucket | Ingress | Redirect


def _words(**options: object) -> list[str]:
    """`key value` pairs of those options that are set."""
    return [word for key, value in options.items() if value for word in (key, str(value))]


def _queues(count: int) -> dict[str, int]:
    return {"numtxqueues": count, "numrxqueues": count}


def _switch(value: bool | None, on: str, off: str) -> str:
    return "" if value is None else on if value else off
