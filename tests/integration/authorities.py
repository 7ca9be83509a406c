"""Certificates for servers over TLS, with the same authorities that `hashmatch-admin pki` makes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import grpc

from hashmatch.trust.pki import Authority, Credentials

LIFETIME = datetime.timedelta(days=30)
CLIENT = "spiffe://test/clients/uploads"
OTHER_CLIENT = "spiffe://test/clients/other"
OPERATOR = "spiffe://test/operators/ann"


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def authority(name: str) -> Authority:
    return Authority.create(name, now=now(), lifetime=LIFETIME)


class Trust:
    """Three authorities in memory, and the files that a server is configured with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers, self.clients, self.operators = map(authority, ("servers", "clients", "operators"))
        self.certificate_file = directory / "server.pem"
        self.key_file = directory / "server.key"
        self.client_ca_file = directory / "clients-ca.pem"
        self.admin_client_ca_file = directory / "operators-ca.pem"
        self.install(self.server())
        replace(self.client_ca_file, self.clients.certificate)
        replace(self.admin_client_ca_file, self.operators.certificate)

    @property
    def settings(self) -> dict[str, str]:
        """The section `tls`."""
        names = ("certificate_file", "key_file", "client_ca_file", "admin_client_ca_file")
        return {name: str(getattr(self, name)) for name in names}

    def server(self, hosts: Sequence[str] = ("localhost", "127.0.0.1")) -> Credentials:
        return self.servers.issue_to_server(hosts, now=now(), lifetime=LIFETIME)

    def client(self, uri: str = CLIENT, *, by: Authority | None = None) -> Credentials:
        return (by or self.clients).issue_to_caller(uri, now=now(), lifetime=LIFETIME)

    def operator(self, uri: str = OPERATOR) -> Credentials:
        return self.operators.issue_to_caller(uri, now=now(), lifetime=LIFETIME)

    def install(self, server: Credentials) -> None:
        """Put the server's certificate and key where it looks for them, one after the other, as tools do."""
        replace(self.key_file, server.key)
        replace(self.certificate_file, server.certificate)

    def channel_credentials(self, caller: Credentials | None) -> grpc.ChannelCredentials:
        key, chain = (caller.key, caller.certificate) if caller else (None, None)
        return grpc.ssl_channel_credentials(self.servers.certificate, key, chain)


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another in one step."""
    scratch = path.with_suffix(".new")
    scratch.write_bytes(content)
    scratch.replace(path)
