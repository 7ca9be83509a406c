"""What a caller says of matches arrives as it was meant, a hundred at a time, from both clients and the command."""

import json
from pathlib import Path

import grpc
import pytest
from hashmatch_client import (
    Algorithm,
    DisputeReason,
    FeedbackCounts,
    FeedbackOutcome,
    Hash,
    HitFeedback,
    Judgement,
    UnavailableError,
)
from hashmatch_client._feedback import requests
from hashmatch_client.cli.main import main

from hashmatch.v1 import match_service_pb2

from .conftest import KNOWN, UNKNOWN, digest

RECORDED, UNCHANGED, NO_MATCH = FeedbackOutcome.RECORDED, FeedbackOutcome.UNCHANGED, FeedbackOutcome.NO_MATCH


def sha256(value):
    return Hash(Algorithm.SHA256, value)


def disputed(value, list_id="alpha"):
    return HitFeedback(sha256(value), list_id, Judgement.DISPUTED, DisputeReason.LAWFUL, note="a note")


def test_outcomes_come_in_order(client):
    stated = [disputed(KNOWN), disputed(UNKNOWN), HitFeedback(sha256(KNOWN), "alpha", Judgement.CONFIRMED)]
    assert client.report_feedback(stated) == [RECORDED, NO_MATCH, RECORDED]
    assert client.report_feedback(stated[2:]) == [UNCHANGED]


async def test_the_twin_says_the_same(client, async_client):
    assert await async_client.report_feedback([disputed(KNOWN)]) == [RECORDED]
    assert client.report_feedback([disputed(KNOWN)]) == [UNCHANGED]


def test_more_than_a_call_takes_goes_in_several(client, fake):
    outcomes = client.report_feedback(disputed(KNOWN) for _ in range(250))
    assert len(outcomes) == 250
    assert [call.sizes for call in fake.calls_of("ReportFeedback")] == [[100], [100], [50]]


def test_what_is_said_is_what_is_sent():
    (request,) = requests([disputed(KNOWN)], "review")
    (stated,) = request.feedback
    assert request.purpose == "review"
    assert (stated.hash.value, stated.list_id, stated.note) == (KNOWN, "alpha", "a note")
    assert stated.judgement == match_service_pb2.FEEDBACK_JUDGEMENT_DISPUTED
    assert stated.reason == match_service_pb2.DISPUTE_REASON_LAWFUL


def test_saying_nothing_asks_nothing(client, fake):
    assert client.report_feedback([]) == []
    assert fake.calls_of("ReportFeedback") == []


def test_an_outcome_of_a_newer_server_is_unrecognised(client, fake):
    def newer(response):
        response.outcomes[0] = 99
        return response

    fake.rewrite(newer)
    assert client.report_feedback([disputed(KNOWN)]) == [FeedbackOutcome.UNRECOGNISED]


def test_failures_are_those_of_every_call(client, fake):
    fake.fail_next(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(UnavailableError):
        client.report_feedback([disputed(KNOWN)])


def test_what_callers_said_stands_beside_opinions(client, fake):
    def told(response):
        response.results[0].hashes[0].opinions[0].feedback.disputed = 2
        return response

    fake.rewrite(told)
    (opinion,) = client.match(sha256=KNOWN).opinions
    assert opinion.feedback == FeedbackCounts(confirmed=0, disputed=2)


# ---- the command


@pytest.fixture
def hashes(tmp_path):
    path = tmp_path / "hashes.txt"

    def write(*values):
        path.write_text("".join(f"{value.hex()}\n" for value in values))
        return str(path)

    return write


@pytest.fixture
def run(fake, monkeypatch, capsys):
    monkeypatch.setenv("HASHMATCH_TARGET", fake.target)

    def command(*arguments):
        code = main(["feedback", "alpha", *arguments])
        return int(code), capsys.readouterr()

    return command


def test_the_command_says_what_came_of_it(run, hashes):
    assert run("--hashes", hashes(KNOWN), "--confirm") == (0, ("1 recorded\n", ""))
    assert run("--hashes", hashes(KNOWN, KNOWN), "--confirm") == (0, ("1 said before\n", ""))
    code, (out, _) = run("--hashes", hashes(KNOWN, UNKNOWN), "--dispute", "other", "--note", "seen")
    assert (code, out) == (1, "1 recorded, 1 no match in this list\n")


def test_a_bad_line_says_nothing_at_all(run, hashes, fake):
    path = hashes(KNOWN)
    with Path(path).open("a") as file:
        file.write("no hash\n")
    code, (out, err) = run("--hashes", path, "--confirm")
    assert code != 0
    assert out == ""
    assert "nothing was said" in err
    assert fake.calls_of("ReportFeedback") == []


def test_an_empty_file_is_an_error(run, hashes):
    code, (_, err) = run("--hashes", hashes(), "--confirm")
    assert code != 0
    assert "no hash" in err


def test_disputes_show_in_every_form_of_output(fake, monkeypatch, capsys, hashes):
    def told(response):
        if isinstance(response, match_service_pb2.BatchMatchResponse):
            response.results[0].hashes[0].opinions[0].feedback.disputed = 2
        return response

    monkeypatch.setenv("HASHMATCH_TARGET", fake.target)
    fake.rewrite(told)
    path = hashes(digest("known"))

    def check(form):
        main(["check", "--hashes", path, "--output", form])
        return capsys.readouterr().out

    assert "disputed by 2 callers" in check("table")
    assert json.loads(check("jsonl"))["opinions"][0]["feedback"] == {"confirmed": 0, "disputed": 2}
    heads, row = check("csv").splitlines()
    assert dict(zip(heads.split(","), row.split(","), strict=True))["feedback_disputed"] == "2"
