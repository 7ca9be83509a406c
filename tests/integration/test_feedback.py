"""What callers say of matches: kept where they are matches, told to whom the policy lets know, and never in the way."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main as admin
from hashmatch.model.errors import ErrorReason
from hashmatch.service import feedback as module
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.v1 import (
    common_pb2,
    feedback_admin_service_pb2,
    feedback_admin_service_pb2_grpc,
    list_admin_service_pb2,
    match_service_pb2,
)
from tests.integration.authorities import CLIENT, OTHER_CLIENT, Trust
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.perceptual import PROFILE, apart, row
from tests.integration.serving import TIMEOUT, Client, RunningServer, hash_of, hash_text
from tests.integration.waiting import eventually

CONFIRMED, DISPUTED, WITHDRAWN = (
    match_service_pb2.FEEDBACK_JUDGEMENT_CONFIRMED,
    match_service_pb2.FEEDBACK_JUDGEMENT_DISPUTED,
    match_service_pb2.FEEDBACK_JUDGEMENT_WITHDRAWN,
)
OTHER_CONTENT = match_service_pb2.DISPUTE_REASON_OTHER_CONTENT
RECORDED, UNCHANGED, NO_MATCH, NOT_DETERMINED = (
    match_service_pb2.FEEDBACK_OUTCOME_RECORDED,
    match_service_pb2.FEEDBACK_OUTCOME_UNCHANGED,
    match_service_pb2.FEEDBACK_OUTCOME_NO_MATCH,
    match_service_pb2.FEEDBACK_OUTCOME_NOT_DETERMINED,
)
LISTED = [os.urandom(32) for _ in range(4)]
# The first sees what callers said and one list of two; the second sees everything but that.
POLICY = f"""
version = 1
[clients.first]
identities = ["{CLIENT}"]
lists = ["list"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
opinions = "full"
feedback = true
[clients.first.budget]
hits_per_day = 8
[clients.second]
identities = ["{OTHER_CLIENT}"]
lists = ["*"]
natures = ["*"]
algorithms = ["*"]
jurisdictions = ["*"]
opinions = "full"
"""


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)


def say(
    client: Client,
    digest: bytes,
    judgement: match_service_pb2.FeedbackJudgement.ValueType = DISPUTED,
    *,
    list_id: str = "list",
    asked: common_pb2.Hash | None = None,
    **rest: Any,
) -> match_service_pb2.FeedbackOutcome.ValueType:
    if judgement == DISPUTED:
        rest.setdefault("reason", OTHER_CONTENT)
    stated = match_service_pb2.HitFeedback(hash=asked or hash_of(digest), list_id=list_id, judgement=judgement, **rest)
    request = match_service_pb2.ReportFeedbackRequest(feedback=[stated])
    return client.matching.ReportFeedback(request, timeout=TIMEOUT).outcomes[0]


def told(client: Client, digest: bytes, **scope: Any) -> tuple[int, int] | None:
    """What the one opinion says was confirmed and disputed."""
    (opinion,) = client.ask(digest, **scope).opinions
    if not opinion.HasField("feedback"):
        return None
    return opinion.feedback.confirmed, opinion.feedback.disputed


def recorded(client: Client, **wanted: Any) -> feedback_admin_service_pb2.ListFeedbackResponse:
    service = feedback_admin_service_pb2_grpc.FeedbackAdminServiceStub(client.administration_channel)
    return service.ListFeedback(feedback_admin_service_pb2.ListFeedbackRequest(**wanted), timeout=TIMEOUT)


def settle(client: Client, *feedback_ids: str) -> int:
    service = feedback_admin_service_pb2_grpc.FeedbackAdminServiceStub(client.administration_channel)
    request = feedback_admin_service_pb2.SettleFeedbackRequest(feedback_ids=feedback_ids, reason="looked into")
    return service.SettleFeedback(request, timeout=TIMEOUT).settled


@pytest.fixture
def listed(client: Client) -> Client:
    """A client to a server that has a list."""
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    return client


# ---- clients of a policy, on two servers

Open = Callable[[RunningServer, str], Client]


@pytest.fixture
def open_client(scratch: Path) -> Iterator[tuple[Trust, Open]]:
    trust = Trust(scratch)
    with ExitStack() as stack:

        def open_client(server: RunningServer, uri: str) -> Client:
            client = Client(
                server.runner.addresses,
                trust.channel_credentials(trust.client(uri)),
                trust.channel_credentials(trust.operator()),
            )
            stack.callback(client.close)
            return client

        yield trust, open_client


@pytest.fixture
def servers(
    make_server: MakeServer, own_valkey: EmbeddedValkey, open_client: tuple[Trust, Open]
) -> tuple[list[RunningServer], Open]:
    """Two servers on one store, with a policy and two lists, of which the first client sees one."""
    trust, open_ = open_client
    servers = [make_server(name, own_valkey.url, approvals_required=0, **trust.settings) for name in ("one", "two")]
    for server in servers:
        server.start()
    operator = open_(servers[0], CLIENT)
    for list_id in ("list", "hidden"):
        operator.define(list_id)
        staging = operator.stage(hash_text(LISTED), list_id)
        operator.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed])
    epoch = operator.activate(POLICY)
    for server in servers:
        follower = open_(server, OTHER_CLIENT)
        eventually(lambda follower=follower: _served(follower) >= epoch, "the policy is in force")
    return servers, open_


def _served(client: Client) -> int:
    """The epoch that a client is told; 0 as long as no policy names it."""
    try:
        return client.epoch()
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            return 0
        raise


def test_what_is_said_to_one_server_is_told_by_all_across_restarts(
    servers: tuple[list[RunningServer], Open],
) -> None:
    (one, two), open_ = servers
    assert say(open_(one, CLIENT), LISTED[0]) == RECORDED
    assert say(open_(two, OTHER_CLIENT), LISTED[0], CONFIRMED) == RECORDED
    for server in (one, two):
        asking = open_(server, CLIENT)
        eventually(lambda asking=asking: told(asking, LISTED[0]) == (1, 1), "both are told")
    one.restart()
    eventually(lambda: told(open_(one, CLIENT), LISTED[0]) == (1, 1), "both are told again")


def test_only_whom_the_policy_lets_know_is_told(servers: tuple[list[RunningServer], Open]) -> None:
    (one, _), open_ = servers
    first, second = open_(one, CLIENT), open_(one, OTHER_CLIENT)
    before = second.ask(LISTED[0], list_ids=["list"]).SerializeToString()
    assert say(second, LISTED[0]) == RECORDED
    assert told(first, LISTED[0]) == (0, 1)
    assert second.ask(LISTED[0], list_ids=["list"]).SerializeToString() == before


def test_a_hidden_list_is_an_unknown_one(servers: tuple[list[RunningServer], Open]) -> None:
    (one, _), open_ = servers
    first = open_(one, CLIENT)
    hidden, unknown = (
        refused(lambda list_id=list_id: say(first, LISTED[0], list_id=list_id)) for list_id in ("hidden", "absent")
    )
    assert (hidden.reason, hidden.code, hidden.message) == (unknown.reason, unknown.code, unknown.message)
    assert hidden.reason == ErrorReason.LIST_NOT_FOUND
    # What somebody else says of it does not show either.
    assert say(open_(one, OTHER_CLIENT), LISTED[0], list_id="hidden") == RECORDED
    assert told(first, LISTED[0]) is None


def test_speaking_of_matches_costs_what_asking_for_them_costs(servers: tuple[list[RunningServer], Open]) -> None:
    """Otherwise whoever has spent a day's hits could go on asking by confirming."""
    (one, _), open_ = servers
    first = open_(one, CLIENT)
    outcomes = [say(first, LISTED[number % 4], CONFIRMED) for number in range(8)]
    assert outcomes == [RECORDED] * 4 + [UNCHANGED] * 4
    for judgement in (CONFIRMED, DISPUTED):
        refusal = refused(lambda judgement=judgement: say(first, LISTED[0], judgement))
        assert refusal.reason == ErrorReason.BUDGET_EXHAUSTED


# ---- one server that lets everybody do everything


def test_saying_something_again_replaces_it_and_the_same_changes_nothing(listed: Client) -> None:
    assert told(listed, LISTED[0]) is None
    assert say(listed, LISTED[0], note="a beach") == RECORDED
    assert say(listed, LISTED[0], note="a beach") == UNCHANGED
    assert told(listed, LISTED[0]) == (0, 1)
    assert told(listed, LISTED[1]) is None
    assert say(listed, LISTED[0], CONFIRMED) == RECORDED
    assert told(listed, LISTED[0]) == (1, 0)
    assert say(listed, LISTED[0], WITHDRAWN) == RECORDED
    assert say(listed, LISTED[0], WITHDRAWN) == UNCHANGED
    assert told(listed, LISTED[0]) is None
    text = listed.page("/metrics").text
    assert 'hashmatch_feedback_total{judgement="disputed",list_id="list"} 1.0' in text
    assert 'hashmatch_feedback_total{judgement="confirmed",list_id="list"} 1.0' in text


def test_a_dispute_changes_no_verdict(listed: Client) -> None:
    before = listed.batch([hash_of(LISTED[0])]).results[0]
    say(listed, LISTED[0])
    after = listed.batch([hash_of(LISTED[0])]).results[0]
    after.hashes[0].opinions[0].ClearField("feedback")
    assert after == before


def test_what_is_no_match_is_not_kept(listed: Client) -> None:
    assert say(listed, os.urandom(32)) == NO_MATCH
    listed.suppress(LISTED[3])
    eventually(lambda: say(listed, LISTED[3]) == NO_MATCH, "the suppression is in force")
    assert say(listed, bytes(16), asked=common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=b"short")) == (
        NOT_DETERMINED
    )
    assert recorded(listed).total == 0


