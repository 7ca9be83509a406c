"""Certificates expire and are exchanged under load, and what goes over TLS is damaged on its way."""

from __future__ import annotations

import datetime
from pathlib import Path

import grpc
import pytest

from tests.faults.conftest import Begin
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial, prepare
from tests.integration.authorities import CLIENT, Trust, now
from tests.integration.errors import refusal_of
from tests.integration.serving import Background, Client
from tests.integration.waiting import eventually

# Long enough for a handshake on a busy machine, and no longer than somebody waits for it to pass.
_SHORT = datetime.timedelta(seconds=5)


POLICY = f"""
version = 1
[clients.uploads]
identities = ["{CLIENT}"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
opinions = "full"
"""


@pytest.fixture(scope="module")
def prepared(background: Background, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two lists, and a policy that lets the caller see them."""
    return prepare(background, tmp_path_factory.mktemp("prepared"), POLICY)


@pytest.fixture
def trust(trial: Trial) -> Trust:
    """Authorities whose certificates the servers and callers of the trial have."""
    directory = trial.directory / "pki"
    directory.mkdir()
    trust = Trust(directory)
    caller = trust.channel_credentials(trust.client())
    operator = trust.channel_credentials(trust.operator())
    trial.connect = lambda addresses: Client(addresses, caller, operator)
    return trust


@pytest.fixture
def over_tls(begin: Begin, trust: Trust) -> Trial:
    """The trial, begun."""
    return begin(**{f"tls__{name}": value for name, value in trust.settings.items()})


def asks(trial: Trial) -> grpc.StatusCode:
    """What comes of a question over a new connection."""
    client = trial.connect(trial.first.addresses)
    try:
        client.snapshot()
    except grpc.RpcError as error:
        return error.code()
    finally:
        client.close()
    return grpc.StatusCode.OK


@row("certificate rotated again and again under load", "no call fails, and new connections see the new one")
def test_rotated(over_tls: Trial, trust: Trust) -> None:
    trial = over_tls
    reloads = 'hashmatch_certificate_reloads_total{listener="matching",outcome="loaded"}'
    with trial.fault():
        for count in range(1, 11):
            trust.install(trust.server())
            assert asks(trial) is grpc.StatusCode.OK
            assert f"{reloads} {count}.0" in trial.first.client.page("/metrics").text
            trial.load.more(4)
    assert not trial.history.account.failures


@row("server's certificate expires under load", "open connections go on; new ones fail until it is replaced")
def test_expired(over_tls: Trial, trust: Trust) -> None:
    trial = over_tls
    trust.install(trust.servers.issue_to_server(("localhost", "127.0.0.1"), now=now(), lifetime=_SHORT))
    assert asks(trial) is grpc.StatusCode.OK
    with trial.fault():
        eventually(lambda: asks(trial) is grpc.StatusCode.UNAVAILABLE, "it expires", patience=60.0, step=0.2)
        trial.load.more(40)
        trust.install(trust.server())
        assert asks(trial) is grpc.StatusCode.OK
    assert not trial.history.account.failures


@row("caller's certificate expires on an open connection", "that caller is refused, others are not")
def test_caller_expired(over_tls: Trial, trust: Trust) -> None:
    trial = over_tls
    short = trust.clients.issue_to_caller(CLIENT, now=now(), lifetime=_SHORT)
    client = Client(trial.first.addresses, trust.channel_credentials(short))
    trial.ending.callback(client.close)
    client.snapshot()
    reasons: list[str] = []

    def is_refused() -> bool:
        try:
            client.snapshot()
        except grpc.RpcError as error:
            reasons.append(refusal_of(error).reason)
        return bool(reasons)

    with trial.fault():
        eventually(is_refused, "it expires", patience=60.0, step=0.2)
        trial.load.more(40)
    assert reasons == ["IDENTITY_MISSING"]
    assert not trial.history.account.failures


@row("bits flipped between client and server, over TLS", "calls fail; no answer is changed", short=True)
def test_corrupted(over_tls: Trial) -> None:
    trial = over_tls
    # What the library says of a connection that is no longer to be understood.
    trial.load.tolerate(grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    proxy = trial.client_proxy("first")
    with trial.fault():
        proxy.suffer(corrupted_down=0.1, corrupted_up=0.1)
        eventually(lambda: proxy.corrupted > 40, "bits are flipped", patience=60.0)
        proxy.clear()
    trial.note(f"{proxy.corrupted} bits flipped")
