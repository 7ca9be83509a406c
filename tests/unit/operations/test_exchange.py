"""Pulling a list to a file from a host that is asked over HTTPS."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hashmatch.operations.exchange import ExchangeError, begin_trust, pull_to_file
from hashmatch.trust.pki import Authority
from tests.support.exchange import TARGET, Hotline

BUNDLE = b'{"the": "first"}\n'


class Host(HTTPServer):
    """Serves a directory over TLS. What it does not have it answers with `missing`, everything with `refusing`."""

    def __init__(self, directory: Path, certificate_file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_file)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.directory = directory
        self.missing = 404
        self.refusing = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        place = self.server.directory / self.path.lstrip("/")
        content = place.read_bytes() if place.is_file() else b""
        self.send_response_only(self.server.refusing or (200 if content else self.server.missing))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def authority(tmp_path: Path) -> str:
    """The file of an authority, which vouches for the host by a certificate and key that lie beside it."""
    now, lifetime = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = Authority.create("hosts", now=now, lifetime=lifetime)
    issued = made.issue_to_server(["127.0.0.1"], now=now, lifetime=lifetime)
    (tmp_path / "host.pem").write_bytes(issued.certificate + issued.key)
    file = tmp_path / "authority.pem"
    file.write_bytes(made.certificate)
    return str(file)


@pytest.fixture
def host(tmp_path: Path, authority: str) -> Iterator[Host]:
    hotline = Hotline(tmp_path / "repository")
    hotline.publish(BUNDLE)
    begin_trust(tmp_path / "trust", hotline.first_root)
    with Host(hotline.directory, Path(authority).with_name("host.pem")) as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield host
        host.shutdown()
        thread.join()


@pytest.mark.parametrize("missing", [404, 403])
def test_a_host_may_refuse_what_is_not_there(missing: int, host: Host, authority: str, tmp_path: Path) -> None:
    host.missing = missing
    file = tmp_path / "pulled.bundle"
    pull_to_file(tmp_path / "trust", host.url, TARGET, file, ca_file=authority)
    assert file.read_bytes() == BUNDLE


def test_a_host_that_refuses_everything_is_said_to(host: Host, authority: str, tmp_path: Path) -> None:
    host.refusing = 403
    with pytest.raises(ExchangeError, match=r"metadata/timestamp\.json: HTTP status 403") as caught:
        pull_to_file(tmp_path / "trust", host.url, TARGET, tmp_path / "no.bundle", ca_file=authority)
    assert caught.value.reason == "unreachable"
    assert not (tmp_path / "no.bundle").exists()
