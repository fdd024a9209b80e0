"""A new pod tells its link which MAC address its addresses have now, so that nobody keeps sending to an earlier one.

IPv4: an ARP announcement, which is a request for one's own address (RFC 5227, 2.3). IPv6: an unsolicited neighbour
advertisement to all nodes, overriding what they know (RFC 4861, 7.2.6).
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from netplane.rtnl import IP

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # hardware, protocol, their sizes, operation, sender, target
_IPV6 = struct.Struct("!IHBB16s16s")  # version, payload bytes, next header, hop limit, source, destination
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")  # type, code, checksum, flags, target, option 2 of 8 bytes, MAC
_ETH_ARP, _ETH_IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
_OVERRIDE = 1 << 29
_ALL_NODES = IPv6Address("ff02::1").packed


def frame(mac: str, address: IP) -> bytes:
    """The Ethernet frame that announces an address."""
    source = bytes.fromhex(mac.replace(":", ""))
    return _arp(source, address) if isinstance(address, IPv4Address) else _neighbour(source, address)


def _arp(mac: bytes, address: IPv4Address) -> bytes:
    body = _ARP.pack(1, 0x0800, 6, 4, 1, mac, address.packed, bytes(6), address.packed)
    return _ETHERNET.pack(b"\xff" * 6, mac, _ETH_ARP) + body


def _neighbour(mac: bytes, address: IPv6Address) -> bytes:
    values = (_OVERRIDE, address.packed, 2, 1, mac)
    size = _ADVERTISEMENT.size
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", size, _ICMPV6)
    checksum = _checksum(pseudo + _ADVERTISEMENT.pack(136, 0, 0, *values))
    header = _IPV6.pack(6 << 28, size, _ICMPV6, 255, address.packed, _ALL_NODES)
    to = b"\x33\x33" + _ALL_NODES[-4:]
    return _ETHERNET.pack(to, mac, _ETH_IPV6) + header + _ADVERTISEMENT.pack(136, 0, checksum, *values)


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
