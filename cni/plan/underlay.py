"""Which interface carries a node's traffic to its peers.

    rule                 interface                                          address
    node's InternalIP    the one that has it; else the default route's      that one, or the interface's first
    address ADDR         the one that has it                                ADDR
    interface NAME       NAME                                               the InternalIP if it has it, or its first
    can-reach ADDR       the one the longest matching route leads to        the route's source, else its first

Peers are told nothing: they look for a node at the address its Node object has.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Literal

import msgspec

from netplane.rtnl import IP, Address, Bridge, Link, Network, Route

RuleKind = Literal["node-address", "address", "interface", "can-reach"]


class Rule(msgspec.Struct, frozen=True):
    """How to choose. `value` is an address, an interface's name, or "" for the node's own address."""

    kind: RuleKind = "node-address"
    value: str = ""

    @classmethod
    def of(cls, kind: RuleKind, value: str) -> "Rule":
        """Check the value. Raises ValueError when it is no address where one is needed."""
        if kind != "interface":
            ip_address(value)
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind} {self.value}".strip()


class Underlay(msgspec.Struct, frozen=True):
    """The interface that carries the node's traffic to its peers, and why it was chosen.

    Args:
        dev: its name.
        address: the node's address on it.
        mtu_bytes: its.
        reason: for people.
        networks: whose addresses it reaches without a router.
        is_bridge: its packets are those of a bridge's ports.
    """

    dev: str
    address: IP
    mtu_bytes: int
    reason: str
    networks: tuple[Network, ...] = ()
    is_bridge: bool = False

    def on_link(self, ip: IP) -> bool:
        """Whether a peer is on the same link."""
        return any(ip in network for network in self.networks if network.version == ip.version)


class Found(msgspec.Struct, frozen=True):
    """What a node has: dumps of its links, addresses and main routing table, without the tunnel itself."""

    links: Sequence[Link]
    addresses: Sequence[Address]
    routes: Sequence[Route]

    def on(self, dev: str) -> list[Address]:
        """The addresses of an interface that others can use."""
        return [a for a in self.addresses if a.dev == dev and not a.scope]


def choose(rule: Rule, wanted: Sequence[IP], found: Found) -> Underlay | None:
    """The interface a rule means; None when there is none.

    Args:
        rule: how to choose.
        wanted: the node's addresses in its Node, the first preferred.
        found: what is there.
    """
    match rule.kind:
        case "address":
            return _with_address([ip_address(rule.value)], found, "--underlay address")
        case "interface":
            return _of_interface(rule.value, wanted, found, "--underlay interface")
        case "can-reach":
            return _towards(ip_address(rule.value), wanted, found)
        case _:
            return _with_address(wanted, found, "it has the node's InternalIP") or _of_default_route(wanted, found)


def _with_address(wanted: Sequence[IP], found: Found, reason: str) -> Underlay | None:
    for ip in wanted:
        for address in found.addresses:
            if address.interface.ip == ip:
                return _underlay(address.dev, ip, found, f"{reason} {ip}")
    return None


def _of_interface(dev: str, wanted: Sequence[IP], found: Found, reason: str) -> Underlay | None:
    have = [a.interface.ip for a in found.on(dev)]
    families = [ip.version for ip in wanted]
    known = [ip for ip in wanted if ip in have]
    alike = sorted(have, key=lambda ip: families.index(ip.version) if ip.version in families else len(families))
    first = next(iter([*known, *alike]), None)
    return _underlay(dev, first, found, f"{reason} {dev}") if first is not None else None


def _of_default_route(wanted: Sequence[IP], found: Found) -> Underlay | None:
    reason = "no interface has the node's InternalIP; the default route leads to"
    for route in sorted((r for r in found.routes if r.dst.prefixlen == 0), key=lambda r: r.metric):
        same = [ip for ip in wanted if ip.version == route.dst.version] or [route.dst.network_address]
        if (chosen := _of_interface(route.dev, same, found, reason)) is not None:
            return chosen
    return None


def _towards(target: IP, wanted: Sequence[IP], found: Found) -> Underlay | None:
    matching = [r for r in found.routes if r.dst.version == target.version and target in r.dst and r.dev]
    for route in sorted(matching, key=lambda r: (-r.dst.prefixlen, r.metric)):
        reason = f"--underlay can-reach {target}: the route to {route.dst} leads to"
        preferred = [route.src] if route.src is not None else [ip for ip in wanted if ip.version == target.version]
        if (chosen := _of_interface(route.dev, [*preferred, target], found, reason)) is not None:
            return chosen
    return None


def _underlay(dev: str, ip: IP, found: Found, reason: str) -> Underlay | None:
    link = next((link for link in found.links if link.name == dev), None)
    if link is None:
        return None
    networks = tuple(_networks(found.on(dev)))
    return Underlay(dev, ip, link.mtu, reason, networks, isinstance(link.kind, Bridge))


def _networks(addresses: Iterable[Address]) -> Iterable[Network]:
    for address in addresses:
        if address.interface.network.prefixlen < address.interface.max_prefixlen:
            yield address.interface.network
