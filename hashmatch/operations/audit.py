"""Reading an audit log where it lies, also of a server that runs: verifying its chain, and telling what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hashmatch.trust.audit import AuditError, AuditRecord, digest_of, read_records

__all__ = ["AuditError", "AuditRecord", "Mark", "Verified", "records", "verify"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A record, by its number and the SHA-256 of its line. Who keeps one notices if the log was cut or changed."""

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        """The mark that was written as NUMBER:SHA-256. Raises `AuditError`."""
        number, _, digest = text.partition(":")
        if not number.isdecimal() or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise AuditError("a mark is written NUMBER:SHA-256, as `audit verify` prints it")
        return cls(int(number), digest)


@dataclass(frozen=True, slots=True)
class Verified:
    """A log whose every record follows from the one before. Times are in seconds since 1970."""

    records: int
    first_at: float
    last_at: float
    last: Mark | None


def verify(path: Path, mark: Mark | None = None) -> Verified:
    """Verify a log from its first record to its last. Raises `AuditError` and `OSError`.

    With a `mark` that was kept, the log must also have that very record.
    """
    count, first_at, last_at = 0, 0.0, 0.0
    last: Mark | None = None
    seen = mark is None
    for record, line in read_records(path):
        count += 1
        first_at = first_at or record.at
        last_at, last = record.at, Mark(record.sequence, digest_of(line))
        seen = seen or last == mark
    if not seen:
        assert mark is not None
        raise AuditError(f"the audit log does not have record {mark.sequence} as it was kept: it was cut or replaced")
    return Verified(count, first_at, last_at, last)


def records(path: Path) -> Iterator[AuditRecord]:
    """The records of a log, verified one by one. Raises `AuditError` at the first that is wrong, and `OSError`."""
    return (record for record, _ in read_records(path))
