"""Merges the EndpointSlices of a service: endpoints by port name and protocol, each address and port once.

Conditions that were not said are read as the API documents: ready means yes, serving means what ready says,
terminating means no. Slices of another family and of names (FQDN) are left out, and so is what cannot be read.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from netplane.api.objects import Endpoint as SliceEndpoint
from netplane.api.objects import EndpointSlice
from netplane.nft.types import PROTOCOLS, Family
from proxy.plan.model import Endpoint
from proxy.plan.services import HEADLESS, OTHER_PROXY

SERVICE_NAME = "kubernetes.io/service-name"

Endpoints = Mapping[tuple[str, int], list[Endpoint]]
"""Endpoints of each (port name, protocol number)."""


def service_of(item: EndpointSlice) -> str | None:
    """The key of the service a slice belongs to; None when it is none of this proxy's business."""
    labels = item.metadata.labels or {}
    name = labels.get(SERVICE_NAME)
    if not name or OTHER_PROXY in labels or HEADLESS in labels:
        return None
    return f"{item.metadata.namespace}/{name}"


def merge(slices: Iterable[EndpointSlice], family: Family, node_name: str, problems: list[str]) -> Endpoints:
    """Endpoints of all slices. An endpoint in two slices counts once; one that is said to be local wins."""
    merged: dict[tuple[str, int], dict[bytes, Endpoint]] = {}
    for item in sorted(slices, key=lambda s: s.metadata.name):
        if item.address_type != family.name:
            continue
        addresses = _read(item, family, node_name, problems)
        for name, protocol, tail in _ports(item, problems):
            held = merged.setdefault((name, protocol), {})
            for address, rest in addresses:
                data = address + tail
                if data not in held or (rest[3] and not held[data].local):
                    held[data] = Endpoint(data, *rest)
    return {key: list(found.values()) for key, found in merged.items()}


_Rest = tuple[bool, bool, bool, bool, tuple[str, ...], tuple[str, ...]]


def _ports(item: EndpointSlice, problems: list[str]) -> Iterable[tuple[str, int, bytes]]:
    for port in item.ports or ():
        if port.port is None:
            continue
        protocol = PROTOCOLS.get((port.protocol or "TCP").lower())
        if protocol is None or not 0 < port.port < 65_536:
            problems.append(f"endpoint slice {item.key}: port {port.port}/{port.protocol} cannot be used")
            continue
        yield port.name or "", protocol, port.port.to_bytes(2, "big") + b"\0\0"


def _read(item: EndpointSlice, family: Family, node_name: str, problems: list[str]) -> list[tuple[bytes, _Rest]]:
    found = []
    for endpoint in item.endpoints or ():
        if not endpoint.addresses:
            continue
        try:
            address = ipaddress.ip_address(endpoint.addresses[0])
        except ValueError:
            address = None
        if address is None or address.version != family.version:
            problems.append(f"endpoint slice {item.key}: {endpoint.addresses[0]!r} is no {family.name} address")
            continue
        found.append((address.packed, _rest(endpoint, node_name)))
    return found


def _rest(endpoint: SliceEndpoint, node_name: str) -> _Rest:
    said = endpoint.conditions
    ready = said is None or said.ready is None or said.ready
    serving = ready if said is None or said.serving is None else said.serving
    terminating = said is not None and bool(said.terminating)
    hints = endpoint.hints
    zones = tuple(zone.name for zone in (hints.for_zones or ())) if hints else ()
    nodes = tuple(node.name for node in (hints.for_nodes or ())) if hints else ()
    return ready, serving, terminating, bool(node_name) and endpoint.node_name == node_name, zones, nodes
