"""Host ports: what arrives for a port of the node goes to a pod's address and port.

The rules are the node's and never change in number (`cni/plan/firewall.py`); a mapping is one map element per address
family, and a pod with mappings one element of the hairpin set:

    ports4      10.0.0.7 . tcp . 80  →  10.244.1.5 . 8080      a mapping with hostIP
    anyports4              tcp . 80  →  10.244.1.5 . 8080      one without: any address of the node
    hairpin4    10.244.1.5/32 . 10.244.1.5                     who must be masqueraded on the way to the pod: itself,
                                                               and on a plain bridge all its neighbours, whose replies
                                                               would not pass the node

Every element carries the mark of the lease store it belongs to, so that two stores on one node do not undo each other.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from cni.errors import CniError, Code, invalid
from cni.plan.firewall import TABLE
from netplane.rtnl import IP, Interface, Network, Route

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
SETS = tuple(f"{name}{version}" for name in ("ports", "anyports", "hairpin") for version in (4, 6))
FIELD = "runtimeConfig.portMappings"
_ANY = {4: ip_address("0.0.0.0"), 6: ip_address("::")}  # noqa: S104 - a key, not a socket


class PortMapping(msgspec.Struct, frozen=True):
    """What was asked for. `host` None: every address of the node, of both families."""

    host_port: int
    port: int
    protocol: str = "tcp"
    host: IP | None = None


class HostPort(msgspec.Struct, frozen=True):
    """A mapping with its pod's address: one element. `host` is the unspecified address for any of the node's.

    Args:
        source: who is masqueraded on the way to the pod; None is nobody.
        dev: the node's interface that leads to the pod.
    """

    host: IP
    protocol: str
    host_port: int
    address: IP
    port: int
    source: Network | None = None
    dev: str = ""

    def __str__(self) -> str:
        where = f"{self.host}:" if self.host.version == 4 else f"[{self.host}]:"
        return f"{'' if self.host.is_unspecified else where}{self.host_port}/{self.protocol}"

    def collides(self, other: "HostPort") -> bool:
        """Whether one packet could be meant for both."""
        same = (self.protocol, self.host_port) == (other.protocol, other.host_port)
        if not same or self.host.version != other.host.version:
            return False
        return self.host == other.host or self.host.is_unspecified or other.host.is_unspecified


def parse(given: Any) -> tuple[PortMapping, ...]:
    """The capability `portMappings`: a list of {hostPort, containerPort, protocol, hostIP}.

    Raises:
        CniError: INVALID_CONFIG naming the entry.
    """
    if not given:
        return ()
    if not isinstance(given, list):
        raise invalid(FIELD, "is no list")
    found = tuple(_mapping(f"{FIELD}[{i}]", entry) for i, entry in enumerate(given))
    bound = [list(_anywhere(mapping)) for mapping in found]
    for i, ports in enumerate(bound):
        if any(port.collides(other) for port in ports for others in bound[:i] for other in others):
            raise invalid(f"{FIELD}[{i}]", f"maps {ports[0]} a second time")
    return found


def _anywhere(mapping: PortMapping) -> Iterator[HostPort]:
    for any_host in _ANY.values():
        if mapping.host is None or mapping.host.version == any_host.version:
            yield HostPort(mapping.host or any_host, mapping.protocol, mapping.host_port, any_host, mapping.port)


def _mapping(field: str, entry: Any) -> PortMapping:
    if not isinstance(entry, dict):
        raise invalid(field, "is no object")
    ports = {key: entry.get(key) for key in ("hostPort", "containerPort")}
    for key, port in ports.items():
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= 65535:
            raise invalid(f"{field}.{key}", f"{port!r} is no port from 1 to 65535")
    protocol = str(entry.get("protocol") or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise invalid(f"{field}.protocol", f"{entry['protocol']!r} is not one of {', '.join(PROTOCOLS)}")
    try:
        host = ip_address(str(entry["hostIP"])) if entry.get("hostIP") else None
    except ValueError as error:
        raise invalid(f"{field}.hostIP", str(error)) from error
    return PortMapping(entry["hostPort"], entry["containerPort"], protocol, host)


def bind(
    mappings: Iterable[PortMapping], pod: Sequence[Interface], dev: str, *, snat: bool = True, masq_all: bool = False
) -> tuple[HostPort, ...]:
    """The elements of a pod: each mapping to the pod's first address of each family it asks for.

    Args:
        mappings: what was asked for.
        pod: the pod's addresses; their prefixes say who its neighbours are.
        dev: the node's interface that leads to it.
        snat: hide neighbours' addresses on the way to the pod.
        masq_all: hide everybody's.
    """
    first = {interface.version: interface for interface in reversed(pod)}
    found = []
    for mapping in mappings:
        for version, interface in sorted(first.items()):
            if mapping.host is None or mapping.host.version == version:
                host = mapping.host or _ANY[version]
                source = ip_network((_ANY[version], 0)) if masq_all else interface.network if snat else None
                to = (mapping.host_port, interface.ip, mapping.port)
                found.append(HostPort(host, mapping.protocol, *to, source, dev))
    return tuple(found)


def taken(port: HostPort, container: str) -> CniError:
    """The error of a port that somebody has."""
    return CniError(
        Code.PORT_IN_USE,
        f"{FIELD}: host port {port} belongs to container {container}",
        "choose another host port, or remove that container",
    )


def device(routes: Sequence[Route], address: IP) -> str:
    """The node's interface that leads to an address: that of the longest matching route; "" when there is none."""
    found = [r for r in routes if r.dev and r.dst.version == address.version and address in r.dst]
    return max(found, key=lambda r: r.dst.prefixlen).dev if found else ""