def test_feedback_on_what_was_listed_can_be_taken_back(listed: Client) -> None:
    say(listed, LISTED[0])
    withdrawal = list_admin_service_pb2.WithdrawEntriesRequest(
        list_id="list", hashes=[hash_of(LISTED[0])], reason="a test"
    )
    epoch = listed.act("WithdrawEntries", withdrawal).epoch
    eventually(lambda: listed.epoch() >= epoch, "the withdrawal is in force")
    assert say(listed, LISTED[0]) == NO_MATCH
    assert recorded(listed).total == 1
    assert say(listed, LISTED[0], WITHDRAWN) == RECORDED
    assert recorded(listed).total == 0


def test_feedback_on_near_values_and_videos_is_on_what_was_asked(client: Client) -> None:
    code = os.urandom(32)
    client.define()
    epoch = client.deliver(row("k1", code).encode(), format="columns", profile=PROFILE)
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    near = common_pb2.Hash(algorithm=common_pb2.ALGORITHM_PDQ, value=apart(code, 9))
    assert say(client, b"", asked=near, note="a drawing") == RECORDED
    (found,) = recorded(client).feedback
    assert (found.near, list(found.source_keys), found.algorithm) == (True, ["k1"], common_pb2.ALGORITHM_PDQ)

    def disputes(asked: common_pb2.Hash) -> int:
        return client.batch([asked]).results[0].hashes[0].opinions[0].feedback.disputed

    assert disputes(near) == 1
    assert disputes(common_pb2.Hash(algorithm=common_pb2.ALGORITHM_PDQ, value=code)) == 0


