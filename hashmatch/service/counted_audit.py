"""The audit log, with a count of what could not be written: as long as it grows, no act of administration succeeds."""

from __future__ import annotations

from prometheus_client import Counter

from hashmatch.ingest.acts import Audit
from hashmatch.trust.audit import AuditError


class CountedAudit:
    """Appends to another log, and counts failures."""

    def __init__(self, log: Audit, failures: Counter) -> None:
        self._log = log
        self._failures = failures

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> object:
        """Record durably, or raise what the log raises."""
        try:
            return self._log.append(act, actor, **details)
        except AuditError:
            self._failures.inc()
            raise
