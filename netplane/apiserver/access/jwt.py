"""JSON Web Tokens with ES256, as far as ServiceAccount tokens need them (RFC 7515, 7517, 7518, 7519).

header.payload.signature, each base64url without padding; the signature is r and s, 32 bytes each, of all before it.
"""

import base64
import binascii
import hashlib
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

Json = dict[str, Any]

_HALF = 32


class BadToken(ValueError):
    """No token of ours."""


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def issuer_of(token: str) -> str:
    """Who a token says has issued it, before anything of it is known to be true; "" when it is no token."""
    parts = token.split(".")
    try:
        claims = orjson.loads(_decode(parts[1])) if len(parts) == 3 else {}
    except (ValueError, binascii.Error):
        return ""
    issuer = claims.get("iss") if isinstance(claims, dict) else ""
    return issuer if isinstance(issuer, str) else ""


class Key:
    """A P-256 key pair; `kid` names it in headers and in the key set."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self._public = private.public_key()
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.kid = _encode(hashlib.sha256(der).digest())

    @classmethod
    def make(cls) -> "Key":
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, pem: bytes) -> "Key":
        """From PEM. Raises ValueError."""
        private = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise ValueError("not an EC key on P-256")
        return cls(private)

    def pem(self) -> bytes:
        """As `load` reads it."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, claims: Json) -> str:
        """The token that carries `claims`."""
        header = {"alg": "ES256", "kid": self.kid}
        text = f"{_encode(orjson.dumps(header))}.{_encode(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encode(r.to_bytes(_HALF, 'big') + s.to_bytes(_HALF, 'big'))}"

    def verify(self, token: str) -> Json:
        """The claims of a token that this key signed; the caller checks times and audiences. Raises BadToken."""
        try:
            head, payload, signature = token.split(".")
            header, raw = orjson.loads(_decode(head)), _decode(signature)
            if header.get("alg") != "ES256" or header.get("kid") != self.kid or len(raw) != 2 * _HALF:
                raise BadToken("not signed by this key")
            der = encode_dss_signature(int.from_bytes(raw[:_HALF], "big"), int.from_bytes(raw[_HALF:], "big"))
            self._public.verify(der, f"{head}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
            claims = orjson.loads(_decode(payload))
        except (ValueError, binascii.Error, AttributeError, InvalidSignature) as error:
            raise BadToken(str(error) or "the signature does not fit") from error
        if not isinstance(claims, dict):
            raise BadToken("the claims are no object")
        return claims

    def jwk(self) -> Json:
        """The public half, as a key set lists it."""
        numbers = self._public.public_numbers()
        x, y = (_encode(value.to_bytes(_HALF, "big")) for value in (numbers.x, numbers.y))
        return {"use": "sig", "kty": "EC", "kid": self.kid, "crv": "P-256", "alg": "ES256", "x": x, "y": y}
