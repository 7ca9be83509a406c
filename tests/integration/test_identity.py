"""Who gets in over TLS, and what happens when certificates change under a running server."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2

from hashmatch.trust.pki import Credentials
from hashmatch.v1 import list_admin_service_pb2
from tests.integration.authorities import CLIENT, OTHER_CLIENT, Trust, authority, now, replace
from tests.integration.conftest import MakeServer
from tests.integration.serving import TIMEOUT, Client, RunningServer

MakeClient = Callable[..., Client]


@pytest.fixture
def trust(scratch: Path) -> Trust:
    return Trust(scratch)


@pytest.fixture
def server(make_server: MakeServer, trust: Trust) -> RunningServer:
    server = make_server(**trust.settings)
    server.start()
    return server


@pytest.fixture
def clients(server: RunningServer, trust: Trust) -> Iterator[MakeClient]:
    """Makes clients of one server; the same credentials for both ports unless the operator's are given."""
    with ExitStack() as stack:

        def make(caller: Credentials | None, operator: Credentials | None = None) -> Client:
            credentials = trust.channel_credentials(caller)
            to_admin = credentials if operator is None else trust.channel_credentials(operator)
            client = Client(server.runner.addresses, credentials, to_admin)
            stack.callback(client.close)
            return client

        yield make


def asks(client: Client) -> grpc.StatusCode:
    """The code that a caller gets for looking at the snapshot. A server without lists answers UNAVAILABLE, by us."""
    try:
        client.snapshot()
    except grpc.RpcError as error:
        if "x-request-id" in dict(error.trailing_metadata() or ()):
            return error.code() if error.code() is not grpc.StatusCode.UNAVAILABLE else grpc.StatusCode.OK
        return error.code()
    return grpc.StatusCode.OK


