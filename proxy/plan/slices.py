"""Reads EndpointSlices into compact values, and merges those of a service.

A cluster's endpoints are the bulk of what a proxy remembers, so a slice keeps one byte of conditions and its packed
address per endpoint, and hints only where there are any. Conditions that were not said are read as the API documents:
ready means yes, serving means yes, terminating means no. What cannot be read is named and left out.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netplane.api.objects import Endpoint as SliceEndpoint
from netplane.api.objects import EndpointSlice
from netplane.net.addresses import lenient, special
from netplane.nft.types import FAMILIES, Family
from proxy.plan.model import HEADLESS, LOCAL, READY, SERVING, TERMINATING, TRANSPORTS, Endpoint

SERVICE_NAME = "kubernetes.io/service-name"
_FAMILIES = {family.name: family for family in FAMILIES}

Hints = tuple[tuple[str, ...], tuple[str, ...]]
NO_HINTS: Hints = ((), ())

MAX_MERGED = 65_536
"""Endpoints of one service that are looked at, before those that are in several slices are counted once."""

Endpoints = Mapping[tuple[str, int], list[Endpoint]]
"""Endpoints of each (port name, protocol number)."""


class SlicePort(NamedTuple):
    """A port of a slice; `tail` is what follows the address in an endpoint's data."""

    name: str
    protocol: int
    tail: bytes


class Slice(NamedTuple):
    """A slice of one service. `hints` is empty, or has (zones, nodes) for every endpoint."""

    service: str
    key: str
    family: Family
    ports: tuple[SlicePort, ...]
    addresses: bytes
    conditions: bytes
    hints: tuple[Hints, ...]
    problems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.conditions)


def read(item: EndpointSlice, node_name: str) -> Slice | None:
    """A slice in compact form; None when it is none of this proxy's business (headless, names)."""
    labels = item.metadata.labels or {}
    name, family = labels.get(SERVICE_NAME), _FAMILIES.get(item.address_type)
    if not name or family is None or HEADLESS in labels:
        return None
    problems: list[str] = []
    ports = tuple(_ports(item, problems))
    addresses, conditions, hints = bytearray(), bytearray(), []
    for endpoint in item.endpoints or ():
        address = _address(item, endpoint, family, problems)
        if address is not None:
            addresses += address
            conditions.append(_conditions(endpoint, node_name))
            hints.append(_hints(endpoint))
    return Slice(
        f"{item.metadata.namespace}/{name}",
        item.key,
        family,
        ports,
        bytes(addresses),
        bytes(conditions),
        tuple(hints) if any(hint is not NO_HINTS for hint in hints) else (),
        tuple(problems),
    )


def _ports(item: EndpointSlice, problems: list[str]) -> Iterable[SlicePort]:
    for port in item.ports or ():
        if port.port is None:
            continue
        name = port.protocol or "TCP"
        protocol = TRANSPORTS.get(name.lower())
        if protocol is None or not 0 < port.port < 65_536:
            problems.append(f"endpoint slice {item.key}: port {port.port}/{name} cannot be used")
            continue
        yield SlicePort(port.name or "", protocol, port.port.to_bytes(2, "big") + b"\0\0")


def _address(item: EndpointSlice, endpoint: SliceEndpoint, family: Family, problems: list[str]) -> bytes | None:
    if not endpoint.addresses:
        return None
    try:
        address = lenient(endpoint.addresses[0])
    except ValueError:
        address = b""
    if len(address) != family.address.size:
        problems.append(f"endpoint slice {item.key}: {endpoint.addresses[0]!r} is no {family.name} address")
        return None
    kind = special(address)
    if kind and kind != "loopback":  # an apiserver on loopback is its own Service's endpoint, and a node can ask it
        problems.append(f"endpoint slice {item.key}: {endpoint.addresses[0]!r} is {kind}, so nothing is led there")
        return None
    return address


def _conditions(endpoint: SliceEndpoint, node_name: str) -> int:
    said = endpoint.conditions
    local = LOCAL if node_name and endpoint.node_name == node_name else 0
    if said is None:
        return local | READY | SERVING
    ready = said.ready is None or said.ready
    serving = said.serving is None or said.serving
    return local | (READY if ready else 0) | (SERVING if serving else 0) | (TERMINATING if said.terminating else 0)


def _hints(endpoint: SliceEndpoint) -> Hints:
    if endpoint.hints is None:
        return NO_HINTS
    zones = tuple(zone.name for zone in endpoint.hints.for_zones or ())
    nodes = tuple(node.name for node in endpoint.hints.for_nodes or ())
    return (zones, nodes) if zones or nodes else NO_HINTS


def too_many(slices: Iterable[Slice], family: Family) -> int:
    """How many endpoints a service's slices have, when merging them would keep all other services waiting; else 0."""
    count = sum(len(item.conditions) for item in slices if item.family is family)
    return count if count > MAX_MERGED else 0


def merge(slices: Iterable[Slice], family: Family) -> Endpoints:
    """Endpoints of all slices of a family. One that is there twice counts once: as the better of the two, or the later.

    A pod that comes back with its old address is in two slices for a while, terminating in one of them. Where there are
    too many to look at, there are none.
    """
    merged: dict[tuple[str, int], dict[bytes, Endpoint]] = {}
    ours = sorted((item for item in slices if item.family is family), key=lambda item: item.key)
    for item in ours if not too_many(ours, family) else ():
        for port in item.ports:
            held = merged.setdefault((port.name, port.protocol), {})
            for endpoint in _endpoints(item, port.tail):
                known = held.get(endpoint.data)
                if known is None or _goodness(endpoint.flags) >= _goodness(known.flags):
                    held[endpoint.data] = endpoint
    return {key: list(found.values()) for key, found in merged.items()}


def _goodness(flags: int) -> tuple[bool, int, int]:
    return not flags & TERMINATING, flags & LOCAL, flags & READY


def _endpoints(item: Slice, tail: bytes) -> Iterable[Endpoint]:
    size, addresses = item.family.address.size, item.addresses
    for index, flags in enumerate(item.conditions):
        offset = index * size
        zones, nodes = item.hints[index] if item.hints else NO_HINTS
        yield Endpoint(addresses[offset : offset + size] + tail, flags, zones, nodes)
