"""No secret stands in anything that a server or a command says or keeps, whatever goes wrong."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
import redis

from hashmatch.model.clock import SystemClock
from hashmatch.operations.doctor import examine
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.v1 import list_admin_service_pb2
from tests.integration.authorities import CLIENT, Trust
from tests.integration.processes import ServerProcess
from tests.integration.serving import Client, hash_text
from tests.integration.waiting import eventually
from tests.support.simulators.body import Reply
from tests.support.simulators.office import NAME, write_feed
from tests.support.simulators.threatexchange import ThreatExchange

# Each goes into the file that the server is told of, and nowhere else.
SEALING_KEY, OLD_SEALING_KEY = secrets.token_hex(32), secrets.token_hex(32)
PASSWORD, TOKEN = f"sentinel {secrets.token_hex(12)}!", f"sentinel|{secrets.token_hex(12)}"
WRONG = f"sentinel-{secrets.token_hex(12)}"
PATIENCE = 120.0

_SERVE = "import sys; from hashmatch.service.entry import main; sys.exit(main())"


def spellings(secret: str) -> Iterator[bytes]:
    """How a secret could come to be written."""
    plain = secret.encode()
    forms = {plain, bytes.fromhex(secret)} if secret in (SEALING_KEY, OLD_SEALING_KEY) else {plain}
    for form in forms:
        yield form
        yield form.hex().encode()
        yield form.hex().upper().encode()
        yield base64.b64encode(form).rstrip(b"=")[:-1]
        yield base64.urlsafe_b64encode(form).rstrip(b"=")[:-1]
        yield repr(form)[2:-1].encode()
        yield quote(form).encode()


def leaks(said: dict[str, bytes], *planted: str) -> list[str]:
    """Where any spelling of a secret stands."""
    wanted = {spelling for secret in planted for spelling in spellings(secret)}
    return sorted(place for place, content in said.items() if any(each in content for each in wanted))


class Place:
    """A directory with a file for every secret that a server can have, and a store that asks for a password."""

    def __init__(self, directory: Path, store: EmbeddedValkey) -> None:
        self.directory = directory
        self.trust = Trust(directory)
        self.body = ThreatExchange()
        self.body.interfere = lambda request: Reply(403, f"who is {request.headers['authorization']}?".encode())
        write_feed(directory, self.body)
        self.write("credentials.toml", f'access_token = "{TOKEN}"\n')
        self.settings = {
            "store.url": store.url,
            "store.username": "operator",
            "store.password_file": self.write("password", f"{PASSWORD}\n"),
            "store.excessive_rights": "allow",
            "sealing.key_file": self.write("sealing.key", f"{SEALING_KEY}\n"),
            "sealing.old_key_files": self.write("old.key", f"{OLD_SEALING_KEY}\n"),
            "feeds.file": str(directory / "feeds.toml"),
            "approvals.signatures": "off",
            "logs.level": "debug",
            "server.data_dir": str(directory / "data"),
            **{f"tls.{name}": file for name, file in self.trust.settings.items()},
        }
        with closing(redis.Redis.from_url(store.url)) as admin:
            admin.execute_command("ACL", "SETUSER", "operator", "on", f">{PASSWORD}", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", "default", "off")

    @property
    def private_key(self) -> str:
        """A line from the middle of the server's private key."""
        return self.trust.key_file.read_text("ascii").splitlines()[1]

    @property
    def planted(self) -> tuple[str, ...]:
        return (SEALING_KEY, OLD_SEALING_KEY, PASSWORD, TOKEN, self.private_key)

    def write(self, name: str, content: str) -> str:
        path = self.directory / name
        path.write_text(content, "utf-8")
        path.chmod(0o600)
        return str(path)

    def flags(self, settings: dict[str, str]) -> list[str]:
        """The server's settings, with these in the place of theirs; one that is empty is left out."""
        return [f"--set={name}={value}" for name, value in (self.settings | settings).items() if value]

    def doctor(self, **settings: str) -> bytes:
        """What the doctor says."""
        return repr(
            list(examine(None, [each.removeprefix("--set=") for each in self.flags(settings)], SystemClock()))
        ).encode()

    def serve(self, *words: str, environment: dict[str, str] | None = None, **settings: str) -> bytes:
        """The exit status of a server that ends by itself, and what it says on both of its streams."""
        done = subprocess.run(
            [sys.executable, "-c", _SERVE, *self.flags(settings), *words],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert b"Traceback" not in done.stdout + done.stderr
        return b"%d\n" % done.returncode + done.stdout + done.stderr


@pytest.fixture
def place(scratch: Path, own_valkey: EmbeddedValkey) -> Iterator[Place]:
    place = Place(scratch, own_valkey)
    yield place
    place.body.stop()


def test_nothing_that_a_running_server_says_or_keeps_holds_a_secret(place: Place, own_valkey: EmbeddedValkey) -> None:
    server = ServerProcess(place.directory, **place.settings)
    said: dict[str, bytes] = {}
    try:
        server.start()
        trust = place.trust
        with closing(
            Client(
                server.addresses,
                trust.channel_credentials(trust.client(CLIENT)),
                trust.channel_credentials(trust.operator()),
            )
        ) as client:
            client.define()
            staging = client.stage(hash_text([secrets.token_bytes(32) for _ in range(20)]))
            failed = client.act("RunFeed", list_admin_service_pb2.RunFeedRequest(name=NAME)).feed
            said["feed"] = str(failed).encode()
            assert place.body.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
            said["history"] = str(client.act("GetHistory", list_admin_service_pb2.GetHistoryRequest())).encode()
            for process in ("cmdline", "environ"):
                said[process] = Path(f"/proc/{server.pid}/{process}").read_bytes()
            pages = ("/metrics", "/status", "/readyz", "/healthz", "/startupz")
            said |= {f"page {path}": client.page(path).text.encode() for path in pages}
            own_valkey.stop()
            with pytest.raises(grpc.RpcError) as refused:
                client.publish(staging)
            said["error"] = repr(refused.value).encode()
            eventually(lambda: client.page("/readyz").status != 200, "the store is missed")
            said |= {f"page {path} without a store": client.page(path).text.encode() for path in pages}
            said["doctor without a store"] = place.doctor()
    finally:
        server.stop()
    said["log"] = server.log_file.read_bytes()
    assert b"feed" in said["log"]
    said |= {str(file): file.read_bytes() for file in server.data_dir.rglob("*") if file.is_file()}
    said["config show"] = place.serve("config", "show")
    assert leaks(said, *place.planted) == []
    # The control: had one been said, in whatever form, it would have been found.
    for secret in place.planted:
        for spelling in spellings(secret):
            assert leaks({**said, "log": said["log"] + spelling}, *place.planted) == ["log"]


@pytest.mark.parametrize(
    ("setting", "content"),
    [
        ("sealing.key_file", WRONG),
        ("sealing.old_key_files", WRONG.encode().hex()),
        ("store.password_file", WRONG),
        ("tls.key_file", f"-----BEGIN PRIVATE KEY-----\n{WRONG}\n-----END PRIVATE KEY-----\n"),
        ("feeds.file", f"[feed.x]\nkind = 'ncmec'\npassword = '{WRONG}'\n"),
        ("approvals.first_approvers", WRONG),
    ],
    ids=["key", "old key", "password", "private key", "feeds", "approvers"],
)
def test_a_file_with_something_wrong_in_it_is_named_and_not_quoted(place: Place, setting: str, content: str) -> None:
    file = place.write("wrong", content)
    said = {"doctor": place.doctor(**{setting: file})}
    if setting != "store.password_file":  # with which a server starts, and is not ready
        said["server"] = place.serve(**{setting: file})
        assert said["server"].startswith((b"1\n", b"2\n"))
        assert file.encode() in said["server"]
    assert leaks(said, WRONG, *place.planted) == []


def test_a_password_in_an_address_is_refused_and_masked(place: Place) -> None:
    url = f"redis://operator:{WRONG}@localhost:1/0"
    told = {
        "flag": place.serve(**{"store.url": url}),
        "environment": place.serve(environment={"HASHMATCH_STORE__URL": url}, **{"store.url": ""}),
        "query": place.serve(**{"store.url": f"redis://localhost:1/0?password={WRONG}"}),
        "doctor": place.doctor(**{"store.url": url}),
        "config show": place.serve("config", "show", **{"store.url": url}),
        "wrong usage": place.serve("config", "show", f"--set=store.url={url}"),
    }
    assert leaks(told, WRONG) == []
    for said in told.values():
        assert b"***" in said