def administers(client: Client) -> grpc.StatusCode:
    try:
        client.administration.GetHistory(list_admin_service_pb2.GetHistoryRequest(), timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def is_alive(client: Client) -> bool:
    try:
        client.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    except grpc.RpcError:
        return False
    return True


def test_a_certificate_of_the_right_authority_gets_in(clients: MakeClient, trust: Trust) -> None:
    client = clients(trust.client(), trust.operator())
    assert asks(client) is grpc.StatusCode.OK
    assert administers(client) is grpc.StatusCode.OK


def test_nobody_gets_in_without_a_certificate_or_with_a_strangers(clients: MakeClient, trust: Trust) -> None:
    strangers = authority("strangers")
    for caller in (None, trust.client(by=strangers)):
        client = clients(caller)
        assert not is_alive(client)
        assert asks(client) is grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate_does_not_get_in(clients: MakeClient, trust: Trust) -> None:
    issued, lifetime = now() - datetime.timedelta(hours=2), datetime.timedelta(hours=1)
    expired = trust.clients.issue_to_caller(CLIENT, now=issued, lifetime=lifetime)
    client = clients(expired)
    assert not is_alive(client)
    assert asks(client) is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_with_two_uris_is_nobodys(
    clients: MakeClient, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets through the handshake, and may do nothing on either port."""
    san = x509.SubjectAlternativeName
    second = x509.UniformResourceIdentifier(OTHER_CLIENT)
    with monkeypatch.context() as patch:
        patch.setattr("hashmatch.trust.pki.x509.SubjectAlternativeName", lambda names: san([*names, second]))
        caller, operator = trust.client(), trust.operator()
    client = clients(caller, operator)
    assert asks(client) is grpc.StatusCode.UNAUTHENTICATED
    assert administers(client) is grpc.StatusCode.UNAUTHENTICATED


def test_each_port_has_an_authority_of_its_own(clients: MakeClient, trust: Trust) -> None:
    assert administers(clients(trust.client())) is grpc.StatusCode.UNAVAILABLE
    assert asks(clients(trust.operator())) is grpc.StatusCode.UNAVAILABLE


def test_plain_text_is_not_answered(server: RunningServer) -> None:
    client = Client(server.runner.addresses)
    try:
        assert not is_alive(client)
    finally:
        client.close()


def test_an_older_tls_than_1_2_is_not_spoken(server: RunningServer, trust: Trust) -> None:
    host, _, port = server.runner.addresses.matching.rpartition(":")
    caller = trust.client()
    replace(trust.directory / "caller.pem", caller.certificate + caller.key)

    def shake_hands(version: ssl.TLSVersion) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=trust.servers.certificate.decode())
        context.load_cert_chain(trust.directory / "caller.pem")
        context.set_alpn_protocols(["h2"])
        # So that it is the server that refuses, and not the library on our side.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection((host, int(port)), TIMEOUT) as raw,
            context.wrap_socket(raw, False, True, True, host) as made,
        ):
            return made.version()

    assert shake_hands(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(ssl.TLSVersion.TLSv1_1)


def presented(server: RunningServer, trust: Trust) -> int:
    """The serial number of the certificate that the server shows at a new handshake."""
    host, _, port = server.runner.addresses.matching.rpartition(":")
    caller = trust.client()
    replace(trust.directory / "caller.pem", caller.certificate + caller.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust.servers.certificate.decode())
    context.load_cert_chain(trust.directory / "caller.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), TIMEOUT) as raw,
        context.wrap_socket(raw, server_hostname=host) as made,
    ):
        shown = made.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def serial(credentials: Credentials) -> int:
    return x509.load_pem_x509_certificate(credentials.certificate).serial_number


def test_certificates_change_under_a_running_server(server: RunningServer, trust: Trust, clients: MakeClient) -> None:
    before = clients(trust.client())
    assert asks(before) is grpc.StatusCode.OK
    fresh = trust.server()
    trust.install(fresh)
    assert presented(server, trust) == serial(fresh)
    assert asks(before) is grpc.StatusCode.OK
    assert asks(clients(trust.client())) is grpc.StatusCode.OK
    assert (
        'hashmatch_certificate_reloads_total{listener="matching",outcome="loaded"} 1.0' in before.page("/metrics").text
    )


def test_authorities_change_under_a_running_server(trust: Trust, clients: MakeClient) -> None:
    assert asks(clients(trust.client())) is grpc.StatusCode.OK
    successor = authority("clients, next year")
    replace(trust.client_ca_file, successor.certificate)
    assert asks(clients(trust.client(by=successor))) is grpc.StatusCode.OK
    assert asks(clients(trust.client())) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("harm", ["another key", "no certificate", "missing", "expired"])
def test_certificates_that_are_no_good_do_not_replace_good_ones(
    server: RunningServer, trust: Trust, clients: MakeClient, harm: str
) -> None:
    good = presented(server, trust)
    match harm:
        case "another key":
            replace(trust.key_file, trust.server().key)
        case "no certificate":
            replace(trust.certificate_file, b"-----BEGIN CERTIFICATE-----\n")
        case "missing":
            trust.certificate_file.unlink()
        case _:
            past = x509.load_pem_x509_certificate(trust.server().certificate).not_valid_before_utc
            trust.install(trust.servers.issue_to_server(["localhost"], now=past, lifetime=past - past))
    assert presented(server, trust) == good
    client = clients(trust.client())
    assert asks(client) is grpc.StatusCode.OK
    assert 'hashmatch_certificate_reloads_total{listener="matching",outcome="refused"}' in client.page("/metrics").text
    fresh = trust.server()
    trust.install(fresh)
    assert presented(server, trust) == serial(fresh)


def test_the_caller_is_the_uri_of_the_certificate(server: RunningServer, trust: Trust, clients: MakeClient) -> None:
    named = {"hashmatch-operator": "somebody"}
    client = clients(trust.client(), trust.operator())
    client.define("list")
    (event,) = client.administration.GetHistory(
        list_admin_service_pb2.GetHistoryRequest(), timeout=TIMEOUT, metadata=tuple(named.items())
    ).events
    assert event.actor == "spiffe://test/operators/ann"
