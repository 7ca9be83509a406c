"""What `hashmatch check` shows, in every form, and with which exit code."""

import csv
import errno
import io
import json
import os
import re
from datetime import timedelta

import grpc
import pytest
from hashmatch_client import HashmatchClient
from hashmatch_client.testing import FakeList

from .conftest import hashed


def test_a_table_shows_what_is_known_and_the_counts_of_all(server, files, run):
    code, out, err = run("check", "report")
    lines = out.splitlines()
    assert code == 10
    assert re.split(r"\s{2,}", lines[0].strip()) == [
        "Reference", "Verdict", "Body", "List", "Nature", "Label", "Kind", "Remarks",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[2].strip()) == [
        "report/fixture.jpg", "MATCH (test)", "Operator", "selftest", "TEST", "fixture (demo)", "exact",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[3].strip()) == [
        "report/known.jpg", "MATCH", "Alpha", "alpha", "illegal", "A1 (demo)", "exact", "series",
    ]  # fmt: skip
    assert lines[-1] == (
        "3 items: 2 matches (1 on test lists only), 1 no known match, 0 not determined; epoch 2; "
        "oldest list alpha, 1 hour old"
    )
    # Two entries of one list, by MD5 and by SHA-256, say the same: once is enough for people.
    assert out.count("known.jpg") == 1
    assert err == ""


def test_all_shows_the_rest_too(server, files, run):
    _, out, _ = run("check", "report", "--all")
    assert re.search(r"report/unknown\.jpg +no known match", out)


def test_json_lines_are_one_object_an_item_in_order(server, files, run):
    code, out, err = run("check", "report", "--output", "jsonl")
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 10
    assert [(item["reference"], item["verdict"], item["test"]) for item in items] == [
        ("report/fixture.jpg", "MATCH", True),
        ("report/known.jpg", "MATCH", False),
        ("report/unknown.jpg", "NO_KNOWN_MATCH", False),
    ]
    assert items[1]["opinions"][0] == {
        "body": "Alpha",
        "list": "alpha",
        "nature": "ILLEGAL",
        "label": "A1",
        "scheme": "demo",
        "classification": {
            "mapped": False,
            "mapping_version": 0,
            "depicted": [],
            "age": "",
            "act": "",
            "portrayal": "",
            "baseline": "",
        },
        "jurisdiction": "",
        "flags": ["series"],
        "updated_on": "2026-01-14",
        "source_key": "alpha-2",
        "generation": 1,
        "since_epoch": 1,
        "kind": "EXACT",
        "distance": None,
        "video": None,
        "feedback": None,
        "stale": False,
        "approvals": 2,
        "approvals_required": 2,
    }
    assert items[1]["epoch"] == 2
    assert [each["algorithm"] for each in items[1]["hashes"]] == ["md5", "sha256"]
    assert err.startswith("hashmatch: 3 items: 2 matches")


def test_json_is_one_document(server, files, run):
    _, out, _ = run("check", "report", "--output", "json", "--quiet")
    document = json.loads(out)
    assert [item["reference"] for item in document["items"]] == [
        "report/fixture.jpg",
        "report/known.jpg",
        "report/unknown.jpg",
    ]
    assert document["summary"]["match"] == 2
    assert document["summary"]["oldest_list"]["list"] == "alpha"


def test_csv_has_a_row_an_opinion_and_one_where_there_is_none(server, files, run):
    _, out, _ = run("check", "report", "--output", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["reference"], row["verdict"], row["test"], row["source_key"]) for row in rows] == [
        ("report/fixture.jpg", "MATCH", "true", "selftest-1"),
        ("report/known.jpg", "MATCH", "false", "alpha-2"),
        ("report/known.jpg", "MATCH", "false", "alpha-1"),
        ("report/unknown.jpg", "NO_KNOWN_MATCH", "false", ""),
    ]


def test_hashes_are_given_only_where_they_are_asked_for(server, files, run):
    for form in ("json", "jsonl", "csv", "table"):
        _, out, err = run("check", "report", "--output", form)
        assert hashed("known") not in out + err
    for form in ("json", "jsonl", "csv"):
        _, out, _ = run("check", "report", "--output", form, "--with-hashes")
        assert hashed("known") in out


