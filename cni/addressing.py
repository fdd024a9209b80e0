"""PURE: which addresses, routes, MAC address and name servers a pod is to have: the key `ipam` and a runtime's wishes.

The keys are host-local's, so that its configurations work as they are.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal, NamedTuple

import msgspec

from cni.errors import invalid
from cni.plan.ipam import Range, RangeSet
from cni.results import AssignedIP, Dns, RouteTo
from netplane.rtnl import IP

_U32_MAX = 0xFFFFFFFF
ROUTE_SCOPES: dict[int, Literal["global", "link", "host"]] = {0: "global", 253: "link", 254: "host"}


class _Dns(msgspec.Struct, frozen=True):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class _Range(msgspec.Struct, frozen=True, rename="camel"):
    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


class _Route(msgspec.Struct, frozen=True, rename="camel"):
    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Ipam(msgspec.Struct, frozen=True, rename="camel"):
    """The key `ipam`, as host-local has it. Other plugins' keys are theirs: the whole text is passed on to them."""

    type: str = ""
    ranges: list[list[_Range]] | None = None
    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""
    routes: list[_Route] | None = None
    data_dir: str = "/var/lib/cni/networks"
    resolv_conf: str = ""


def gives_none(ipam: Ipam, runtime: Mapping[str, Any]) -> bool:
    """Whether pods get no addresses: an empty `ipam`, as the reference bridge has it for networks of layer 2."""
    return not (ipam.type or ipam.subnet or ipam.ranges or runtime.get("ipRanges"))


def ranges(ipam: Ipam, runtime: Mapping[str, Any]) -> tuple[RangeSet, ...]:
    """The range sets: the runtime's own (capability `ipRanges`) first, as host-local does it.

    Raises:
        CniError: INVALID_CONFIG naming the range.
    """
    sets: list[tuple[str, list[_Range]]] = []
    if (given := runtime.get("ipRanges")) is not None:
        try:
            asked = msgspec.convert(given, list[list[_Range]])
        except msgspec.ValidationError as error:
            raise invalid("runtimeConfig.ipRanges", str(error)) from error
        sets += [(f"runtimeConfig.ipRanges[{i}]", entries) for i, entries in enumerate(asked)]
    if ipam.subnet:
        sets.append(("ipam", [_Range(ipam.subnet, ipam.range_start, ipam.range_end, ipam.gateway)]))
    sets += [(f"ipam.ranges[{i}]", entries) for i, entries in enumerate(ipam.ranges or ())]
    if not sets:
        raise invalid("ipam.ranges", "is missing", 'give pods a range: "ranges": [[{"subnet": "10.244.1.0/24"}]]')
    built = tuple(_range_set(name, entries) for name, entries in sets)
    flat = [r for entries in built for r in entries]
    for i, r in enumerate(flat):
        if any(r.overlaps(other) for other in flat[:i]):
            raise invalid("ipam.ranges", f"{r} overlaps another range")
    return built


def _range_set(name: str, entries: list[_Range]) -> RangeSet:
    built = tuple(_range(f"{name}[{i}]" if len(entries) > 1 else name, r) for i, r in enumerate(entries))
    if not built:
        raise invalid(name, "is an empty set")
    if len({r.subnet.version for r in built}) > 1:
        raise invalid(name, "mixes IPv4 and IPv6: put each family in a set of its own")
    return built


def _range(name: str, raw: _Range) -> Range:
    try:
        if not raw.subnet:
            raise ValueError("subnet is missing")
        subnet = ip_network(raw.subnet)
        ends = (ip_address(text) if text else None for text in (raw.range_start, raw.range_end, raw.gateway))
        return Range.of(subnet, *ends)
    except ValueError as error:
        raise invalid(name, str(error)) from error


def routes(ipam: Ipam) -> tuple[RouteTo, ...]:
    """The pod's routes.

    Raises:
        CniError: INVALID_CONFIG naming the route.
    """
    found = []
    for i, route in enumerate(ipam.routes or ()):
        try:
            _check_numbers(f"ipam.routes[{i}]", route)
            more = (route.mtu, route.advmss, route.priority, route.table, route.scope)
            dst, via = ip_network(route.dst), ip_address(route.gw) if route.gw else None
            if via is not None and via.version != dst.version:
                raise ValueError(f"{dst} cannot be reached through {via}: it is of the other family")
            found.append(RouteTo(dst, via, *more))
        except ValueError as error:
            raise invalid(f"ipam.routes[{i}]", str(error)) from error
    return tuple(found)


def _check_numbers(field: str, route: _Route) -> None:
    for key, most in (("mtu", 65535), ("advmss", 65535), ("priority", _U32_MAX), ("table", _U32_MAX)):
        value = getattr(route, key) or 0
        if not 0 <= value <= most:
            raise invalid(f"{field}.{key}", f"{value} is not between 0 and {most}")
    if route.scope not in (None, *ROUTE_SCOPES):
        known = ", ".join(f"{number} ({name})" for number, name in ROUTE_SCOPES.items())
        raise invalid(f"{field}.scope", f"{route.scope} is not one of {known}")


