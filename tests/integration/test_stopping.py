"""What is under way, and what still comes, while a server stops."""

from __future__ import annotations

import queue
import threading

import grpc

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.serving import TIMEOUT, Background
from tests.integration.waiting import eventually


def test_an_act_is_done_or_refused_as_long_as_anything_is_under_way(
    make_server: MakeServer, background: Background
) -> None:
    """All that acts stand on, the audit log for one, is there until the last call has ended."""
    server = make_server(grace_seconds=60.0)
    client = server.start()
    questions = queue.SimpleQueue[match_service_pb2.BulkMatchRequest | None]()
    column = match_service_pb2.HashColumn(algorithm=common_pb2.ALGORITHM_SHA256, digests=bytes(32))
    answers = client.matching.BulkMatch(iter(questions.get, None), timeout=TIMEOUT)
    questions.put(match_service_pb2.BulkMatchRequest(column=column))
    assert next(answers).count == 1
    runner = server.runner
    stopping = threading.Thread(target=lambda: background.run(runner.stop()))
    stopping.start()

    def refused() -> grpc.StatusCode | None:
        try:
            client.define("another")
        except grpc.RpcError as error:
            return error.code()
        return None

    assert eventually(refused, "no more acts are taken") is grpc.StatusCode.UNAVAILABLE
    questions.put(match_service_pb2.BulkMatchRequest(sequence=1, column=column))
    assert next(answers).count == 1
    questions.put(None)
    assert list(answers) == []
    stopping.join()
