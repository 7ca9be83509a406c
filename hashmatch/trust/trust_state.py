"""What a subscriber trusts of another instance's repository: the newest metadata that it ever verified.

All of it is one file, which is replaced in one step and checked when it is read, under a lock. It is made once, by a
person who has the publisher's root from elsewhere. Where it is missing or damaged nothing is pulled: whoever began anew
by themselves would take last year's repository for today's.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from hashmatch.model.decoding import UNREADABLE
from hashmatch.trust.durable_files import write_durably

ROOT = "root"
_FORMAT = 1
_FILE = "trust.json"
_LOCK = "lock"


class ExchangeFailure(enum.StrEnum):
    """Why nothing was pulled: a stable word."""

    ROLLBACK = "rollback"
    FREEZE = "freeze"
    MIX_AND_MATCH = "mix-and-match"
    TOO_FEW_SIGNATURES = "too-few-signatures"
    TAMPERED = "tampered"
    TRUNCATED = "truncated"
    NOT_PUBLISHED = "not-published"
    UNREACHABLE = "unreachable"
    STATE_MISSING = "trust-state-missing"
    STATE_EXISTS = "trust-state-exists"
    STATE_DAMAGED = "trust-state-damaged"
    STATE_OUTDATED = "trust-state-outdated"
    STATE_LOCKED = "trust-state-locked"


class ExchangeError(Exception):
    """Something that keeps a repository from being trusted. The text is for people."""

    def __init__(self, reason: ExchangeFailure, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. `metadata` has the bytes of each role; `sha256` tells damage, and nothing of forgery."""

    format: int
    metadata: dict[str, bytes]
    sha256: str


_STORED_READER = msgspec.json.Decoder(_Stored)


class TrustState:
    """An open, locked trust state. `metadata` maps roles to what was last verified of them."""

    def __init__(self, directory: Path, metadata: Mapping[str, bytes]) -> None:
        self._directory = directory
        self.metadata = dict(metadata)

    @property
    def versions(self) -> dict[str, int]:
        """The version of each role."""
        return {role: Metadata.from_bytes(content).signed.version for role, content in sorted(self.metadata.items())}

    def replace(self, metadata: Mapping[str, bytes]) -> None:
        """Remember newer metadata, durably. Raises `OSError`."""
        if dict(metadata) != self.metadata:
            _write(self._directory, metadata)
            self.metadata = dict(metadata)


def begin_trust(directory: Path, root: bytes) -> int:
    """Trust a repository from its root on; returns the root's version.

    Raises `ExchangeError` for a root that its own keys did not sign, or where there is or was a trust state, and
    `OSError`.
    """
    try:
        parsed = Metadata[Root].from_bytes(root)
        parsed.signed.verify_delegate(ROOT, parsed.signed_bytes, parsed.signatures)
    except (RepositoryError, ValueError, AttributeError) as error:
        raise ExchangeError(ExchangeFailure.TOO_FEW_SIGNATURES, "this is no root that its own keys signed") from error
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The lock outlasts what it locks: where it lies alone, somebody has made this server forget what it saw.
    was_there = (directory / _LOCK).exists()
    with _locked(directory):
        if was_there or (directory / _FILE).exists():
            raise ExchangeError(
                ExchangeFailure.STATE_EXISTS,
                f"{directory} has, or had, a trust state: restore it, or remove the directory if it is to begin anew",
            )
        _write(directory, {ROOT: root})
    return parsed.signed.version


@contextlib.contextmanager
def open_trust(directory: Path) -> Iterator[TrustState]:
    """The trust state in a directory, for one at a time. Raises `ExchangeError`."""
    if not (directory / _FILE).exists():
        raise ExchangeError(
            ExchangeFailure.STATE_MISSING,
            f"there is no trust state in {directory}: a person has to begin it, with `exchange subscribe`",
        )
    with _locked(directory):
        yield TrustState(directory, _read(directory))


def _read(directory: Path) -> dict[str, bytes]:
    try:
        stored = _STORED_READER.decode((directory / _FILE).read_bytes())
    except (OSError, *UNREADABLE) as error:
        raise _damaged(directory) from error
    if stored.format != _FORMAT or stored.sha256 != _digest(stored.metadata) or ROOT not in stored.metadata:
        raise _damaged(directory)
    return stored.metadata


def _write(directory: Path, metadata: Mapping[str, bytes]) -> None:
    stored = _Stored(format=_FORMAT, metadata=dict(metadata), sha256=_digest(metadata))
    write_durably(directory / _FILE, msgspec.json.encode(stored))


def _digest(metadata: Mapping[str, bytes]) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(sorted(metadata.items()))).hexdigest()


def _damaged(directory: Path) -> ExchangeError:
    return ExchangeError(
        ExchangeFailure.STATE_DAMAGED,
        f"the trust state in {directory} is damaged: restore it from a backup, or remove it and subscribe again",
    )


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ExchangeError(ExchangeFailure.STATE_LOCKED, f"{directory} cannot be locked: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ExchangeError(
                ExchangeFailure.STATE_LOCKED, f"somebody else uses the trust state in {directory}"
            ) from error
        yield
    finally:
        os.close(descriptor)
