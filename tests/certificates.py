"""Certificates for tests: an authority, and what it signs for servers and clients on loopback."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
_CLIENT = [ExtendedKeyUsageOID.CLIENT_AUTH]
_SERVER = [ExtendedKeyUsageOID.SERVER_AUTH]


class Files(NamedTuple):
    """A certificate and its key, in PEM."""

    cert: Path
    key: Path


class Certificate(NamedTuple):
    """A certificate and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def issue(
        cls, name: str, group: str = "", *, by: Self | None = None, authority: bool = False, server: bool = False
    ) -> Self:
        """A certificate for a day, signed `by` another one or by itself; a server's has loopback's address."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [(NameOID.ORGANIZATION_NAME, group), (NameOID.COMMON_NAME, name)]
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes if value])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_CLIENT + _SERVER * server), critical=False)
        )
        if server:
            made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        return cls(key, made.sign(by.key if by else key, hashes.SHA256()))

    @classmethod
    def read(cls, pem: bytes) -> Self:
        """From the key and the certificate, one after the other."""
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key, x509.load_pem_x509_certificate(pem))

    @property
    def key_pem(self) -> bytes:
        """The key."""
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.key.private_bytes(*form)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path, name: str) -> Files:
        """As two files of that name."""
        files = Files(folder / f"{name}.crt", folder / f"{name}.key")
        files.cert.write_bytes(self.pem)
        files.key.write_bytes(self.key_pem)
        return files
