"""Makes the secrets of a trial: an authority of one's own with its certificates, the sealing key, the store's users.

`python -m deploy.compose.prepare` writes them to `deploy/compose/secrets`, and `deploy/compose/.env`, from which the
containers get the group that may read them. The authority's own key is thrown away. For anything but a trial, take
certificates from your own authority.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.valkey.users import make_users
from hashmatch.trust.sealing import generate_key_file

HERE = Path(__file__).parent
_VALIDITY = datetime.timedelta(days=90)
# What the containers share with whoever made the files: to read them, and no more.
_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750


class Subject(NamedTuple):
    """Who a certificate is for. Servers have host names, clients the one URI by which they are known."""

    name: str
    hosts: tuple[str, ...] = ()
    uri: str = ""


SUBJECTS = (
    Subject("server", hosts=("hashmatch", "localhost")),
    Subject("store", hosts=("valkey", "localhost")),
    Subject("uploads", uri="spiffe://example.org/uploads"),
    *(Subject(person, uri=f"spiffe://example.org/operators/{person}") for person in ("alice", "bob", "carol")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.prepare", description="Make a trial's secrets.")
    parser.add_argument("directory", nargs="?", type=Path, default=HERE, help="beside the compose file by default")
    directory = parser.parse_args(argv).directory
    if (directory / "secrets").exists():
        sys.stderr.write(f"{directory / 'secrets'} exists; remove it to begin anew\n")
        return 1
    prepare(directory)
    return 0


def prepare(directory: Path) -> None:
    """Write `secrets` and `.env` into `directory`. Raises `OSError`, `FileExistsError` if there are secrets."""
    target = directory / "secrets"
    target.mkdir(mode=0o700, parents=True)
    make_users(target)
    generate_key_file(target / "sealing.key")
    _certificates(target, datetime.datetime.now(datetime.UTC))
    for file in target.iterdir():
        file.chmod(_FILE_MODE)
    target.chmod(_DIRECTORY_MODE)
    (directory / ".env").write_text(f"SECRETS_GROUP={os.getgid()}\n", "utf-8")


def _certificates(target: Path, now: datetime.datetime) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("hashmatch trial authority")
    authority = (
        _builder(authority_name, authority_name, authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    _write(target / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))
    for subject in SUBJECTS:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(subject.name), authority_name, key, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(_alternative_names(subject)), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH if subject.hosts else ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        _write(target / f"{subject.name}.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(
            target / f"{subject.name}.key",
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative_names(subject: Subject) -> list[x509.GeneralName]:
    if subject.uri:
        return [x509.UniformResourceIdentifier(subject.uri)]
    return [*map(x509.DNSName, subject.hosts), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


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


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
