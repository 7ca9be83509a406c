"""Expiry: what was staged and is decided about by nobody does not wait for ever."""

from __future__ import annotations

import contextlib

from hashmatch.ingest.publisher import Publisher
from hashmatch.model.clock import Clock
from hashmatch.model.errors import HashmatchError
from hashmatch.store.stagings import STAGED
from hashmatch.store.store import Store

ACTOR = "system:expiry"
_DAY = 86_400.0


class StagingExpiry:
    """Discards stagings that have waited too long, as a person would; what they hold is collected as always."""

    def __init__(self, store: Store, clock: Clock, publisher: Publisher, *, maximum_days: float) -> None:
        """`maximum_days` since it was staged; 0 for none."""
        self._store = store
        self._clock = clock
        self._publisher = publisher
        self._maximum_days = maximum_days

    def expire(self) -> int:
        """Discard what is due. Returns how many stagings. Raises what `Publisher.discard` raises, but for one of them.

        What somebody else decides about at the same moment, or what is changed over and over, is left to them.
        """
        if not self._maximum_days:
            return 0
        discarded = 0
        for staging in self._store.stagings.all():
            if staging.state != STAGED or self._clock.now() - staging.staged_at <= self._maximum_days * _DAY:
                continue
            with contextlib.suppress(HashmatchError):
                why = f"nobody published it in {self._maximum_days:g} days"
                self._publisher.discard(staging.staging_id, ACTOR, why)
                discarded += 1
        return discarded
