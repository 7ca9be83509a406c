"""`hashmatch-admin restore`: puts a backup back, whole or not at all.

Everything is written aside first, into `restoring.new` in the data directory itself, which is often a volume that
nothing can be renamed into from elsewhere. Only when all of it has verified and is on the disk do the files get their
places, the epoch floor last. As long as that directory is there, a server does not start.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from hashmatch.operations.backup_format import (
    CONFIGURATION,
    CONTENTS,
    DAMAGE,
    DATA,
    FORMAT,
    VERSION,
    BackupError,
    BackupFile,
    Contents,
    Hashing,
    is_permitted,
    tar_within,
)
from hashmatch.service.data_directory import RESTORING
from hashmatch.trust.audit import ACTS

# What a new volume brings, and what a server that is being tried out makes by itself.
_NOTHING = {"lost+found", "kernels"}
_LARGEST_CONTENTS = 64 << 20


def restore(backup: Path, data_dir: Path, configuration: Path | None, *, force: bool) -> Contents:
    """Restore a backup into `data_dir`, which must be empty, and its settings into `configuration`, if that is given.

    With `force`, what is in the data directory is moved into `replaced-NUMBER` within it. Raises `BackupError` and
    `OSError`; nothing that was there is lost then.
    """
    data_dir = data_dir.absolute()
    existed = data_dir.exists()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    present = sorted(path for path in data_dir.iterdir() if path.name not in {*_NOTHING, RESTORING})
    if present and not force:
        raise BackupError(f"{data_dir} is not empty; --force moves what is in it aside")
    if configuration is not None and configuration.exists():
        raise BackupError(f"{configuration} exists: name a directory that does not")
    scratch = data_dir / RESTORING
    with ExitStack() as locks:
        for lock in (data_dir / ACTS, data_dir / "valkey" / "lock"):
            _lock(lock, data_dir, locks)
        # What an attempt left behind that did not come to its end.
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(mode=0o700)
            contents = read_backup(backup, scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            if not existed:
                data_dir.rmdir()
            raise
        _take_over_owner(scratch, data_dir)
        if configuration is not None and (scratch / CONFIGURATION).is_dir():
            shutil.copytree(scratch / CONFIGURATION, configuration)
            configuration.chmod(0o700)
        _move_in(scratch, data_dir, [path for path in present if path.name != RESTORING])
    return contents


def read_backup(backup: Path, directory: Path | None) -> Contents:
    """Verify a backup, and write its files below `directory`, if that is given. Raises `BackupError` and `OSError`."""
    try:
        with backup.open("rb") as file, tar_within(file, backup.name, "rb") as within:
            return _read_members(within, directory)
    except DAMAGE as error:
        raise BackupError(f"{backup} is damaged or is no backup ({type(error).__name__})") from error


def _read_members(within: object, directory: Path | None) -> Contents:
    found: dict[str, BackupFile] = {}
    contents: Contents | None = None
    with tarfile.open(fileobj=within, mode="r|") as tar:  # type: ignore[call-overload]
        for member in tar:
            if contents is not None or member.name in found or not member.isreg():
                raise BackupError(f"the backup is damaged: {member.name!r} should not be there")
            file = tar.extractfile(member)
            if file is None:
                raise BackupError(f"the backup is damaged: {member.name!r} has no content")
            if member.name == CONTENTS:
                contents = _read_contents(file.read(_LARGEST_CONTENTS))
                continue
            if not is_permitted(member.name):
                raise BackupError(f"the backup holds {member.name!r}, which no backup holds")
            hashing = Hashing(file)
            if directory is None:
                while hashing.read():
                    pass
            else:
                _write(hashing, directory / member.name, member.mode & 0o777)
            found[member.name] = BackupFile(member.name, hashing.size, member.mode, hashing.sha256)
    if contents is None:
        raise BackupError("the backup is damaged: its end is missing")
    stated = {file.name: msgspec.structs.replace(file, secret=False) for file in contents.files}
    for name in sorted(stated.keys() | found.keys()):
        if stated.get(name) != found.get(name):
            raise BackupError(f"the backup is damaged: {name} is not what it was")
    return contents


def _read_contents(raw: bytes) -> Contents:
    contents = msgspec.json.decode(raw, type=Contents)
    if (contents.format, contents.version) != (FORMAT, VERSION):
        raise BackupError(f"the backup is of another kind or version ({contents.format} {contents.version})")
    return contents


def _write(content: Hashing, path: Path, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        while data := content.read():
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)


def _lock(path: Path, data_dir: Path, locks: ExitStack) -> None:
    """Make sure that no server uses the data directory, for as long as `locks` is open."""
    if not path.exists():
        return
    file = locks.enter_context(path.open("ab"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BackupError(f"{data_dir} is in use: stop the server first") from None


def _take_over_owner(scratch: Path, data_dir: Path) -> None:
    """Give what was written to the owner of the data directory, where root restores for a server's user."""
    owner = data_dir.stat()
    if os.geteuid() == 0 and owner.st_uid:
        for path in (scratch, *scratch.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


def _move_in(scratch: Path, data_dir: Path, present: list[Path]) -> None:
    if present:
        aside = next(path for path in _places(data_dir) if not path.exists())
        aside.mkdir(mode=0o700)
        for path in present:
            if not path.name.startswith("replaced-"):
                path.rename(aside / path.name)
    # The floor last: a data directory without it is one that never served anything.
    data = scratch / DATA
    for path in sorted(
        data.iterdir() if data.is_dir() else (), key=lambda path: (path.name.startswith("epoch."), path)
    ):
        path.rename(data_dir / path.name)
    _sync(data_dir)
    shutil.rmtree(scratch)
    _sync(data_dir)


def _places(data_dir: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield data_dir / f"replaced-{number}"
        number += 1


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
