"""Who a caller is over mutual TLS, with a real handshake, and what it may then call."""

from __future__ import annotations

import datetime
import ipaddress
import time
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.wrappers_pb2 import StringValue

from hashmatch.model.clock import SystemClock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service import identity
from hashmatch.service.calls import current_call
from hashmatch.service.identity import AccessRules, Caller, CertificateIdentity, caller_in_certificate

from .conftest import SERVICE, ManualClock, Serve, Toy

NAME = "spiffe://example.org/platform/upload"
TIMEOUT = 20


@dataclass
class Authority:
    """A certificate authority for tests."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, *names: x509.GeneralName, common_name: str = "client") -> tuple[bytes, bytes]:
        """A private key and a certificate for `names`, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = unsigned(key, common_name, self.certificate.subject)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def unsigned(key: ec.EllipticCurvePrivateKey, common_name: str, issuer: x509.Name | None) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = unsigned(key, "authority", None).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def uri(name: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(name)


def refusal(pem: bytes) -> HashmatchError:
    with pytest.raises(HashmatchError) as caught:
        caller_in_certificate(pem)
    assert caught.value.reason is ErrorReason.IDENTITY_MISSING
    return caught.value


def test_a_caller_is_the_one_uri(authority: Authority) -> None:
    _, pem = authority.issue(uri(NAME))
    caller = caller_in_certificate(pem)
    assert caller == Caller(NAME, authenticated=True)
    assert caller.expires_at > time.time()


def test_other_kinds_of_names_beside_the_uri_do_not_matter(authority: Authority) -> None:
    _, pem = authority.issue(
        x509.DNSName("client.example.org"), uri(NAME), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
    )
    assert caller_in_certificate(pem).name == NAME


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("spiffe.example.org"),),
        (x509.RFC822Name("someone@example.org"),),
        (uri(NAME), uri("spiffe://example.org/other")),
        (uri(NAME), uri(NAME)),
        (uri(""),),
        (uri("spiffe://example.org/a b"),),
        (uri("spiffe://example.org/a\nb"),),
        (uri("spiffe://example.org/" + "a" * 300),),
    ],
    ids=range(9),
)
def test_a_certificate_without_exactly_one_sound_uri_names_nobody(
    authority: Authority, names: tuple[x509.GeneralName, ...]
) -> None:
    _, pem = authority.issue(*names, common_name=NAME)
    refusal(pem)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_names_nobody(pem: bytes) -> None:
    refusal(pem)


class Connection:
    """A context that knows the certificate of its peer."""

    def __init__(self, **known: list[bytes]) -> None:
        self._known = known

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._known


def test_no_certificate_is_no_identity() -> None:
    with pytest.raises(HashmatchError):
        CertificateIdentity(SystemClock()).caller(Connection(transport_security_type=[b"insecure"]))  # type: ignore[arg-type]


def test_a_certificate_is_read_once_and_memory_is_bounded(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def reading(pem: bytes) -> tuple[Caller, float]:
        read.append(pem)
        return caller_in_certificate(pem)

    monkeypatch.setattr(identity, "caller_in_certificate", reading)
    monkeypatch.setattr(identity, "_REMEMBERED_CERTIFICATES", 2)
    source = CertificateIdentity(SystemClock())
    pems = [authority.issue(uri(f"{NAME}/{number}"))[1] for number in range(3)]
    for number in (0, 1, 1, 2, 2, 0):
        connection: Any = Connection(x509_pem_cert=[pems[number]])
        assert source.caller(connection).name == f"{NAME}/{number}"
    assert read == [pems[0], pems[1], pems[2], pems[0]]


def test_a_certificate_that_expires_on_an_open_connection_names_nobody_from_then_on(
    authority: Authority, clock: ManualClock
) -> None:
    _, pem = authority.issue(uri(NAME))
    connection: Any = Connection(x509_pem_cert=[pem])
    clock.wall = time.time()
    source = CertificateIdentity(clock)
    assert source.caller(connection).name == NAME
    clock.advance(2 * 86_400.0)
    with pytest.raises(HashmatchError) as caught:
        source.caller(connection)
    assert caught.value.reason is ErrorReason.IDENTITY_MISSING


@pytest.mark.parametrize(
    ("caller", "names", "allowed"),
    [
        (Caller(NAME, authenticated=True), (), True),
        (Caller(NAME, authenticated=True), (NAME,), True),
        (Caller(NAME, authenticated=True), ("spiffe://example.org/other",), False),
        (Caller(NAME + "/x", authenticated=True), (NAME,), False),
        (Caller(NAME, authenticated=False), (), True),
        (Caller(NAME, authenticated=False), (NAME,), False),
    ],
)
def test_who_may_call(caller: Caller, names: tuple[str, ...], allowed: bool) -> None:
    rules = AccessRules([SERVICE], names)
    if allowed:
        rules.check(caller, SERVICE)
    else:
        with pytest.raises(HashmatchError) as caught:
            rules.check(caller, SERVICE)
        assert caught.value.reason is ErrorReason.NOT_PERMITTED


async def who(request: Any, context: Any) -> StringValue:
    call = current_call()
    return StringValue(value=f"{call.caller.name} {call.caller.authenticated}")


async def asked(serve: Serve, authority: Authority, *names: x509.GeneralName, allowed: tuple[str, ...] = ()) -> str:
    server_key, server_certificate = authority.issue(x509.DNSName("localhost"), common_name="localhost")
    client = await serve(
        Toy(unary=who),
        identity=CertificateIdentity(SystemClock()),
        access=AccessRules([SERVICE], allowed),
        credentials=grpc.ssl_server_credentials(
            [(server_key, server_certificate)], root_certificates=authority.pem, require_client_auth=True
        ),
        channel_credentials=grpc.ssl_channel_credentials(authority.pem, *authority.issue(*names, common_name=NAME)),
    )
    metadata = (("hashmatch-operator", "somebody"),)
    for _ in range(2):
        answer = await client.unary(StringValue(), timeout=TIMEOUT, metadata=metadata)
    return str(answer.value)


async def test_over_tls_the_certificate_says_who_calls_and_metadata_do_not(serve: Serve, authority: Authority) -> None:
    assert await asked(serve, authority, uri(NAME), allowed=(NAME,)) == f"{NAME} True"


@pytest.mark.parametrize(
    ("names", "allowed", "code"),
    [
        ((x509.DNSName("client.example.org"),), (), grpc.StatusCode.UNAUTHENTICATED),
        ((uri(NAME),), ("spiffe://example.org/other",), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_over_tls_others_are_refused(
    serve: Serve,
    authority: Authority,
    names: tuple[x509.GeneralName, ...],
    allowed: tuple[str, ...],
    code: grpc.StatusCode,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asked(serve, authority, *names, allowed=allowed)
    assert caught.value.code() == code
