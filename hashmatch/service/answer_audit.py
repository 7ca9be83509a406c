"""Records every answered batch in the audit log of answers: who, for what, how many, from which epoch; never what.

The event loop only collects. A thread of its own writes what has come together, with one sync for all: every moment
where records are buffered, and as soon as the one before is done where an answer waits for its record.

While the log cannot be written, records wait. More than `CAPACITY` are not kept: they are counted, and the log says how
many are missing as soon as it can be written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.calls import current_call
from hashmatch.service.config_duties import AuditSection
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.metrics import Metrics
from hashmatch.trust.answer_log import AnswerLog, Entry
from hashmatch.trust.audit import SERVER, AuditError

ANSWER_ACT = "answer"
LOST_ACT = "answers-lost"
CAPACITY = 65_536
"""How many records wait at most. What more a crash takes than the last moment's is so many, while the disk hangs."""

_RETRY_AFTER = 1.0


class AnswerAudit:
    """The records of one process. Used from the event loop alone."""

    def __init__(self, log: AnswerLog, clock: Clock, metrics: Metrics, settings: AuditSection) -> None:
        self._log = log
        self._clock = clock
        self._interval = settings.flush_seconds
        self._synced = settings.answers == "synced"
        self._recorded = metrics.audited_answers.labels("recorded")
        self._lost = metrics.audited_answers.labels("lost")
        self._logger = get_logger("audit")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._waiting: list[Entry] = []
        # How many could not be kept since the log last said how many.
        self._missing = 0
        self._wake = asyncio.Event()
        self._written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failing = False

    async def record(self, *, purpose: str, epoch: int, hashes: int, matches: int, undetermined: int) -> None:
        """Record an answer of the current call before it is given. `epoch` is that of the store; 0 for none.

        Raises `HashmatchError` AUDIT_UNAVAILABLE if it has to be on the disk first and cannot be.
        """
        call = current_call()
        details: dict[str, str | int | float | bool] = {
            "method": call.method,
            "purpose": purpose,
            "epoch": epoch,
            "hashes": hashes,
            "matches": matches,
            "undetermined": undetermined,
            "request_id": call.request_id,
        }
        if len(self._waiting) >= CAPACITY:
            if self._synced:
                raise _unavailable()
            self._missing += 1
            self._lost.inc()
            return
        self._waiting.append(Entry(self._clock.now(), ANSWER_ACT, call.caller.name, details))
        if self._synced:
            self._wake.set()
            # It goes on when the caller goes away: others wait for the same.
            await asyncio.shield(self._written)

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                if self._synced:
                    await self._wake.wait()
                    self._wake.clear()
                else:
                    await asyncio.sleep(self._interval)
                await self._write()
        finally:
            await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        await self._write()
        self._thread.shutdown()

    async def _write(self) -> None:
        entries, self._waiting = self._waiting, []
        missing, self._missing = self._missing, 0
        written, self._written = self._written, asyncio.get_running_loop().create_future()
        if not entries and not missing:
            written.cancel()
            return
        told = [Entry(self._clock.now(), LOST_ACT, SERVER, {"answers": missing})] if missing else []
        append = partial(self._log.append, [*entries, *told])
        failure = await asyncio.get_running_loop().run_in_executor(self._thread, _attempt, append)
        if failure is None:
            self._recorded.inc(len(entries))
            self._failing = False
            written.set_result(None)
            return
        self._missing += missing
        if not self._failing:
            self._failing = True
            self._logger.error(Event.ANSWERS_NOT_RECORDED, why=str(failure))
        if self._synced:
            written.set_exception(_unavailable())
            # Nobody may be waiting any more.
            written.exception()
        else:
            self._keep(entries)
            written.cancel()

    def _keep(self, entries: Sequence[Entry]) -> None:
        """Put back what could not be written, as far as there is room."""
        self._waiting = [*entries, *self._waiting]
        beyond = len(self._waiting) - CAPACITY
        if beyond > 0:
            del self._waiting[CAPACITY:]
            self._missing += beyond
            self._lost.inc(beyond)


def _attempt(append: partial[None]) -> AuditError | None:
    try:
        append()
    except AuditError as error:
        return error
    return None


def _unavailable() -> HashmatchError:
    return HashmatchError(
        ErrorReason.AUDIT_UNAVAILABLE,
        "the answer could not be recorded, and is not given without that",
        retry_after=_RETRY_AFTER,
    )
