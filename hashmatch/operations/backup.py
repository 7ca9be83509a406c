"""`hashmatch-admin backup`: everything of a server that its store does not hold, in one file.

It may be made while the server runs. What is read first is the epoch floor: every segment that its manifest names is in
the archive by then, and stays there for an hour after nothing refers to it any more. What is read last is the audit
log: every act up to that manifest is in it.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from hashmatch.operations.access import data_directory, sealing_key_file
from hashmatch.operations.backup_format import (
    CONFIGURATION,
    CONTENTS,
    DATA,
    FORMAT,
    SEALING_KEY,
    VERSION,
    BackupError,
    BackupFile,
    Contents,
    Hashing,
    is_permitted,
    tar_within,
)
from hashmatch.service.checkpointing import CHECKPOINTS
from hashmatch.service.config import Config
from hashmatch.service.data_directory import RESTORING
from hashmatch.store.floor import EpochFloor, FloorError
from hashmatch.store.manifest import parse_header
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.audit import ACTS
from hashmatch.version import VERSION as HASHMATCH

_FLOOR = ("epoch.json", "epoch.manifest")
# What the store holds, what a volume brings, what can be compiled again, what is not whole, and what was signed: of a
# log of answers that goes on while it is read there may be more than is in the backup.
_LEFT_OUT = {"valkey", "lost+found", "kernels", RESTORING, CHECKPOINTS, "lock"}
_UNFINISHED = {".new", ".partial", ".sock"}
# Segments of lists, to which nothing has referred for an hour, and of answers, which are older than they have to be.
_COLLECTED = {".sealed", ".jsonl"}
# Between the two files of the floor a running server may raise it.
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written: its SHA-256 in hexadecimal, its size in bytes, and what it holds."""

    path: Path
    sha256: str
    size: int
    contents: Contents


def make_backup(config: Config, target: Path, *, settings_file: Path | None, with_sealing_key: bool) -> Backup:
    """Write a backup to `target`, which must not exist, readable for its owner alone.

    `settings_file` is the server's configuration file, if it has one. Raises `BackupError` and `OSError`; then there is
    no file.
    """
    if target.exists():
        raise BackupError(f"{target} exists")
    data_dir = data_directory(config)
    if not data_dir.is_dir():
        raise BackupError(f"{data_dir} does not exist: there is nothing to back up")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise BackupError(f"{target} is in the data directory: the next backup would hold it")
    scratch = target.with_name(f"{target.name}.new")
    descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "w+b") as file:  # noqa: PTH123 - a descriptor with a mode of its own
            with tar_within(file, target.name, "wb") as tar:
                contents = _Writer(tar).write(config, data_dir, settings_file, with_sealing_key=with_sealing_key)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            written = Hashing(file)
            while written.read():
                pass
        # Fails if somebody made the target meanwhile, as `rename` would not.
        os.link(scratch, target)
    except FileExistsError:
        raise BackupError(f"{target} exists") from None
    finally:
        with suppress(FileNotFoundError):
            scratch.unlink()
    return Backup(target, written.sha256, written.size, contents)


class _Writer:
    """Writes members, and remembers what they were."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by `write`
        self._files: list[BackupFile] = []

    def write(self, config: Config, data_dir: Path, settings_file: Path | None, *, with_sealing_key: bool) -> Contents:
        key_file = sealing_key_file(config)
        with self._tar:
            epoch = self._add_floor(data_dir)
            last = data_dir / ACTS
            for path in _files_in(data_dir):
                if path not in (key_file, last) and path.name not in _FLOOR:
                    self._add(path, f"{DATA}/{path.relative_to(data_dir).as_posix()}")
            if settings_file is not None:
                self._add(settings_file, f"{CONFIGURATION}/hashmatch.toml")
            if config.feeds.file:
                self._add(Path(config.feeds.file), f"{CONFIGURATION}/feeds.toml")
            if with_sealing_key:
                home = CONFIGURATION if config.sealing.key_file else DATA
                self._add(key_file, f"{home}/{SEALING_KEY}", secret=True)
            if last.exists():
                self._add_audit_log(last)
            contents = Contents(
                format=FORMAT, version=VERSION, hashmatch=HASHMATCH, epoch=epoch, files=tuple(self._files)
            )
            self._put(CONTENTS, 0o600, msgspec.json.format(msgspec.json.encode(contents)))
        return contents

    def _add_floor(self, data_dir: Path) -> int:
        """Add the epoch floor, both files of the same epoch; returns that."""
        for _ in range(_ATTEMPTS):
            before = _read(data_dir / _FLOOR[0])
            sealed = _read(data_dir / _FLOOR[1])
            try:
                epoch = EpochFloor(data_dir / _FLOOR[0]).highest()
                agree = (parse_header(sealed).epoch if sealed else 0) == epoch
            except (FloorError, StoreDamagedError) as error:
                raise BackupError(f"the epoch floor cannot be read: {error}") from error
            if agree and before == _read(data_dir / _FLOOR[0]):
                break
        else:
            raise BackupError(f"{_FLOOR[0]} and {_FLOOR[1]} are of different epochs; try again")
        for name, content in zip(_FLOOR, (before, sealed), strict=True):
            if content:
                self._put(f"{DATA}/{name}", _mode(data_dir / name), content, listed=True)
        return epoch

    def _add_audit_log(self, path: Path) -> None:
        """Add the audit log up to its last whole record."""
        content = path.read_bytes()
        self._put(f"{DATA}/{path.name}", _mode(path), content[: content.rfind(b"\n") + 1], listed=True)

    def _add(self, path: Path, name: str, *, secret: bool = False) -> None:
        if not is_permitted(name):
            raise BackupError(f"{path} has a name that a backup cannot hold; move it out of the data directory")
        try:
            file = path.open("rb")
        except FileNotFoundError:
            if path.suffix in _COLLECTED:
                return  # meanwhile
            raise
        with file:
            status = os.fstat(file.fileno())
            member = _member(name, status.st_size, stat.S_IMODE(status.st_mode))
            hashing = Hashing(file)
            try:
                self._tar.addfile(member, hashing)
            except OSError as error:
                raise BackupError(f"{path} changed while it was read: {error}") from error
            self._files.append(BackupFile(name, hashing.size, member.mode, hashing.sha256, secret))

    def _put(self, name: str, mode: int, content: bytes, *, listed: bool = False) -> None:
        hashing = Hashing(io.BytesIO(content))
        self._tar.addfile(_member(name, len(content), mode), hashing)
        if listed:
            self._files.append(BackupFile(name, hashing.size, mode, hashing.sha256))


def _files_in(directory: Path) -> Iterator[Path]:
    """The whole files below a data directory that belong into a backup, in order."""
    for path in sorted(directory.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("replaced-") or path.suffix in _UNFINISHED:
            continue
        if path.is_symlink():
            raise BackupError(f"{path} is a symbolic link: what belongs to the data directory must lie in it")
        if path.is_dir():
            yield from _files_in(path)
        elif path.is_file():
            yield path


def _member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
