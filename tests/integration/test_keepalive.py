"""A peer that is gone without a word is noticed, at either end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from hashmatch_client import HashmatchClient, Retry, Timeout, UnavailableError, _transport

from hashmatch.v1 import match_service_pb2, match_service_pb2_grpc
from tests.faults.harness.proxy import FaultProxy
from tests.integration.conftest import MakeServer
from tests.integration.serving import TIMEOUT, Background, Client
from tests.integration.waiting import eventually

DIGEST = bytes(range(32))
# More than HTTP/2 peers of gRPC send, or bear, without anything else unless they are told to.
PINGS = 5
# How the answer to a ping begins: a frame of 8 bytes, of type 6, with the flag that makes it an answer (RFC 9113, 6.7).
_PING_ANSWERED = b"\x00\x00\x08\x06\x01"
LISTED = DIGEST.hex().encode() + b"\n"


@pytest.fixture
def client(make_server: MakeServer) -> Client:
    client = make_server(keepalive_seconds=1.0).start()
    client.define()
    client.deliver(LISTED)
    return client


@pytest.fixture
def between(background: Background, client: Client) -> Iterator[FaultProxy]:
    """What lies between the server and a client of its own."""
    proxy = FaultProxy(background, int(client.addresses.matching.rpartition(":")[2]))
    proxy.start()
    yield proxy
    proxy.close()


def _ended(client: Client) -> list[str]:
    """The lines that count subscriptions that have ended."""
    lines = client.page("/metrics").text.splitlines()
    return [line for line in lines if line.startswith("grpc_server_handled_total") and "WatchSnapshots" in line]


def test_the_server_ends_the_calls_of_a_client_that_is_gone(client: Client, between: FaultProxy) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{between.port}") as channel:
        watch = match_service_pb2_grpc.MatchServiceStub(channel).WatchSnapshots(
            match_service_pb2.WatchSnapshotsRequest()
        )
        assert next(watch).snapshot.epoch
        ended_before = _ended(client)
        between.suffer(silent=True)
        eventually(lambda: _ended(client) != ended_before, "the server ends the subscription")
        watch.cancel()


def test_a_subscription_that_has_nothing_to_tell_stays(
    client: Client, between: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking whether the other is there is taken for abuse by neither, however often it comes without anything else."""
    answered = 0
    relay = FaultProxy._pass

    async def counting(self: FaultProxy, data: bytes, writer: asyncio.StreamWriter, corrupted: float) -> None:
        nonlocal answered
        answered += data.count(_PING_ANSWERED)
        await relay(self, data, writer, corrupted)

    with grpc.insecure_channel(f"127.0.0.1:{between.port}") as channel:
        watch = match_service_pb2_grpc.MatchServiceStub(channel).WatchSnapshots(
            match_service_pb2.WatchSnapshotsRequest(), timeout=TIMEOUT
        )
        epoch = next(watch).snapshot.epoch
        monkeypatch.setattr(FaultProxy, "_pass", counting)
        eventually(lambda: answered >= PINGS, "the server asks, and is answered")
        assert client.deliver(LISTED + bytes(32).hex().encode() + b"\n") > epoch
        assert next(watch).snapshot.epoch > epoch
        watch.cancel()


def test_a_client_gives_up_a_server_that_is_gone(
    client: Client, between: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transport, "KEEPALIVE_MS", 1_000)
    monkeypatch.setattr(_transport, "KEEPALIVE_TIMEOUT_MS", 1_000)
    patient = Timeout(call=600.0, stream=600.0)
    with HashmatchClient(f"127.0.0.1:{between.port}", timeout=patient, retry=Retry(attempts=1)) as asking:
        assert asking.match(sha256=DIGEST).is_match
        between.suffer(silent=True)
        with pytest.raises(UnavailableError):
            asking.match(sha256=DIGEST)
