"""The fake server's services: the contract over `FakeLists`, with the faults that a test asks for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from hashmatch.v1 import common_pb2, list_service_pb2, list_service_pb2_grpc, match_service_pb2, match_service_pb2_grpc
from hashmatch_client._fake_lists import FakeLists, Published, agreement_of, item_verdict, look_up

M = TypeVar("M", bound=Message)

_MAX_ITEMS = 1_000
_MAX_DIGESTS = 100_000
_SIZES = {
    common_pb2.ALGORITHM_MD5: 16,
    common_pb2.ALGORITHM_SHA1: 20,
    common_pb2.ALGORITHM_SHA256: 32,
    common_pb2.ALGORITHM_SHA512: 64,
}


@dataclass(frozen=True)
class FakeCall:
    """A call that the fake received: how many items or digests each of its messages held, and its metadata."""

    method: str
    sizes: list[int]
    metadata: Mapping[str, str]
    seconds_left: float | None


@dataclass(frozen=True)
class Failure:
    """How a call is to fail."""

    code: grpc.StatusCode
    reason: str
    retry_delay: float | None
    fields: Mapping[str, str]
    after_messages: int


class Script:
    """What the test has told the fake to do, and what the fake saw."""

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.failures: deque[Failure] = deque()
        self.running = threading.Event()
        self.running.set()
        self.change: Callable[[Message], Message | None] | None = None

    def received(self, method: str, context: grpc.ServicerContext) -> FakeCall:
        """Notes a call."""
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        call = FakeCall(method, [], metadata, context.time_remaining())
        self.calls.append(call)
        return call

    def answer(self, context: grpc.ServicerContext, make: Callable[[], M]) -> M:
        """The one answer of a call, or the failure that was asked for."""
        response = next(self.answers(context, (make() for _ in range(1))), None)
        if response is None:
            abort(context, Failure(grpc.StatusCode.INTERNAL, "INTERNAL", None, {}, 0))
        return response

    def answers(self, context: grpc.ServicerContext, made: Iterable[M]) -> Iterator[M]:
        """The answers of a stream, until it ends or the failure that was asked for is due."""
        failure = self.failures.popleft() if self.failures else None
        if failure is not None and failure.after_messages == 0:
            abort(context, failure)
        for sent, response in enumerate(made, start=1):
            while not self.running.wait(0.01) and context.is_active():
                pass
            changed = response if self.change is None else self.change(response)
            if changed is None:
                return
            yield cast(M, changed)
            if failure is not None and sent == failure.after_messages:
                abort(context, failure)


def abort(context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    """Ends a call with rich details, as the server does."""
    details: list[Any] = []
    if failure.reason:
        details.append(error_details_pb2.ErrorInfo(reason=failure.reason, domain="hashmatch"))
    if failure.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=name, description=description)
            for name, description in failure.fields.items()
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if failure.retry_delay is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(failure.retry_delay * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=failure.code.value[0], message="the fake was told to fail")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, **fields: str) -> NoReturn:
    abort(context, Failure(code, reason, None, fields, 0))


class MatchServicer(match_service_pb2_grpc.MatchServiceServicer):
    """MatchService over the lists."""

    def __init__(self, lists: FakeLists, script: Script) -> None:
        self._lists = lists
        self._script = script
        self._said: dict[str, dict[bytes, tuple[int, int, str]]] = {}

    def BatchMatch(  # noqa: N802 - the contract's name
        self, request: match_service_pb2.BatchMatchRequest, context: grpc.ServicerContext
    ) -> match_service_pb2.BatchMatchResponse:
        """Answers items."""
        self._script.received("BatchMatch", context).sizes.append(len(request.items))
        if not request.items:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_BATCH", items="is empty")
        if len(request.items) > _MAX_ITEMS:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE", items="has more than 1,000")
        lists = self._in_scope(request.scope, context)

        def make() -> match_service_pb2.BatchMatchResponse:
            results = [_item_result(item, lists, request.scope) for item in request.items]
            return match_service_pb2.BatchMatchResponse(results=results, snapshot=self._lists.snapshot(lists))

        return self._script.answer(context, make)

    def BulkMatch(  # noqa: N802
        self, request_iterator: Iterator[match_service_pb2.BulkMatchRequest], context: grpc.ServicerContext
    ) -> Iterator[match_service_pb2.BulkMatchResponse]:
        """Answers columns."""
        call = self._script.received("BulkMatch", context)

        def made() -> Iterator[match_service_pb2.BulkMatchResponse]:
            scope = match_service_pb2.MatchScope()
            for request in request_iterator:
                if request.HasField("scope"):
                    scope = request.scope
                size = _SIZES.get(request.column.algorithm)
                if size is None:
                    _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ALGORITHM")
                count, rest = divmod(len(request.column.digests), size)
                call.sizes.append(count)
                if rest:
                    _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "RAGGED_COLUMN")
                if not 0 < count <= _MAX_DIGESTS:
                    _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE" if count else "EMPTY_BATCH")
                lists = self._in_scope(scope, context)
                response = _bulk_response(request.column, size, lists, scope)
                response.sequence = request.sequence
                response.snapshot.CopyFrom(self._lists.snapshot(lists))
                yield response

        yield from self._script.answers(context, made())

    def GetSnapshot(  # noqa: N802
        self, request: match_service_pb2.GetSnapshotRequest, context: grpc.ServicerContext
    ) -> match_service_pb2.GetSnapshotResponse:
        """Tells what is served."""
        self._script.received("GetSnapshot", context)

        def make() -> match_service_pb2.GetSnapshotResponse:
            return match_service_pb2.GetSnapshotResponse(
                snapshot=self._lists.snapshot(self._lists.all()),
                changes=self._lists.changes_since(request.since_epoch),
                changes_complete=True,
            )

        return self._script.answer(context, make)

    def WatchSnapshots(  # noqa: N802
        self, request: match_service_pb2.WatchSnapshotsRequest, context: grpc.ServicerContext
    ) -> Iterator[match_service_pb2.WatchSnapshotsResponse]:
        """Tells what is served, and again when that changes."""
        self._script.received("WatchSnapshots", context)

        def made() -> Iterator[match_service_pb2.WatchSnapshotsResponse]:
            since, sent = request.since_epoch, -1
            while context.is_active():
                snapshot = self._lists.snapshot(self._lists.all())
                if snapshot.epoch > sent:
                    yield match_service_pb2.WatchSnapshotsResponse(
                        snapshot=snapshot, changes=self._lists.changes_since(since), changes_complete=True
                    )
                    since = sent = snapshot.epoch
                if not self._lists.wait_for_change(sent):
                    return

        yield from self._script.answers(context, made())

    def ReportFeedback(  # noqa: N802
        self, request: match_service_pb2.ReportFeedbackRequest, context: grpc.ServicerContext
    ) -> match_service_pb2.ReportFeedbackResponse:
        """Keeps what is said of hashes that are listed; telling it beside opinions is left to the server."""
        self._script.received("ReportFeedback", context).sizes.append(len(request.feedback))
        if not request.feedback:
            _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_BATCH", feedback="is empty")

        def outcome(stated: match_service_pb2.HitFeedback) -> match_service_pb2.FeedbackOutcome.ValueType:
            scope = match_service_pb2.MatchScope(list_ids=[stated.list_id])
            result = look_up(stated.hash.algorithm, stated.hash.value, self._in_scope(scope, context), scope)
            if result.verdict == common_pb2.VERDICT_NOT_DETERMINED:
                return match_service_pb2.FEEDBACK_OUTCOME_NOT_DETERMINED
            if not result.opinions:
                return match_service_pb2.FEEDBACK_OUTCOME_NO_MATCH
            said = (stated.judgement, stated.reason, stated.note)
            if self._said.setdefault(stated.list_id, {}).get(stated.hash.value) == said:
                return match_service_pb2.FEEDBACK_OUTCOME_UNCHANGED
            self._said[stated.list_id][stated.hash.value] = said
            return match_service_pb2.FEEDBACK_OUTCOME_RECORDED

        def make() -> match_service_pb2.ReportFeedbackResponse:
            return match_service_pb2.ReportFeedbackResponse(outcomes=map(outcome, request.feedback))

        return self._script.answer(context, make)

    def _in_scope(self, scope: match_service_pb2.MatchScope, context: grpc.ServicerContext) -> list[Published]:
        lists = self._lists.in_scope(scope)
        if lists is None:
            _refuse(context, grpc.StatusCode.NOT_FOUND, "LIST_NOT_FOUND")
        return lists


class ListServicer(list_service_pb2_grpc.ListServiceServicer):
    """ListService over the lists."""

    def __init__(self, lists: FakeLists, script: Script) -> None:
        self._lists = lists
        self._script = script

    def ListLists(  # noqa: N802
        self, request: list_service_pb2.ListListsRequest, context: grpc.ServicerContext
    ) -> list_service_pb2.ListListsResponse:
        """A page of lists; the token is the id of the last list of the page before."""
        self._script.received("ListLists", context)

        def make() -> list_service_pb2.ListListsResponse:
            size = min(request.page_size or 100, 1_000)
            remaining = [each for each in self._lists.all() if each.list_id > request.page_token]
            token = remaining[size - 1].list_id if len(remaining) > size else ""
            lists = [each.message() for each in remaining[:size]]
            return list_service_pb2.ListListsResponse(lists=lists, next_page_token=token, epoch=self._lists.epoch)

        return self._script.answer(context, make)

    def GetList(  # noqa: N802
        self, request: list_service_pb2.GetListRequest, context: grpc.ServicerContext
    ) -> list_service_pb2.GetListResponse:
        """One list."""
        self._script.received("GetList", context)
        found = [each for each in self._lists.all() if each.list_id == request.list_id]
        if not found:
            _refuse(context, grpc.StatusCode.NOT_FOUND, "LIST_NOT_FOUND")
        return self._script.answer(
            context, lambda: list_service_pb2.GetListResponse(list=found[0].message(), epoch=self._lists.epoch)
        )


def health_handler(lists: FakeLists) -> grpc.GenericRpcHandler:
    """What clients that balance load watch: a server that is always serving."""
    serving = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING); its package is not among our needs

    def watch(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield serving
        while context.is_active() and lists.wait_for_change(lists.epoch):
            pass

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    )


def _item_result(
    item: match_service_pb2.MatchItem, lists: Sequence[Published], scope: match_service_pb2.MatchScope
) -> match_service_pb2.ItemResult:
    results = [look_up(each.algorithm, each.value, lists, scope) for each in item.hashes]
    opinions = [opinion for result in results for opinion in result.opinions]
    return match_service_pb2.ItemResult(
        reference=item.reference,
        verdict=item_verdict(results),
        agreement=agreement_of(opinions),
        hashes=results,
        natures=sorted({nature for result in results for nature in result.natures}),
    )


def _bulk_response(
    column: match_service_pb2.HashColumn, size: int, lists: Sequence[Published], scope: match_service_pb2.MatchScope
) -> match_service_pb2.BulkMatchResponse:
    count = len(column.digests) // size
    response = match_service_pb2.BulkMatchResponse(count=count)
    findings: dict[bytes, int] = {}
    for index in range(count):
        result = look_up(column.algorithm, column.digests[index * size : (index + 1) * size], lists, scope)
        if result.verdict == common_pb2.VERDICT_MATCH:
            for opinion in result.opinions:
                opinion.ClearField("source_key")
            finding = match_service_pb2.Finding(
                agreement=agreement_of(result.opinions),
                opinions=result.opinions,
                causes=result.causes,
                natures=result.natures,
            )
            position = findings.setdefault(finding.SerializeToString(deterministic=True), len(findings))
            if position == len(response.findings):
                response.findings.append(finding)
            response.match_indexes.append(index)
            response.finding_indexes.append(position)
        elif result.verdict == common_pb2.VERDICT_NOT_DETERMINED:
            last = response.undetermined[-1] if response.undetermined else None
            if last is not None and last.first + last.count == index and list(last.causes) == list(result.causes):
                last.count += 1
            else:
                response.undetermined.add(first=index, count=1, causes=result.causes)
    return response
