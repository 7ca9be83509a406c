"""The archive: sealed copies, on this server's disk, of what it wrote to the store.

The store is where lists are served from, not where they are safe: a flushed or replaced Redis is filled again from
here. The files hold exactly what lies in the store, keys and sealed values, so they tell no more than it does.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from hashmatch.store.connection import Connection
from hashmatch.trust.durable_files import owners_alone

_RECORD = struct.Struct(">HI")
_VALUES_PER_COMMAND = 1_024
_WHOLE, _UNFINISHED = ".sealed", ".partial"
_IDENTIFIER = re.compile("[0-9a-f]{16}")

# Those of some keys with their sealed values that belong to what is restored, and verify as it.
Sound = Callable[[Mapping[bytes, bytes]], Mapping[bytes, bytes]]


class ArchiveError(Exception):
    """The archive cannot be read or written."""


class Archive:
    """A directory with one file for each segment and each version of the suppressions, by id."""

    def __init__(self, directory: Path) -> None:
        """Make the directory where there is none, its owner's alone. Raises `ArchiveError`."""
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_mode & 0o077:
                # It closes files from before as well. Where it cannot be done, that is whose directory it is to see to.
                with contextlib.suppress(OSError):
                    directory.chmod(0o700)
        except OSError as error:
            raise ArchiveError(f"cannot use {directory}: {error.strerror}") from error

    def writer(self, identifier: str) -> ArchiveWriter:
        """Begin a file; it appears under its name once it is whole."""
        return ArchiveWriter(self._path(identifier))

    def has(self, identifier: str) -> bool:
        """Whether there is a whole file of this id."""
        return self._path(identifier).exists()

    def restore(self, identifier: str, connection: Connection, sound: Sound, parts: int) -> None:
        """Put what is `sound` of a file back into the store; the whole has so many `parts`.

        A disk forgets as well: what has rotten in the file must not take the place of what is sound in the store.
        Raises `ArchiveError`, when the rest is done, if that is not all of it, and `StoreUnavailableError`.
        """
        restored = 0
        try:
            for batch in self._batches(identifier):
                verified = sound(batch)
                connection.set_many(verified)
                restored += len(verified)
        except ArchiveError:
            if not restored:
                raise
        if restored < parts:
            raise ArchiveError(
                f"the archive of {identifier} has rotten: {parts - restored} of its {parts} parts are missing or do "
                "not verify, and were not restored"
            )

    def identifiers(self) -> set[str]:
        """The ids of all whole files. Raises `ArchiveError`."""
        return {file.stem for file in self._files(_WHOLE)}

    def delete_unfinished(self, before: float) -> int:
        """Delete what was begun, and last written to before a time in seconds since 1970. Returns how many files.

        Raises `ArchiveError`.
        """
        deleted = 0
        for file in self._files(_UNFINISHED):
            try:
                if file.stat().st_mtime < before:
                    file.unlink()
                    deleted += 1
            except FileNotFoundError:
                continue  # finished just now
            except OSError as error:
                raise ArchiveError(f"{file} cannot be deleted: {error.strerror}") from error
        return deleted

    def _files(self, suffix: str) -> list[Path]:
        """The files of ours that end so."""
        try:
            found = list(self._directory.iterdir())
        except OSError as error:
            raise ArchiveError(f"cannot read {self._directory}: {error.strerror}") from error
        return [file for file in found if file.suffix == suffix and _IDENTIFIER.fullmatch(file.stem)]

    def delete(self, identifier: str) -> None:
        """Delete a file, if there is one. Raises `ArchiveError`."""
        try:
            self._path(identifier).unlink(missing_ok=True)
        except OSError as error:
            raise ArchiveError(f"the archive of {identifier} cannot be deleted: {error.strerror}") from error

    def _path(self, identifier: str) -> Path:
        return self._directory / f"{identifier}{_WHOLE}"

    def _batches(self, identifier: str) -> Iterator[dict[bytes, bytes]]:
        """What a file holds, as many values at once as one command takes.

        Raises `ArchiveError` where it cannot be read on, after all that could be.
        """
        batch: dict[bytes, bytes] = {}
        try:
            for key, value in self._records(identifier):
                batch[key] = value
                if len(batch) == _VALUES_PER_COMMAND:
                    yield batch
                    batch = {}
        except ArchiveError:
            yield batch
            raise
        yield batch

    def _records(self, identifier: str) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._path(identifier).open("rb") as file:
                left = os.fstat(file.fileno()).st_size
                while head := file.read(_RECORD.size):
                    key_size, value_size = _RECORD.unpack(head)
                    left -= len(head) + key_size + value_size
                    if left < 0:
                        # Looked at before it is read: a size that has rotten may ask for gigabytes.
                        raise ArchiveError(f"the archive of {identifier} is cut short")
                    yield file.read(key_size), file.read(value_size)
        except (OSError, struct.error) as error:
            raise ArchiveError(f"the archive of {identifier} cannot be read") from error


class ArchiveWriter:
    """Writes one file. As a context manager it leaves a whole file behind, or after an exception none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scratch = path.with_suffix(_UNFINISHED)
        try:
            descriptor = owners_alone(str(self._scratch), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=1 << 20)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, values: Mapping[bytes, bytes]) -> None:
        """Append keys with their sealed values. Raises `ArchiveError`."""
        try:
            for key, value in values.items():
                self._file.write(_RECORD.pack(len(key), len(value)) + key)
                self._file.write(value)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the file on the disk and give it its name. Raises `ArchiveError`."""
        try:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._scratch.replace(self._path)
                _sync_directory(self._path.parent)
        except OSError as failure:
            raise self._unwritable(failure) from failure
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._scratch.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ArchiveError:
        return ArchiveError(f"cannot write {self._path}: {error.strerror}")


def _sync_directory(directory: Path) -> None:
    """Put the names of a directory on the disk: without it a power cut may undo a rename. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
