"""Which strings are addresses and networks, and what Kubernetes says of the others (pure).

Three degrees: `parse` reads; `ip` and `cidr` say what is wrong in the fields that are older than strict checking;
`canonical_ip` and `canonical_cidr` also want the one way to write it. Source: RFC 5952, KEP-4858 (on since 1.36).
"""

import ipaddress
import re

from netplane.api import remembering

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
ORDINARY_IPV4 = re.compile(rf"(?!0\.|127\.|169\.254\.|22|23|24|25){_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_ZEROS = re.compile(r"(?<![0-9a-fA-F:])0+(?=\d+(\.|$))", re.ASCII)
NO_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def is_ordinary_ipv4(value: str) -> bool:
    """Whether a string is an IPv4 address that any endpoint can have: the quick answer for most addresses.

    False says nothing: the address may be IPv6, special, or none at all.
    """
    return ORDINARY_IPV4.fullmatch(value) is not None


@remembering.short(4096, 64)
def parse(value: str) -> IPAddress | None:
    """The address, or None. Zones (fe80::1%eth0) and IPv4 with leading zeros are refused, as everywhere in the API."""
    try:
        return None if "%" in value else ipaddress.ip_address(value)
    except ValueError:
        return None


def lenient(value: str) -> IPAddress | None:
    """The address, as it was read before strict checking: with zeros before numbers, and IPv4 in IPv6's clothes."""
    found = parse(_ZEROS.sub("", value))
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def network(value: str) -> IPNetwork | None:
    """The network of an address and a prefix length, or None."""
    address, slash, length = value.partition("/")
    try:
        well = slash and length.isdecimal() and "%" not in address
        return ipaddress.ip_network(value, strict=False) if well else None
    except ValueError:
        return None


def ip(value: str) -> list[str]:
    """An IPv4 or IPv6 address in any form that everybody reads alike."""
    found = parse(value)
    if found is None:
        return ["must not have leading 0s"] if lenient(value) else [NO_IP]
    return ["must not be an IPv4-mapped IPv6 address"] if is_mapped(found) else []


def cidr(value: str) -> list[str]:
    """A network: an address and a prefix length, with no bits beyond it."""
    address, _, length = value.partition("/")
    found = network(value)
    if found is None or str(int(length)) != length:
        zeros = found or network(f"{_ZEROS.sub('', address)}/{length}")
        return ["must not have leading 0s in IP or prefix length"] if zeros else [NO_CIDR]
    if is_mapped(found.network_address):
        return ["must not have an IPv4-mapped IPv6 address"]
    return [] if found.network_address == parse(address) else ["must not have bits set beyond the prefix length"]


def canonical_ip(value: str) -> list[str]:
    """An address as RFC 5952 writes it."""
    return ip(value) or _canonical(value, str(parse(value)))


def canonical_cidr(value: str) -> list[str]:
    """A network as RFC 5952 writes its address."""
    return cidr(value) or _canonical(value, str(network(value)))


def _canonical(value: str, wanted: str) -> list[str]:
    return [] if value == wanted else [f'must be in canonical form ("{wanted}")']


def is_mapped(address: IPAddress) -> bool:
    """Whether it is an IPv4 address in IPv6's clothes (::ffff:10.0.0.1), which programs read differently."""
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def ip_warnings(path: str, value: str) -> list[str]:
    """What to say of an address that is right, and written in an uncommon way."""
    found = None if is_ordinary_ipv4(value) else parse(value)
    if found is None or str(found) == value:
        return []
    return [f'{path}: IPv6 address "{value}" should be in RFC 5952 canonical format ("{found}")']


def cidr_warnings(path: str, value: str) -> list[str]:
    """The same of a network."""
    found = network(value)
    if found is None or str(found) == value:
        return []
    address = parse(value.partition("/")[0])
    if address != found.network_address:
        alone = f"{address}/{found.max_prefixlen}"
        return [f'{path}: CIDR value "{value}" is ambiguous in this context (should be "{found}" or "{alone}"?)']
    return [f'{path}: IPv6 CIDR value "{value}" should be in RFC 5952 canonical format ("{found}")']
