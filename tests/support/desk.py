"""Asks what is published as a caller would, through the servicers and without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from hashmatch.index.refresher import Served
from hashmatch.index.snapshot import Snapshot
from hashmatch.matching.near import Nearness
from hashmatch.model.errors import HashmatchError
from hashmatch.service.answering import Answering
from hashmatch.service.attesting import Attesting
from hashmatch.service.batch_request import BatchRequest
from hashmatch.service.budgets import Budgets
from hashmatch.service.bulk_request import BulkRequest
from hashmatch.service.calls import Call, enter_call
from hashmatch.service.changes import Changes
from hashmatch.service.daily_counts import DailyCounts
from hashmatch.service.feedback import FeedbackDesk
from hashmatch.service.floods import FloodGuard
from hashmatch.service.identity import Caller
from hashmatch.service.list_servicer import ListServicer
from hashmatch.service.logs import get_logger
from hashmatch.service.match_servicer import MatchServicer
from hashmatch.service.metrics import Metrics
from hashmatch.service.searching import Searching
from hashmatch.service.statuses import details_of
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.floods import FloodLimits
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from hashmatch.v1 import common_pb2, list_service_pb2, match_service_pb2
from tests.support.office import Office

A = TypeVar("A")


class Desk:
    """What a server without lists of its own answers: whatever the office has published, at the office's time."""

    def __init__(self, office: Office, *, nearness: Nearness | None = None) -> None:
        self._office = office
        clock = office.clock
        self.metrics = metrics = Metrics(CollectorRegistry(), clock=clock, version="1")
        self._refresher: Any = SimpleNamespace(served=None, doubts=tuple)
        daily = DailyCounts(clock)
        self._answering = Answering(self._refresher, clock, metrics, daily, threads=1)
        self._searching = Searching(nearness or Nearness(), clock)
        changes = Changes(lambda: self._refresher.served)
        counting = CountingKey(SealingKey(bytes(KEY_SIZE)))
        budgets = Budgets(office.store.budgets, counting, clock, metrics, settle_interval=60.0)
        self.feedback = FeedbackDesk(office.store.feedback, daily, metrics)
        self.floods = FloodGuard(
            office.store.floods, counting, FloodLimits(600.0, 20, 10.0), clock, metrics, get_logger("floods")
        )
        self.matching = MatchServicer(
            self._answering,
            self._searching,
            budgets,
            self.feedback,
            self.floods,
            changes,
            Attesting(),
            maximum_items=1_000,
            maximum_digests=100_000,
        )
        self.lists = ListServicer(self._refresher, self._answering.permissions, clock)

    def close(self) -> None:
        self._answering.close()
        self._searching.close()

    def follow(self) -> Snapshot:
        """Serve what is published now."""
        store, clock = self._office.store, self._office.clock
        snapshot = self._office.snapshot()
        header = store.manifests.header()
        assert header is not None
        self._refresher.served = Served(snapshot, header, clock.now(), clock.monotonic())
        return snapshot

    def as_caller(self, caller: Caller, work: Callable[[], Awaitable[A]]) -> A:
        async def call() -> A:
            enter_call(Call("request", self._office.clock.monotonic(), caller=caller))
            return await work()

        return asyncio.run(call())

    def batch(
        self, caller: Caller, items: Sequence[Sequence[tuple[int, bytes]]], **scope: Any
    ) -> match_service_pb2.BatchMatchResponse:
        request = match_service_pb2.BatchMatchRequest(
            items=[
                match_service_pb2.MatchItem(
                    hashes=[
                        common_pb2.Hash(algorithm=common_pb2.Algorithm.ValueType(algorithm), value=value)
                        for algorithm, value in item
                    ]
                )
                for item in items
            ],
            scope=match_service_pb2.MatchScope(**scope),
        )
        encoded = self.as_caller(caller, lambda: self.matching.BatchMatch(BatchRequest(request), None))  # type: ignore[arg-type]
        return match_service_pb2.BatchMatchResponse.FromString(encoded)

    def dispute(
        self, caller: Caller, algorithm: int, value: bytes, list_id: str
    ) -> match_service_pb2.FeedbackOutcome.ValueType:
        """Say that a match is wrong."""
        stated = match_service_pb2.HitFeedback(
            hash=common_pb2.Hash(algorithm=common_pb2.Algorithm.ValueType(algorithm), value=value),
            list_id=list_id,
            judgement=match_service_pb2.FEEDBACK_JUDGEMENT_DISPUTED,
            reason=match_service_pb2.DISPUTE_REASON_OTHER_CONTENT,
        )
        request = match_service_pb2.ReportFeedbackRequest(feedback=[stated])
        response = self.as_caller(caller, lambda: self.matching.ReportFeedback(request, None))  # type: ignore[arg-type]
        return response.outcomes[0]

    def bulk(self, caller: Caller, algorithm: int, digests: Sequence[bytes], **scope: Any) -> bytes:
        """One column, encoded."""

        async def requests() -> AsyncIterator[BulkRequest]:
            yield BulkRequest(7, algorithm, b"".join(digests), b"", match_service_pb2.MatchScope(**scope))

        async def first() -> bytes:
            async for response in self.matching.BulkMatch(requests(), None):  # type: ignore[arg-type]
                return response
            raise AssertionError("no answer")

        return self.as_caller(caller, first)

    def snapshot(self, caller: Caller, since_epoch: int = 0) -> match_service_pb2.GetSnapshotResponse:
        request = match_service_pb2.GetSnapshotRequest(since_epoch=since_epoch)
        return self.as_caller(caller, lambda: self.matching.GetSnapshot(request, None))  # type: ignore[arg-type]

    def all_lists(self, caller: Caller) -> list_service_pb2.ListListsResponse:
        request = list_service_pb2.ListListsRequest(page_size=2)
        return self.as_caller(caller, lambda: self.lists.ListLists(request, None))  # type: ignore[arg-type]

    def one_list(self, caller: Caller, list_id: str) -> list_service_pb2.GetListResponse:
        request = list_service_pb2.GetListRequest(list_id=list_id)
        return self.as_caller(caller, lambda: self.lists.GetList(request, None))  # type: ignore[arg-type]


def encoded(ask: Callable[[], Any]) -> bytes:
    """An answer, or the error in its place, as it goes over the wire."""
    try:
        answer = ask()
    except HashmatchError as error:
        return b"error " + details_of(error)
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString(deterministic=True))
