"""MatchService: checks what is asked, has it answered, translates."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc.aio
import numpy as np

from hashmatch.index.refresher import Served
from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import ItemAnswer
from hashmatch.matching.items import MAXIMUM_QUALITY, AskedHash, ItemsQuestion
from hashmatch.matching.near import NearQuestion, NearValues
from hashmatch.matching.nearness import NEARNESS
from hashmatch.matching.scope import EVERYTHING, Scope, View
from hashmatch.matching.visibility import Visibility
from hashmatch.model.access import Client
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.opinions import Agreement
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.service import messages
from hashmatch.service.answering import NO_SNAPSHOT, Answering
from hashmatch.service.attesting import Answer, Attesting
from hashmatch.service.batch_request import BatchRequest
from hashmatch.service.budgets import Budgets
from hashmatch.service.bulk_request import BulkRequest
from hashmatch.service.calls import annotate, current_call, tally
from hashmatch.service.changes import Changes
from hashmatch.service.feedback import FeedbackDesk
from hashmatch.service.floods import FloodGuard
from hashmatch.service.match_messages import (
    all_undetermined,
    batch_response,
    bulk_response,
    encoded_answer,
)
from hashmatch.service.permissions import narrowed
from hashmatch.service.receipts import NOTHING
from hashmatch.service.reporting import Reporting
from hashmatch.service.searching import Searching
from hashmatch.service.spending import admit_items, outcome_of
from hashmatch.v1 import common_pb2, match_service_pb2, match_service_pb2_grpc

MAXIMUM_HASHES_PER_ITEM = 16
MAXIMUM_REFERENCE = 256

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class MatchServicer(match_service_pb2_grpc.MatchServiceServicer):
    """Answers questions from the snapshot in use; every batch from one snapshot."""

    def __init__(
        self,
        answering: Answering,
        searching: Searching,
        budgets: Budgets,
        feedback: FeedbackDesk,
        floods: FloodGuard,
        changes: Changes,
        attesting: Attesting,
        *,
        maximum_items: int,
        maximum_digests: int,
    ) -> None:
        self._answering = answering
        self._searching = searching
        self._budgets = budgets
        self._feedback = feedback
        self._floods = floods
        self._reporting = Reporting(answering, searching, budgets, feedback, attesting)
        self._changes = changes
        self._attesting = attesting
        self._maximum_items = maximum_items
        self._maximum_digests = maximum_digests

    async def BatchMatch(  # type: ignore[override]  # noqa: N802  (answers are written by hand)
        self,
        request: BatchRequest,
        context: Context,  # noqa: ARG002
    ) -> bytes:
        """Answer items; returns an encoded `BatchMatchResponse`."""
        signed = self._attesting.check(wanted=request.message.want_receipt)
        answer = await self._batch(request.message)
        try:
            return await self._attesting.batch(request.sent, answer, request.message.scope.purpose, signed=signed)
        except HashmatchError:
            self._return_hits(answer)
            raise

    async def _batch(self, request: match_service_pb2.BatchMatchRequest) -> Answer:
        items = self._items_of(request)
        references = [item.reference for item in request.items]
        stated = messages.scope_of(request.scope) if request.HasField("scope") else EVERYTHING
        served = self._answering.served
        client = self._client(served)
        scope = narrowed(stated, request.scope.purpose, client)
        view = self._answering.view(served, scope)
        asked = sum(map(len, items))
        if served is None or view is None:
            unanswered = batch_response(references, map(_without_snapshot, items), b"", _encoded_without_snapshot)
            return Answer(unanswered, asked, 0, asked)
        if client is not None:
            await admit_items(self._budgets, client, items)
        all_exact = all(each.algorithm in _EXACT for hashes in items for each in hashes)
        question = ItemsQuestion(
            view, items, NEARNESS if all_exact else self._searching.nearness(current_call(), scope)
        )
        answers = await self._answering.answer(question, asked, current_call().deadline)
        matches, undetermined = outcome_of(answers)
        if client is not None:
            self._budgets.spend_hits(client, matches)
        # Nobody has to wait for the counts.
        asyncio.get_running_loop().call_soon(self._count_items, served, question, answers)
        info = self._answering.encoded_snapshot(served, view)
        told = self._feedback.annotated(items, answers) if scope.permission.feedback else answers
        data = batch_response(references, told, info.batch, partial(self._answering.encoded_answer, view))
        return Answer(data, asked, matches, undetermined, info.epoch, served.snapshot.manifest.epoch)

    async def BulkMatch(  # type: ignore[override]  # noqa: N802  (messages are read and written by hand)
        self,
        request_iterator: AsyncIterator[BulkRequest],
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[bytes]:
        """Answer columns, one encoded `BulkMatchResponse` for each request."""
        scope, purpose, stated = EVERYTHING, "", NOTHING
        async for request in request_iterator:
            signed = self._attesting.check(wanted=request.want_receipt)
            if request.scope is not None:
                scope, purpose = messages.scope_of(request.scope), request.scope.purpose
                stated = self._attesting.scope_digest(request.sent)
            answer = await self._bulk(request, scope, purpose)
            try:
                given = await self._attesting.bulk(request.sent, stated, answer, purpose, signed=signed)
            except HashmatchError:
                self._return_hits(answer)
                raise
            yield given

    async def GetSnapshot(  # noqa: N802
        self,
        request: match_service_pb2.GetSnapshotRequest,
        context: Context,  # noqa: ARG002
    ) -> match_service_pb2.GetSnapshotResponse:
        """Tell what is served and what changed."""
        served = _must_be_served(self._answering.served)
        seen = self._visible(served)
        changes, complete = messages.changes_since(seen, request.since_epoch)
        return match_service_pb2.GetSnapshotResponse(
            snapshot=self._snapshot_info(served, seen), changes=changes, changes_complete=complete
        )

    async def WatchSnapshots(  # noqa: N802
        self,
        request: match_service_pb2.WatchSnapshotsRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[match_service_pb2.WatchSnapshotsResponse]:
        """Tell what is served, now and at every new epoch."""
        told = request.since_epoch
        first = True
        async for served in self._changes.watch():
            seen = self._visible(served)
            if not first and seen.epoch == told:
                continue
            changes, complete = messages.changes_since(seen, told)
            yield match_service_pb2.WatchSnapshotsResponse(
                snapshot=self._snapshot_info(served, seen), changes=changes, changes_complete=complete
            )
            first, told = False, seen.epoch

    async def ReportFeedback(  # noqa: N802
        self,
        request: match_service_pb2.ReportFeedbackRequest,
        context: Context,  # noqa: ARG002
    ) -> match_service_pb2.ReportFeedbackResponse:
        """Keep what the caller says of matches, where they are matches."""
        served = _must_be_served(self._answering.served)
        return await self._reporting.report(request, served, self._client(served))

    def _visible(self, served: Served) -> Visibility:
        return self._answering.permissions.visible(served, current_call().caller)

    def _client(self, served: Served | None) -> Client | None:
        """Which client of the policy asks, as of now. Raises `HashmatchError` NOT_PERMITTED."""
        return None if served is None else self._answering.permissions.client(served, current_call().caller)

    def _return_hits(self, answer: Answer) -> None:
        """The hits of an answer that cannot be given are not charged."""
        self._budgets.return_hits(self._client(self._answering.served), answer.matches)

    def _snapshot_info(self, served: Served, seen: Visibility) -> common_pb2.SnapshotInfo:
        return messages.snapshot_info(served, seen, seen.lists.values(), self._answering.clock.now())

    def _items_of(self, request: match_service_pb2.BatchMatchRequest) -> list[list[AskedHash]]:
        if not request.items:
            raise HashmatchError(ErrorReason.EMPTY_BATCH, "the batch has no item", fields={"items": "at least one"})
        if len(request.items) > self._maximum_items:
            problem = f"at most {self._maximum_items}"
            raise HashmatchError(
                ErrorReason.BATCH_TOO_LARGE,
                f"the batch has {len(request.items)} items, {problem} are allowed",
                fields={"items": problem},
            )
        items = []
        for index, item in enumerate(request.items):
            if not 1 <= len(item.hashes) <= MAXIMUM_HASHES_PER_ITEM:
                raise invalid_field(f"items[{index}].hashes", f"1 to {MAXIMUM_HASHES_PER_ITEM}")
            if len(item.reference) > MAXIMUM_REFERENCE:
                raise invalid_field(f"items[{index}].reference", f"at most {MAXIMUM_REFERENCE} characters")
            items.append([messages.asked_hash(asked) for asked in item.hashes])
        annotate(items=len(items))
        return items

    async def _bulk(self, request: BulkRequest, stated: Scope, purpose: str) -> Answer:
        algorithm, count = self._column_of(request.algorithm, len(request.digests))
        _check_qualities(algorithm, request.qualities, count)
        served = self._answering.served
        client = self._client(served)
        scope = narrowed(stated, purpose, client)
        view = self._answering.view(served, scope)
        if served is None or view is None:
            return Answer(all_undetermined(request.sequence, count, NO_SNAPSHOT.causes).data, count, 0, count)
        store_epoch = served.snapshot.manifest.epoch
        if algorithm is Algorithm.VPDQ:
            # Which frames of a column are of one video nothing says.
            unserved = (Cause(UndeterminedReason.ALGORITHM_NOT_SERVED),)
            info = self._answering.encoded_snapshot(served, view)
            unanswered = all_undetermined(request.sequence, count, unserved, info.bulk)
            return Answer(unanswered.data, count, 0, count, info.epoch, store_epoch)
        if client is not None and not client.budget.is_unlimited:
            await self._budgets.admit(client, {algorithm: request.digests})
        question = self._column_question(view, algorithm, request)
        answer = await self._answering.answer(question, count, current_call().deadline)
        info = self._answering.encoded_snapshot(served, view)
        response = bulk_response(request.sequence, answer, info.bulk, partial(self._answering.encoded_finding, view))
        if client is not None:
            self._budgets.spend_hits(client, response.matches)
        self._count_column(served, view, algorithm, answer, response.matches)
        return Answer(response.data, count, response.matches, response.undetermined, info.epoch, store_epoch)

    def _column_question(self, view: View, algorithm: Algorithm, request: BulkRequest) -> ColumnQuestion | NearQuestion:
        if algorithm in EXACT_ALGORITHMS:
            return ColumnQuestion(view, algorithm, request.digests)
        values = NearValues.of_column(algorithm, request.digests, request.qualities)
        return NearQuestion(view, algorithm, values, self._searching.nearness(current_call(), view.scope))

    def _column_of(self, asked: int, size: int) -> tuple[Algorithm, int]:
        """The algorithm of a column of `size` bytes, and how many digests that makes. Raises `HashmatchError`."""
        try:
            algorithm = Algorithm(asked)
        except ValueError:
            raise HashmatchError(
                ErrorReason.UNKNOWN_ALGORITHM,
                "the column's algorithm is unspecified or unknown",
                fields={"column.algorithm": "unspecified or unknown"},
            ) from None
        count, rest = divmod(size, algorithm.digest_size)
        if rest:
            problem = f"not a multiple of {algorithm.digest_size} bytes"
            raise HashmatchError(
                ErrorReason.RAGGED_COLUMN, f"column.digests: {problem}", fields={"column.digests": problem}
            )
        if not count:
            raise HashmatchError(
                ErrorReason.EMPTY_BATCH, "the column is empty", fields={"column.digests": "at least one digest"}
            )
        if count > self._maximum_digests:
            problem = f"at most {self._maximum_digests} digests"
            raise HashmatchError(
                ErrorReason.BATCH_TOO_LARGE, f"column.digests: {problem}", fields={"column.digests": problem}
            )
        return algorithm, count

    def _count_items(self, served: Served, question: ItemsQuestion, answers: list[ItemAnswer]) -> None:
        # Answers are shared, so that what they are is known by which they are.
        shared = {id(answer): answer for answer in answers}
        matches = 0
        for number, amount in Counter(map(id, answers)).items():
            answer = shared[number]
            matches += amount if answer.verdict is Verdict.MATCH else 0
            for algorithm, finding in zip(answer.algorithms, answer.findings, strict=True):
                self._answering.count(served, _KNOWN.get(algorithm), finding, amount)
        annotate(matches=matches)
        if matches:
            for exact_or_near, column in question.answered.items():
                self._floods.observe(served, exact_or_near, column)

    def _count_column(
        self, served: Served, view: View, algorithm: Algorithm, answer: ColumnAnswer, matches: int
    ) -> None:
        counts = self._answering.metrics.answers
        silent = answer.count
        if len(answer.findings):
            amounts = np.bincount(answer.finding_numbers, minlength=len(answer.findings)).tolist()
            for finding, amount in zip(answer.findings, amounts, strict=True):
                if finding.verdict is not Verdict.NO_KNOWN_MATCH:
                    self._answering.count(served, algorithm, finding, amount)
                    silent -= amount
        self._answering.count(served, algorithm, view.silence(algorithm), silent)
        counts.candidates += answer.candidates
        counts.false_alarms += answer.candidates - len(answer.positions)
        tally(batches=1, hashes=answer.count, matches=matches)
        if matches:
            self._floods.observe(served, algorithm, answer)


_EXACT = frozenset(map(int, EXACT_ALGORITHMS))
_KNOWN = {int(algorithm): algorithm for algorithm in Algorithm}


def _without_snapshot(hashes: Sequence[AskedHash]) -> ItemAnswer:
    algorithms = tuple(asked.algorithm for asked in hashes)
    return ItemAnswer(Verdict.NOT_DETERMINED, Agreement.NONE, algorithms, (NO_SNAPSHOT,) * len(hashes))


def _encoded_without_snapshot(answer: ItemAnswer) -> bytes:
    return encoded_answer(answer, lambda _: [])


def _check_qualities(algorithm: Algorithm, qualities: bytes, count: int) -> None:
    if not qualities:
        return
    if algorithm in EXACT_ALGORITHMS:
        raise invalid_field("column.qualities", "only values of perceptual algorithms have one")
    if len(qualities) != count:
        problem = "one byte for each digest, or none at all"
        raise HashmatchError(
            ErrorReason.RAGGED_COLUMN, f"column.qualities: {problem}", fields={"column.qualities": problem}
        )
    if max(qualities) > MAXIMUM_QUALITY:
        raise invalid_field("column.qualities", f"0 to {MAXIMUM_QUALITY}")


def _must_be_served(served: Served | None) -> Served:
    if served is None:
        raise HashmatchError(
            ErrorReason.NOT_SERVING, "no snapshot is loaded yet, or nothing has been published", retry_after=1.0
        )
    return served
