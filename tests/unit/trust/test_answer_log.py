"""The log of answers: one chain over many segments, of which the oldest go, and none of which can be changed."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest

from hashmatch.trust import answer_log
from hashmatch.trust.answer_log import AnswerLog, Entry, LogReading, segments
from hashmatch.trust.audit import AuditError
from tests.support.clock import ManualClock


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "answers"


def opened(directory: Path, clock: ManualClock, **limits: float) -> AnswerLog:
    settings = {
        "segment_bytes": 2_000,
        "segment_days": 30.0,
        "retention_days": 30.0,
        "maximum_bytes": 1 << 30,
        **limits,
    }
    return AnswerLog(directory, clock, **settings)


def entries(clock: ManualClock, *numbers: int) -> list[Entry]:
    return [Entry(clock.now(), "answer", "spiffe://test/a", {"hashes": number}) for number in numbers]


@pytest.fixture
def written(directory: Path, clock: ManualClock) -> Path:
    """A log of forty answers in several segments."""
    with closing(opened(directory, clock)) as log:
        for number in range(0, 40, 2):
            log.append(entries(clock, number, number + 1))
            clock.advance(60.0)
    assert len(segments(directory)) > 2
    return directory


def answers(directory: Path) -> list[int]:
    return [record.details["hashes"] for record in LogReading.of(directory) if record.act == "answer"]


def test_every_answer_is_there_once_and_in_order(written: Path):
    assert answers(written) == list(range(40))


def test_a_log_that_is_opened_again_goes_on_where_it_ended(written: Path, clock: ManualClock):
    with closing(opened(written, clock)) as log:
        log.append(entries(clock, 40))
        tree = log.tree()
    reading = LogReading.of(written)
    assert [record.sequence for record in reading] == list(range(1, tree.size + 1))
    assert (answers(written)[-1], reading.chain.tree.root) == (40, tree.root)


def test_segments_are_their_owners_alone(written: Path):
    assert {path.stat().st_mode & 0o777 for path in segments(written)} == {0o600}
    assert written.stat().st_mode & 0o777 == 0o700


def test_no_byte_of_any_segment_can_be_changed(written: Path):
    whole = LogReading.of(written)
    list(whole)
    for path in segments(written):
        content = path.read_bytes()
        for at in range(0, len(content), 13):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            reading = LogReading.of(written)
            try:
                list(reading)
            except AuditError:
                continue
            # What nothing follows from is found by whoever kept a checkpoint.
            assert path == segments(written)[-1]
            assert reading.chain.tree.root != whole.chain.tree.root
        path.write_bytes(content)


def test_a_segment_that_is_missing_in_between_is_found(written: Path):
    found = segments(written)
    found[1].unlink()
    with pytest.raises(
        AuditError, match=f"^{found[2]}, line 1: record {int(found[1].stem)} of the audit log is missing"
    ):
        list(LogReading.of(written))


def test_what_is_wrong_is_named_by_file_and_line(written: Path):
    path = segments(written)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    for content, place in (
        ([*lines[:2], lines[2][:40] + b"\n", *lines[3:]], "line 3: .* cannot be read"),
        ([*lines[:2], lines[3], lines[2], *lines[4:]], "line 3: .* does not follow"),
        ([*lines[:2], *lines[3:]], "line 3: .* does not follow"),
        ([*lines[:2], lines[2].replace(b'"hashes":', b'"hashes":9'), *lines[3:]], "line 4: .* does not follow"),
        ([*lines[:-1], lines[-1][:40]], f"line {len(lines)}: .* missing"),
    ):
        path.write_bytes(b"".join(content))
        with pytest.raises(AuditError, match=f"^{path}, {place}"):
            list(LogReading.of(written))


def test_a_segment_that_states_another_tree_is_found(written: Path):
    path = segments(written)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b'"tree":"', b'"tree":"' + b"00" * 32 + b",") + b"".join(lines[1:]))
    with pytest.raises(AuditError):
        list(LogReading.of(written))


def test_the_oldest_segments_go_when_there_is_too_much(directory: Path, clock: ManualClock):
    with closing(opened(directory, clock, maximum_bytes=5_000)) as log:
        for number in range(100):
            log.append(entries(clock, number))
        tree = log.tree()
    found = answers(directory)
    assert 0 < found[0] < found[-1] == 99
    assert sum(path.stat().st_size for path in segments(directory)) < 9_000
    reading = LogReading.of(directory)
    records = list(reading)
    assert reading.first == records[0].sequence > 1
    removed = [record for record in records if record.act == "segments-removed"]
    assert removed[-1].details["through"] == reading.first - 1
    assert (reading.chain.tree.size, reading.chain.tree.root) == (tree.size, tree.root)


def test_segments_go_when_they_are_old_enough(directory: Path, clock: ManualClock):
    with closing(opened(directory, clock, retention_days=2.0)) as log:
        for number in range(60):
            log.append(entries(clock, number))
            clock.advance(3_600.0 * 4)
    kept = [record.at for record in LogReading.of(directory) if record.act == "answer"]
    # Whole segments go, so that a little more is kept.
    assert clock.now() - 86_400 * 5 < kept[0] < clock.now() - 86_400 * 2


def test_a_log_goes_on_in_another_segment_when_one_is_old_enough(directory: Path, clock: ManualClock):
    for number in range(6):
        # Also across restarts, which begin no segment.
        with closing(opened(directory, clock, segment_bytes=1 << 20, segment_days=2.0)) as log:
            log.append(entries(clock, number))
        clock.advance(86_400.0)
    assert len(segments(directory)) == 3
    assert answers(directory) == list(range(6))


@pytest.mark.parametrize("torn", [b"", b'{"sequ', b'{"sequence":1}'])
def test_a_segment_that_a_crash_left_without_its_first_line_is_begun_again(
    written: Path, clock: ManualClock, torn: bytes
):
    last = [record.sequence for record in LogReading.of(written)][-1]
    (written / f"{last + 1:020d}.jsonl").write_bytes(torn)
    with closing(opened(written, clock)) as log:
        log.append(entries(clock, 40))
    assert answers(written) == list(range(41))


def test_a_line_that_a_crash_left_without_its_end_is_written_over(written: Path, clock: ManualClock):
    with segments(written)[-1].open("ab") as file:
        file.write(b'{"sequence":99,')
    assert answers(written) == list(range(40))
    with closing(opened(written, clock)) as log:
        log.append(entries(clock, 40))
    assert answers(written) == list(range(41))


@pytest.mark.parametrize("segment_bytes", [2_000, 1])
def test_what_cannot_be_written_is_not_in_the_log_and_can_be_written_later(
    written: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, segment_bytes: int
):
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(opened(written, clock, segment_bytes=segment_bytes)) as log:
        for call in ("fdatasync", "pwrite", "ftruncate"):
            with monkeypatch.context() as patch:
                patch.setattr(answer_log.os, call, no_space)
                with pytest.raises(AuditError, match="No space left"):
                    log.append(entries(clock, 40, 41))
            assert list(range(40)) == answers(written)[:40]
        log.append(entries(clock, 40, 41))
    assert answers(written) == list(range(42))


def test_records_are_on_the_disk_when_append_returns(written: Path, clock: ManualClock, monkeypatch):
    synced = []
    real = os.fdatasync
    path = segments(written)[-1]
    monkeypatch.setattr(
        answer_log.os, "fdatasync", lambda descriptor: (synced.append(path.read_bytes()), real(descriptor))
    )
    with closing(opened(written, clock, segment_bytes=1 << 20)) as log:
        log.append(entries(clock, 40, 41))
    assert len(synced) == 1
    assert b'"hashes":41' in synced[0]


def test_two_servers_cannot_have_one_log(written: Path, clock: ManualClock):
    with closing(opened(written, clock)), pytest.raises(AuditError, match="cannot be opened"):
        opened(written, clock)
    opened(written, clock).close()


def test_a_last_segment_that_was_changed_is_not_taken_up(written: Path, clock: ManualClock):
    path = segments(written)[-1]
    path.write_bytes(path.read_bytes().replace(b'"hashes":', b'"hashed":', 1))
    with pytest.raises(AuditError):
        opened(written, clock)


def test_an_empty_directory_holds_no_log(tmp_path: Path):
    with pytest.raises(AuditError, match="no log"):
        LogReading.of(tmp_path)
