"""What a server can be held to: its log of answers, checkpoints of its logs, and receipts, as it is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from hashmatch.model.clock import Clock
from hashmatch.service.answer_audit import AnswerAudit
from hashmatch.service.attesting import Attesting
from hashmatch.service.background import InBackground
from hashmatch.service.checkpointing import CHECKPOINTS, Checkpoints, Log
from hashmatch.service.config import Config
from hashmatch.service.metrics import Metrics
from hashmatch.service.receipts import Receipts
from hashmatch.service.secrets import proof_signer
from hashmatch.trust.answer_log import ANSWERS, AnswerLog


class Proving:
    """Opens logs and signs what they come to; `in_background` runs a task until the server stops."""

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        clock: Clock,
        metrics: Metrics,
        in_background: InBackground,
    ) -> None:
        """Raises `SecretError`."""
        self._config = config
        self._data_dir = data_dir
        self._clock = clock
        self._metrics = metrics
        self._in_background = in_background
        self._signer = proof_signer(config)

    async def attesting(self, process: str, at_end: Callable[[Callable[[], None]], object]) -> Attesting:
        """What is done with every answer of a process before it is given. `at_end` takes what closes its log.

        Raises `AuditError`.
        """
        settings, proof = self._config.audit, self._config.proof
        receipts = None
        if self._signer is not None and proof.receipts != "off":
            receipts = Receipts(self._signer, self._clock, always=proof.receipts == "always")
        if settings.answers == "off":
            return Attesting(None, receipts)
        path = self._data_dir / ANSWERS / process
        log = await asyncio.to_thread(
            AnswerLog,
            path,
            self._clock,
            segment_bytes=settings.segment_bytes,
            segment_days=settings.segment_days,
            retention_days=settings.retention_days,
            maximum_bytes=settings.maximum_bytes,
        )
        at_end(log.close)
        checkpoints = await self.sign_checkpoints(f"{ANSWERS}/{process}", log, path)
        if checkpoints is not None:
            log.delete_only_signed(checkpoints.sign)
        audit = AnswerAudit(log, self._clock, self._metrics, settings)
        # Before the listeners, so that what is answered while they stop is recorded.
        self._in_background(audit.run())
        return Attesting(audit, receipts)

    async def sign_checkpoints(self, name: str, log: Log, path: Path) -> Checkpoints | None:
        """Hold a log, which lies at `path`, against what was signed of it, and sign what it comes to from now on.

        Raises `AuditError`. Without a key nothing is done, and None returned.
        """
        if self._signer is None:
            return None
        directory = self._data_dir / CHECKPOINTS
        checkpoints = Checkpoints(self._signer, name, log, directory, self._clock, self._metrics)
        await asyncio.to_thread(checkpoints.check, path)
        self._in_background(checkpoints.run(self._config.proof.checkpoint_seconds))
        return checkpoints
