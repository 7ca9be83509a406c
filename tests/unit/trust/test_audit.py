"""The audit log: its chain shows every change, and a failure leaves a chain that goes on."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hashmatch.trust import audit
from hashmatch.trust.answer_log import LogReading
from hashmatch.trust.audit import AuditError, AuditLog
from tests.support.clock import ManualClock


@pytest.fixture
def path(tmp_path: Path, clock: ManualClock) -> Path:
    """A log of three records."""
    path = tmp_path / "sub" / "audit.jsonl"
    with closing(AuditLog(path, clock)) as log:
        for number in range(3):
            log.append("publish", "ann", list_id=f"list-{number}", epoch=number)
            clock.advance(1.0)
    return path


def acts(path: Path) -> list[str]:
    return [record.act for record in LogReading.of(path)]


def test_records_say_what_was_done_and_follow_one_another(path: Path, clock: ManualClock):
    records = list(LogReading.of(path))
    assert [record.sequence for record in records] == [1, 2, 3]
    assert [record.at for record in records] == [clock.wall - 3, clock.wall - 2, clock.wall - 1]
    assert records[1].details == {"list_id": "list-1", "epoch": 1}
    assert (records[0].act, records[0].actor, records[0].previous) == ("publish", "ann", "0" * 64)


def test_a_log_is_its_owners_alone(path: Path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reopened_log_goes_on_where_it_ended(path: Path, clock: ManualClock):
    with closing(AuditLog(path, clock)) as log:
        assert log.append("withdraw-list", "bob").sequence == 4
    assert acts(path) == ["publish"] * 3 + ["withdraw-list"]


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(lambda lines: [lines[0].replace(b"ann", b"eve"), *lines[1:]], id="edited"),
        pytest.param(lambda lines: [lines[0].replace(b"ann", b"a\xffn"), *lines[1:]], id="no text"),
        pytest.param(lambda lines: [lines[0][:-1] + b',"x":' + b"[" * 9_999 + b"\n", *lines[1:]], id="without end"),
        pytest.param(lambda lines: [lines[0], lines[1].replace(b'"epoch":1', b'"epoch":9'), lines[2]], id="detail"),
        pytest.param(lambda lines: lines[1:], id="first taken out"),
        pytest.param(lambda lines: [lines[0], lines[2]], id="one taken out"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1]], id="reordered"),
        pytest.param(lambda lines: [lines[0], lines[0], *lines[1:]], id="repeated"),
        pytest.param(lambda lines: [lines[0], b"{}\n", *lines[1:]], id="put in"),
        pytest.param(lambda lines: [lines[0], b"\n", *lines[1:]], id="blank"),
        pytest.param(lambda lines: [lines[0][:-1], *lines[1:]], id="joined"),
        pytest.param(lambda lines: [lines[0], b" " + lines[1], lines[2]], id="white space"),
    ],
)
def test_a_log_that_was_changed_does_not_verify(path: Path, clock: ManualClock, tamper):
    path.write_bytes(b"".join(tamper(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(AuditError, match=r"record [12345] of the audit log"):
        list(LogReading.of(path))
    with pytest.raises(AuditError):
        AuditLog(path, clock)


def test_a_log_that_was_renumbered_does_not_verify(path: Path):
    lines = path.read_bytes().splitlines(keepends=True)
    renumbered = json.loads(lines[2]) | {"sequence": 2}
    path.write_bytes(lines[0] + json.dumps(renumbered).encode() + b"\n")
    with pytest.raises(AuditError, match="does not follow"):
        list(LogReading.of(path))


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_last_line_without_its_end_is_cut_and_the_chain_goes_on(path: Path, clock: ManualClock, kept: int):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + lines[2][:kept])
    assert len(acts(path)) == 2
    with closing(AuditLog(path, clock)) as log:
        assert log.append("approve", "bob").sequence == 3
    assert acts(path) == ["publish", "publish", "approve"]


def test_two_processes_cannot_open_one_log(path: Path, clock: ManualClock):
    program = (
        "import sys, pathlib\n"
        "from hashmatch.model.clock import SystemClock\n"
        "from hashmatch.trust.audit import AuditError, AuditLog\n"
        "try:\n"
        "    AuditLog(pathlib.Path(sys.argv[1]), SystemClock())\n"
        "except AuditError as error:\n"
        "    sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with closing(AuditLog(path, clock)) as log:
        log.append("approve", "bob")
        second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (second.returncode, "cannot be opened" in second.stderr) == (1, True)
        with pytest.raises(AuditError, match="cannot be opened"):
            AuditLog(path, clock)
        log.append("approve", "ann")
    assert len(acts(path)) == 5
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_many_threads_write_one_chain(path: Path, clock: ManualClock):
    with closing(AuditLog(path, clock)) as log, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.append("approve", f"person-{number}"), range(40)))
    assert len(acts(path)) == 43


def test_a_record_is_on_the_disk_when_append_returns(path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(audit.os, "fsync", lambda descriptor: (synced.append(path.read_bytes()), real(descriptor)))
    with closing(AuditLog(path, clock)) as log:
        log.append("approve", "bob")
    assert b'"approve"' in synced[-1]


def test_an_append_that_failed_leaves_no_trace_in_the_chain(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(AuditLog(path, clock)) as log:
        with monkeypatch.context() as patch:
            patch.setattr(audit.os, "fsync", no_space)
            with pytest.raises(AuditError, match="No space left"):
                log.append("withdraw-list", "bob")
        assert log.append("approve", "ann").sequence == 4
    assert acts(path) == ["publish"] * 3 + ["approve"]


def test_a_log_that_cannot_be_made_is_named(tmp_path: Path, clock: ManualClock):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path / "file" / "audit.jsonl", clock)
    (tmp_path / "directory").mkdir()
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path / "directory", clock)
