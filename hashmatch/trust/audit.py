"""The audit log: what was done, by whom, in an append-only file whose records are chained by hash.

A record is one line of JSON. Its `previous` is the SHA-256 of the line before, so that a line that was changed, moved
or taken out breaks the chain. It is on the disk before the act that it tells of takes effect; a second record tells of
the effect. No record holds a hash of a file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from hashmatch.model.clock import Clock

_GENESIS = "0" * 64


class AuditError(Exception):
    """The audit log cannot be written, or does not verify."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, or is about to be."""

    sequence: int
    at: float
    act: str
    actor: str
    details: Mapping[str, str | int | float | bool]
    previous: str


class AuditLog:
    """Appends to one file; one process at a time, any number of threads."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open and verify the log. Raises `AuditError`."""
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise _cannot_open(path, error) from error
        try:
            os.chmod(path, 0o600)  # noqa: PTH101
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sequence = 0
            self._previous = _GENESIS
            self._size = 0
            for record, line in read_records(path):
                self._sequence = record.sequence
                self._previous = digest_of(line)
                self._size += len(line) + 1
        except OSError as error:
            self._file.close()
            raise _cannot_open(path, error) from error
        except AuditError:
            self._file.close()
            raise

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> AuditRecord:
        """Write a record and wait until it is on the disk. Raises `AuditError`."""
        with self._lock:
            record = AuditRecord(
                sequence=self._sequence + 1,
                at=self._clock.now(),
                act=act,
                actor=actor,
                details=details,
                previous=self._previous,
            )
            line = msgspec.json.encode(record)
            written = line + b"\n"
            try:
                # What a crash or an append that failed left behind: nothing took effect under it.
                self._file.truncate(self._size)
                if self._file.write(written) != len(written):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError as error:
                raise AuditError(f"the audit log cannot be written: {error.strerror}") from error
            self._sequence = record.sequence
            self._previous = digest_of(line)
            self._size += len(written)
            return record

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> Iterator[tuple[AuditRecord, bytes]]:
    """The records of a log with their lines, verified one by one. Raises `AuditError` at the first that is wrong.

    A last line without its end is what a crash leaves: nothing took effect under it, and it is passed over.
    """
    previous = _GENESIS
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = msgspec.json.decode(line, type=AuditRecord)
            except msgspec.MsgspecError as error:
                raise AuditError(f"record {number} of the audit log cannot be read") from error
            if record.sequence != number or record.previous != previous:
                raise AuditError(f"record {number} of the audit log does not follow from the one before")
            previous = digest_of(line[:-1])
            yield record, line[:-1]


def _cannot_open(path: Path, error: OSError) -> AuditError:
    return AuditError(f"the audit log {path} cannot be opened: {error.strerror}")


def digest_of(line: bytes) -> str:
    """The SHA-256 of a line without its end, which the record after it has as its `previous`."""
    return hashlib.sha256(line).hexdigest()
