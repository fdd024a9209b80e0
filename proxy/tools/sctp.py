"""Just enough SCTP (RFC 9260) to ask and to answer over raw sockets: many kernels track and translate it, few speak it.

    common header   u16 source port . u16 destination port . u32 verification tag . u32 CRC32c (little endian)
    INIT, INIT ACK  u8 type . u8 flags . u16 length . u32 initiate tag . u32 window . u16 out . u16 in . u32 TSN

An INIT asks; the INIT ACK carries the answer where a server would put its state cookie (parameter 7).
"""

import struct
from typing import NamedTuple

PROTOCOL = 132
_INIT, _INIT_ACK = 1, 2
_STATE_COOKIE = 7
_HEADER = struct.Struct("!HHII")
_CHUNK = struct.Struct("!BBHIIHHI")
_PARAMETER = struct.Struct("!HH")


class Packet(NamedTuple):
    """What a packet says. `tag` is the sender's initiate tag; `answer` empty in an INIT."""

    sport: int
    dport: int
    verification: int
    tag: int
    answer: bytes = b""


def _crc_table() -> list[int]:
    """CRC32c, reflected polynomial 0x82f63b78 (RFC 9260, appendix A)."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of a packet whose checksum field is zero."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def encode(packet: Packet) -> bytes:
    """An INIT, or an INIT ACK when there is an answer."""
    cookie = b""
    if packet.answer:
        padding = -len(packet.answer) % 4
        cookie = _PARAMETER.pack(_STATE_COOKIE, 4 + len(packet.answer)) + packet.answer + bytes(padding)
    kind = _INIT_ACK if packet.answer else _INIT
    chunk = _CHUNK.pack(kind, 0, _CHUNK.size + len(cookie), packet.tag, 65_536, 1, 1, 1) + cookie
    bare = _HEADER.pack(packet.sport, packet.dport, packet.verification, 0) + chunk
    return bare[:8] + struct.pack("<I", crc32c(bare)) + bare[12:]


def decode(data: bytes) -> Packet | None:
    """An INIT or INIT ACK as `encode` makes them; None for anything else."""
    if len(data) < _HEADER.size + _CHUNK.size:
        return None
    sport, dport, verification, _ = _HEADER.unpack_from(data)
    kind, _, _, tag, *_ = _CHUNK.unpack_from(data, _HEADER.size)
    if kind == _INIT:
        return Packet(sport, dport, verification, tag)
    rest = data[_HEADER.size + _CHUNK.size :]
    if kind != _INIT_ACK or len(rest) < _PARAMETER.size:
        return None
    parameter, length = _PARAMETER.unpack_from(rest)
    return Packet(sport, dport, verification, tag, rest[4:length]) if parameter == _STATE_COOKIE else None
