"""PURE interface names: what the kernel accepts, and names made to fit it (IFNAMSIZ is 16 with the closing NUL)."""

import hashlib

IFNAME_MAX_BYTES = 15
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def problem(name: str) -> str:
    """Why the kernel would refuse `name` for an interface; "" when it would not (dev_valid_name in net/core/dev.c)."""
    if not name:
        return "is empty"
    if len(name.encode(errors="surrogatepass")) > IFNAME_MAX_BYTES:
        return f"is longer than {IFNAME_MAX_BYTES} bytes"
    if name in (".", ".."):
        return "is not a name"
    if any(c in "/:" or c.isspace() or not c.isprintable() for c in name):
        return "contains a slash, a colon, white space or a control character"
    return ""


def fitted(prefix: str, *parts: str) -> str:
    """`prefix` followed by a hash of `parts`, exactly 15 bytes long: the same parts give the same name.

    With the prefix `veth` 55 bits of SHA-256 remain, so 100,000 names collide with a chance of about 1 in 7 million.
    """
    room = IFNAME_MAX_BYTES - len(prefix)
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
    return prefix + "".join(_ALPHABET[byte & 31] for byte in digest[:room])


def mac(*parts: str) -> str:
    """A locally administered unicast MAC address (first byte x2/x6/xA/xE) made of a hash of `parts`."""
    digest = bytearray(hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()[:6])
    digest[0] = (digest[0] & 0xFC) | 0x02
    return digest.hex(":")
