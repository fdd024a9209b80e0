"""The cluster's own CA and the serving certificate that it signs.

    data-dir/pki/ca.pem          key and certificate of the CA, 0600; made once, ten years
    data-dir/pki/ca.crt          its certificate alone, for clients
    data-dir/pki/apiserver.pem   key and certificate of the server, 0600; made anew when the names it must cover
                                 change, when the CA changed, or a month before its end

A key and its certificate share one file, so that a crash between two files cannot leave a pair that does not match.
"""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netplane.apiserver.process.files import write_atomic
from netplane.errors import NetplaneError, UsageError, reason

CA_DAYS = 3650
SERVER_DAYS = 365
RENEW_DAYS = 30
CLOCK_SKEW = datetime.timedelta(minutes=5)


class Pair(NamedTuple):
    """A private key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate

    def pem(self) -> bytes:
        """Both in one PEM text: key first, then certificate."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + self.cert.public_bytes(serialization.Encoding.PEM)


class Serving(NamedTuple):
    """What a TLS server and its clients need: PEM files of the server, PEM text of the CA (empty: public CAs).

    `client_ca` is the PEM file of the CAs whose certificates name users; None asks clients for none.
    """

    certfile: Path
    keyfile: Path | None
    ca_pem: bytes
    client_ca: Path | None = None


def ensure(folder: Path, names: list[str], now: datetime.datetime) -> Serving:
    """The serving certificate in `folder` for `names` (host names and IP addresses), made when missing or unfit."""
    ca = _load(folder / "ca.pem")
    if ca is None:
        ca = _make_ca(now)
        write_atomic(folder / "ca.pem", ca.pem())
    ca_pem = ca.cert.public_bytes(serialization.Encoding.PEM)
    if not (folder / "ca.crt").exists() or (folder / "ca.crt").read_bytes() != ca_pem:
        write_atomic(folder / "ca.crt", ca_pem, 0o644)
    serving = _load(folder / "apiserver.pem")
    if serving is None or not _fits(serving.cert, ca, names, now):
        write_atomic(folder / "apiserver.pem", _make_serving(ca, names, now).pem())
    return Serving(folder / "apiserver.pem", None, ca_pem)


def given(certfile: Path, keyfile: Path) -> Serving:
    """A certificate that the user brings; the last certificate of its chain is what clients must trust.

    Raises:
        UsageError: naming the flag whose file cannot be used.
    """
    try:
        chain = x509.load_pem_x509_certificates(certfile.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--tls-cert-file {certfile}: {_why(error)}", hint="give a PEM file with a certificate"
        ) from error
    try:
        key = serialization.load_pem_private_key(keyfile.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"--tls-private-key-file {keyfile}: {_why(error)}", hint="give an unencrypted PEM key"
        ) from error
    if _public(key.public_key()) != _public(chain[0].public_key()):
        raise UsageError(
            f"--tls-private-key-file {keyfile} is not the key of --tls-cert-file {certfile}",
            hint="give the key that the certificate was made with",
        )
    return Serving(certfile, keyfile, chain[-1].public_bytes(serialization.Encoding.PEM))


def check_ca(path: Path) -> None:
    """A file with CA certificates. Raises UsageError naming its flag."""
    try:
        x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--client-ca-file {path}: {_why(error)}", hint="give a PEM file with CA certificates"
        ) from error


def _why(error: Exception) -> str:
    said = reason(error)
    # What follows is where the library explains itself, not the user's file.
    return said.partition(". See https://cryptography.io")[0]


def _public(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key type has it, no common base says so
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _load(path: Path) -> Pair | None:
    """The pair in a file of ours; None when there is none."""
    if not path.exists():
        return None
    try:
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        cert = x509.load_pem_x509_certificate(pem)
    except (OSError, ValueError) as error:
        raise NetplaneError(
            f"{path}: {_why(error)}", hint="restore the file, or remove the pki folder to start anew"
        ) from error
    assert isinstance(key, ec.EllipticCurvePrivateKey), f"{path} was not written by netplane"
    return Pair(key, cert)


def _fits(cert: x509.Certificate, ca: Pair, names: list[str], now: datetime.datetime) -> bool:
    try:
        cert.verify_directly_issued_by(ca.cert)
    except (ValueError, TypeError, InvalidSignature):
        return False
    have = set(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    remaining = cert.not_valid_after_utc - now
    return have >= set(_general_names(names)) and remaining > datetime.timedelta(days=RENEW_DAYS)


def _general_names(names: list[str]) -> list[x509.GeneralName]:
    out: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            out.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            out.append(x509.DNSName(name))
    return out


def _builder(subject: str, issuer: x509.Name | None, now: datetime.datetime, days: int) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _make_ca(now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    cert = (
        _builder("netplane-ca", None, now, CA_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(key, cert)


def _make_serving(ca: Pair, names: list[str], now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    cert = (
        _builder("netplane-apiserver", ca.cert.subject, now, SERVER_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(key, cert)
