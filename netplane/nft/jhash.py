"""The kernel's `jhash` (Bob Jenkins' lookup3), for tracing rules that hash. Source: include/linux/jhash.h."""

import struct

_MASK = 0xFFFFFFFF
_GOLDEN = 0xDEADBEEF


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _MASK


def jhash(data: bytes, seed: int) -> int:
    """32 bits over 4 to 24 bytes, a multiple of 4, taken as host-endian words."""
    words = list(struct.unpack(f"={len(data) // 4}I", data))
    a = b = c = (_GOLDEN + len(data) + seed) & _MASK
    while len(words) > 3:
        a, b, c = _mixed((a + words[0]) & _MASK, (b + words[1]) & _MASK, (c + words[2]) & _MASK)
        words = words[3:]
    rest = [*words, 0, 0, 0]
    return _final((a + rest[0]) & _MASK, (b + rest[1]) & _MASK, (c + rest[2]) & _MASK)


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    # Each step uses the next of three words in turn, so the names rotate: after six steps they are back in place.
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _rotated(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _MASK
        a, b, c = b, c, a
    # Seven steps, three names: what the last one wrote is b after rotation.
    return b
