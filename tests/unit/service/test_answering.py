"""How a question is run: a few blocks come over the event loop, and what goes wrong there goes to a thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hashmatch.index.snapshot import Snapshot
from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.scope import EVERYTHING, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import UndeterminedReason, Verdict
from hashmatch.model.vetting import DeliveryMode
from hashmatch.service.answering import Answering
from hashmatch.service.daily_counts import DailyCounts
from hashmatch.service.metrics import Metrics
from hashmatch.store.connection import Connection
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.numbered import digests
from tests.support.office import Office

# In the newest segment, in the one before, in the oldest, and in none.
ASKED = (4, 3, 1, 2, 99)
VERDICTS = [Verdict.MATCH] * 4 + [Verdict.NO_KNOWN_MATCH]
SEGMENTS = 3


class Reads:
    """Reads on the event loop that answer so many times; notes how long each might take."""

    def __init__(self, store: Store, times: int) -> None:
        # The class's own, which is not what is noted of threads.
        self._get_many = partial(Connection.get_many, store.connection)
        self._left = times
        self.patience: list[float] = []

    async def get_many(self, keys: Sequence[bytes], patience: float) -> list[bytes | None] | None:
        self.patience.append(patience)
        self._left -= 1
        return self._get_many(keys) if self._left >= 0 else None


@pytest.fixture
def snapshot(office: Office, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """A list with a chain of three segments, of which no block is kept."""
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    office.define("a")
    office.deliver_hashes(digests(1, 2), "a")
    for added in (3, 4):
        office.deliver_hashes(digests(added), "a", mode=DeliveryMode.INCREMENTAL)
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    assert len(snapshot.lists["a"].chains[Algorithm.MD5]) == SEGMENTS
    return snapshot


@pytest.fixture
def on_threads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that asked the store the long way."""
    names: list[str] = []
    proper = store.connection.get_many

    def noted(keys: Sequence[bytes]) -> list[bytes | None]:
        names.append(threading.current_thread().name)
        return proper(keys)

    monkeypatch.setattr(store.connection, "get_many", noted)
    return names


async def run(
    office: Office, snapshot: Snapshot, clock: ManualClock, reads: Any, deadline: float | None = None
) -> ColumnAnswer:
    metrics = Metrics(CollectorRegistry(), clock=clock, version="1")
    refresher: Any = SimpleNamespace(served=None, doubts=tuple)
    with closing(Answering(refresher, clock, metrics, DailyCounts(clock), threads=1, reads=reads)) as answering:
        question = ColumnQuestion(
            view(snapshot, EVERYTHING, now=office.clock.now()), Algorithm.MD5, b"".join(digests(*ASKED))
        )
        question.probe()
        return await answering.confirm(question, deadline)


def verdicts(answer: ColumnAnswer) -> list[Verdict]:
    found = dict(zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True))
    return [
        answer.verdict_at(found[position]) if position in found else Verdict.NO_KNOWN_MATCH
        for position in range(answer.count)
    ]


async def test_what_a_chain_lacks_is_read_segment_by_segment_with_no_thread(
    office: Office, store: Store, snapshot: Snapshot, clock: ManualClock, on_threads: list[str]
):
    reads = Reads(store, 10)
    on_threads.clear()
    assert verdicts(await run(office, snapshot, clock, reads)) == VERDICTS
    assert len(reads.patience) == SEGMENTS
    assert on_threads == []


@pytest.mark.parametrize("times", range(SEGMENTS))
async def test_where_reading_on_the_loop_fails_a_thread_goes_on(
    office: Office, store: Store, snapshot: Snapshot, clock: ManualClock, on_threads: list[str], times: int
):
    reads = Reads(store, times)
    assert verdicts(await run(office, snapshot, clock, reads)) == VERDICTS
    assert len(reads.patience) == times + 1
    assert on_threads[-1].startswith("matching")


async def test_without_reads_on_the_loop_a_thread_asks(
    office: Office, snapshot: Snapshot, clock: ManualClock, on_threads: list[str]
):
    assert verdicts(await run(office, snapshot, clock, None)) == VERDICTS
    assert {name.split("_")[0] for name in on_threads} == {"matching"}


async def test_no_more_is_waited_than_a_call_has_time(
    office: Office, store: Store, snapshot: Snapshot, clock: ManualClock
):
    reads = Reads(store, 10)
    await run(office, snapshot, clock, reads, deadline=clock.monotonic() + 10.0)
    assert {0 < each < 10 for each in reads.patience} == {True}


async def test_a_call_whose_time_is_over_is_not_determined(
    office: Office, store: Store, snapshot: Snapshot, clock: ManualClock
):
    answer = await run(office, snapshot, clock, Reads(store, 0), deadline=clock.monotonic() - 1.0)
    assert verdicts(answer) == [Verdict.NOT_DETERMINED] * 4 + [Verdict.NO_KNOWN_MATCH]
    assert {cause.reason for finding in answer.findings for cause in finding.causes} == {UndeterminedReason.WORK_LIMIT}


async def test_damage_that_is_read_on_the_loop_is_damage(
    office: Office, store: Store, snapshot: Snapshot, clock: ManualClock
):
    class Corrupted(Reads):
        async def get_many(self, keys: Sequence[bytes], patience: float) -> list[bytes | None] | None:
            values = await super().get_many(keys, patience) or []
            return [value and value[:-1] + bytes([value[-1] ^ 1]) for value in values]

    answer = await run(office, snapshot, clock, Corrupted(store, 10))
    assert verdicts(answer) == [Verdict.NOT_DETERMINED] * 4 + [Verdict.NO_KNOWN_MATCH]
    assert {cause.reason for finding in answer.findings for cause in finding.causes} == {
        UndeterminedReason.STORE_DAMAGED
    }
