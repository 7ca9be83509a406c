"""Two servers on one store enforce one budget, across restarts, and what is spent is never an answer."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import grpc
import pytest

from hashmatch.model.errors import ErrorReason
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.trust.answer_log import AnswerLog
from hashmatch.trust.audit import AuditError
from hashmatch.v1 import common_pb2, match_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refusal_of
from tests.integration.perceptual import apart
from tests.integration.serving import TIMEOUT, Client, RunningServer, hash_of, hash_text
from tests.integration.waiting import eventually

LISTED = [os.urandom(32) for _ in range(30)]
# A hash in three years: nothing comes back while a test runs.
POLICY = """
version = 1
[clients.anybody]
identities = ["loopback:anonymous", "loopback:operator"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
[clients.anybody.budget]
"""


@pytest.fixture
def servers(make_server: MakeServer, own_valkey: EmbeddedValkey) -> list[RunningServer]:
    servers = [make_server(name, own_valkey.url, approvals_required=0) for name in ("one", "two")]
    for server in servers:
        server.start()
    return servers


def prepare(servers: list[RunningServer], budget: str) -> None:
    """Publish a list, and put a budget in force on every server."""
    client = servers[0].client
    client.define()
    staging = client.stage(hash_text(LISTED))
    client.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed])
    epoch = client.activate(POLICY + budget)
    for server in servers:
        eventually(lambda server=server: server.client.epoch() == epoch, "the policy is in force")


def answered(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except grpc.RpcError as error:
        refusal = refusal_of(error)
        if (refusal.code, refusal.reason) != (grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.BUDGET_EXHAUSTED):
            raise
        return not refusal.retry_delay
    return True


def test_two_servers_enforce_one_rate_across_restarts(servers: list[RunningServer]) -> None:
    prepare(servers, "hashes_per_second = 1e-8\nburst = 60")
    answers = 0
    for number in range(50):
        answers += answered(lambda number=number: servers[number % 2].client.ask(LISTED[0]))
        if number in (10, 20):
            servers[number % 2].restart()
    for server in servers:
        server.restart()
    for number in range(30):
        answers += answered(lambda number=number: servers[number % 2].client.ask(LISTED[0]))
    # Never more; what a server had taken for itself and could not give back in time is lost.
    assert 50 <= answers <= 60


def test_two_servers_hand_out_no_more_hits_than_one_budget_has(servers: list[RunningServer]) -> None:
    prepare(servers, "hits_per_day = 25")
    one, two = (server.client for server in servers)
    column = b"".join(LISTED[:10])

    def bulk(client: Client) -> bool:
        return answered(lambda: client.bulk(common_pb2.ALGORITHM_SHA256, column))

    assert bulk(one)
    servers[0].restart()
    assert bulk(two)
    # What is left is less than the column has: it is refused as a whole, and that ends the day.
    assert not bulk(two)
    eventually(lambda: not bulk(servers[0].client), "the other server knows")
    assert not answered(lambda: two.bulk(common_pb2.ALGORITHM_SHA256, b"".join(LISTED[:5])))
    assert not answered(lambda: two.ask(LISTED[0]))
    text = two.page("/metrics").text
    assert 'hashmatch_budget_exhausted_total{budget="hits-per-day",client="anybody"}' in text


def test_hits_of_answers_that_are_not_given_are_not_charged(
    make_server: MakeServer, own_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("one", own_valkey.url, approvals_required=0, answers="synced")
    client = server.start()
    prepare([server], "hits_per_day = 25")
    column = b"".join(LISTED[:10])
    feedback = match_service_pb2.HitFeedback(
        list_id="list", hash=hash_of(LISTED[0]), judgement=match_service_pb2.FEEDBACK_JUDGEMENT_CONFIRMED
    )

    def broken(*_: object) -> None:
        raise AuditError("the log of answers cannot be written")

    asked: list[Callable[[], object]] = [
        lambda: client.ask(LISTED[0]),
        lambda: client.bulk(common_pb2.ALGORITHM_SHA256, column),
        lambda: client.matching.ReportFeedback(
            match_service_pb2.ReportFeedbackRequest(feedback=[feedback]), timeout=TIMEOUT
        ),
    ]
    with monkeypatch.context() as disk:
        disk.setattr(AnswerLog, "append", broken)
        for ask in asked * 9:
            with pytest.raises(grpc.RpcError) as caught:
                ask()
            assert refusal_of(caught.value).reason == ErrorReason.AUDIT_UNAVAILABLE
    for ask in (*asked, asked[1]):
        assert answered(ask)


def test_two_servers_count_distinct_hashes_together(servers: list[RunningServer]) -> None:
    prepare(servers, "distinct_hashes_per_day = 1000")
    fresh = [os.urandom(32 * 600), os.urandom(32 * 600)]
    for _ in range(5):
        assert answered(lambda: servers[0].client.bulk(common_pb2.ALGORITHM_SHA256, fresh[0]))
    servers[0].restart()
    servers[1].restart()
    assert answered(lambda: servers[1].client.bulk(common_pb2.ALGORITHM_SHA256, fresh[0]))
    assert not answered(lambda: servers[1].client.bulk(common_pb2.ALGORITHM_SHA256, fresh[1]))


def test_while_the_store_is_away_negatives_go_on_within_the_budget(
    servers: list[RunningServer], own_valkey: EmbeddedValkey
) -> None:
    prepare(servers[:1], "hashes_per_second = 1e-8\nburst = 32")
    client = servers[0].client
    assert answered(lambda: client.ask(os.urandom(32)))
    own_valkey.stop()
    answers = sum(answered(lambda: client.ask(os.urandom(32))) for _ in range(100))
    # What the server was allotted, and after that what it counts on its own.
    assert 1 <= answers <= 32


def video(*codes: bytes) -> common_pb2.Hash:
    frames = [common_pb2.VideoFrame(pdq=code, quality=100) for code in codes]
    return common_pb2.Hash(algorithm=common_pb2.ALGORITHM_VPDQ, frames=frames)


def test_frames_of_videos_are_spent_one_by_one(servers: list[RunningServer]) -> None:
    prepare(servers[:1], "hashes_per_second = 1e-8\nburst = 60")
    client = servers[0].client
    answers = sum(answered(lambda: client.batch([video(*(os.urandom(32) for _ in range(20)))])) for _ in range(10))
    assert answers == 3


def test_probing_with_videos_is_probing(servers: list[RunningServer]) -> None:
    """Frames of one video are like one another; videos of which each is a little like the last are not asked about."""
    prepare(servers[:1], "near_duplicates = 50")
    client = servers[0].client
    still = os.urandom(32)
    assert answered(lambda: client.batch([video(*(apart(still, 1 + at % 16) for at in range(1_000)))]))
    chance = random.Random(7)

    def probe() -> bytes:
        changed = sum(1 << bit for bit in chance.sample(range(256), 8))
        return (int.from_bytes(still) ^ changed).to_bytes(32)

    answers = sum(answered(lambda: client.batch([video(probe()), video(os.urandom(32))])) for _ in range(1_000))
    assert 50 <= answers < 1_000
    assert answered(lambda: client.ask(LISTED[0]))
