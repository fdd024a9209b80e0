"""Endpoints and EndpointSlices. Source: core/v1 and discovery/v1 validation of Kubernetes 1.36."""

from typing import Any

from netplane.api import addresses, names
from netplane.api.fields import FieldError, all_invalid, duplicate, invalid, not_supported, repeated, required, too_many
from netplane.api.validation import meta
from netplane.api.validation.service import service_port

Json = dict[str, Any]

ADDRESS_TYPES = frozenset({"IPv4", "IPv6", "FQDN"})
MAX_ENDPOINTS = 1_000
MAX_ADDRESSES = 100
MAX_PORTS = 20_000
MAX_HINTS = 8


def endpoints(obj: Json, old: Json | None) -> list[FieldError]:
    """core/v1 Endpoints. Subsets that were there before may stay."""
    subsets = obj.get("subsets") or []
    if old is not None and subsets == (old.get("subsets") or []):
        return []
    return [error for i, one in enumerate(subsets) for error in _subset(one, f"subsets[{i}]")]


def _subset(subset: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
    for field in ("addresses", "notReadyAddresses"):
        for i, address in enumerate(subset.get(field) or ()):
            errors += _address(address, f"{path}.{field}[{i}]")
    ports = subset.get("ports") or []
    for i, port in enumerate(ports):
        errors += service_port(port, f"{path}.ports[{i}]", named=len(ports) > 1, seen=set())
    return errors


def _address(address: Json, path: str) -> list[FieldError]:
    ip, where = address.get("ip") or "", f"{path}.ip"
    return all_invalid(where, ip, addresses.ip(ip)) + _host_and_node(address, path) + meta.endpoint_ip(where, ip)


def _host_and_node(endpoint: Json, path: str, *, named: bool = False) -> list[FieldError]:
    """`named`: a hostname that is given has a name in it."""
    errors: list[FieldError] = []
    if (node := endpoint.get("nodeName")) is not None:
        errors += all_invalid(f"{path}.nodeName", node, names.dns_subdomain(node))
    host = endpoint.get("hostname")
    if host or (host is not None and named):
        errors += all_invalid(f"{path}.hostname", host, names.dns_label(host))
    return errors


def endpoint_slice(obj: Json, old: Json | None) -> list[FieldError]:
    """discovery/v1 EndpointSlice. Endpoints that were there before may stay."""
    address_type, given = obj.get("addressType") or "", obj.get("endpoints") or []
    errors = meta.one_of("addressType", address_type, ADDRESS_TYPES) + _ports(obj.get("ports") or [])
    if old is None or given != (old.get("endpoints") or []):
        errors += _endpoints(given, address_type)
    if old is not None:
        errors += meta.immutable("addressType", address_type, old.get("addressType"))
    return errors


def _endpoints(given: list[Json], address_type: str) -> list[FieldError]:
    if len(given) > MAX_ENDPOINTS:
        return [too_many("endpoints", len(given), MAX_ENDPOINTS)]
    ordinary = _ordinary if address_type == "IPv4" else _unusual
    return [
        error
        for i, one in enumerate(given)
        if not ordinary(one)
        for error in _endpoint(one, address_type, f"endpoints[{i}]")
    ]


def _ordinary(endpoint: Json) -> bool:
    """Whether an endpoint is plainly fine, as nearly all are: one IPv4 address, on a node, nothing special."""
    given = endpoint.get("addresses") or []
    if len(given) != 1 or endpoint.get("hints") or endpoint.get("hostname") is not None:
        return False
    node = endpoint.get("nodeName")
    return _is_ordinary(given[0]) is not None and (not node or _is_label(node) is not None)


_is_ordinary, _is_label = addresses.ORDINARY_IPV4.fullmatch, names.SHORT_LABEL.fullmatch


def _unusual(endpoint: Json) -> bool:
    """An endpoint that is no IPv4 address is looked at."""
    del endpoint
    return False


def _endpoint(endpoint: Json, address_type: str, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    given = endpoint.get("addresses") or []
    if not given:
        errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(given) > MAX_ADDRESSES:
        errors.append(too_many(f"{path}.addresses", len(given), MAX_ADDRESSES))
    for i, address in enumerate(given):
        errors += _slice_address(address, address_type, f"{path}.addresses[{i}]")
    return errors + _host_and_node(endpoint, path, named=True) + _hints(endpoint.get("hints") or {}, f"{path}.hints")


def _slice_address(address: str, address_type: str, path: str) -> list[FieldError]:
    if address_type in ("IPv4", "IPv6"):
        check = addresses.ip if address_type == "IPv4" else addresses.canonical_ip
        if bad := check(address):
            return all_invalid(path, address, bad)
        wrong = (":" in address) == (address_type == "IPv4")
        # Told of the list, as the real server does.
        errors = [invalid(path.rpartition("[")[0], address, f"must be an {address_type} address")] if wrong else []
        return errors + meta.endpoint_ip(path, address)
    if address_type == "FQDN":
        return _fqdn(address.removesuffix("."), path)
    return []


def _fqdn(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    if bad := names.dns_subdomain(name):
        return [invalid(path, name, ",".join(bad))]
    if "." not in name:
        return [invalid(path, name, "should be a domain with at least two segments separated by dots")]
    return []


def _hints(hints: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("forZones", "forNodes"):
        given = [one.get("name") or "" for one in hints.get(field) or ()]
        if len(given) > MAX_HINTS:
            return [*errors, too_many(f"{path}.{field}", len(given), MAX_HINTS)]
        for i, (name, again) in enumerate(zip(given, repeated(given), strict=True)):
            where = f"{path}.{field}[{i}].name"
            if again:
                errors.append(duplicate(where, name))
            bad = names.label_value(name) if field == "forZones" else names.dns_subdomain(name)
            errors += all_invalid(where, name, bad)
    return errors


def _ports(ports: list[Json]) -> list[FieldError]:
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name = port.get("name") or ""
        if name:
            errors += all_invalid(f"ports[{i}].name", name, names.dns_label(name))
        if name in seen:
            errors.append(duplicate(f"ports[{i}].name", name))
        seen.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(required(f"ports[{i}].protocol"))
        elif protocol not in meta.PROTOCOLS:
            errors.append(not_supported(f"ports[{i}].protocol", protocol, meta.PROTOCOLS))
        if (application := port.get("appProtocol")) is not None:
            errors += all_invalid(f"ports[{i}].appProtocol", application, names.qualified_name(application))
    return errors
