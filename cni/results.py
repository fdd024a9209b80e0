"""PURE: what ADD answers, in the words of each CNI version, and prevResult read from any of them.

    0.1.0 0.2.0          ip4, ip6: one address each, with its gateway and routes
    0.3.0 0.3.1 0.4.0    interfaces, ips (with "version": "4"|"6"), routes, dns
    1.0.0 1.1.0          the same without "version"; 1.1.0 adds mtu to interfaces

Source: the "Result" sections of the CNI specifications 0.1.0 to 1.1.0.
"""

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec

from cni.errors import CniError, Code
from netplane.rtnl import IP, Interface, Network

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
BY_FAMILY = VERSIONS[:2]
CHECK_SINCE, GC_SINCE = "0.4.0", "1.1.0"
# What a configuration without cniVersion means (specification 0.1.0: the field was optional).
OLDEST = VERSIONS[0]


class NetInterface(msgspec.Struct, frozen=True):
    """A link that was made; `sandbox` is the namespace's path, "" on the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0


class AssignedIP(msgspec.Struct, frozen=True):
    """An address and the index in `interfaces` of the link that has it (None: not said)."""

    interface: Interface
    gateway: IP | None = None
    link: int | None = None


class RouteTo(msgspec.Struct, frozen=True):
    """A route of the pod; without `via` the address' gateway is meant. The rest is told since 1.1.0; 0 is "not said".

    Args:
        dst: destination.
        via: next hop.
        mtu: path MTU in bytes.
        advmss: largest TCP segment that is advertised, in bytes.
        priority: the lower, the sooner it is taken.
        table: number of the routing table; None is main.
        scope: rtnetlink's number (253: on the link); None is the kernel's choice.
    """

    dst: Network
    via: IP | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Passed through from the configuration."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """What a pod got."""

    interfaces: tuple[NetInterface, ...] = ()
    ips: tuple[AssignedIP, ...] = ()
    routes: tuple[RouteTo, ...] = ()
    dns: Dns = Dns()


def merged(before: Result, mine: Result) -> Result:
    """The result of a chain: what earlier plugins made, then what this one did (specification 1.1.0, ADD)."""
    shift = len(before.interfaces)
    moved = [msgspec.structs.replace(ip, link=None if ip.link is None else ip.link + shift) for ip in mine.ips]
    return Result(
        (*before.interfaces, *mine.interfaces),
        (*before.ips, *moved),
        (*before.routes, *mine.routes),
        before.dns if mine.dns == Dns() else mine.dns,
    )


def at_least(version: str, since: str) -> bool:
    """Whether a supported version is `since` or newer."""
    return VERSIONS.index(version) >= VERSIONS.index(since)


def encode(result: Result, version: str) -> bytes:
    """The result as a plugin prints it. `version` is one of VERSIONS."""
    form = _by_family if version in BY_FAMILY else _by_list
    return msgspec.json.encode({"cniVersion": version, **form(result, version), "dns": result.dns})


def _by_family(result: Result, _version: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ip in result.ips:
        family = ip.interface.version
        routes = [_route(route, "") for route in result.routes if route.dst.version == family]
        entry = {"ip": ip.interface.with_prefixlen, **_some(gateway=ip.gateway), "routes": routes}
        found.setdefault(f"ip{family}", entry)
    return found


def _by_list(result: Result, version: str) -> dict[str, Any]:
    return {
        "interfaces": [_interface(interface, version) for interface in result.interfaces],
        "ips": [_ip(ip, version) for ip in result.ips],
        "routes": [_route(route, version) for route in result.routes],
    }


def _interface(interface: NetInterface, version: str) -> dict[str, Any]:
    extra: dict[str, Any] = {"mtu": interface.mtu} if interface.mtu and version == "1.1.0" else {}
    return {"name": interface.name, **_some(mac=interface.mac), **extra, **_some(sandbox=interface.sandbox)}


def _ip(ip: AssignedIP, version: str) -> dict[str, Any]:
    found: dict[str, Any] = {} if at_least(version, "1.0.0") else {"version": str(ip.interface.version)}
    found["address"] = ip.interface.with_prefixlen
    if ip.link is not None:
        found["interface"] = ip.link
    return found | _some(gateway=ip.gateway)


def _route(route: RouteTo, version: str) -> dict[str, Any]:
    found: dict[str, Any] = {"dst": str(route.dst), **_some(gw=route.via)}
    if version == "1.1.0":
        found |= {key: value for key in ("mtu", "advmss", "priority") if (value := getattr(route, key))}
        found |= {key: value for key in ("table", "scope") if (value := getattr(route, key)) is not None}
    return found


def _some(**fields: object) -> dict[str, str]:
    return {key: str(value) for key, value in fields.items() if value}


def version_of(raw: bytes) -> str:
    """The cniVersion a result says it is in; "" when it says none."""
    try:
        return str(msgspec.json.decode(raw, type=dict[str, Any]).get("cniVersion") or "")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def decode(raw: bytes) -> Result:
    """Read a prevResult of any version, told apart by its fields.

    Raises:
        CniError: INVALID_CONFIG, naming what cannot be read.
    """
    try:
        found = msgspec.json.decode(raw, type=dict[str, Any])
        return _decode_families(found) if "ip4" in found or "ip6" in found else _decode_lists(found)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CniError(Code.INVALID_CONFIG, f"prevResult: {what}", "pass the result of ADD unchanged") from error


def _decode_lists(found: Mapping[str, Any]) -> Result:
    interfaces = [
        NetInterface(str(i["name"]), str(i.get("mac") or ""), str(i.get("sandbox") or ""), int(i.get("mtu") or 0))
        for i in found.get("interfaces") or ()
    ]
    ips = [
        AssignedIP(ip_interface(str(ip["address"])), _optional_ip(ip.get("gateway")), ip.get("interface"))
        for ip in found.get("ips") or ()
    ]
    return Result(tuple(interfaces), tuple(ips), _decode_routes(found.get("routes")), _decode_dns(found))


def _decode_families(found: Mapping[str, Any]) -> Result:
    parts = [found[family] for family in ("ip4", "ip6") if found.get(family)]
    ips = tuple(AssignedIP(ip_interface(str(part["ip"])), _optional_ip(part.get("gateway"))) for part in parts)
    routes = tuple(route for part in parts for route in _decode_routes(part.get("routes")))
    return Result((), ips, routes, _decode_dns(found))


def _decode_routes(routes: Any) -> tuple[RouteTo, ...]:
    return tuple(_decode_route(route) for route in routes or ())


def _decode_route(found: Mapping[str, Any]) -> RouteTo:
    numbers = {key: int(found[key]) for key in ("mtu", "advmss", "priority", "table", "scope") if found.get(key)}
    return RouteTo(ip_network(str(found["dst"]), strict=False), _optional_ip(found.get("gw")), **numbers)


def _decode_dns(found: Mapping[str, Any]) -> Dns:
    return msgspec.convert(found.get("dns") or {}, Dns)


def _optional_ip(text: str | None) -> IP | None:
    return ip_address(str(text)) if text else None
