"""The client proves who it is, and asks no server that cannot."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hashmatch_client import AsyncHashmatchClient, HashmatchClient, TLSOptions, UnavailableError
from hashmatch_client.cli.main import main
from hashmatch_client.testing import FakeHashmatch

from .conftest import KNOWN, NO_RETRY


def certificate(name, issuer=None, *, authority=False):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return built, key


def pem(pair):
    built, key = pair
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM), private


@pytest.fixture
def files(tmp_path):
    authority = certificate("authority", authority=True)
    for name, pair in {
        "ca": authority,
        "server": certificate("server", authority),
        "client": certificate("client", authority),
        "stranger": certificate("stranger", authority=True),
    }.items():
        cert, key = pem(pair)
        (tmp_path / f"{name}.pem").write_bytes(cert)
        (tmp_path / f"{name}.key").write_bytes(key)
    return tmp_path


@pytest.fixture
def target(files):
    credentials = grpc.ssl_server_credentials(
        [((files / "server.key").read_bytes(), (files / "server.pem").read_bytes())],
        (files / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    with FakeHashmatch({"alpha": {KNOWN.hex(): "A1"}}, credentials=credentials) as fake:
        yield fake.target.replace("127.0.0.1", "localhost")


async def test_both_clients_identify_themselves(files, target):
    tls = TLSOptions(files / "ca.pem", files / "client.pem", files / "client.key")
    with HashmatchClient(target, tls=tls) as client:
        assert client.match(sha256=KNOWN).is_match
    async with AsyncHashmatchClient(target, tls=tls) as async_client:
        assert (await async_client.match(sha256=KNOWN)).is_match


@pytest.mark.parametrize(
    "tls",
    [
        lambda files: TLSOptions(files / "stranger.pem", files / "client.pem", files / "client.key"),
        lambda files: TLSOptions(files / "ca.pem"),
        lambda files: TLSOptions(files / "ca.pem", files / "stranger.pem", files / "stranger.key"),
        lambda _: None,
    ],
    ids=["a server that is not known", "no identity", "an identity that is not known", "plain text"],
)
def test_nothing_is_asked_without_trust_on_both_sides(files, target, tls):
    with HashmatchClient(target, tls=tls(files), retry=NO_RETRY) as client, pytest.raises(UnavailableError):
        client.match(sha256=KNOWN)


def test_the_command_identifies_itself(files, target, capsys):
    identity = ["--cert-file", str(files / "client.pem"), "--key-file", str(files / "client.key")]
    assert main(["lists", "--target", target, "--ca-file", str(files / "ca.pem"), *identity]) == 0
    assert "alpha" in capsys.readouterr().out
