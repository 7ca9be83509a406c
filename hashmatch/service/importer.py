"""Stages deliveries from a stream: small ones on a thread, large ones in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator

import msgspec
from structlog.typing import FilteringBoundLogger

from hashmatch.ingest.staging import CheckpointAtEnd, DeliveryHeader, Stager, no_checkpoint
from hashmatch.ingest.worker import StagingOutcome, StagingTask, StoreAccess, frame
from hashmatch.model.decoding import UNREADABLE
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service.logs import Event
from hashmatch.store.stagings import Staging

_OUTCOME_READER = msgspec.msgpack.Decoder(StagingOutcome)

# A delivery up to this size is staged sooner than a process starts.
SMALL_DELIVERY_BYTES = 2 << 20
# How many deliveries are worked on at once: each may use a core and a gigabyte.
_AT_ONCE = 2


class Importer:
    """Stages deliveries. Cancelling ends the process; nothing is staged then."""

    def __init__(
        self,
        stager: Stager,
        access: StoreAccess,
        policy: VettingPolicy,
        logger: FilteringBoundLogger,
        *,
        maximum_bytes: int,
    ) -> None:
        """`stager` stages small deliveries here; `access` and `policy` are what a process needs for large ones."""
        self._stager = stager
        self._access = access
        self._policy = policy
        self._logger = logger
        self._maximum_bytes = maximum_bytes
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def stage(
        self, header: DeliveryHeader, chunks: AsyncIterator[bytes], checkpoint: CheckpointAtEnd = no_checkpoint
    ) -> Staging:
        """Stage a delivery; `checkpoint` is asked when its last chunk was read. Raises `HashmatchError`."""
        task = StagingTask(access=self._access, policy=self._policy, header=header)
        if self._places.locked():
            raise HashmatchError(
                ErrorReason.OVERLOADED, f"{_AT_ONCE} deliveries are being staged already", retry_after=5.0
            )
        async with self._places:
            # A delivery of gigabytes is not sent in vain because of a misspelt list.
            await asyncio.to_thread(self._stager.check, header)
            bounded = self._bounded(chunks)
            first: list[bytes] = []
            size = 0
            async for chunk in bounded:
                first.append(chunk)
                size += len(chunk)
                if size > SMALL_DELIVERY_BYTES:
                    outcome = await self._in_process(task, first, bounded, checkpoint)
                    break
            else:
                outcome = StagingOutcome(await asyncio.to_thread(self._stager.stage, header, first, checkpoint))
        if outcome.failure is not None:
            raise outcome.failure.error()
        assert outcome.staging is not None
        self._logger.info(
            Event.DELIVERY_STAGED,
            list_id=header.list_id,
            staging_id=outcome.staging.staging_id,
            bytes=outcome.staging.delivery_bytes,
            importer_peak_bytes=outcome.peak_bytes,
        )
        return outcome.staging

    async def _bounded(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self._maximum_bytes:
                raise HashmatchError(
                    ErrorReason.DELIVERY_TOO_LARGE, f"a delivery may have at most {self._maximum_bytes} bytes"
                )
            if chunk:
                yield chunk

    async def _in_process(
        self, task: StagingTask, first: list[bytes], chunks: AsyncIterator[bytes], checkpoint: CheckpointAtEnd
    ) -> StagingOutcome:
        # The standard library starts a process without running what others have registered for forks: with the event
        # loop's own way gRPC's handlers run in the child, and now and then its pipe was closed before it began.
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "hashmatch.ingest.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            output = await self._converse(process, task, first, chunks, checkpoint)
        finally:
            # A caller that went away leaves a delivery that is not whole: nothing of it is to be staged.
            if process.poll() is None:
                process.kill()
            await asyncio.shield(asyncio.to_thread(_bury, process))
        if process.returncode != 0 or len(output) < len(frame(b"")):
            self._logger.error(Event.IMPORTER_FAILED, list_id=task.header.list_id, status=process.returncode)
            raise _failed()
        try:
            outcome = _OUTCOME_READER.decode(output[len(frame(b"")) :])
        except UNREADABLE as error:
            raise HashmatchError(ErrorReason.INTERNAL, "what the importer says cannot be read") from error
        if outcome.defect:
            self._logger.error(Event.IMPORTER_FAILED, list_id=task.header.list_id, exception=outcome.defect)
            raise _failed()
        return outcome

    async def _converse(
        self,
        process: subprocess.Popen[bytes],
        task: StagingTask,
        first: list[bytes],
        chunks: AsyncIterator[bytes],
        checkpoint: CheckpointAtEnd,
    ) -> bytes:
        """Hand the task and the delivery over; returns what the process says at its end."""
        assert process.stdin is not None
        assert process.stdout is not None
        # The worker may end early, with an error about the delivery, and then its outcome says more than the pipe.
        with contextlib.suppress(BrokenPipeError):
            await asyncio.to_thread(process.stdin.write, frame(msgspec.msgpack.encode(task)))
            while first:
                await asyncio.to_thread(process.stdin.write, frame(first.pop(0)))
            async for chunk in chunks:
                await asyncio.to_thread(process.stdin.write, frame(chunk))
            await asyncio.to_thread(process.stdin.write, frame(b""))
            reached = checkpoint()
            at_end = b"" if reached is None else msgspec.msgpack.encode(reached)
            await asyncio.to_thread(process.stdin.write, frame(at_end))
            await asyncio.to_thread(process.stdin.flush)
        output = await asyncio.to_thread(process.stdout.read)
        await asyncio.to_thread(process.wait)
        return output


def _failed() -> HashmatchError:
    return HashmatchError(ErrorReason.INTERNAL, "the importer failed; the log has more")


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process and close its pipes."""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
