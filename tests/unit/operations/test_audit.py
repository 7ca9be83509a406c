"""Verifying an audit log: what was changed is found, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hashmatch.admin.main import main
from hashmatch.operations.audit import AuditError, Mark, records, verify
from hashmatch.trust.audit import AuditLog
from tests.support.clock import ManualClock


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
    assert [record.sequence for record in records(log)] == [1, 2, 3, 4, 5]


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


@pytest.mark.parametrize("kept", [[0, 1, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 2, 3, 4]])
def test_lines_that_were_taken_out_moved_or_repeated_are_found(log: Path, kept: list[int]) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[number] for number in kept))
    with pytest.raises(AuditError, match="does not follow"):
        verify(log)


def test_an_end_that_was_cut_off_is_found_with_a_mark_alone(log: Path) -> None:
    mark = verify(log).last
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    assert verify(log).records == 3
    with pytest.raises(AuditError, match="cut or replaced"):
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
