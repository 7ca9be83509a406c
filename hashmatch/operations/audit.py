"""Reading audit logs where they lie, also of a server that runs: verifying them, and telling what they say.

The log of administration is a file, a log of answers a directory of segments. Both are held against what was kept of
them elsewhere: a mark that `verify` printed, or a checkpoint that the server signed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.service.checkpointing import ACTS_LOG, CHECKPOINTS, checkpoint_file
from hashmatch.trust.answer_log import ANSWERS, LogReading, segments
from hashmatch.trust.audit import ACTS, AuditError, AuditRecord, Place, digest_of
from hashmatch.trust.checkpoints import MAXIMUM_NOTE, Checkpoint, NoteError, NoteSigner, NoteVerifier, open_checkpoint
from hashmatch.trust.key_files import KeyFileError, write_private_key

__all__ = [
    "CHECKPOINTS",
    "AuditError",
    "AuditRecord",
    "KeyFileError",
    "Mark",
    "NoteError",
    "Verified",
    "logs_in",
    "make_key",
    "read_checkpoint",
    "read_checkpoints",
    "records",
    "verify",
]


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
    """A log whose every record follows from the one before. Times are in seconds since 1970.

    `first` is the number of the first record that is left: those before it were deleted with their segments.
    `unfinished` is a last line without its end, which is no record: a server that is writing, or a crash, leaves one.
    """

    records: int
    first: int
    first_at: float
    last_at: float
    last: Mark | None
    unfinished: Place | None


def logs_in(directory: Path) -> dict[str, Path]:
    """The audit logs in a data directory, by what the origin of their checkpoints ends with; empty if it has none.

    A log of answers that nothing was written to is none. Raises `OSError`.
    """
    found = {ACTS_LOG: directory / ACTS} if (directory / ACTS).is_file() else {}
    answers = directory / ANSWERS
    for each in sorted(answers.iterdir()) if answers.is_dir() else ():
        if each.is_dir() and segments(each):
            found[f"{ANSWERS}/{each.name}"] = each
    return found


def verify(path: Path, mark: Mark | None = None, checkpoint: Checkpoint | None = None) -> Verified:
    """Verify a log from the first record that is left to its last. Raises `AuditError` and `OSError`.

    With a `mark` that was kept, the log must also have that very record; with a `checkpoint`, what was signed for. What
    is wrong is named by file and line.
    """
    reading = LogReading.of(path)
    count, first_at, last_at = 0, 0.0, 0.0
    last: Mark | None = None
    for record in reading:
        if count == 0 and reading.first > 1:
            _check_reach(reading.first, mark, checkpoint)
        count += 1
        first_at = first_at or record.at
        last_at, last = record.at, Mark(record.sequence, digest_of(reading.line))
        if mark is not None and record.sequence == mark.sequence and last != mark:
            raise AuditError(f"{reading.place}: record {mark.sequence} is not the one that was kept: it was replaced")
        if checkpoint is not None and record.sequence == checkpoint.size and reading.chain.tree.root != checkpoint.root:
            raise AuditError(
                f"{reading.place}: the {checkpoint.size} records up to here are not those that were signed for: "
                "one of them or all were replaced"
            )
    known = max(mark.sequence if mark else 0, checkpoint.size if checkpoint else 0)
    if reading.chain.sequence < known:
        raise AuditError(
            f"{reading.place or path}: the log ends with record {reading.chain.sequence}, and had {known}: it was cut"
        )
    return Verified(count, reading.first, first_at, last_at, last, reading.unfinished)


def _check_reach(first: int, mark: Mark | None, checkpoint: Checkpoint | None) -> None:
    """Whether what was kept is of records that are left; what is of deleted ones proves nothing."""
    stated = [*([mark.sequence] if mark else []), *([checkpoint.size] if checkpoint else [])]
    if any(number < first for number in stated):
        raise AuditError(f"records up to {first - 1} were deleted in time: what was kept is of one of them")


def read_checkpoint(path: Path, key: str) -> Checkpoint:
    """The checkpoint in a file, which the server signed whose public key is given as a line.

    Raises `NoteError` and `OSError`.
    """
    with path.open("rb") as file:
        data = file.read(MAXIMUM_NOTE + 1)
    try:
        return open_checkpoint(data.decode(), [NoteVerifier.parse(key)])
    except UnicodeDecodeError as error:
        raise NoteError(f"{path}: this is no signed note") from error


def read_checkpoints(directory: Path, key: str, logs: Mapping[str, Path]) -> dict[str, Checkpoint]:
    """The checkpoints in a directory: one of each of the `logs`, and no others.

    Raises `AuditError` if a log is not signed for, or one that was is no more, `NoteError` and `OSError`.
    """
    missing = {path.name for path in directory.iterdir()}
    found = {}
    for name in logs:
        path = checkpoint_file(directory, name)
        if path.name not in missing:
            raise AuditError(f"{directory} has no checkpoint of the log {name}")
        missing.remove(path.name)
        found[name] = read_checkpoint(path, key)
        if not found[name].origin.endswith(f"/{name}"):
            raise NoteError(f"{path} is a checkpoint of {found[name].origin}")
    for name in sorted(missing):
        gone = read_checkpoint(directory / name, key)
        if gone.size:
            raise AuditError(f"{gone.size} records of {gone.origin} were signed for, and that log is not there")
    return found


def make_key(path: Path, name: str) -> str:
    """Make the key of a server and return its public half, as a line. Raises `KeyFileError` and `NoteError`."""
    key = Ed25519PrivateKey.generate()
    public = str(NoteSigner(name, key).verifier)
    write_private_key(path, key, None)
    return public


def records(logs: Mapping[str, Path]) -> Iterator[tuple[str, AuditRecord]]:
    """The records of logs, each with the name of its log, in the order of their times.

    They are verified one by one. Raises `AuditError` at the first that is wrong, and `OSError`.
    """
    return heapq.merge(*(_named(name, path) for name, path in logs.items()), key=lambda found: found[1].at)


def _named(name: str, path: Path) -> Iterator[tuple[str, AuditRecord]]:
    for record in LogReading.of(path):
        yield name, record
