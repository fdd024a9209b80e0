"""Writing protobuf's wire format: keys, varints, lengths (pure)."""


def varint(value: int) -> bytes:
    """A number, seven bits to the byte; negative ones as 64 bits in two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """An integer or boolean field."""
    return varint(field << 3) + varint(value)


def block(field: int, value: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def fixed(field: int, value: bytes) -> bytes:
    """A field of eight bytes (double)."""
    return varint(field << 3 | 1) + value
