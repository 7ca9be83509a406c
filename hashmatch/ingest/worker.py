"""The importer's own process: takes a delivery on standard input, stages it, and says what came of it.

Parsing and sealing ten million entries keeps an interpreter busy for seconds; in the server's process that would delay
every answer, and its memory would stay. A delivery is never written to disk: it goes from the caller's stream through a
pipe into here. The task, with the sealing key in it, comes first on the same pipe, so that no secret stands in an
argument or in the environment.

The task and the outcome are MessagePack behind four bytes of length. After the frames of the delivery and the empty one
that ends it comes one more: the checkpoint of the feed that it was pulled from, or nothing.
"""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from hashmatch.ingest.staging import CheckpointAtEnd, DeliveryHeader, Stager, no_checkpoint
from hashmatch.model.clock import SystemClock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.archive import Archive, ArchiveError
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from hashmatch.trust.process_memory import keep_out_of_dumps
from hashmatch.trust.sealing import SealingSecrets

_CHECKPOINT_READER = msgspec.msgpack.Decoder(FeedCheckpoint)

_LENGTH_BYTES = 4


class StoreAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the store. Its `repr` shows no secret."""

    url: str
    namespace: str
    sealing: SealingSecrets
    connect_timeout: float
    operation_timeout: float
    username: str | None = None
    password: str | None = None
    archive: str = ""

    def __repr__(self) -> str:
        return "StoreAccess(***)"

    def open(self, *, maximum_connections: int = 2) -> Store:
        """The store; connects when it is first used."""
        connection = Connection(
            self.url,
            connect_timeout=self.connect_timeout,
            operation_timeout=self.operation_timeout,
            maximum_connections=maximum_connections,
            username=self.username,
            password=self.password,
        )
        archive = Archive(Path(self.archive)) if self.archive else None
        return Store(connection, self.sealing.key(), self.namespace, archive)


class StagingTask(msgspec.Struct, frozen=True, kw_only=True):
    """What to stage, where, under which policy."""

    access: StoreAccess
    policy: VettingPolicy
    header: DeliveryHeader


_TASK_READER = msgspec.msgpack.Decoder(StagingTask)


class Failure(msgspec.Struct, frozen=True):
    """A `HashmatchError` on its way between processes."""

    reason: str
    message: str
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    retry_after: float | None = None

    @classmethod
    def of(cls, error: HashmatchError) -> Failure:
        """The failure that an error is."""
        return cls(str(error.reason), error.message, error.fields, error.metadata, error.retry_after)

    def error(self) -> HashmatchError:
        """The error that it was."""
        return HashmatchError(
            ErrorReason(self.reason),
            self.message,
            fields=self.fields,
            metadata=self.metadata,
            retry_after=self.retry_after,
        )


class StagingOutcome(msgspec.Struct, frozen=True):
    """What came of a task: a staging, a failure, or the traceback of a defect, which is for the server's log alone.

    `peak_bytes` is the most memory that the process had.
    """

    staging: Staging | None = None
    failure: Failure | None = None
    defect: str = ""
    peak_bytes: int = 0


def stage(task: StagingTask, delivery: Iterator[bytes], checkpoint: CheckpointAtEnd = no_checkpoint) -> StagingOutcome:
    """Carry out a task. Raises nothing that a caller could be told of."""
    store = task.access.open()
    try:
        staging = Stager(store, SystemClock(), task.policy).stage(task.header, delivery, checkpoint)
    except HashmatchError as error:
        return StagingOutcome(failure=Failure.of(error))
    except StoreUnavailableError as error:
        return StagingOutcome(failure=Failure(ErrorReason.STORE_UNAVAILABLE, str(error), retry_after=1.0))
    except StoreDamagedError as error:
        return StagingOutcome(failure=Failure(ErrorReason.STORE_DAMAGED, str(error)))
    except ArchiveError as error:
        return StagingOutcome(failure=Failure(ErrorReason.STORE_UNAVAILABLE, str(error)))
    finally:
        store.close()
    return StagingOutcome(staging=staging)


def frame(content: bytes) -> bytes:
    """Content behind its length."""
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


def read_frame(stream: BinaryIO) -> bytes:
    """The content of the next frame. Raises `EOFError` if the stream ends before it does."""
    length = int.from_bytes(_read_exactly(stream, _LENGTH_BYTES), "big")
    return _read_exactly(stream, length)


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError("the stream ended early")
    return content


def _delivery(stream: BinaryIO) -> Iterator[bytes]:
    """The frames of a delivery up to the empty one, which says that it is whole."""
    while chunk := read_frame(stream):
        yield chunk


def _checkpoint(stream: BinaryIO) -> FeedCheckpoint | None:
    """What comes after the delivery."""
    encoded = read_frame(stream)
    return _CHECKPOINT_READER.decode(encoded) if encoded else None


def main() -> None:
    """Take one task. Exits with 1 if the server went away before the delivery was whole."""
    keep_out_of_dumps()
    try:
        task = _TASK_READER.decode(read_frame(sys.stdin.buffer))
        outcome = stage(task, _delivery(sys.stdin.buffer), lambda: _checkpoint(sys.stdin.buffer))
    except EOFError:
        sys.exit(1)
    except Exception:  # noqa: BLE001 - what it says may quote the delivery: the server's log leaves out what must not be told
        outcome = StagingOutcome(defect=traceback.format_exc())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    outcome = msgspec.structs.replace(outcome, peak_bytes=peak)
    sys.stdout.buffer.write(frame(msgspec.msgpack.encode(outcome)))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