def test_an_empty_folder_is_said_to_be_one(server, files, run):
    (files / "empty").mkdir()
    code, out, err = run("check", "report/empty", "--output", "json")
    assert code == 0
    assert json.loads(out)["items"] == []
    assert "nothing to check" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report/unknown.jpg"], 0),
        (["report/fixture.jpg"], 10),
        (["report/missing.jpg"], 11),
        (["report/missing.jpg", "report/known.jpg"], 10),
        (["report/known.jpg", "--list", "selftest"], 0),
        (["report/known.jpg", "--algorithms", "sha512"], 11),
        (["report/known.jpg", "--newer-than-epoch", "1"], 0),
        (["report/known.jpg", "--min-sources", "3"], 11),
        (["report/known.jpg", "--list", "nowhere"], 1),
        (["report/known.jpg", "--target", "127.0.0.1:1"], 3),
        (["report/known.jpg", "--ca-file", "missing.pem"], 2),
        (["report/known.jpg", "--cert-file", "missing.pem"], 2),
        (["report/known.jpg", "--timeout", "0"], 2),
        (["report/known.jpg", "--algorithms", "crc32"], 2),
        (["report/known.jpg", "--min-sources", "none"], 2),
        (["report/known.jpg", "--hashes", "-"], 2),
        ([], 2),
        (["--hashes", "missing.txt"], 1),
    ],
)
def test_the_exit_code_says_how_it_went(server, files, run, arguments, code):
    assert run("check", *arguments)[0] == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.UNAVAILABLE, 3),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 3),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
    ],
)
def test_a_failure_of_the_server_has_its_exit_code_and_one_line(server, files, run, status, code):
    server.fail_next(status, "WHY", retry_delay=2, fields={"items": "are odd"}, times=5)
    got, out, err = run("lists")
    assert (got, out) == (code, "")
    assert re.fullmatch(
        rf"hashmatch: {status.name}/WHY: the fake was told to fail; items are odd; try again in 2 s; "
        r"request [0-9a-f]{32}\n",
        err,
    )


def test_a_run_that_stops_says_what_it_left_out(server, files, run):
    server.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    code, out, err = run("check", "report", "--algorithms", "md5", "--output", "json")
    assert code == 3
    assert out == ""
    assert "stopped after 0 items; nothing is known of the others" in err


def test_what_was_found_before_a_run_stopped_is_shown(server, files, run):
    (files / "list.txt").write_text(f"{hashed('known')}\n" + "".join(f"{hashed(str(n))}\n" for n in range(9_999)))

    # Only the batch with the match is answered.
    server.rewrite(lambda response: response if any(each.verdict == 1 for each in response.results) else None)
    code, out, err = run("check", "--hashes", "report/list.txt")
    assert code == 1
    assert re.search(r"list\.txt:1 +MATCH", out)
    assert re.search(r"stopped after [\d,]+ items; nothing is known of the others", err)


def test_a_disk_that_gets_full_takes_nothing_back_of_what_was_found(server, files, run, monkeypatch):
    (files / "list.txt").write_text(f"{hashed('known')}\n" + "".join(f"{hashed(str(n))}\n" for n in range(9_999)))
    match_items = HashmatchClient.match_items

    def until_full(client, items, **scope):
        if hashed("known") not in {each.value.hex() for item in items for each in item.hashes}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "saved.answer")
        return match_items(client, items, **scope)

    monkeypatch.setattr(HashmatchClient, "match_items", until_full)
    code, out, err = run("check", "--hashes", "report/list.txt")
    assert code == 1
    assert re.search(r"list\.txt:1 +MATCH", out)
    assert re.search(r"stopped after [\d,]+ items; nothing is known of the others", err)
    assert "No space left on device" in err