# Elements -------------------------------------------------------------------------------------------------------


def _elements(ports: Iterable[HostPort], owner: str) -> Iterator[tuple[str, str]]:
    for p in ports:
        version, target = p.host.version, f"{p.address} . {p.port}"
        name, key = f"ports{version}", f"{p.host} . {p.protocol} . {p.host_port}"
        if p.host.is_unspecified:
            name, key = f"anyports{version}", f"{p.protocol} . {p.host_port}"
        yield name, f'{key} comment "{owner}" : {target}'
        if p.source is not None:
            yield f"hairpin{version}", f'{p.source} . {p.address} comment "{owner}"'


def add(ports: Iterable[HostPort], owner: str) -> str:
    """Text that makes the elements; one that is there already is left alone."""
    lines = [f"add element {TABLE} {name} {{ {element} }}" for name, element in _elements(ports, owner)]
    return "".join(line + "\n" for line in dict.fromkeys(lines))


def is_shown(port: HostPort, listing: str, owner: str) -> bool:
    """Whether `nft list` or `nft get element` shows the port leading to its pod, for this store."""
    (_, element), *_ = _elements([port], owner)
    return _shown(element) in _shown(listing)


def _shown(text: str) -> str:
    return re.sub(r"/(32|128) ", " ", text)  # nft shows a whole prefix as an address


def stale(name: str, listing: str, owner: str, ports: Iterable[HostPort]) -> str:
    """Text that removes those elements of one set that carry the mark and belong to none of `ports`."""
    wanted = {_shown(element) for set_, element in _elements(ports, owner) if set_ == name}
    found = re.finditer(rf'([0-9a-z:./ -]+?) comment "{re.escape(owner)}"(?: : [0-9a-f.:]+ \. \d+)?', listing)
    keys = [match[1].strip() for match in found if _shown(match[0]).strip() not in wanted]
    return "".join(f"delete element {TABLE} {name} {{ {key} }}\n" for key in keys)


def question(port: HostPort) -> str:
    """Text that fails when the port is mapped to nothing."""
    (name, element), *_ = _elements([port], "")
    return f"get element {TABLE} {name} {{ {element.partition(' comment ')[0]} }}\n"


def remove(ports: Iterable[HostPort], owner: str) -> str:
    """Text that removes the elements, whether they are there or not: what was added is there to be deleted."""
    found = list(dict.fromkeys(_elements(ports, owner)))
    return "".join(f"{verb} element {TABLE} {n} {{ {e} }}\n" for verb in ("add", "delete") for n, e in found)


def devices(ports: Iterable[HostPort]) -> list[str]:
    """The interfaces on which packets from 127.0.0.1 may leave: nothing for it may come in there."""
    return list(dict.fromkeys(p.dev for p in ports if p.dev and p.host.version == 4))
