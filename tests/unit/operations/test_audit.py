"""Verifying an audit log: what was changed is found, and where."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.admin.main import main
from hashmatch.operations.audit import AuditError, Mark, logs_in, records, verify
from hashmatch.trust.answer_log import AnswerLog, Entry, LogReading
from hashmatch.trust.audit import AuditLog
from hashmatch.trust.checkpoints import Checkpoint, NoteSigner
from tests.support.clock import ManualClock

NAME = "example.org/server-1"


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Path:
    """A log of five acts, a minute apart."""
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, clock)
    for number in range(5):
        audit.append("publish" if number % 2 else "approve", f"spiffe://test/{'ab'[number % 2]}", number=number)
        clock.advance(60.0)
    audit.close()
    return path


def test_a_log_that_is_whole_verifies(log: Path) -> None:
    found = verify(log)
    assert (found.records, found.last_at - found.first_at) == (5, 240.0)
    assert verify(log, found.last) == found
    assert [(name, record.sequence) for name, record in records({"acts": log})] == [("acts", n) for n in range(1, 6)]


def test_a_byte_that_was_edited_is_found(log: Path) -> None:
    content = log.read_bytes()
    mark = verify(log).last
    last_line = content.rstrip(b"\n").rfind(b"\n") + 1
    for at in range(0, len(content) - 1, 7):
        log.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(AuditError):
            verify(log, mark)
        if at < last_line:
            with pytest.raises(AuditError):
                verify(log)


@pytest.mark.parametrize(
    ("kept", "line"), [([0, 1, 3, 4], 3), ([1, 0, 2, 3, 4], 1), ([0, 2, 1, 3, 4], 2), ([0, 1, 2, 2, 3, 4], 4)]
)
def test_lines_that_were_taken_out_moved_or_repeated_are_found(log: Path, kept: list[int], line: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[number] for number in kept))
    with pytest.raises(AuditError, match=f"^{re.escape(str(log))}, line {line}: .* does not follow"):
        verify(log)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        # What a line says is held by the next one.
        pytest.param(b'"number":2', b'"number":9', "line 4: record 4 of the audit log does not follow", id="edited"),
        pytest.param(
            b'"sequence":3', b'"sequence":7', "line 3: record 3 of the audit log does not follow", id="number"
        ),
        pytest.param(b'"number":2}', b'"numb', "line 3: record 3 of the audit log cannot be read", id="cut"),
    ],
)
def test_an_edited_line_is_named(log: Path, old: bytes, new: bytes, named: str) -> None:
    content = log.read_bytes()
    log.write_bytes(content.replace(old, new, 1))
    with pytest.raises(AuditError, match=f"{re.escape(str(log))}, {named}"):
        verify(log)


def test_a_last_line_that_was_cut_is_named_and_is_no_record(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = verify(log).last
    log.write_bytes(log.read_bytes()[:-9])
    found = verify(log)
    assert (found.records, found.unfinished) == (4, (log, 5))
    assert main(["audit", "verify", str(log)]) == 0
    assert f"{log}, line 5, has no end" in capsys.readouterr().out
    with pytest.raises(AuditError, match="line 4: the log ends with record 4, and had 5"):
        verify(log, mark)


def test_an_end_that_was_cut_off_is_found_with_a_mark_alone(log: Path) -> None:
    mark = verify(log).last
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    assert verify(log).records == 3
    with pytest.raises(AuditError, match=f"^{re.escape(str(log))}, line 3: the log ends with record 3, and had 5"):
        verify(log, mark)


def test_an_end_that_was_replaced_is_found_with_a_mark_alone(log: Path) -> None:
    mark = verify(log).last
    log.write_bytes(log.read_bytes().replace(b'"number":4', b'"number":5'))
    assert verify(log).records == 5
    with pytest.raises(AuditError, match="line 5: record 5 is not the one that was kept"):
        verify(log, mark)


@pytest.mark.parametrize("text", ["", "5", "5:", "x:" + "0" * 64, "5:" + "g" * 64])
def test_what_is_no_mark_is_refused(text: str) -> None:
    with pytest.raises(AuditError):
        Mark.parse(text)


def test_the_command_verifies_and_shows(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log), "--output", "json"]) == 0
    mark = json.loads(capsys.readouterr().out)["mark"]
    assert main(["audit", "verify", str(log), "--mark", mark]) == 0
    assert "5 records" in capsys.readouterr().out
    assert main(["audit", "show", str(log), "--act", "publish", "--limit", "1", "--output", "jsonl"]) == 0
    (shown,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (shown["sequence"], shown["act"], shown["details"]) == (4, "publish", {"number": 3})
    assert main(["audit", "show", str(log)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    log.write_bytes(log.read_bytes().replace(b"approve", b"reprove", 1))
    assert main(["audit", "verify", str(log)]) == 1
    assert "does not follow" in capsys.readouterr().err
    assert main(["audit", "show", str(log)]) == 1


# ---- all logs of a server


@pytest.fixture
def signer() -> NoteSigner:
    return NoteSigner(NAME, Ed25519PrivateKey.generate())


@pytest.fixture
def data_dir(log: Path, clock: ManualClock, signer: NoteSigner) -> Path:
    """A data directory with acts, and what two processes answered between them; each log is signed for."""
    for process in ("worker-1", "worker-2"):
        with closing(answers_of(log.parent, process, clock)) as answers:
            answers.append([Entry(clock.now(), "answer", "spiffe://test/c", {"hashes": 3})])
        clock.advance(1.0)
    # The process has written nothing so far.
    answers_of(log.parent, "worker-3", clock).close()
    checkpoints = log.parent / "checkpoints"
    checkpoints.mkdir()
    for name, path in logs_in(log.parent).items():
        sign(signer, checkpoints, name, path)
    return log.parent


def answers_of(data_dir: Path, process: str, clock: ManualClock) -> AnswerLog:
    return AnswerLog(
        data_dir / "answers" / process,
        clock,
        segment_bytes=1 << 20,
        segment_days=10,
        retention_days=10,
        maximum_bytes=1 << 30,
    )


def sign(signer: NoteSigner, directory: Path, name: str, path: Path) -> None:
    reading = LogReading.of(path)
    size = sum(1 for _ in reading)
    origin = signer.of_origin(f"{NAME}/{name}")
    note = origin.sign(Checkpoint(origin.verifier.name, size, reading.chain.tree.root).text)
    (directory / name.replace("/", "-")).write_text(note, "utf-8")


def test_all_logs_of_a_server_are_verified_at_once(
    data_dir: Path, signer: NoteSigner, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", "verify", str(data_dir), "--key-of-server", str(signer.verifier)]
    assert main([*command, "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["logs"]
    assert [(row["log"], row["verified"], row["records"], row["signed_for"]) for row in found] == [
        ("acts", True, 5, 5),
        ("answers/worker-1", True, 2, 2),
        ("answers/worker-2", True, 2, 2),
    ]
    (segment,) = (data_dir / "answers" / "worker-1").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"hashes":3', b'"hashes":4'))
    assert main(command) == 1
    told = capsys.readouterr().out
    assert f"NOT VERIFIED: {segment}, line 2: the 2 records up to here are not those that were signed for" in told
    assert "worker-2: 2 records" in told
    # Nothing follows from the last record, so that only the signature is against it.
    assert main(command[:3]) == 0


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("answers/worker-1", "records of example.org/server-1/answers/worker-1 were signed for"),
        ("audit.jsonl", "records of example.org/server-1/acts were signed for"),
        ("checkpoints/acts", "no checkpoint of the log acts"),
    ],
)
def test_a_log_or_a_checkpoint_that_is_gone_is_told(
    data_dir: Path, signer: NoteSigner, gone: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_dir / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert main(["audit", "verify", str(data_dir), "--key-of-server", str(signer.verifier)]) == 1
    assert named in capsys.readouterr().err


def test_a_checkpoint_of_one_log_is_none_of_another(
    data_dir: Path, signer: NoteSigner, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = data_dir / "checkpoints"
    shutil.copy(directory / "answers-worker-1", directory / "answers-worker-2")
    assert main(["audit", "verify", str(data_dir), "--key-of-server", str(signer.verifier)]) == 1
    assert "is a checkpoint of example.org/server-1/answers/worker-1" in capsys.readouterr().err


def test_checkpoints_that_were_kept_elsewhere_are_those_that_count(
    data_dir: Path, signer: NoteSigner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = tmp_path_factory.mktemp("kept") / "checkpoints"
    shutil.copytree(data_dir / "checkpoints", kept)
    # Whoever has the server can cut a log and sign what is left.
    log = data_dir / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    sign(signer, data_dir / "checkpoints", "acts", log)
    command = ["audit", "verify", str(data_dir), "--key-of-server", str(signer.verifier)]
    assert main(command) == 0
    assert main([*command, "--checkpoint", str(kept)]) == 1


def test_what_all_logs_say_is_shown_in_the_order_of_time(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", str(data_dir), "--limit", "100", "--output", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    assert [row["log"] for row in rows if row["act"] == "answer"] == ["answers/worker-2", "answers/worker-1"]
    assert len(rows) == 9


@pytest.mark.parametrize("wrong", [["--mark", "5:" + "0" * 64], ["--checkpoint", "kept"]])
def test_what_is_of_one_log_is_not_asked_of_all(data_dir: Path, wrong: list[str]) -> None:
    assert main(["audit", "verify", str(data_dir), *wrong]) == 2
