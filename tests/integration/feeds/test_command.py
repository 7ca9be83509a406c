"""`hashmatch-admin feed` against a real server."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from tests.integration.feeds.conftest import Follower, MakeFollower
from tests.support.simulators.body import Reply
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.stopncii import StopNcii


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs the command; returns its exit code, what it printed and what it complained of."""

    def run(follower: Follower, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", follower.client.addresses.administration)
        monkeypatch.setenv("HASHMATCH_OPERATOR", "ann")
        code = main(["feed", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_round_is_run_and_seen(simulate, follow: MakeFollower, command):
    body = simulate(StopNcii)
    body.publish(12)
    follower = follow(body, policy={})
    follower.run(drop_waiting=True)
    code, out, _ = command(follower, "run", "the-feed", "--full")
    assert code == Exit.DONE
    assert out.startswith("Read everything: 12 records on 2 pages. Staged as ")
    staging_id = follower.status().waiting_staging_id
    assert f"Next: hashmatch-admin staging show {staging_id}" in out
    code, out, _ = command(follower, "run", "the-feed")
    assert (code, out.startswith(f"Read nothing: {staging_id} waits to be published")) == (Exit.DONE, True)
    code, out, _ = command(follower, "status", "--output", "json")
    (feed,) = json.loads(out)["feeds"]
    assert (feed["feed"], feed["outcome"], feed["records"]) == ("the-feed", "STAGED", 12)
    assert feed["waiting_staging_id"] == staging_id
    code, out, _ = command(follower, "status", "--feed", "the-feed", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["kind"] == "stopncii"
    code, out, _ = command(follower, "status")
    assert "the-feed" in out


def test_a_round_that_failed_says_why(simulate, follow: MakeFollower, command):
    body = simulate(StopNcii)
    body.interfere = lambda _: Reply(404)
    follower = follow(body)
    follower.run()
    code, out, _ = command(follower, "run", "the-feed")
    assert code == Exit.FAILED
    assert out == "Failed (refused): 127.0.0.1/v1/FetchHashes: HTTP status 404. Nothing was staged.\n"
    assert "failed" in command(follower, "status")[1]


def test_a_feed_that_there_is_not_is_named(simulate, follow: MakeFollower, command):
    follower = follow(simulate(StopNcii))
    code, _, err = command(follower, "run", "another")
    assert code == Exit.FAILED
    assert "there is no such feed; there are: the-feed" in err


def test_feedback_reaches_the_body(simulate, follow: MakeFollower, command, tmp_path: Path):
    body = simulate(StopNcii)
    follower = follow(body)
    hashes = tmp_path / "hash.txt"
    hashes.write_text(f"{bytes(range(32)).hex()}\n")
    words = ("feedback", "the-feed", "negative", "--hashes", str(hashes), "--algorithm", "pdq", "--tag", "reviewed")
    code, out, _ = command(follower, *words)
    assert (code, out) == (Exit.DONE, "The body of the-feed took the negative feedback.\n")
    stated = {"tags": ["reviewed"], "feedbackValue": "NotBlocked", "hashValue": bytes(range(32)).hex()}
    assert json.loads(body.requests[-1].body)["hashFeedbacks"] == [stated]


def test_feedback_that_is_not_taken_is_an_error(simulate, follow: MakeFollower, command):
    body = simulate(Ncmec)
    follower = follow(body)
    code, _, err = command(follower, "feedback", "the-feed", "affirmative", "--key", "42", "--algorithm", "pdq")
    assert code == Exit.FAILED
    assert "MEMBER/ENTRY" in err
    body.interfere = lambda _: Reply(404)
    code, _, err = command(follower, "feedback", "the-feed", "affirmative", "--key", "42/7", "--algorithm", "pdq")
    assert code == Exit.FAILED
    assert "HTTP status 404" in err
