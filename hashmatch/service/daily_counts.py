"""Counts what is answered, day by day, and puts it where it outlives the process."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Mapping

from prometheus_client import Gauge

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.counts import UNKNOWN_ALGORITHM, Count, Counts, day_of, seconds_left_of_day
from hashmatch.model.verdicts import Verdict
from hashmatch.service.config_duties import CountsSection
from hashmatch.service.logs import Event, get_logger
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.counts import KEPT_DAYS, CountError, CountFiles, CountStore

_DAY = 86_400.0

Key = tuple[str, Algorithm | None, str]


class DailyCounts:
    """What this process counted, since it started; only the event loop counts and looks."""

    def __init__(self, clock: Clock) -> None:
        self.run = secrets.token_hex(8)
        self._clock = clock
        self._day = day_of(clock.now())
        self._counts: dict[Key, int] = {}
        self._earlier: dict[str, Counts] = {}

    def count(self, list_id: str, algorithm: Algorithm | None, what: str, amount: int) -> None:
        """Count `amount` hashes; see `model.counts.Count`."""
        key = (list_id, algorithm, what)
        self._counts[key] = self._counts.get(key, 0) + amount

    def count_verdict(self, algorithm: Algorithm | None, verdict: Verdict, amount: int) -> None:
        """Count hashes by the verdict on them."""
        self.count("", algorithm, verdict.name.lower(), amount)

    def days(self) -> dict[str, Counts]:
        """The counts of today, and of earlier days that nobody said were kept."""
        today = day_of(self._clock.now())
        if today != self._day:
            if self._counts:
                self._earlier[self._day] = self._rows()
            self._day, self._counts = today, {}
        return {**self._earlier, self._day: self._rows()}

    def kept(self, day: str) -> None:
        """Forget an earlier day, which is where it outlives the process."""
        self._earlier.pop(day, None)

    def _rows(self) -> Counts:
        return tuple(
            Count(list_id, UNKNOWN_ALGORITHM if algorithm is None else algorithm.name.lower(), what, count)
            for (list_id, algorithm, what), count in self._counts.items()
            if count
        )


class CountKeeper:
    """Puts the counts into the store, and with `files` copies those of all servers to this server's disk."""

    def __init__(
        self,
        counts: DailyCounts,
        store: CountStore,
        files: CountFiles | None,
        settings: CountsSection,
        clock: Clock,
        gauge: Gauge,
    ) -> None:
        """`gauge` is set to the time, in seconds since 1970, of the last round in which nothing failed."""
        self._counts = counts
        self._store = store
        self._files = files
        self._settings = settings
        self._clock = clock
        self._logger = get_logger("counts")
        self._one_at_a_time = threading.Lock()
        self._put: dict[str, Counts] = {}
        self._all_copied = False
        self._failing = ""
        self._gauge = gauge
        gauge.set(clock.now())

    async def run(self) -> None:
        """Keep the counts until cancelled, and once more then.

        A day ends with a round of its own, so that what was counted before midnight is not taken for the next day's.
        """
        try:
            while True:
                await self.keep()
                left = seconds_left_of_day(self._clock.now())
                await asyncio.sleep(min(self._settings.flush_seconds, left))
        finally:
            await self.keep()

    async def keep(self) -> None:
        """Keep what was counted so far. What fails is tried again in the next round."""
        days = self._counts.days()
        today = max(days)
        failure = await asyncio.to_thread(self._keep, days)
        if failure and failure != self._failing:
            self._logger.warning(Event.COUNTS_NOT_KEPT, why=failure)
        self._failing = failure
        if not failure:
            self._gauge.set(self._clock.now())
        for day, counts in days.items():
            if day != today and (self._put.get(day) == counts):
                self._counts.kept(day)
                del self._put[day]

    def _keep(self, days: Mapping[str, Counts]) -> str:
        """Returns what went wrong, if anything did."""
        failures = []
        # A round whose caller was cancelled goes on while the last one begins.
        with self._one_at_a_time:
            for step in (self._copy_own, self._put_own, self._copy_all):
                try:
                    step(days)
                except (StoreUnavailableError, CountError) as error:
                    failures.append(str(error))
        return "; ".join(failures)

    def _copy_own(self, days: Mapping[str, Counts]) -> None:
        if self._files is not None:
            for day, counts in days.items():
                if counts:
                    self._files.merge(day, {self._counts.run: counts})

    def _put_own(self, days: Mapping[str, Counts]) -> None:
        for day, counts in days.items():
            if counts and self._put.get(day) != counts:
                self._store.put(day, self._counts.run, counts)
                self._put[day] = counts

    def _copy_all(self, _: Mapping[str, Counts]) -> None:
        if self._files is None:
            return
        now = self._clock.now()
        # Yesterday as well: other servers put the end of their day when it is over. All others once, after a start.
        back = 1 if self._all_copied else KEPT_DAYS
        for ago in range(back + 1):
            day = day_of(now - ago * _DAY)
            if runs := self._store.runs(day):
                self._files.merge(day, runs)
        self._all_copied = True
        self._files.delete_before(day_of(now - self._settings.retention_days * _DAY))
