"""A small public key infrastructure: authorities, and the certificates that they issue to servers and callers.

It is for trials, development and tests, and shows what a certificate of one's own authority has to look like: a server
has host names, a caller has exactly one URI and no other name. Keys are ECDSA on P-256, which every TLS library takes.
Nothing here touches a disk.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# So that a certificate that was issued a moment ago is valid on a machine whose clock is a little behind.
_SKEW = datetime.timedelta(minutes=5)
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]{1,240}")
# What RFC 5280 allows a common name, which is for people here and never an identity.
_LONGEST_COMMON_NAME = 64


class PkiError(Exception):
    """A name that cannot stand in a certificate, or bytes that are no authority."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and its private key, both PEM. The `repr` does not show the key."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credentials(***)"


class Authority:
    """Issues certificates. Its own may sign no further authorities."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, *, now: datetime.datetime, lifetime: datetime.timedelta) -> Authority:
        """A new authority, `name` being for people. Raises `PkiError`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, key, now, lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, credentials: Credentials) -> Authority:
        """The authority that was written as `credentials`. Raises `PkiError`."""
        try:
            certificate = x509.load_pem_x509_certificate(credentials.certificate)
            key = serialization.load_pem_private_key(credentials.key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PkiError("no authority: a certificate and its unencrypted key in PEM are wanted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PkiError("the authority's key is not the one in its certificate")
        return cls(certificate, key)

    @property
    def credentials(self) -> Credentials:
        """The authority as it is written to files."""
        return Credentials(self.certificate, _private_bytes(self._key))

    @property
    def certificate(self) -> bytes:
        """What others need to trust it, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue_to_server(
        self, hosts: Sequence[str], *, now: datetime.datetime, lifetime: datetime.timedelta
    ) -> Credentials:
        """A certificate for a server that is reached under these DNS names and addresses. Raises `PkiError`."""
        if not hosts:
            raise PkiError("a server needs a host name or an address")
        names = [_host(host) for host in hosts]
        return self._issue(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now, lifetime)

    def issue_to_caller(self, uri: str, *, now: datetime.datetime, lifetime: datetime.timedelta) -> Credentials:
        """A certificate for a caller who is known by `uri`, for example a SPIFFE id. Raises `PkiError`."""
        if not _URI.fullmatch(uri):
            raise PkiError("a caller is known by a URI, for example spiffe://example.org/uploads")
        names = [x509.UniformResourceIdentifier(uri)]
        return self._issue(uri.rpartition("/")[2] or uri, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)

    def _issue(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: datetime.datetime,
        lifetime: datetime.timedelta,
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(common_name[:_LONGEST_COMMON_NAME]), self._certificate.subject, key, now, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Credentials(certificate.public_bytes(serialization.Encoding.PEM), _private_bytes(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    except ValueError:
        raise PkiError("a name has 1 to 64 characters") from None


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", host):
        raise PkiError("a server's name is a DNS name or an IP address")
    return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
