"""Whether a TLS Secret's certificate and key are a pair, and what is wrong with them (pure).

Source: Go's crypto/tls (X509KeyPair), whose messages Kubernetes passes on.
"""

import base64
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

TLS = "kubernetes.io/tls"
_MARK = re.compile(rb"-----(BEGIN|END) ([^-\r\n]+)-----")
_NO_CERTIFICATE = 'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the '
_NO_KEY = (
    'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the '
)


def secret(obj: Json) -> list[str]:
    """A Secret as it is stored."""
    if obj.get("type") != TLS:
        return []
    data = obj.get("data") or {}
    certificate, key = (base64.b64decode(data.get(name) or "") for name in ("tls.crt", "tls.key"))
    found = _problem(certificate, key)
    return [found] if found else []


def _problem(certificate: bytes, key: bytes) -> str:
    """What is wrong with a pair; "" when nothing is."""
    blocks = list(_blocks(certificate))
    certificates = [block for kind, block in blocks if kind == "CERTIFICATE"]
    if not certificates:
        return _skipped([kind for kind, _ in blocks], "certificate")
    skipped: list[str] = []
    for kind, block in _blocks(key):
        if kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY"):
            return _unlike(certificates[0], block)
        skipped.append(kind)
    return _skipped(skipped, "key")


def _blocks(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The PEM blocks of a text and their kinds, in one pass: each from the last BEGIN before an END of its kind."""
    begun: re.Match[bytes] | None = None
    for mark in _MARK.finditer(text):
        if mark[1] == b"BEGIN":
            begun = mark
            continue
        if begun is not None and begun[2] == mark[2]:
            yield mark[2].decode(errors="replace"), text[begun.start() : mark.end()]
        begun = None


def _skipped(kinds: list[str], part: str) -> str:
    if not kinds:
        return f"tls: failed to find any PEM data in {part} input"
    if part == "certificate" and len(kinds) == 1 and kinds[0].endswith("PRIVATE KEY"):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may "
            "have been switched"
        )
    if part == "key" and kinds == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    return f"{_NO_CERTIFICATE if part == 'certificate' else _NO_KEY}following types: [{' '.join(kinds)}]"


def _unlike(certificate: bytes, key: bytes) -> str:
    """Two blocks that are a certificate and a key by their names, and no pair."""
    from cryptography import x509  # noqa: PLC0415 - 30 ms, which only servers of TLS Secrets pay
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return "x509: malformed certificate"
    except UnsupportedAlgorithm:
        return "tls: unknown public key algorithm"
    try:
        private: Any = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    if type(private.public_key()) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if private.public_key() == public else "tls: private key does not match public key"
