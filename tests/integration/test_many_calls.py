"""More calls at once than a connection takes."""

from __future__ import annotations

import pytest

from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.serving import Client, hash_of

AT_ONCE = 1_000
# All wait for each other, on a machine that may be busy.
PATIENCE = 60.0


@pytest.fixture
def client(make_server: MakeServer) -> Client:
    return make_server().start()


def test_those_that_a_connection_does_not_take_wait_and_none_is_refused(client: Client) -> None:
    """As the setting `server.maximum_calls_per_connection` says; gRPC's own guard refused one in five."""
    items = [match_service_pb2.MatchItem(hashes=[hash_of(bytes(31) + b"x")])]
    request = match_service_pb2.BatchMatchRequest(items=items)
    for _ in range(3):
        calls = [client.matching.BatchMatch.future(request, timeout=PATIENCE) for _ in range(AT_ONCE)]
        verdicts = {call.result().results[0].verdict for call in calls}
        # Nothing is published.
        assert verdicts == {common_pb2.VERDICT_NOT_DETERMINED}
