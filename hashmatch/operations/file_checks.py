"""Whether the data directory and the secret files are as they must be: there, the server's own, secret, with room."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from hashmatch.operations.audit import logs_in
from hashmatch.operations.findings import Area, Finding
from hashmatch.service.checkpointing import ACTS_LOG
from hashmatch.service.config import Config
from hashmatch.service.config_section import MIB
from hashmatch.trust.answer_log import LogReading
from hashmatch.trust.audit import AuditError
from hashmatch.trust.sealing import SealingKeyError, load_key_file

_DIRECTORY = Area("data directory")
_SEALING = Area("sealing key")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What others than the owner must not do with a secret; a group may read one, as where orchestrators hand secrets over.
_UNSAFE = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_LITTLE_ROOM = 0.1
_NO_ROOM = 256 * MIB


def check_secrecy(area: Area, name: str, path: Path) -> Iterator[Finding]:
    """Whether a secret file is open to others. Says nothing of one that is not there."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & _UNSAFE:
        yield area.error(f"{name}: {path} has mode {mode:04o}: others may read or change it", f"chmod 600 {path}")


def check_data_directory(config: Config, data_dir: Path) -> Iterator[Finding]:
    """Whether the data directory is this server's alone, and has room; and whether what it holds verifies."""
    try:
        status = data_dir.stat()
        entries = sorted(data_dir.iterdir())
    except FileNotFoundError:
        yield _DIRECTORY.note(f"{data_dir} does not exist", "the server makes it at its first start")
        return
    except OSError as error:
        yield _DIRECTORY.error(f"cannot read {data_dir}: {error.strerror}", "run this as the server's own user")
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        yield _DIRECTORY.error(f"{data_dir} is no directory", "move it away, or set server.data_dir")
        return
    if mode & _OTHERS:
        yield _DIRECTORY.warning(f"{data_dir} has mode {mode:04o}: others may look into it", f"chmod 700 {data_dir}")
    foreign = [entry.name for entry in entries if entry.lstat().st_uid != status.st_uid]
    if foreign:
        yield _DIRECTORY.error(
            f"in {data_dir}, {', '.join(foreign)} belong to another user than the directory: the server cannot write",
            f"chown --recursive --reference={data_dir} {data_dir}; run commands on it as the server's user",
        )
    else:
        yield _DIRECTORY.well(f"{data_dir} and what is in it belong to user {status.st_uid}")
    yield from _check_room(config, data_dir)
    yield from _check_audit_logs(config, data_dir)


def _check_room(config: Config, data_dir: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(data_dir)
    archive = data_dir / "archive"
    held = sum(file.stat().st_size for file in archive.glob("*.sealed")) if archive.is_dir() else 0
    # A new base lies beside the old one until the old one is collected.
    wanted = held if config.server.admin_listen and config.store.archive else 0
    room = f"{usage.free // MIB:,} MiB of {usage.total // MIB:,} MiB are free"
    mend = "make room: with a full disk no act of administration succeeds, and no new epoch is served"
    if usage.free < _NO_ROOM:
        yield _DIRECTORY.error(f"the disk of {data_dir} is full: {room}", mend)
    elif usage.free < usage.total * _LITTLE_ROOM or usage.free < wanted:
        yield _DIRECTORY.warning(
            f"the disk of {data_dir} is nearly full: {room}, the archive has {held // MIB:,}", mend
        )
    else:
        yield _DIRECTORY.well(room)


def _check_audit_logs(config: Config, data_dir: Path) -> Iterator[Finding]:
    for name, log in logs_in(data_dir).items():
        if name != ACTS_LOG:
            yield _audit_log(f"the log of answers of {log.name}", log)
        elif config.server.admin_listen:
            yield _audit_log("the audit log", log)


def _audit_log(name: str, log: Path) -> Finding:
    try:
        records = sum(1 for _ in LogReading.of(log))
    except AuditError as error:
        return _DIRECTORY.error(
            f"{name}: {error}",
            "somebody changed it: find out who, move it away whole with the server stopped, and keep it",
        )
    except OSError as error:
        return _DIRECTORY.error(f"cannot read {log}: {error.strerror}", "run this as the server's own user")
    return _DIRECTORY.well(f"{name} has {records:,} records, and each follows from the one before")


def check_sealing_keys(config: Config, data_dir: Path) -> Iterator[Finding]:
    """Whether the sealing keys can be used and are secret."""
    named = bool(config.sealing.key_file)
    path = Path(config.sealing.key_file) if named else data_dir / "sealing.key"
    if not named and not path.exists():
        yield _SEALING.note("there is none yet", "the server makes one at its first start")
        return
    sealing = config.sealing
    yield from _check_key_file("sealing.key_file", path)
    if sealing.next_key_file:
        yield from _check_key_file("sealing.next_key_file", Path(sealing.next_key_file))
    for file in sealing.old_key_files:
        yield from _check_key_file("sealing.old_key_files", Path(file))
    if not named:
        yield _SEALING.note(
            f"{path} is the only key of this store, and lies beside it",
            "keep a copy where you keep secrets; `hashmatch-admin backup` leaves it out unless told otherwise",
        )


def _check_key_file(name: str, path: Path) -> Iterator[Finding]:
    open_to_others = list(check_secrecy(_SEALING, name, path))
    if open_to_others:
        yield from open_to_others
        return
    try:
        key = load_key_file(path)
    except SealingKeyError as error:
        yield _SEALING.error(
            str(error), "what is sealed under it cannot be opened without it; bring the key back from your copy of it"
        )
        return
    yield _SEALING.well(f"{path} can be read, by its owner and group at most: key {key.key_id}")
