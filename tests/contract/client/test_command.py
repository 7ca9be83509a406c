"""The command: exit codes, what goes where, and every form of output."""

import csv
import hashlib
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import zlib
from datetime import timedelta

import grpc
import pytest
from hashmatch_client import ListNature
from hashmatch_client.cli.main import main
from hashmatch_client.testing import FakeHashmatch, FakeList

from bench.drawings import draw, saved_as_jpeg
from hashmatch.v1 import common_pb2


def hashed(text, algorithm="sha256"):
    return hashlib.new(algorithm, text.encode()).hexdigest()


@pytest.fixture
def server(monkeypatch):
    lists = {
        "alpha": FakeList({hashed("known"): "A1", hashed("known", "md5"): "A1"}, body="Alpha", flags=["series"]),
        "selftest": FakeList({hashed("fixture"): "fixture"}, body="Operator", nature=ListNature.TEST, algorithms=()),
    }
    for name in list(os.environ):
        if name.startswith("HASHMATCH_"):
            monkeypatch.delenv(name)
    with FakeHashmatch(lists) as fake:
        monkeypatch.setenv("HASHMATCH_TARGET", fake.target)
        yield fake


@pytest.fixture
def files(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    folder.mkdir()
    for name in ("known", "fixture", "unknown"):
        (folder / f"{name}.jpg").write_text(name)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit code, its lines on standard output, and what it said on standard error."""

    def command(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return command


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
    assert "stopped after 1,000 items; nothing is known of the others" in err


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


@pytest.fixture
def pictures(files):
    """A picture, one that is cut short, and one that claims to be too large; all under names of other things."""
    whole = saved_as_jpeg(draw(1, 160, 120), 80)
    (files / "a.txt").write_bytes(whole)
    (files / "b.bin").write_bytes(whole[: len(whole) // 2])
    claim = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    header = struct.pack(">I", len(claim)) + b"IHDR" + claim + struct.pack(">I", zlib.crc32(b"IHDR" + claim))
    (files / "c").write_bytes(b"\x89PNG\r\n\x1a\n" + header + bytes(4) + b"IDAT" + bytes(4))
    return files


def test_pictures_are_asked_about_with_pdq_beside_their_digests(server, pictures, run):
    code, out, _ = run("check", "report/a.txt", "--algorithms", "sha256,pdq", "--output", "jsonl", "--with-hashes")
    (item,) = map(json.loads, out.splitlines())
    assert [each["algorithm"] for each in item["hashes"]] == ["sha256", "pdq"]
    assert item["hashes"][1]["quality"] == 100
    assert len(item["hashes"][1]["value"]) == 64
    assert code in (0, 11)


def test_a_picture_that_cannot_be_hashed_is_asked_about_by_its_digests_and_never_called_unknown(server, pictures, run):
    code, out, err = run("check", "report/b.bin", "report/c", "--algorithms", "sha256,pdq", "--output", "jsonl")
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 11
    for item in items:
        assert item["verdict"] == "NOT_DETERMINED"
        assert [each["verdict"] for each in item["hashes"]] == ["NO_KNOWN_MATCH"]
        assert item["causes"] == [{"reason": "PICTURE_NOT_HASHED", "list": ""}]
    assert "report/b.bin: not hashed as a picture: it cannot be decoded" in err
    assert "report/c: not hashed as a picture: it is too large" in err


def test_a_match_by_digest_stands_where_the_picture_cannot_be_hashed(server, pictures, run):
    digest = hashlib.sha256((pictures / "b.bin").read_bytes()).hexdigest()
    server.publish("gamma", FakeList({digest: "G"}, body="Gamma"))
    code, out, _ = run("check", "report/b.bin", "--algorithms", "sha256,pdq")
    assert code == 10
    assert re.search(r"b\.bin +MATCH +Gamma .* exact +not hashed as a picture", out)


def test_a_file_that_is_no_picture_cannot_be_asked_about_by_pdq_alone(server, pictures, run):
    code, out, err = run("check", "report/known.jpg", "--algorithms", "pdq", "--output", "jsonl")
    assert code == 11
    assert json.loads(out)["causes"] == [{"reason": "NOT_A_PICTURE", "list": ""}]
    assert "it is no picture" in err


def test_without_the_extra_it_says_once_what_it_leaves_out(server, pictures, run, monkeypatch):
    monkeypatch.setattr("hashmatch_client.cli.check.images_available", lambda: False)
    monkeypatch.setattr("hashmatch_client.hashing.images_available", lambda: False)

    def carry_pdq(response):
        for each in getattr(response, "lists", ()):
            each.generation.counts.add(algorithm=common_pb2.ALGORITHM_PDQ, hashes=1)
        return response

    server.rewrite(carry_pdq)
    code, out, err = run("check", "report", "--output", "jsonl")
    assert code == 10
    assert err.count("left out PDQ") == 1
    assert "hashmatch[images]" in err
    assert all(each["algorithm"] != "pdq" for line in out.splitlines() for each in json.loads(line)["hashes"])
    code, _, err = run("check", "report", "--algorithms", "pdq")
    assert code == 2
    assert "hashmatch[images]" in err


def test_stale_lists_and_disputes_are_marked(server, files, run):
    server.publish("beta", FakeList({hashed("known"): "9"}, body="Beta", age=timedelta(days=9)))
    code, out, _ = run("check", "report/known.jpg", "report/unknown.jpg")
    assert code == 10
    assert "MATCH (disputed)" in out
    assert "stale list" in out
    assert re.search(r"unknown\.jpg +not determined +list stale \(beta\)", out)


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


def test_the_command_claims_nothing_that_it_cannot_know(server, files, run):
    said = "".join("".join(run("check", "report", "--all", "--output", form)[1:]) for form in ("table", "csv", "json"))
    said += "".join(map(str, run("check", "--help"))) + "".join(map(str, run("--help")))
    assert not re.search(r"\b(clean|safe|innocent|harmless)\b", said, re.IGNORECASE)


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


# As a process of its own.

COMMAND = [sys.executable, "-W", "error", "-m", "hashmatch_client.cli.main"]


def test_hashes_come_from_standard_input(server, files):
    lines = f"{hashed('known')}  known.jpg\n{hashed('unknown')}\n"
    done = subprocess.run(
        [*COMMAND, "check", "--hashes", "-", "--output", "jsonl"], input=lines, capture_output=True, text=True
    )
    assert done.returncode == 10
    assert [json.loads(line)["reference"] for line in done.stdout.splitlines()] == ["known.jpg", "stdin:2"]


def test_a_reader_that_goes_away_is_met_with_silence(server, files):
    (files / "list.txt").write_text("".join(f"{hashed(str(n))}\n" for n in range(3_000)))
    with subprocess.Popen(
        [*COMMAND, "check", "--hashes", "report/list.txt", "--output", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_an_interruption_ends_it_with_130_and_silence(server):
    with subprocess.Popen(
        [*COMMAND, "watch", "--output", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""


def test_on_a_terminal_a_bar_stands_on_standard_error_and_the_result_is_untouched(server, files):
    outer, inner = pty.openpty()
    try:
        done = subprocess.run([*COMMAND, "check", "report", "--output", "jsonl"], stdout=subprocess.PIPE, stderr=inner)
        os.close(inner)
        said = os.read(outer, 65_536).decode()
    finally:
        os.close(outer)
    assert "3 items" in said
    assert "19/19 bytes" in said
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["MATCH", "MATCH", "NO_KNOWN_MATCH"]


def test_no_colour_and_no_bar_where_there_is_no_terminal(server, files):
    done = subprocess.run([*COMMAND, "check", "report"], capture_output=True)
    assert done.returncode == 10
    assert b"\x1b" not in done.stdout + done.stderr
