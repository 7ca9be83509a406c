"""The audit log of administration: what was done, by whom, in an append-only file whose records are chained by hash.

A record is one line of JSON. Its `previous` is the SHA-256 of the line before, so that a line that was changed, moved
or taken out breaks the chain. It is on the disk before the act that it tells of takes effect; a second record tells of
the effect. No record holds a hash of a file.

The lines are also the leaves of a Merkle tree, whose root a checkpoint signs; see `trust.checkpoints`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from hashmatch.model.clock import Clock
from hashmatch.model.decoding import UNREADABLE
from hashmatch.trust.merkle import MerkleTree

ACTS = "audit.jsonl"
"""The file of the log of administration in a data directory."""

SERVER = "server"
"""Who the records are of that a log writes of itself."""

_GENESIS = "0" * 64

Detail = str | int | float | bool


class AuditError(Exception):
    """An audit log cannot be written, or does not verify."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, or is about to be."""

    sequence: int
    at: float
    act: str
    actor: str
    details: Mapping[str, Detail]
    previous: str


_RECORD_READER = msgspec.json.Decoder(AuditRecord)


class Place(NamedTuple):
    """A line of a log, counted from 1 in its file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


class Chain:
    """Where a log ends: what the next record follows from. Not thread-safe."""

    def __init__(self, previous: str = _GENESIS, tree: MerkleTree | None = None) -> None:
        self.previous = previous
        self.tree = MerkleTree() if tree is None else tree

    @property
    def sequence(self) -> int:
        """The number of the last record, which is how many there ever were."""
        return self.tree.size

    def copy(self) -> Chain:
        """The end as it is, which this one's growth does not change."""
        return Chain(self.previous, self.tree.copy())

    def add(self, at: float, act: str, actor: str, details: Mapping[str, Detail]) -> tuple[AuditRecord, bytes]:
        """The next record and its line, without the end of it. The chain goes on from there."""
        record = AuditRecord(
            sequence=self.sequence + 1, at=at, act=act, actor=actor, details=details, previous=self.previous
        )
        line = msgspec.json.encode(record)
        self._take(line)
        return record, line

    def read(self, line: bytes) -> AuditRecord:
        """The record of the next line, given without the end of it. Raises `AuditError` if it does not follow."""
        number = self.sequence + 1
        record = decode_record(line, number)
        if record.sequence != number or record.previous != self.previous:
            raise AuditError(f"record {number} of the audit log does not follow from the one before")
        self._take(line)
        return record

    def read_file(self, path: Path) -> Iterator[tuple[AuditRecord, bytes]]:
        """The records of a file that goes on from here, with their lines.

        Raises `AuditError` at the first that does not follow, which names file and line, and `OSError`.
        """
        for number, line in enumerate(complete_lines(path), 1):
            try:
                record = self.read(line)
            except AuditError as error:
                raise AuditError(f"{Place(path, number)}: {error}") from error
            yield record, line

    def _take(self, line: bytes) -> None:
        self.previous = digest_of(line)
        self.tree.add(line)


class AuditLog:
    """Appends to one file; one process at a time, any number of threads."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open and verify the log. Raises `AuditError`."""
        self._clock = clock
        self._lock = threading.Lock()
        self._chain = Chain()
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise cannot_open(path, error) from error
        try:
            os.chmod(path, 0o600)  # noqa: PTH101
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for _, line in self._chain.read_file(path):
                self._size += len(line) + 1
        except OSError as error:
            self._file.close()
            raise cannot_open(path, error) from error
        except AuditError:
            self._file.close()
            raise

    def append(self, act: str, actor: str, **details: Detail) -> AuditRecord:
        """Write a record and wait until it is on the disk. Raises `AuditError`."""
        with self._lock:
            chain = self._chain.copy()
            record, line = chain.add(self._clock.now(), act, actor, details)
            written = line + b"\n"
            try:
                # What a crash or an append that failed left behind: nothing took effect under it.
                self._file.truncate(self._size)
                if self._file.write(written) != len(written):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError as error:
                raise AuditError(f"the audit log cannot be written: {error.strerror}") from error
            self._chain = chain
            self._size += len(written)
            return record

    def tell(self, act: str, **details: Detail) -> None:
        """Write a record of something that concerns the log itself. Raises `AuditError`."""
        self.append(act, SERVER, **details)

    def tree(self) -> MerkleTree:
        """The tree over everything that is on the disk."""
        with self._lock:
            return self._chain.tree.copy()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def complete_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their ends. Raises `OSError`.

    A last line without its end is what a crash leaves: nothing took effect under it, and it is passed over.
    """
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]


def has_unfinished_line(path: Path) -> bool:
    """Whether the last line of a file has no end. Raises `OSError`."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def decode_record(line: bytes, number: int) -> AuditRecord:
    """The record of a line, wherever it stands. Raises `AuditError`, which names it by `number`."""
    try:
        return _RECORD_READER.decode(line)
    except UNREADABLE as error:
        raise AuditError(f"record {number} of the audit log cannot be read") from error


def cannot_open(path: Path, error: OSError) -> AuditError:
    """The error of a log that the system does not let be opened."""
    return AuditError(f"the audit log {path} cannot be opened: {error.strerror}")


def digest_of(line: bytes) -> str:
    """The SHA-256 of a line without its end, which the record after it has as its `previous`."""
    return hashlib.sha256(line).hexdigest()