def with_defaults(found: Sequence[RouteTo], sets: Sequence[RangeSet]) -> tuple[RouteTo, ...]:
    """The same and a default route of each family that has none, through its first gateway."""
    families = {route.dst.version for route in found if route.dst.prefixlen == 0}
    more = []
    for first, *_ in sets:
        if first.subnet.version not in families:
            families.add(first.subnet.version)
            more.append(RouteTo(ip_network("0.0.0.0/0" if first.subnet.version == 4 else "::/0"), first.gateway))
    return (*found, *more)


class Asked(NamedTuple):
    """Where wishes for one pod come from: CNI_ARGS, the runtime's capabilities, and `args.cni`."""

    args: Mapping[str, str]
    runtime: Mapping[str, Any]
    cni: Mapping[str, Any]


def wanted(asked: Asked, sets: Sequence[RangeSet]) -> tuple[IP, ...]:
    """Addresses asked for by CNI_ARGS IP=, the capability `ips` or args.cni.ips (host-local's three ways).

    Raises:
        CniError: INVALID_CONFIG naming the one that is none, or in no range.
    """
    sources = {
        "CNI_ARGS IP": [ip for ip in asked.args.get("IP", "").split(",") if ip],
        "runtimeConfig.ips": asked.runtime.get("ips") or [],
        "args.cni.ips": asked.cni.get("ips") or [],
    }
    found: list[IP] = []
    for field, texts in sources.items():
        for text in texts if isinstance(texts, list) else [texts]:
            try:
                address = ip_interface(str(text)).ip
            except ValueError as error:
                raise invalid(field, str(error)) from error
            if not any(address in r for entries in sets for r in entries):
                raise invalid(field, f"{address} is in none of the network's ranges")
            found.append(address)
    return _one_of_each(tuple(dict.fromkeys(found)), sets)


def _one_of_each(found: tuple[IP, ...], sets: Sequence[RangeSet]) -> tuple[IP, ...]:
    for entries in sets:
        inside = [str(address) for address in found if any(address in r for r in entries)]
        if len(inside) > 1:
            raise invalid("ips", f"{' and '.join(inside)} were asked for", "a pod gets one address of each range set")
    return found


def mac(asked: Asked) -> str:
    """The MAC address asked for, lower case with colons; "" when there is none.

    Raises:
        CniError: INVALID_CONFIG.
    """
    sources = {
        "CNI_ARGS MAC": asked.args.get("MAC"),
        "runtimeConfig.mac": asked.runtime.get("mac"),
        "args.cni.mac": asked.cni.get("mac"),
    }
    for field, text in sources.items():
        if text:
            parts = str(text).lower().replace("-", ":").split(":")
            if len(parts) != 6 or any(len(p) != 2 or not set(p) <= set("0123456789abcdef") for p in parts):
                raise invalid(field, f"{text!r} is no MAC address")
            if not any(int(part, 16) for part in parts):
                raise invalid(field, f"{text!r} is nobody's address")
            if int(parts[0], 16) & 1:
                raise invalid(field, f"{text!r} is a multicast address")
            return ":".join(parts)
    return ""


def dns(configured: Dns | None, runtime: Mapping[str, Any]) -> Dns:
    """The capability `dns` ({servers, searches, options}) where given, else what is configured.

    Raises:
        CniError: INVALID_CONFIG.
    """
    base, given = configured or Dns(), runtime.get("dns")
    if not given:
        return base
    try:
        asked = msgspec.convert(given, _Dns)
    except msgspec.ValidationError as error:
        raise invalid("runtimeConfig.dns", str(error)) from error
    more = (asked.servers or base.nameservers, base.domain, asked.searches or base.search)
    return Dns(*more, asked.options or base.options)


def resolv_conf(text: str) -> Dns:
    """resolv.conf(5), as host-local's `resolvConf` names one: nameserver, domain, search, options."""
    words: dict[str, list[str]] = {"nameserver": [], "domain": [], "search": [], "options": []}
    for line in text.splitlines():
        key, *values = line.split() or [""]
        if key in words:
            words[key] += values
    domain = words["domain"][-1] if words["domain"] else ""
    return Dns(tuple(words["nameserver"]), domain, tuple(words["search"]), tuple(words["options"]))


def given_ranges(ips: Sequence[AssignedIP]) -> tuple[RangeSet, ...]:
    """What another IPAM plugin gave, as ranges of one subnet each: its gateway, or the subnet's first address.

    Raises:
        CniError: INVALID_CONFIG when an address is its own gateway.
    """
    found = []
    for ip in ips:
        subnet = ip.interface.network
        gateway = ip.gateway or subnet.network_address + min(1, subnet.num_addresses - 1)
        if gateway == ip.interface.ip:
            raise invalid(
                "ipam", f"{ip.interface} was given, and is its own gateway", "give the gateway another address"
            )
        found.append((Range(subnet, subnet.network_address, subnet.broadcast_address, gateway),))
    return tuple(found)
