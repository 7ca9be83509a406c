"""Signs checkpoints of an audit log, into a file from which anybody may copy them.

A checkpoint is of what is on the disk, so that no crash can make the next one contradict it. At a start the log is held
against the last one that was signed: a log that was changed, cut or exchanged is not gone on with, and neither is one
whose checkpoint this server's key did not sign. A log without one says from then on that it had none.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Protocol

from hashmatch.model.clock import Clock
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.metrics import Metrics
from hashmatch.trust.answer_log import check_against
from hashmatch.trust.audit import AuditError
from hashmatch.trust.checkpoints import Checkpoint, NoteError, NoteSigner, open_checkpoint
from hashmatch.trust.durable_files import write_durably
from hashmatch.trust.merkle import MerkleTree

CHECKPOINTS = "checkpoints"
"""Their directory in the data directory."""

ACTS_LOG = "acts"
"""What the origin of the log of administration ends with; that of a log of answers with its place."""

SIGNING_BEGUN_ACT = "signing-begun"
"""The record that says how many records a log had of which nothing was known to be signed."""


def checkpoint_file(directory: Path, name: str) -> Path:
    """Where in a directory of checkpoints the one of a log lies; `name` is what its origin ends with."""
    return directory / name.replace("/", "-")


class Log(Protocol):
    """A log that grows."""

    def tree(self) -> MerkleTree:
        """The tree over what is on the disk."""
        ...

    def tell(self, act: str, **details: str | int | float | bool) -> None:
        """Write a record of something that concerns the log itself. Raises `AuditError`."""
        ...


class Checkpoints:
    """The checkpoints of one log, whose origin is the key's name, a slash and `name`."""

    def __init__(
        self, signer: NoteSigner, name: str, log: Log, directory: Path, clock: Clock, metrics: Metrics
    ) -> None:
        self._signer = signer.of_origin(f"{signer.verifier.name}/{name}")
        self._log = log
        self._file = checkpoint_file(directory, name)
        self._clock = clock
        self._metrics = metrics
        self._logger = get_logger("audit")
        # Of so many records a checkpoint is on the disk. One is signed now and then, and before records are deleted.
        self._size = -1
        self._lock = threading.Lock()

    def check(self, path: Path) -> None:
        """Hold the log, which lies at `path`, against what was signed of it last. Raises `AuditError`.

        A log of which nothing is known to be signed is gone on with, because keys come to servers that have a log; from
        then on it says itself that what it had by then was signed by nobody before.
        """
        try:
            note = self._file.read_text("utf-8")
        except FileNotFoundError:
            self._begin()
            return
        except (OSError, UnicodeDecodeError) as error:
            raise AuditError(f"the audit log {path} cannot be held against {self._file}") from error
        try:
            checkpoint = open_checkpoint(note, [self._signer.verifier])
        except NoteError as error:
            # Of an earlier key, or under another name; or somebody wants nothing to be found. It is not written over.
            raise AuditError(
                f"the audit log {path} cannot be held against {self._file}: {error}; where the server's key or its "
                f"name was exchanged, keep the directory {self._file.parent} elsewhere, and start again"
            ) from error
        try:
            check_against(path, checkpoint)
        except OSError as error:
            raise AuditError(f"the audit log {path} cannot be held against {self._file}") from error
        self._size = checkpoint.size

    def _begin(self) -> None:
        """Sign a log for the first time."""
        records = self._log.tree().size
        if records:
            self._logger.warning(Event.SIGNING_BEGUN, file=str(self._file), records=records)
            self._log.tell(SIGNING_BEGUN_ACT, records=records)
        self.sign()

    async def run(self, interval: float) -> None:
        """Sign every `interval` seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.to_thread(self.sign)
                await asyncio.sleep(interval)
        finally:
            await asyncio.shield(asyncio.to_thread(self.sign))

    def sign(self) -> int:
        """Sign what the log has come to, if that is new. Returns of how many records a checkpoint is on the disk."""
        with self._lock:
            tree = self._log.tree()
            try:
                if tree.size != self._size:
                    self._file.parent.mkdir(mode=0o700, exist_ok=True)
                    text = Checkpoint(self._signer.verifier.name, tree.size, tree.root).text
                    write_durably(self._file, self._signer.sign(text).encode())
                    self._size = tree.size
            except OSError as error:
                self._logger.error(Event.CHECKPOINT_NOT_SIGNED, why=error.strerror or "")
            else:
                self._metrics.checkpoint_signed.set(self._clock.now())
            return self._size
