"""Families and datatypes: how values sit in nftables registers, and how nft writes them.

A set's key is a concatenation of slots, each padded to 4 bytes (NFT_REG32_SIZE):

    10.96.0.1 . tcp . 80 . 2      0a600001 06000000 00500000 02000000
    ipv4_addr   u8    be16 u32    big      +3 zeros +2 zeros host endian (what `numgen` leaves in a register)

Addresses and ports are big endian because packets are; numbers that nftables computes are host endian.
"""

import ipaddress
import struct
from collections.abc import Sequence
from typing import NewType

import msgspec

Verdict = NewType("Verdict", str)
"""As nft writes it: `drop`, `accept`, `goto lb_3`, `jump x`, `return`."""

DROP, ACCEPT, RETURN = Verdict("drop"), Verdict("accept"), Verdict("return")

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


def goto(chain: str) -> Verdict:
    """`goto CHAIN`: the chain does not come back."""
    return Verdict(f"goto {chain}")


class DataType(msgspec.Struct, frozen=True):
    """One slot of a key or of data. `size` in bytes, without padding."""

    name: str
    size: int

    @property
    def slot(self) -> int:
        """Bytes in a register, padding included."""
        return (self.size + 3) & ~3

    def pack(self, value: str | int | bytes) -> bytes:
        """A padded slot from an address, a protocol name or a number.

        Raises:
            ValueError: when the value does not fit the type.
        """
        return _packed(self, value).ljust(self.slot, b"\0")

    def text(self, raw: bytes) -> str:
        """A padded slot as nft prints it."""
        match self.name:
            case "ipv4_addr" | "ipv6_addr":
                return str(ipaddress.ip_address(raw[: self.size]))
            case "inet_proto":
                return _PROTOCOL_NAMES.get(raw[0], str(raw[0]))
            case "inet_service":
                return str(int.from_bytes(raw[:2], "big"))
            case "classid":
                return _handle_text(struct.unpack("=I", raw[:4])[0])
            case _:
                return str(struct.unpack("=I", raw[:4])[0])


def _handle_text(number: int) -> str:
    """As tc writes handles: `major:minor` in hex, with words for the two ends."""
    return {0: "none", 0xFFFFFFFF: "root"}.get(number) or f"{number >> 16:x}:{number & 0xFFFF:x}"


def _packed(kind: DataType, value: str | int | bytes) -> bytes:
    if isinstance(value, bytes):
        if len(value) != kind.size:
            raise ValueError(f"{kind.name}: {len(value)} bytes, {kind.size} wanted")
        return value
    match kind.name:
        case "ipv4_addr":
            return ipaddress.IPv4Address(value).packed
        case "ipv6_addr":
            return ipaddress.IPv6Address(value).packed
        case "inet_proto":
            return bytes((PROTOCOLS[value] if isinstance(value, str) else value,))
        case "inet_service":
            return int(value).to_bytes(2, "big")
        case _:
            return struct.pack("=I", int(value))


IPV4_ADDR = DataType("ipv4_addr", 4)
IPV6_ADDR = DataType("ipv6_addr", 16)
INET_PROTO = DataType("inet_proto", 1)
INET_SERVICE = DataType("inet_service", 2)
MARK = DataType("mark", 4)
INTEGER = DataType("integer", 4)
CLASSID = DataType("classid", 4)


class Family(msgspec.Struct, frozen=True):
    """An address family as a value: what differs between IPv4 and IPv6 stands here and nowhere else."""

    name: str
    nft: str
    number: int
    address: DataType
    version: int

    @property
    def bits(self) -> int:
        """Bits of an address."""
        return self.address.size * 8


IPV4 = Family("IPv4", "ip", 2, IPV4_ADDR, 4)
IPV6 = Family("IPv6", "ip6", 10, IPV6_ADDR, 6)
FAMILIES = (IPV4, IPV6)


def pack(types: Sequence[DataType], *values: str | int | bytes) -> bytes:
    """A concatenated key or datum from its parts."""
    return b"".join(kind.pack(value) for kind, value in zip(types, values, strict=True))


def split(types: Sequence[DataType], raw: bytes) -> list[bytes]:
    """The padded slots of a concatenation."""
    slots, offset = [], 0
    for kind in types:
        slots.append(raw[offset : offset + kind.slot])
        offset += kind.slot
    return slots


def text(types: Sequence[DataType], raw: bytes) -> str:
    """A concatenation as nft prints it: `10.96.0.1 . tcp . 80`."""
    return " . ".join(kind.text(slot) for kind, slot in zip(types, split(types, raw), strict=True))


def width(types: Sequence[DataType]) -> int:
    """Bytes of a concatenation, padding included."""
    return sum(kind.slot for kind in types)
