"""The server's own process is told to stop, or is killed."""

from __future__ import annotations

import hashlib
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.processes import ServerProcess
from tests.integration.serving import TIMEOUT, hash_text
from tests.integration.waiting import eventually

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(100)]
UNLISTED = hashlib.sha256(b"unlisted").digest()


@pytest.fixture
def server(scratch: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(scratch)
    yield server
    server.stop()


def test_told_to_stop_it_lets_calls_finish(server: ServerProcess) -> None:
    """A stream that is open goes on being answered; nobody new is sent here; watchers are let go; the end is clean."""
    client = server.start()
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    questions: queue.SimpleQueue[match_service_pb2.BulkMatchRequest | None] = queue.SimpleQueue()
    answers = client.matching.BulkMatch(iter(questions.get, None), timeout=TIMEOUT)
    watch = client.matching.WatchSnapshots(match_service_pb2.WatchSnapshotsRequest(), timeout=TIMEOUT)
    assert next(watch).snapshot.epoch == epoch
    column = match_service_pb2.HashColumn(algorithm=common_pb2.ALGORITHM_SHA256, digests=LISTED[0] + UNLISTED)
    for sequence in range(2):
        questions.put(match_service_pb2.BulkMatchRequest(sequence=sequence, column=column))
        answer = next(answers)
        assert (answer.sequence, list(answer.match_indexes)) == (sequence, [0])
        if sequence == 0:
            server.send(signal.SIGTERM)
            eventually(lambda: any(event.get("component") == "running" for event in server.events), "it is stopping")
    questions.put(None)
    assert list(answers) == []
    assert list(watch) == []
    assert server.wait() == 0
    assert server.events[-1]["event"] == "server-stopped"
    assert "Traceback" not in server.log
    assert not [event for event in server.events if event["level"] in ("error", "critical")]


def test_told_to_stop_right_after_a_publication_it_stops(server: ServerProcess) -> None:
    client = server.start()
    client.define()
    client.deliver(hash_text(LISTED))
    server.send(signal.SIGTERM)
    assert server.wait() == 0


def test_killed_it_comes_back_with_what_was_published(server: ServerProcess) -> None:
    """A publication that was answered is on the disk, of the store as of the server."""
    client = server.start()
    client.define()
    client.deliver(hash_text(LISTED[:50]))
    epoch = client.suppress(LISTED[1])
    server.send(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    server.stop()
    client = server.start()
    assert client.epoch() == epoch
    assert client.ask(LISTED[0]).verdict == common_pb2.VERDICT_MATCH
    assert client.ask(LISTED[1]).suppressed
    assert client.ask(LISTED[60]).verdict == common_pb2.VERDICT_NO_KNOWN_MATCH
    assert client.deliver(hash_text(LISTED)) > epoch


def test_a_caller_of_a_stopped_server_is_told_that_it_is_unavailable(server: ServerProcess) -> None:
    client = server.start()
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    with pytest.raises(grpc.RpcError) as caught:
        client.ask(LISTED[0])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
