"""Runs questions: what needs no waiting on the event loop, what may wait on threads, and all of it within its time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from hashmatch.index.exact_filter import HOLDING_LOCK
from hashmatch.index.refresher import Served, SnapshotFollower
from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.matching.findings import Finding, ItemAnswer
from hashmatch.matching.scope import Scope, View, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.classification import classification_map
from hashmatch.model.clock import Clock
from hashmatch.model.counts import MATCHED
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.service import match_messages, messages
from hashmatch.service.daily_counts import DailyCounts
from hashmatch.service.match_messages import EncodedSnapshot
from hashmatch.service.metrics import Metrics
from hashmatch.service.permissions import Permissions
from hashmatch.store.loop_reads import LoopReads
from hashmatch.store.supply import Supply
from hashmatch.v1 import common_pb2

A = TypeVar("A", covariant=True)
_Answer = TypeVar("_Answer")

# A probe of this many digests takes less time than handing it to a thread and back.
PROBE_ON_LOOP = HOLDING_LOCK
# For how long, in seconds, answers may state the same moment: the ages in them are true to this.
_SAME_MOMENT = 0.05
_MAXIMUM_VIEWS = 256
_MAXIMUM_OPINIONS = 10_000
_MAXIMUM_ENCODED = 10_000
# The share of the time to the deadline that the store may take; the rest is for saying that it took too long.
_PATIENCE = 0.8
_FOREVER = math.inf


class Question(Protocol[A]):
    """A question of two steps; see `ColumnQuestion`."""

    def probe(self) -> bool:
        """Ask the filters, which need no store. Returns whether `confirm` has anything left to ask."""
        ...

    def confirm(self) -> A:
        """Settle what the filters let through; may wait for the store."""
        ...

    def give_up(self) -> A:
        """The answer without asking the store: what the filters let through is NOT_DETERMINED."""
        ...

    def needs_store(self, supply: Supply) -> bool:
        """Whether `confirm` would wait; it tells `supply` which blocks would change that."""
        ...


class Answering:
    """What every matching call shares: the snapshot in use, threads for waiting, and the counts."""

    def __init__(
        self,
        refresher: SnapshotFollower,
        clock: Clock,
        metrics: Metrics,
        daily: DailyCounts,
        *,
        threads: int,
        reads: LoopReads | None = None,
    ) -> None:
        """A few blocks are read by `reads` where it is given, and can; everything else waits on `threads`."""
        self.refresher = refresher
        self._reads = reads
        self._daily = daily
        self.clock = clock
        self.metrics = metrics
        self.permissions = Permissions(clock)
        self._views: dict[Scope, View] = {}
        self._infos: dict[tuple[Hashable, ...], tuple[Served, float, EncodedSnapshot]] = {}
        self._opinions_of: Snapshot | None = None
        self._opinions: dict[tuple[Opinion, bool, bool], common_pb2.Opinion] = {}
        self._map = classification_map()
        self._classifications = messages.classifications(self._map)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="matching")

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown(cancel_futures=True)

    @property
    def served(self) -> Served | None:
        """What is answered from; None until the first snapshot is loaded."""
        return self.refresher.served

    def view(self, served: Served | None, scope: Scope) -> View | None:
        """The scope upon what is served. Raises `HashmatchError` LIST_NOT_FOUND."""
        if served is None:
            return None
        now, doubts = self.clock.now(), self.refresher.doubts()
        known = self._views.get(scope)
        if (
            known is not None
            and known.snapshot is served.snapshot
            and known.doubts == doubts
            and 0 <= now - known.now < _SAME_MOMENT
        ):
            return known
        if len(self._views) >= _MAXIMUM_VIEWS:
            self._views.clear()
        seen = self.permissions.visibility(served.snapshot, scope.permission)
        made = self._views[scope] = view(served.snapshot, scope, now=now, doubts=doubts, seen=seen)
        return made

    def encoded_snapshot(self, served: Served, view: View) -> EncodedSnapshot:
        """What an answer is given from. Answers of nearly the same moment share it."""
        lists_asked = (view.scope.list_ids, view.scope.natures, view.scope.permission)
        known = self._infos.get(lists_asked)
        if known is not None and known[0] is served and 0 <= view.now - known[1] < _SAME_MOMENT:
            return known[2]
        if len(self._infos) >= _MAXIMUM_VIEWS:
            self._infos.clear()
        seen = self.permissions.visibility(served.snapshot, view.scope.permission)
        info = EncodedSnapshot.of(messages.snapshot_info(served, seen, view.lists.values(), view.now))
        self._infos[lists_asked] = (served, view.now, info)
        return info

    def encoded_finding(self, view: View, finding: Finding, doubts: tuple[Cause, ...]) -> bytes:
        """A finding for BulkMatch. One that hashes share is encoded once for each view."""
        # The finding is kept beside its encoding, so that no other can get its identity meanwhile.
        key = (id(finding), doubts)
        known = view.encoded.get(key)
        if known is None:
            encoded = match_messages.encoded_finding(finding, doubts, partial(self.opinions, view))
            known = self._keep(view, key, finding, encoded)
        return known[1]

    def encoded_answer(self, view: View, answer: ItemAnswer) -> bytes:
        """The answer for an item, for BatchMatch. One that items share is encoded once for each view."""
        known = view.encoded.get(id(answer))
        if known is None:
            encoded = match_messages.encoded_answer(answer, partial(self.opinions, view))
            known = self._keep(view, id(answer), answer, encoded)
        return known[1]

    @staticmethod
    def _keep(
        view: View, key: Hashable, meant: Finding | ItemAnswer, encoded: bytes
    ) -> tuple[Finding | ItemAnswer, bytes]:
        if len(view.encoded) >= _MAXIMUM_ENCODED:
            view.encoded.clear()
        view.encoded[key] = (meant, encoded)
        return view.encoded[key]

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """Run work that blocks on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def answer(self, question: Question[_Answer], hashes: int, deadline: float | None) -> _Answer:
        """The answer to a question about so many hashes, by `deadline` on the monotonic clock at the latest."""
        left = await self.run(question.probe) if hashes > PROBE_ON_LOOP else question.probe()
        # Nothing has to be waited for where the filters say no.
        return await self.confirm(question, deadline) if left else question.confirm()

    async def confirm(self, question: Question[_Answer], deadline: float | None) -> _Answer:
        """Settle a question that the filters were asked, by `deadline` on the monotonic clock at the latest."""
        if not await self._needs_thread(question, deadline):
            return question.confirm()
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, question.confirm)
        if deadline is None:
            return await waiting
        try:
            return await asyncio.wait_for(waiting, max(0.0, deadline - self.clock.monotonic()) * _PATIENCE)
        except TimeoutError:
            return question.give_up()

    async def _needs_thread(self, question: Question[Any], deadline: float | None) -> bool:
        """Whether a question has to wait for more than a few blocks of the store, which it gets here."""
        supply = Supply()
        # Once for each segment of the longest chain at most: what one segment lacks is looked for in the one before.
        while question.needs_store(supply):
            keys = supply.wanted_keys
            if not keys or self._reads is None:
                return True
            left = _FOREVER if deadline is None else (deadline - self.clock.monotonic()) * _PATIENCE
            values = await self._reads.get_many(keys, left)
            if values is None:
                return True
            supply.bring(values)
        return False

    def opinions(self, view: View, found: Iterable[Opinion]) -> list[common_pb2.Opinion]:
        """Opinions as messages. Those that hashes share are made once for each snapshot: do not change them."""
        if self._opinions_of is not view.snapshot:
            self._opinions_of, self._opinions = view.snapshot, {}
        return [self._opinion(view, each) for each in found]

    def _opinion(self, view: View, opinion: Opinion) -> common_pb2.Opinion:
        loaded = view.lists[opinion.list_id]
        stale, full = loaded.is_stale(view.now), view.scope.permission.full_opinions
        if opinion.source_key:
            return self._make_opinion(opinion, loaded, stale, full)
        key = (opinion, stale, full)
        message = self._opinions.get(key)
        if message is None:
            if len(self._opinions) >= _MAXIMUM_OPINIONS:
                self._opinions.clear()
            message = self._opinions[key] = self._make_opinion(opinion, loaded, stale, full)
        return message

    def _make_opinion(self, opinion: Opinion, loaded: LoadedList, stale: bool, full: bool) -> common_pb2.Opinion:
        if not full:
            return messages.opinion(opinion, loaded, stale=stale, classification=None)
        classified = self._map.classify(opinion.statement.scheme, opinion.statement.label)
        return messages.opinion(opinion, loaded, stale=stale, classification=self._classifications[classified])

    def count(self, served: Served, algorithm: Algorithm | None, finding: Finding, amount: int) -> None:
        """Count `amount` hashes of an algorithm, None for an unknown one, that share a finding."""
        self.metrics.answers.count_hashes(algorithm, finding.verdict, amount)
        self._daily.count_verdict(algorithm, finding.verdict, amount)
        if finding.verdict is Verdict.NOT_DETERMINED:
            self.count_causes(finding.causes, amount)
        elif finding.verdict is Verdict.MATCH and algorithm is not None:
            for list_id in {opinion.list_id for opinion in finding.opinions}:
                nature = served.snapshot.manifest.lists[list_id].definition.nature
                self.metrics.answers.count_matches(list_id, algorithm, nature, amount)
                self._daily.count(list_id, algorithm, MATCHED, amount)

    def count_causes(self, causes: Iterable[Cause], amount: int) -> None:
        """Count hashes that were not determined, once for each kind of cause."""
        for reason in {cause.reason for cause in causes}:
            self.metrics.answers.count_undetermined(reason, amount)


NO_SNAPSHOT = Finding(Verdict.NOT_DETERMINED, causes=(Cause(UndeterminedReason.NO_SNAPSHOT),))