def test_who_may_not_see_the_lists_can_still_check(server, files, run):
    server.fail_next(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED")
    _, out, _ = run("check", "report/known.jpg", "--output", "jsonl")
    assert [each["algorithm"] for each in json.loads(out)["hashes"]] == ["md5", "sha1", "sha256"]


def test_what_cannot_be_read_is_in_the_result_and_on_standard_error(server, files, run):
    (files / "link.jpg").symlink_to("known.jpg")
    code, out, err = run("check", "report/link.jpg", "report/unknown.jpg", "report", "--output", "jsonl")
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 10
    assert items[0]["verdict"] == "NOT_DETERMINED"
    assert items[0]["causes"] == [{"reason": "UNREADABLE_FILE", "list": ""}]
    assert "report/link.jpg: not determined: cannot read it: is a symbolic link" in err
    assert "passed over 1 symbolic link or special file" in err
    assert len(items) == 5
    _, out, _ = run("check", "report/link.jpg", "--follow-symlinks", "--output", "jsonl")
    assert json.loads(out)["verdict"] == "MATCH"


def test_lines_of_hashes_are_asked_each_and_none_is_dropped(server, files, run):
    lines = [
        hashed("known"),
        f"{hashed('known', 'md5').upper()} *photo.jpg",
        "# a comment",
        hashed("other", "sha1"),
        f"{hashed('known')}0",
        hashed("other", "sha512"),
    ]
    (files / "list.txt").write_text("\n".join(lines))
    code, out, err = run("check", "--hashes", "report/list.txt", "--output", "jsonl")
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 10
    assert [(item["reference"].removeprefix("report/"), item["verdict"]) for item in items] == [
        ("list.txt:1", "MATCH"),
        ("photo.jpg", "MATCH"),
        ("list.txt:4", "NO_KNOWN_MATCH"),
        ("list.txt:5", "NOT_DETERMINED"),
        ("list.txt:6", "NOT_DETERMINED"),
    ]
    assert items[3]["causes"][0]["reason"] == "INVALID_HASH"
    assert "list.txt:5: not determined: no valid hash" in err
    assert hashed("known") not in err


def test_more_than_a_batch_is_asked_in_batches(server, files, run):
    (files / "list.txt").write_text("".join(f"{hashed(str(n))}\n" for n in range(2_345)))
    code, out, _ = run("check", "--hashes", "report/list.txt", "--output", "csv", "--quiet")
    assert code == 0
    assert len(out.splitlines()) == 2_346
    assert all(call.sizes[0] <= 1_000 for call in server.calls_of("BatchMatch"))


def test_a_dry_run_asks_nothing(server, files, run):
    code, out, _ = run("check", "report", "--dry-run", "--output", "json")
    assert code == 0
    assert json.loads(out) == {
        "items": 3,
        "not_determined": 0,
        "bytes": 19,
        "hashes": {"md5": 3, "sha1": 3, "sha256": 3},
    }
    assert server.calls == []
    assert "would ask about 3 items with 9 hashes" in run("check", "report", "--dry-run")[1]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "json"])
def test_the_name_of_a_file_cannot_speak_to_the_terminal(server, files, run, form):
    (files / "=\x1b[2J\u202e[bold]\udcff.jpg").write_text("known")
    _, out, err = run("check", "report", "--output", form)
    assert "\x1b" not in out + err
    assert "\u202e" not in out + err
    if form == "table":
        assert "[bold]" in out


def test_stale_lists_and_disputes_are_marked(server, files, run):
    server.publish("beta", FakeList({hashed("known"): "9"}, body="Beta", age=timedelta(days=9)))
    code, out, _ = run("check", "report/known.jpg", "report/unknown.jpg")
    assert code == 10
    assert "MATCH (disputed)" in out
    assert "stale list" in out
    assert re.search(r"unknown\.jpg +not determined +list stale \(beta\)", out)


def test_the_command_claims_nothing_that_it_cannot_know(server, files, run):
    said = "".join("".join(run("check", "report", "--all", "--output", form)[1:]) for form in ("table", "csv", "json"))
    said += "".join(map(str, run("check", "--help"))) + "".join(map(str, run("--help")))
    assert not re.search(r"\b(clean|safe|innocent|harmless)\b", said, re.IGNORECASE)
