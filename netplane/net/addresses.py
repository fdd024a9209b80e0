"""Addresses from text to bytes, fast: a proxy reads hundreds of thousands of them at start."""

import ipaddress
import re

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)


def packed(text: str) -> bytes:
    """An IPv4 or IPv6 address as 4 or 16 bytes.

    Raises:
        ValueError: when it is neither.
    """
    if _IPV4.fullmatch(text):
        return bytes(map(int, text.split(".")))
    return ipaddress.ip_address(text).packed


_MAPPED = bytes(10) + b"\xff\xff"
_LEADING_ZEROS = re.compile(r"\b0+(?=\d)", re.ASCII)
_SUSPECTS = frozenset({0, 127, 169, 224, 0xFE, 0xFF})
_LINK_LOCAL_GROUPS = {4: re.compile(rb"\xe0\x00\x00"), 6: re.compile(rb"\xff[\x02\x12\x22\x32]")}
_DOTTED = re.compile(r"\d+(?:\.\d+){3}", re.ASCII)


def lenient(text: str) -> bytes:
    """The same, as objects may have it that an apiserver took long ago: `010.1.0.001` is decimal, and an IPv4 address
    written as IPv6 (`::ffff:10.1.0.1`) is the IPv4 address.

    Raises:
        ValueError: when it is neither.
    """
    found = packed(_LEADING_ZEROS.sub("", text) if _DOTTED.fullmatch(text) else text)
    return found[12:] if found[:12] == _MAPPED else found


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A CIDR, read as leniently; bits of the host do not count.

    Raises:
        ValueError: when it is none.
    """
    address, _, bits = text.partition("/")
    return ipaddress.ip_network((lenient(address), int(bits)), strict=False)


def special(address: bytes) -> str:
    """Why a packed address is no place for a service to be or to lead to; "" when it is one.

    Source: Kubernetes' API, which takes no such addresses for endpoints and externalIPs.
    """
    if address[0] not in _SUSPECTS:  # nearly all leave here: there are hundreds of thousands of endpoints
        return ""
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        return "unspecified"
    if ip.is_loopback:
        return "loopback"
    if ip.is_link_local or _LINK_LOCAL_GROUPS[ip.version].match(address):
        return "link-local"
    return ""


def with_port(address: str, port: int) -> str:
    """`10.1.0.1:80`, `[fd00::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
