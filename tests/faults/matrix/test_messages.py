"""Whoever can connect sends whatever there is: it costs the others nothing, and the server little."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.faults.conftest import Begin
from tests.faults.harness.probes import PROBES, SHA256
from tests.faults.harness.resources import descriptors, peak_bytes
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.errors import refused
from tests.integration.serving import TIMEOUT, hash_of
from tests.integration.waiting import eventually

_MEBIBYTE = 1 << 20
BATCH_MATCH = "/hashmatch.v1.MatchService/BatchMatch"
BULK_MATCH = "/hashmatch.v1.MatchService/BulkMatch"
# What a server may take for a moment for messages that it refuses, each of at most 16 MiB.
_TOLERATED = 128 * _MEBIBYTE


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_SILENT = 500
_RESETS = 100_000
# Connections of the server's own that come and go.
_SLACK = 8


def unary(trial: Trial, content: bytes) -> grpc.StatusCode:
    """Send bytes as a request, and tell what came of it."""
    call = trial.first.client.matching_channel.unary_unary(BATCH_MATCH)
    try:
        call(content, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@contextlib.contextmanager
def little_memory(trial: Trial) -> Iterator[None]:
    """What is inside must not cost the server much memory at any moment."""
    pid = trial.first.process.pid
    before = peak_bytes(pid)
    yield
    more = peak_bytes(pid) - before
    trial.note(f"{more / _MEBIBYTE:.0f} MiB more memory than ever before")
    assert more < _TOLERATED


@row("giant messages", "refused by their size; others are answered as always")
def test_giant(begin: Begin) -> None:
    trial = begin()
    with trial.fault(), little_memory(trial):
        for _ in range(10):
            assert unary(trial, bytes(64 * _MEBIBYTE)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        # As large as may be, and nothing but many items.
        items = [match_service_pb2.MatchItem(hashes=[common_pb2.Hash(algorithm=SHA256, value=bytes(32))])] * 300_000
        many = match_service_pb2.BatchMatchRequest(items=items)
        assert (
            refused(lambda: trial.first.client.matching.BatchMatch(many, timeout=TIMEOUT)).reason == "BATCH_TOO_LARGE"
        )
        trial.load.more(20)


@row("compressed bombs (half a gigabyte each)", "not unpacked beyond the limit, refused", short=True)
def test_bombs(begin: Begin) -> None:
    trial = begin()
    with trial.fault(), little_memory(trial):
        for path in (BATCH_MATCH, BULK_MATCH):
            bomb = trial.first.client.matching_channel.stream_stream(path)
            with pytest.raises(grpc.RpcError) as caught:
                list(bomb(iter([bytes(512 * _MEBIBYTE)]), timeout=TIMEOUT, compression=grpc.Compression.Gzip))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trial.load.more(20)


@row("malformed messages", "refused with a reason; others are answered as always")
def test_malformed(begin: Begin) -> None:
    trial = begin()
    chosen = random.Random(1)
    whole = match_service_pb2.BatchMatchRequest(items=[match_service_pb2.MatchItem(hashes=[hash_of(PROBES[0])])])
    encoded = whole.SerializeToString()
    codes: Counter[str] = Counter()
    with trial.fault(), little_memory(trial):
        for _ in range(300):
            spoilt = bytearray(encoded)
            for _ in range(chosen.randint(1, 4)):
                spoilt[chosen.randrange(len(spoilt))] = chosen.randrange(256)
            codes[unary(trial, bytes(spoilt)).name] += 1
            codes[unary(trial, chosen.randbytes(chosen.randint(1, 200))).name] += 1
    assert set(codes) <= {"OK", "INVALID_ARGUMENT"}
    assert codes["INVALID_ARGUMENT"]
    trial.note(f"{codes['INVALID_ARGUMENT']} of {codes.total()} refused")


# What comes to a port from who speaks something else, or lies.
NOISE: tuple[bytes, ...] = (
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    _PREFACE + bytes(9),
    # Frames: one of 16 MiB that never comes, settings on a stream, headers that are none, a window of nothing.
    _PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    _PREFACE + _SETTINGS + b"\x00\x00\x00\x04\x00\x00\x00\x00\x01",
    _PREFACE + _SETTINGS + b"\x00\x00\x05\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff",
    _PREFACE + _SETTINGS + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    _PREFACE + _SETTINGS + b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x00" * 1_000,
)


@row("noise in place of HTTP/2", "the connection ends; others are answered as always")
def test_noise(begin: Begin) -> None:
    trial = begin()
    pid = trial.first.process.pid
    before = descriptors(pid)
    chosen = random.Random(2)
    with trial.fault(), little_memory(trial):
        for noise in (*NOISE, *(_PREFACE + _SETTINGS + chosen.randbytes(2_000) for _ in range(50))):
            for address in (trial.first.addresses.matching, trial.first.addresses.administration):
                with connected(address) as connection, contextlib.suppress(ConnectionError):
                    connection.sendall(noise)
        eventually(lambda: descriptors(pid) <= before + _SLACK, "the connections are closed", patience=60.0)
        trial.load.more(20)


@row("500 silent sockets", "ended by the server; others are answered as always")
def test_silent(begin: Begin) -> None:
    trial = begin()
    pid = trial.first.process.pid
    before = descriptors(pid)
    with trial.fault(), ExitStack() as stack:
        silent = [stack.enter_context(connected(trial.first.addresses.matching)) for _ in range(_SILENT)]
        for connection in silent[::2]:
            # Half of a greeting.
            connection.sendall(_PREFACE[:10])
        eventually(lambda: descriptors(pid) >= before + _SILENT, "they are connected")
        trial.load.more(40)
        # They are still open on this side.
        eventually(lambda: descriptors(pid) <= before + _SLACK, "the server ends them", patience=60.0)
        trial.load.more(20)


@contextlib.contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection that says nothing yet."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as connection:
        yield connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def call_and_reset(stream: int) -> bytes:
    """A call that is asked and at once taken back."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": BATCH_MATCH,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-timeout": "5S",
    }
    # Literals that are not indexed, neither compressed (RFC 7541, 6.2.2).
    block = b"".join(b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair) for pair in headers.items())
    item = match_service_pb2.MatchItem(hashes=[hash_of(PROBES[0])])
    content = match_service_pb2.BatchMatchRequest(items=[item]).SerializeToString()
    message = b"\0" + len(content).to_bytes(4, "big") + content
    cancel = (8).to_bytes(4, "big")
    return frame(1, 4, stream, block) + frame(0, 1, stream, message) + frame(3, 0, stream, cancel)


@row("100,000 calls asked and reset at once", "others are answered as always", short=True)
def test_rapid_resets(begin: Begin) -> None:
    """What came to be known as CVE-2023-44487."""
    trial = begin()
    with trial.fault(), little_memory(trial), connected(trial.first.addresses.matching) as connection:
        connection.setblocking(True)
        connection.sendall(_PREFACE + _SETTINGS)
        receiver = threading.Thread(target=_swallow, args=(connection,))
        receiver.start()
        try:
            for first in range(1, 2 * _RESETS, 2 * 100):
                connection.sendall(b"".join(call_and_reset(first + 2 * number) for number in range(100)))
            trial.load.more(20)
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            receiver.join(TIMEOUT)


def _swallow(connection: socket.socket) -> None:
    """Take what comes, so that nobody has to wait for room."""
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass
