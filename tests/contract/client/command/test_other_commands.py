"""Lists, snapshots, watching, help, and what fails before a server is asked."""

import csv
import io
import json
import re
from datetime import timedelta

import grpc
import pytest
from hashmatch_client.testing import FakeList


def test_lists_are_shown_in_every_form(server, run):
    server.publish("old", FakeList({}, body="=Old", age=timedelta(days=9)))
    code, out, _ = run("lists")
    assert code == 0
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert rows[0] == ["List", "Body", "Nature", "MD5", "SHA-256", "Generation", "Age", "State"]
    assert ["alpha", "Alpha", "illegal", "1", "1", "1", "1 hour", "fresh"] in rows
    assert ["old", "=Old", "illegal", "0", "0", "1", "9 days", "STALE"] in rows
    assert ["selftest", "Operator", "TEST", "0", "1", "1", "1 hour", "fresh"] in rows
    as_json = json.loads(run("lists", "--output", "json")[1])["lists"]
    assert [json.loads(line) for line in run("lists", "--output", "jsonl")[1].splitlines()] == as_json
    assert as_json[0]["hashes"] == {"md5": 1, "sha1": 0, "sha256": 1}
    as_csv = list(csv.DictReader(io.StringIO(run("lists", "--output", "csv")[1])))
    assert [row["list"] for row in as_csv] == ["alpha", "old", "selftest"]
    assert as_csv[1]["body"] == "'=Old"
    assert (as_csv[0]["md5"], as_csv[0]["sha512"], as_csv[0]["stale"]) == ("1", "", "false")


def test_a_snapshot_shows_changes_only_since_an_epoch_that_was_named(server, run):
    _, out, _ = run("snapshot")
    assert out.startswith("epoch 2, published 2026-01-15T12:00:00Z")
    assert "publish" not in out.replace("published", "")
    assert "publish selftest, generation 1: 1 added, 0 removed" in run("snapshot", "--since-epoch", "1")[1]
    assert json.loads(run("snapshot", "--output", "json")[1])["snapshot"]["epoch"] == 2


def test_an_incomplete_record_of_changes_is_said_to_be_one(server, run):
    def forget(response):
        response.changes_complete = False
        return response

    server.rewrite(forget)
    assert "ask again about everything" in run("snapshot", "--since-epoch", "0")[1]


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_watch_shows_each_change_until_the_server_fails(server, run, form):
    server.fail_next(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED", after_messages=2)

    def publish_once(response):
        if server.epoch == 2:
            server.publish("gamma", {})
        return response

    server.rewrite(publish_once)
    code, out, _ = run("watch", "--output", form)
    lines = out.splitlines()
    assert code == 4
    if form == "table":
        assert [line.split(",")[0].strip() for line in lines][:2] == ["epoch 2", "epoch 3"]
        assert "publish gamma, generation 1" in lines[2]
    else:
        changes = [json.loads(line)["changes"] for line in lines]
        assert [[change["list"] for change in each] for each in changes] == [[], ["gamma"]]


def test_help_tells_every_exit_code(run):
    code, out, _ = run("check", "--help")
    assert code == 0
    for number in (0, 1, 2, 3, 4, 10, 11, 130):
        assert re.search(rf"^  {number} ", out, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(run, shell):
    code, out, _ = run("--print-completion", shell)
    assert code == 0
    for word in ("check", "lists", "snapshot", "watch", "--newer-than-epoch"):
        assert word in out


def test_a_missing_target_is_a_matter_of_usage(run, monkeypatch):
    monkeypatch.delenv("HASHMATCH_TARGET", raising=False)
    code, _, err = run("lists")
    assert code == 2
    assert "HASHMATCH_TARGET" in err


def test_a_defect_shows_no_traceback_and_no_text(server, run, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("something with a hash in it")

    monkeypatch.setattr("hashmatch_client.HashmatchClient.lists", fail)
    assert run("lists") == (1, "", "hashmatch: a defect in this program: RuntimeError\n")