def test_operators_see_disputes_first_and_settle_them(listed: Client) -> None:
    for digest, judgement in zip(LISTED, (CONFIRMED, DISPUTED, CONFIRMED, DISPUTED), strict=True):
        say(listed, digest, judgement, note="seen")
    found = recorded(listed)
    assert [each.judgement for each in found.feedback] == [DISPUTED, DISPUTED, CONFIRMED, CONFIRMED]
    assert {(each.list_id, each.client, each.note, each.generation) for each in found.feedback} == {
        ("list", "loopback:anonymous", "seen", 1)
    }
    assert recorded(listed, disputes_only=True).total == 2
    assert recorded(listed, list_id="other").total == 0
    assert len(recorded(listed, limit=1).feedback) == 1
    assert settle(listed, found.feedback[0].feedback_id, "0" * 24) == 1
    assert settle(listed, found.feedback[0].feedback_id) == 0
    assert recorded(listed).total == 3
    assert sorted(told(listed, digest) is None for digest in LISTED) == [False, False, False, True]


def test_the_command_shows_and_settles(
    listed: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", listed.addresses.administration)
    say(listed, LISTED[0], note="a landscape")
    say(listed, LISTED[1], CONFIRMED)

    def told_by(*arguments: str) -> str:
        assert admin(["feedback", *arguments]) is Exit.DONE
        return capsys.readouterr().out

    table = told_by("list")
    assert "disputed: other content" in table
    assert "2 records" in table
    (dispute, confirmation) = json.loads(told_by("list", "--output", "json"))["feedback"]
    assert (dispute["judgement"], dispute["note"], confirmation["reason"]) == ("DISPUTED", "a landscape", "")
    rows = list(csv.DictReader(io.StringIO(told_by("list", "--output", "csv", "--disputes"))))
    assert [row["feedback_id"] for row in rows] == [dispute["feedback_id"]]
    acting = ("--operator", "ann", "--reason", "looked into")
    assert told_by("settle", dispute["feedback_id"], "0" * 24, *acting) == "Settled 1 of 2.\n"
    assert len(json.loads(told_by("list", "--output", "json"))["feedback"]) == 1


def test_while_the_store_is_away_what_is_known_is_told_and_nothing_is_taken_in(
    make_server: MakeServer, own_valkey: EmbeddedValkey
) -> None:
    client = make_server(url=own_valkey.url, blocks="resident").start()
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    assert say(client, LISTED[0]) == RECORDED
    own_valkey.stop()
    assert refused(lambda: say(client, LISTED[1])).code is grpc.StatusCode.UNAVAILABLE
    assert told(client, LISTED[0]) == (0, 1)
    assert told(client, LISTED[1]) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"list_id": ""}, ErrorReason.INVALID_FIELD),
        ({"list_id": "Not An Id"}, ErrorReason.INVALID_FIELD),
        ({"judgement": 0}, ErrorReason.INVALID_FIELD),
        ({"judgement": 77}, ErrorReason.INVALID_FIELD),
        ({"reason": 0}, ErrorReason.INVALID_FIELD),
        ({"reason": 77}, ErrorReason.INVALID_FIELD),
        ({"judgement": CONFIRMED}, ErrorReason.INVALID_FIELD),
        ({"reason": match_service_pb2.DISPUTE_REASON_OTHER}, ErrorReason.INVALID_FIELD),
        ({"note": "x" * 501}, ErrorReason.INVALID_FIELD),
        ({"note": f"see {'ab' * 16}"}, ErrorReason.INVALID_FIELD),
    ],
)
def test_what_makes_no_sense_is_refused_whole(listed: Client, changed: dict[str, Any], reason: ErrorReason) -> None:
    stated: dict[str, Any] = {
        "hash": hash_of(LISTED[0]),
        "list_id": "list",
        "judgement": DISPUTED,
        "reason": OTHER_CONTENT,
    }
    request = match_service_pb2.ReportFeedbackRequest(
        feedback=[
            match_service_pb2.HitFeedback(**stated),
            match_service_pb2.HitFeedback(**{**stated, **changed}),
        ]
    )
    assert refused(lambda: listed.matching.ReportFeedback(request, timeout=TIMEOUT)).reason == reason
    assert recorded(listed).total == 0


def test_nothing_and_too_much_are_refused(listed: Client) -> None:
    stated = match_service_pb2.HitFeedback(
        hash=hash_of(LISTED[0]), list_id="list", judgement=DISPUTED, reason=OTHER_CONTENT
    )
    for count, reason in ((0, ErrorReason.EMPTY_BATCH), (101, ErrorReason.BATCH_TOO_LARGE)):
        request = match_service_pb2.ReportFeedbackRequest(feedback=[stated] * count)
        error = refused(lambda request=request: listed.matching.ReportFeedback(request, timeout=TIMEOUT))
        assert error.reason == reason


def test_one_client_cannot_fill_what_is_kept(listed: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_OF_CLIENT", 2)
    assert [say(listed, digest) for digest in LISTED[:2]] == [RECORDED] * 2
    assert refused(lambda: say(listed, LISTED[2])).reason == ErrorReason.FEEDBACK_FULL
    # What is there can still be changed, and making room makes room.
    assert say(listed, LISTED[0], CONFIRMED) == RECORDED
    assert say(listed, LISTED[1], WITHDRAWN) == RECORDED
    assert say(listed, LISTED[2]) == RECORDED
