"""What callers said of matches: taken in, known to every server within seconds, and told beside opinions.

It is no part of what is published: no verdict rests on it, and an answer is exact without it. So it does not go through
the manifest, and a server that cannot reach the store goes on with what it knows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hashmatch.matching.findings import Finding, ItemAnswer
from hashmatch.matching.items import AskedHash
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.counts import CONFIRMED, DISPUTED
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.feedback import Feedback, FeedbackCounts, Judgement, Subject, value_of
from hashmatch.service.daily_counts import DailyCounts
from hashmatch.service.metrics import Metrics
from hashmatch.service.store_failures import store_errors
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.feedback import FeedbackStore

# How often, in seconds, it is looked whether others said something.
INTERVAL = 5.0
MAXIMUM_FEEDBACK = 100_000
MAXIMUM_OF_CLIENT = 10_000
_NOBODY = FeedbackCounts(0, 0)
_COUNTED = {Judgement.CONFIRMED: CONFIRMED, Judgement.DISPUTED: DISPUTED}


class FeedbackDesk:
    """The feedback that this server knows. Used from the event loop alone; the store is asked on threads."""

    def __init__(self, store: FeedbackStore, daily: DailyCounts, metrics: Metrics) -> None:
        self._store = store
        self._daily = daily
        self._metrics = metrics
        # What was read while something is being kept would be without it.
        self._changing = asyncio.Lock()
        self._version: bytes | None = None
        self._said = _Said({})

    @property
    def known(self) -> Mapping[str, Feedback]:
        """Everything that is known, by its id."""
        return self._said.known

    async def run(self) -> None:
        """Follow what is said on other servers, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Find out what was said on other servers; nothing happens if the store does not answer."""
        async with self._changing:
            try:
                version = await asyncio.to_thread(self._store.version)
                if version != self._version:
                    # A hundred thousand of them take a while to sort.
                    self._said = await asyncio.to_thread(lambda: _Said(self._store.all()))
                    self._version = version
            except StoreUnavailableError:
                return

    async def keep(self, said: Feedback) -> bool:
        """Keep what a client says; False if it had said the same. Raises `HashmatchError`."""
        async with self._changing:
            return await self._keep(said)

    async def forget(self, feedback_ids: Iterable[str]) -> int:
        """Keep something no longer; returns how much of it there was. Raises `HashmatchError`."""
        async with self._changing:
            return await self._forget(feedback_ids)

    async def _keep(self, said: Feedback) -> bool:
        feedback_id = self._store.id_of(said)
        before = self._said.known.get(feedback_id)
        if said.judgement is Judgement.WITHDRAWN:
            return before is not None and await self._forget([feedback_id]) > 0
        if before is not None and said.says_the_same_as(before):
            return False
        full = len(self._said.known) >= MAXIMUM_FEEDBACK or self._said.of_client[said.client] >= MAXIMUM_OF_CLIENT
        if before is None and full:
            raise HashmatchError(ErrorReason.FEEDBACK_FULL, "no more feedback is kept until some of it is settled")
        with store_errors():
            await asyncio.to_thread(self._store.put, said)
        self._said.put(feedback_id, said)
        self._daily.count(said.list_id, Algorithm(said.algorithm), _COUNTED[said.judgement], 1)
        self._metrics.feedback.labels(said.list_id, said.judgement.name.lower()).inc()
        return True

    async def _forget(self, feedback_ids: Iterable[str]) -> int:
        gone = {each: self._said.known[each] for each in self._said.known.keys() & set(feedback_ids)}
        if gone:
            with store_errors():
                await asyncio.to_thread(self._store.remove, list(gone.values()))
            for feedback_id in gone:
                self._said.drop(feedback_id)
        return len(gone)

    def annotated(self, items: Sequence[Sequence[AskedHash]], answers: Sequence[ItemAnswer]) -> Sequence[ItemAnswer]:
        """The answers with what callers said beside the opinions; the same ones where nobody said anything."""
        if not self._said.counts:
            return answers
        return [self._annotated(hashes, answer) for hashes, answer in zip(items, answers, strict=True)]

    def _annotated(self, hashes: Sequence[AskedHash], answer: ItemAnswer) -> ItemAnswer:
        findings = [
            self._with_feedback(asked, finding) if finding.opinions else finding
            for asked, finding in zip(hashes, answer.findings, strict=True)
        ]
        if all(new is old for new, old in zip(findings, answer.findings, strict=True)):
            return answer
        return answer._replace(findings=tuple(findings))

    def _with_feedback(self, asked: AskedHash, finding: Finding) -> Finding:
        said = self._said.counts.get(Subject(asked.algorithm, value_of(asked.value, asked.frames)))
        if said is None:
            return finding
        return finding._replace(
            opinions=tuple(opinion._replace(feedback=said.get(opinion.list_id)) for opinion in finding.opinions)
        )


class _Said:
    """What is said, by its id; how much of it of each hash in each list, and by each client."""

    def __init__(self, known: dict[str, Feedback]) -> None:
        self.known: dict[str, Feedback] = {}
        self.counts: dict[Subject, dict[str, FeedbackCounts]] = {}
        self.of_client: Counter[str] = Counter()
        for feedback_id, said in known.items():
            self.put(feedback_id, said)

    def put(self, feedback_id: str, said: Feedback) -> None:
        """Add something, in the place of what was said under this id before."""
        if feedback_id in self.known:
            self.drop(feedback_id)
        self.known[feedback_id] = said
        self._count(said, 1)

    def drop(self, feedback_id: str) -> None:
        """Forget something."""
        self._count(self.known.pop(feedback_id), -1)

    def _count(self, said: Feedback, amount: int) -> None:
        self.of_client[said.client] += amount
        lists = self.counts.setdefault(said.subject, {})
        confirmed, disputed = lists.get(said.list_id, _NOBODY)
        counts = FeedbackCounts(
            confirmed + amount * (said.judgement is Judgement.CONFIRMED),
            disputed + amount * (said.judgement is Judgement.DISPUTED),
        )
        if counts != _NOBODY:
            lists[said.list_id] = counts
            return
        lists.pop(said.list_id, None)
        if not lists:
            del self.counts[said.subject]
