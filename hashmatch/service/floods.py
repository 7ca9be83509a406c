"""The flood guard: tells operators of entries that suddenly match far more often than before.

Such an entry may be right: a file that is being spread. Or it should not be listed: an empty file, a logo, somebody's
picture that was put there on purpose. Only people can tell, so nothing changes but that they are told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import accumulate

import numpy as np
from structlog.typing import FilteringBoundLogger

from hashmatch.index.refresher import Served
from hashmatch.matching.columns import ColumnAnswer
from hashmatch.matching.findings import Finding
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.floods import Flood
from hashmatch.model.verdicts import Verdict
from hashmatch.service.logs import Event
from hashmatch.service.metrics import Metrics
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floods import MAXIMUM_FLOODS, FloodStore
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.floods import Flooding, FloodLimits, FloodSketch

# How often, in seconds, matches are counted at least, and what was found is put where operators can see it.
INTERVAL = 5.0
_ROWS_AT_ONCE = 1_024
_MAXIMUM_SOURCE_KEYS = 10


class FloodGuard:
    """Watches the matches of one process, all callers together. Used from the event loop; the store on threads."""

    def __init__(
        self,
        store: FloodStore,
        key: CountingKey,
        limits: FloodLimits,
        clock: Clock,
        metrics: Metrics,
        logger: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._sketch = FloodSketch(key, limits, clock)
        self._window = limits.window_seconds
        self._clock = clock
        self._metrics = metrics
        self._logger = logger
        # What is not counted yet: for a few matches the sketch costs more than the matches.
        self._uncounted: dict[Algorithm, list[ColumnAnswer]] = {}
        self._rows = 0
        self._served: Served | None = None
        # What operators cannot see yet, by list and value.
        self._untold: dict[tuple[str, Algorithm, bytes], Flood] = {}

    def observe(self, served: Served, algorithm: Algorithm, answer: ColumnAnswer) -> None:
        """Take note of the matches of a column; they are counted together with others."""
        if answer.listed is None or not len(answer.positions):
            return
        if self._sketch.is_over:
            self._count()
            self._sketch.turn()
        self._served = served
        self._uncounted.setdefault(algorithm, []).append(answer)
        self._rows += len(answer.positions)
        if self._rows >= _ROWS_AT_ONCE:
            self._count()

    def _count(self) -> None:
        uncounted, self._uncounted, self._rows = self._uncounted, {}, 0
        for algorithm, answers in uncounted.items():
            values = np.concatenate([answer.listed for answer in answers if answer.listed is not None])
            offsets = accumulate((len(answer.findings) for answer in answers), initial=0)
            numbers = np.concatenate(
                [answer.finding_numbers + offset for answer, offset in zip(answers, offsets, strict=False)]
            )
            findings = [finding for answer in answers for finding in answer.findings]
            found = self._sketch.add(values, numbers, [_lists_of(finding) for finding in findings])
            for flooding in found:
                finding = findings[int(numbers[flooding.row])]
                self._note(algorithm, values[flooding.row].tobytes(), finding, flooding)
            for list_id, entries in Counter(flooding.list_id for flooding in found).items():
                self._metrics.match_floods.labels(list_id).inc(entries)
                self._logger.warning(
                    Event.MATCH_FLOOD,
                    list_id=list_id,
                    generation=self._generation(list_id),
                    algorithm=algorithm.name.lower(),
                    entries=entries,
                )

    def _note(self, algorithm: Algorithm, value: bytes, finding: Finding, flooding: Flooding) -> None:
        list_id = flooding.list_id
        keys = dict.fromkeys(each.source_key for each in finding.opinions if each.list_id == list_id)
        if len(self._untold) < MAXIMUM_FLOODS:
            self._untold[list_id, algorithm, value] = Flood(
                list_id=list_id,
                generation=self._generation(list_id),
                algorithm=int(algorithm),
                value=value,
                source_keys=tuple(key for key in keys if key)[:_MAXIMUM_SOURCE_KEYS],
                matches=flooding.matches,
                usual=flooding.usual,
                window_seconds=self._window,
                seen_at=self._clock.now(),
            )

    def _generation(self, list_id: str) -> int:
        state = None if self._served is None else self._served.snapshot.manifest.lists.get(list_id)
        return 0 if state is None or state.generation is None else state.generation.number

    async def run(self) -> None:
        """Put what was found where operators can see it, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.tell()

    async def tell(self) -> None:
        """Count what is left, and put what was found there now; it waits where the store does not answer."""
        self._count()
        if self._sketch.is_over:
            self._sketch.turn()
        if not self._untold:
            return
        told, self._untold = self._untold, {}
        try:
            await asyncio.to_thread(self._store.put, list(told.values()), self._clock.now())
        except StoreUnavailableError:
            self._untold = told | self._untold


def _lists_of(finding: Finding) -> tuple[str, ...]:
    """The lists that a finding matches in; of one that is no match none."""
    if finding.verdict is not Verdict.MATCH:
        return ()
    return tuple({opinion.list_id: None for opinion in finding.opinions})
