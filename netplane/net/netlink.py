"""PURE netlink bytes: messages, attributes, errors (RFC 3549; linux/netlink.h).

    nlmsghdr  u32 length . u16 type . u16 flags . u32 sequence . u32 port     host byte order
    nlattr    u16 length . u16 type . payload . padding to 4 bytes            length excludes the padding

Encoders return plain bytes, so a batch is a `b"".join`; nothing here opens a socket.
"""

import errno
import struct
from collections.abc import Iterator
from typing import NamedTuple

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NLA_HEADER_BYTES = 4

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_BE16 = struct.Struct("!H")
_BE32 = struct.Struct("!I")
_BE64 = struct.Struct("!Q")
_I32 = struct.Struct("=i")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

HEADER_BYTES = _HEADER.size


class Message(NamedTuple):
    """One received message; `payload` is what follows the 16-byte header."""

    type: int
    flags: int
    seq: int
    payload: bytes


class Failure(NamedTuple):
    """What the kernel said about one message: errno (positive; 0 is an ACK), its words, the offending byte offset."""

    errno: int
    message: str
    offset: int | None

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name}: {self.message}" if self.message else name


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded. `kind` may carry NLA_F_NESTED. Raises struct.error above 65,531 payload bytes."""
    size = len(payload)
    return _ATTR.pack(size + 4, kind) + payload + _PADDING[size & 3]


def nested(kind: int, *attrs: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attr(kind | NLA_F_NESTED, b"".join(attrs))


def attr_u8(kind: int, value: int) -> bytes:
    """An attribute holding one byte."""
    return attr(kind, bytes((value,)))


def attr_u16(kind: int, value: int) -> bytes:
    """An attribute holding a host-endian 16-bit number."""
    return attr(kind, _U16.pack(value))


def attr_u32(kind: int, value: int) -> bytes:
    """An attribute holding a host-endian 32-bit number."""
    return attr(kind, _U32.pack(value))


def attr_be16(kind: int, value: int) -> bytes:
    """An attribute holding a big-endian 16-bit number."""
    return attr(kind, _BE16.pack(value))


def attr_be32(kind: int, value: int) -> bytes:
    """An attribute holding a big-endian 32-bit number (what nf_tables uses for most numbers)."""
    return attr(kind, _BE32.pack(value))


def attr_be64(kind: int, value: int) -> bytes:
    """An attribute holding a big-endian 64-bit number."""
    return attr(kind, _BE64.pack(value))


def attr_str(kind: int, value: str) -> bytes:
    """An attribute holding a NUL-terminated string."""
    return attr(kind, value.encode() + b"\0")


def message(kind: int, flags: int, seq: int, payload: bytes = b"", port: int = 0) -> bytes:
    """One message with its header; the payload must already be padded (attributes are)."""
    return _HEADER.pack(HEADER_BYTES + len(payload), kind, flags, seq, port) + payload


def messages(buffer: bytes) -> Iterator[Message]:
    """Split what one recv returned. Raises ValueError on a truncated message."""
    offset, end = 0, len(buffer)
    while offset < end:
        if end - offset < HEADER_BYTES:
            raise ValueError(f"truncated netlink message: {end - offset} bytes of a {HEADER_BYTES} byte header")
        length, kind, flags, seq, _ = _HEADER.unpack_from(buffer, offset)
        if length < HEADER_BYTES or offset + length > end:
            raise ValueError(f"truncated netlink message: {length} bytes announced, {end - offset} there")
        yield Message(kind, flags, seq, buffer[offset + HEADER_BYTES : offset + length])
        offset += (length + 3) & ~3


def attrs(buffer: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute from `offset` on; stops at the first malformed one."""
    end = len(buffer)
    while offset + NLA_HEADER_BYTES <= end:
        length, kind = _ATTR.unpack_from(buffer, offset)
        if length < NLA_HEADER_BYTES or offset + length > end:
            return
        yield kind & NLA_TYPE_MASK, buffer[offset + NLA_HEADER_BYTES : offset + length]
        offset += (length + 3) & ~3


def attr_map(buffer: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; the last of a repeated type wins."""
    return dict(attrs(buffer, offset))


def failure(reply: Message) -> Failure:
    """Read an NLMSG_ERROR message (an ACK is errno 0), extended ACK attributes included."""
    code = -_I32.unpack_from(reply.payload)[0]
    text, offset = "", None
    if reply.flags & NLM_F_ACK_TLVS:
        start = 4 + HEADER_BYTES
        if not reply.flags & NLM_F_CAPPED:
            start = 4 + ((_U32.unpack_from(reply.payload, 4)[0] + 3) & ~3)
        for kind, value in attrs(reply.payload, start):
            if kind == 1:
                text = value.rstrip(b"\0").decode(errors="replace")
            elif kind == 2:
                offset = _U32.unpack(value)[0]
    return Failure(code, text, offset)


def u32(value: bytes) -> int:
    """Read a host-endian 32-bit attribute payload."""
    return int(_U32.unpack_from(value)[0])


def u64(value: bytes) -> int:
    """Read a host-endian 64-bit attribute payload."""
    return int(_U64.unpack_from(value)[0])


def be32(value: bytes) -> int:
    """Read a big-endian 32-bit attribute payload."""
    return int(_BE32.unpack_from(value)[0])


def be64(value: bytes) -> int:
    """Read a big-endian 64-bit attribute payload."""
    return int(_BE64.unpack_from(value)[0])


def string(value: bytes) -> str:
    """Read a NUL-terminated string attribute payload."""
    return value.rstrip(b"\0").decode(errors="replace")
