"""The audit log of answers: a line for each answered batch, in segments, of which the oldest are deleted in time.

The records are those of the log of administration (see `trust.audit`): chained by hash, the leaves of one Merkle tree.
A segment is a file that is named by the number of its first record, and that record states the tree as it was before:
what is left of the log can be verified, and held against a checkpoint, when earlier segments are gone. What it states
cannot be made up: the root over it and what follows is what checkpoints sign. Where checkpoints are signed no record
is deleted before one was signed of it: a log that begins later than the last checkpoint ends is not what was left.

Records are written many at a time, with one sync for all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hashmatch.model.clock import Clock
from hashmatch.trust.audit import (
    SERVER,
    AuditError,
    AuditRecord,
    Chain,
    Detail,
    Place,
    cannot_open,
    complete_lines,
    decode_record,
    has_unfinished_line,
)
from hashmatch.trust.checkpoints import Checkpoint
from hashmatch.trust.merkle import MerkleTree

ANSWERS = "answers"
"""Where the logs of answers lie in a data directory, one for each process that answers."""

SEGMENT_ACT = "segment"
REMOVED_ACT = "segments-removed"
_NAME = re.compile(r"(\d{20})\.jsonl")
_LOCK = "lock"
_DAY = 86_400.0


class Entry(NamedTuple):
    """A record that is to be written. `at` is in seconds since 1970."""

    at: float
    act: str
    actor: str
    details: dict[str, Detail]


class AnswerLog:
    """Appends to a directory of segments; one process at a time. Not thread-safe but for `tree`."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        segment_bytes: int,
        segment_days: float,
        retention_days: float,
        maximum_bytes: int,
    ) -> None:
        """Open the log and verify its last segment. Raises `AuditError`.

        A segment ends when it has `segment_bytes` or was begun `segment_days` ago. Whole segments are deleted when
        their last record is older than `retention_days`, or when all together have more than `maximum_bytes`.
        """
        self._directory = directory
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_days * _DAY
        self._retention = retention_days * _DAY
        self._maximum_bytes = maximum_bytes
        self._chain = Chain()
        self._size = 0
        self._begun = 0.0
        self._descriptor: int | None = None
        # The last record that was deleted, until the log says so.
        self._removed = 0
        self._signed: Callable[[], int] = _nothing_is_signed
        self._lock: int | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise cannot_open(directory, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._take_up()
        except OSError as error:
            self.close()
            raise cannot_open(directory, error) from error
        except AuditError:
            self.close()
            raise

    def append(self, entries: Sequence[Entry]) -> None:
        """Write records and wait until they are on the disk: all of them, or, with an `AuditError`, none."""
        try:
            if self._descriptor is not None and self._is_full():
                self._end_segment()
                self._remove_old()
            if self._descriptor is None:
                self._begin_segment()
            removed = [Entry(self._clock.now(), REMOVED_ACT, SERVER, {"through": self._removed})]
            self._write([*removed, *entries] if self._removed else entries)
            self._removed = 0
        except OSError as error:
            raise AuditError(f"the log of answers cannot be written: {error.strerror}") from error

    def tell(self, act: str, **details: Detail) -> None:
        """Write a record of something that concerns the log itself. Raises `AuditError`."""
        self.append([Entry(self._clock.now(), act, SERVER, details)])

    def delete_only_signed(self, signed: Callable[[], int]) -> None:
        """Delete no record that is not signed for: `signed` is called before, and returns how many records are."""
        self._signed = signed

    def tree(self) -> MerkleTree:
        """The tree over everything that is on the disk."""
        return self._chain.tree.copy()

    def close(self) -> None:
        """Close the files."""
        self._end_segment()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_up(self) -> None:
        found = segments(self._directory)
        # A crash leaves a segment without its first line at most at the end.
        if found and not any(complete_lines(found[-1])):
            found.pop().unlink()
        if not found:
            return
        reading = LogReading(found[-1:])
        for record in reading:
            self._begun = self._begun or record.at
            self._size += len(reading.line) + 1
        self._chain = reading.chain
        self._descriptor = os.open(found[-1], os.O_WRONLY)

    def _is_full(self) -> bool:
        return self._size >= self._segment_bytes or self._clock.now() - self._begun >= self._segment_seconds

    def _begin_segment(self) -> None:
        path = self._directory / f"{self._chain.sequence + 1:020d}.jsonl"
        self._size = 0
        # It may be there from an attempt that failed.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        frontier = ",".join(each.hex() for each in self._chain.tree.frontier)
        self._begun = self._clock.now()
        try:
            self._write([Entry(self._begun, SEGMENT_ACT, SERVER, {"tree": frontier})])
        except OSError:
            self._end_segment()
            raise
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _end_segment(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, entries: Sequence[Entry]) -> None:
        assert self._descriptor is not None
        chain = self._chain.copy()
        written = b"".join(chain.add(*entry)[1] + b"\n" for entry in entries)
        # What an append that failed left behind: nobody was told that it is on the disk.
        os.ftruncate(self._descriptor, self._size)
        if os.pwrite(self._descriptor, written, self._size) != len(written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._descriptor)
        self._chain = chain
        self._size += len(written)

    def _remove_old(self) -> None:
        """Delete segments that need not be kept, oldest first."""
        found = segments(self._directory)
        sizes = [path.stat().st_size for path in found]
        held, oldest = sum(sizes), self._clock.now() - self._retention
        signed = None
        for path, size, following in zip(found, sizes, found[1:], strict=False):
            # A segment begins when the one before has ended.
            if held <= self._maximum_bytes and _begun_at(following) >= oldest:
                break
            signed = self._signed() if signed is None else signed
            if _first_record(following) > signed + 1:
                break
            path.unlink()
            held -= size
            self._removed = _first_record(following) - 1


class LogReading:
    """Reads a log of one file or of several segments, verifying record after record.

    Iterating raises `AuditError` at the first record that is wrong, which names file and line, and `OSError`. `chain`
    is where the log ends as far as it was read; `place` is where the record stands that was read last, and `line` what
    stands there. `first` is the number of the first record that is left of the log, and `before` the tree over those
    before it, as it states that. Once all is read, `unfinished` is a last line without its end: what a crash leaves, a
    server that is writing, or somebody who cut it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.chain = Chain()
        self.line = b""
        self.place: Place | None = None
        self.first = 1
        self.before = MerkleTree()
        self.unfinished: Place | None = None
        self._files = files

    @classmethod
    def of(cls, path: Path, since: int = 1) -> LogReading:
        """The log at `path`, a file or a directory of segments, from the segment on that has record `since`.

        Raises `AuditError` if there is none.
        """
        if not path.is_dir():
            return cls([path])
        found = segments(path)
        if not found:
            raise AuditError(f"there is no log in {path}")
        before = sum(_first_record(each) <= since for each in found[1:])
        return cls(found[before:])

    def __iter__(self) -> Iterator[AuditRecord]:
        for path in self._files:
            if path is self._files[0]:
                self._begin(path)
            elif _first_record(path) != self.chain.sequence + 1:
                gap = self.unfinished or Place(path, 1)
                raise AuditError(f"{gap}: record {self.chain.sequence + 1} of the audit log is missing")
            yield from self._records_of(path)

    def _records_of(self, path: Path) -> Iterator[AuditRecord]:
        before, number = self.chain.tree.frontier, 0
        for number, (record, line) in enumerate(self.chain.read_file(path), 1):
            self.place, self.line = Place(path, number), line
            if record.act == SEGMENT_ACT and (number > 1 or _stated_tree(record) != before):
                raise AuditError(f"{self.place}: record {record.sequence} of the audit log states another tree")
            yield record
        self.unfinished = Place(path, number + 1) if has_unfinished_line(path) else None

    def _begin(self, path: Path) -> None:
        """Take the first record of what is left at its word for what came before."""
        if not _NAME.fullmatch(path.name):
            return
        line = next(complete_lines(path), None)
        if line is None:
            return
        number = _first_record(path)
        try:
            record = decode_record(line, number)
            tree = MerkleTree(number - 1, _stated_tree(record) or ())
        except (AuditError, ValueError) as error:
            raise AuditError(f"{Place(path, 1)}: record {number} of the audit log begins no segment") from error
        if number > 1:
            self.first, self.before, self.chain = number, tree.copy(), Chain(record.previous, tree)


def check_against(path: Path, checkpoint: Checkpoint) -> None:
    """Hold the log at `path` against what was signed of it.

    Records that were signed for may be deleted by now, but none that came later: nothing is deleted unsigned. Raises
    `AuditError` if the log is another, or has less, or begins later than it can, and `OSError`.
    """
    size = checkpoint.size
    if not size and path.is_dir() and not segments(path):
        return
    reading = LogReading.of(path, since=size)
    records = iter(reading)
    # A first record beyond what was signed has to be read as well: it states what came before it.
    while reading.chain.sequence < max(size, 1) and next(records, None) is not None:
        pass
    if reading.first > size + 1:
        raise AuditError(
            f"the audit log {path} begins with record {reading.first}, and {size} were signed for: "
            "what lies between was not deleted by a server that signs"
        )
    if reading.chain.sequence < size:
        raise AuditError(f"the audit log {path} ends with record {reading.chain.sequence}, and {size} were signed for")
    root = reading.chain.tree.root if reading.chain.sequence == size else reading.before.root
    if size and root != checkpoint.root:
        raise AuditError(f"the audit log {path} is not the one of which {size} records were signed for")


def segments(directory: Path) -> list[Path]:
    """The segments of a log of answers, oldest first."""
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def _nothing_is_signed() -> int:
    """How many records may be deleted where nothing is signed: all."""
    return sys.maxsize


def _first_record(path: Path) -> int:
    return int(path.stem)


def _begun_at(path: Path) -> float:
    line = next(complete_lines(path), None)
    if line is None:
        raise AuditError(f"record {_first_record(path)} of the audit log is missing")
    return decode_record(line, _first_record(path)).at


def _stated_tree(record: AuditRecord) -> tuple[bytes, ...] | None:
    """The frontier that the first record of a segment states; None if it states none."""
    stated = record.details.get("tree") if record.act == SEGMENT_ACT else None
    try:
        return tuple(map(bytes.fromhex, filter(None, str(stated).split(","))))
    except ValueError:
        return None
