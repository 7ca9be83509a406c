"""Whether the configured certificates are valid, name the server, and fit its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hashmatch.model.clock import Clock
from hashmatch.operations.file_checks import check_secrecy
from hashmatch.operations.findings import Area, Finding
from hashmatch.service.addresses import Address
from hashmatch.service.certificates import CertificateError, certificate_files, read_certificates
from hashmatch.service.config_serving import TlsSection
from hashmatch.store.urls import parse_store_url

_AREA = Area("certificates")
_DAY = 86_400.0
_SOON = 30 * _DAY


def check_certificates(tls: TlsSection, clock: Clock) -> Iterator[Finding]:
    """What is to be said of `tls`."""
    if not tls.certificate_file:
        yield _AREA.note(
            "TLS is off: nobody who calls is authenticated",
            "for anything but a trial on one machine, set tls.certificate_file, tls.key_file and tls.client_ca_file",
        )
        return
    for name, path in certificate_files(tls):
        try:
            certificates = read_certificates(path)
        except CertificateError as error:
            yield _AREA.error(f"tls.{name}: {error}", "put the certificates there in PEM, readable for the server")
            continue
        yield from _check_validity(f"tls.{name}", path, certificates, clock.now())
        if name == "certificate_file":
            yield from _check_server(certificates[0], path, Path(tls.key_file))


def check_store_connection(url: str, clock: Clock) -> Iterator[Finding]:
    """What is to be said of how the store at `url` is reached; nothing of one on this machine."""
    if not url:
        return
    store = parse_store_url(url)
    away = [host for host, _ in store.nodes if not Address(host).is_local]
    if away and not store.is_encrypted:
        yield _AREA.warning(
            f"the connection to the store on {away[0]} is not encrypted: its password can be read on the way",
            "give the store a certificate and let store.url begin with rediss",
        )
    for file in parse_qs(urlsplit(store.plain).query).get("ssl_ca_certs", ()):
        path = Path(file)
        try:
            yield from _check_validity("ssl_ca_certs of store.url", path, read_certificates(path), clock.now())
        except CertificateError as error:
            yield _AREA.error(f"ssl_ca_certs of store.url: {error}", "put the store's authority there in PEM")


def _check_validity(name: str, path: Path, certificates: list[x509.Certificate], now: float) -> Iterator[Finding]:
    begins = max(each.not_valid_before_utc.timestamp() for each in certificates)
    ends = min(each.not_valid_after_utc.timestamp() for each in certificates)
    until = f"{min(each.not_valid_after_utc for each in certificates):%Y-%m-%d}"
    if ends <= now:
        yield _AREA.error(
            f"{name}: {path} expired on {until}",
            "replace it: no new connection succeeds; the server takes it up by itself",
        )
    elif begins > now:
        yield _AREA.error(f"{name}: {path} is not valid yet", "look at the machine's clock, or at who issued it")
    elif ends - now < _SOON:
        yield _AREA.warning(
            f"{name}: {path} expires on {until}, in {int((ends - now) / _DAY)} days",
            "have it renewed and replace the file; the server takes it up by itself",
        )
    else:
        yield _AREA.well(f"{name} is valid until {until}")


def _check_server(certificate: x509.Certificate, path: Path, key_path: Path) -> Iterator[Finding]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        names = x509.SubjectAlternativeName([])
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    if found:
        yield _AREA.well(f"the server's certificate is for {', '.join(found)}")
    else:
        yield _AREA.error(
            f"{path} has neither a DNS name nor an address as subject alternative name: no client will accept it",
            "have it issued for the name that clients connect to; the common name does not count",
        )
    yield from check_secrecy(_AREA, "tls.key_file", key_path)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except OSError as error:
        yield _AREA.error(f"tls.key_file: cannot read {key_path}: {error.strerror}", "let the server's user read it")
        return
    except (ValueError, TypeError):
        yield _AREA.error(f"tls.key_file: {key_path} holds no private key in PEM without a passphrase", "replace it")
        return
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form):
        yield _AREA.well("the private key is that of the certificate")
    else:
        yield _AREA.error(
            f"tls.key_file: {key_path} is not the key of {path}",
            "the certificate that the server presents must come first",
        )
