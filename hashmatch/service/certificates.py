"""The configured certificates, as far as one must know them to say when they expire and whom they name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from hashmatch.service.config_serving import TlsSection


class CertificateError(Exception):
    """A file that holds no certificates, or cannot be read."""


def certificate_files(tls: TlsSection) -> Iterator[tuple[str, Path]]:
    """The settings that name files of certificates, without the prefix `tls.`, and the files."""
    for name in ("certificate_file", "client_ca_file", "admin_client_ca_file"):
        if file := getattr(tls, name):
            yield name, Path(file)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, in order; at least one. Raises `CertificateError`."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from error
    return certificates_in(pem, path)


def certificates_in(pem: bytes, path: Path) -> list[x509.Certificate]:
    """The certificates in what was read from `path`, in order; at least one. Raises `CertificateError`."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{path} holds no certificates in PEM") from None


def expiry_of(path: Path) -> float:
    """When the first certificate of a file expires to do so, in seconds since 1970. Raises `CertificateError`."""
    return min(certificate.not_valid_after_utc.timestamp() for certificate in read_certificates(path))
