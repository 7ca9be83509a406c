"""The asynchronous client, the twin of the synchronous one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from hashmatch.v1 import list_service_pb2, list_service_pb2_grpc, match_service_pb2, match_service_pb2_grpc
from hashmatch_client import _batch, _feedback, _transport, _wire
from hashmatch_client._answers import (
    BATCH_MATCH,
    BULK_MATCH,
    Received,
    SaveAnswer,
    received_batch,
    received_column,
    save,
)
from hashmatch_client._batcher import Batcher, Terms
from hashmatch_client._bulk import BulkRun, OutOfTimeError, async_columns, check_qualities
from hashmatch_client._errors import (
    ApiError,
    DeadlineExceededError,
    HashmatchClientError,
    ProtocolViolationError,
    UnavailableError,
)
from hashmatch_client._feedback import FeedbackOutcome, HitFeedback
from hashmatch_client._hashes import Algorithm, Item, Scope
from hashmatch_client._options import (
    DEFAULT_LIMITS,
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT,
    Connection,
    Limits,
    Retry,
    Timeout,
    TLSOptions,
)
from hashmatch_client._results import BulkAnswer, HashList, ItemAnswer, ListNature, SnapshotUpdate
from hashmatch_client._status import api_error

T = TypeVar("T")


# A server that refuses a stream ends it, and `grpc.aio` loses the reason when that meets a message on its way
# (grpc#36066). Asking again is harmless, and brings the reason to light: from the second time on nothing is sent until
# the server had this many seconds to refuse, so that no message is on its way when it does.
_BULK_ATTEMPTS = 4
_TIME_TO_REFUSE = 0.5


class _ReasonLostError(Exception):
    """A stream ended before it answered anything, and its status was lost."""


class AsyncHashmatchClient:
    """Asks a hashmatch server about hashes, from an event loop.

        async with AsyncHashmatchClient("localhost:50051") as client:
            answers = await asyncio.gather(*(client.match(sha256=digest) for digest in digests))

    The arguments are those of `HashmatchClient`. Make it and use it in one running event loop.
    """

    def __init__(
        self,
        target: str = "",
        *,
        tls: TLSOptions | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        limits: Limits = DEFAULT_LIMITS,
        retry: Retry = DEFAULT_RETRY,
        purpose: str = "",
        channel: grpc.aio.Channel | None = None,
        save_answers: SaveAnswer | None = None,
    ) -> None:
        self._timeout = timeout
        self._limits = limits
        self._retry = retry
        self._purpose = purpose
        self._channel = _transport.open_async_channel(target, tls, limits, retry) if channel is None else channel
        self._owns_channel = channel is None
        self._saving = save_answers
        self._match = match_service_pb2_grpc.MatchServiceStub(self._channel)
        self._batch_match: grpc.aio.UnaryUnaryMultiCallable[bytes, Received[match_service_pb2.BatchMatchResponse]]
        self._batch_match = self._channel.unary_unary(BATCH_MATCH, response_deserializer=received_batch)
        self._bulk_match: grpc.aio.StreamStreamMultiCallable[bytes, Received[match_service_pb2.BulkMatchResponse]]
        self._bulk_match = self._channel.stream_stream(BULK_MATCH, response_deserializer=received_column)
        self._list = list_service_pb2_grpc.ListServiceStub(self._channel)
        self._batcher = Batcher(self._ask, limits)

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        retry: Retry = DEFAULT_RETRY,
    ) -> Self:
        """The client that HASHMATCH_TARGET, _CA_FILE, _CERT_FILE, _KEY_FILE, _TIMEOUT and _PURPOSE describe."""
        found = Connection.from_environment(os.environ if environ is None else environ)
        return cls(
            found.target, tls=found.tls, timeout=found.timeout, limits=limits, retry=retry, purpose=found.purpose
        )

    async def close(self) -> None:
        """Ends every call and closes the connection."""
        await self._batcher.close()
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def match(
        self,
        *,
        md5: bytes | str | None = None,
        sha1: bytes | str | None = None,
        sha256: bytes | str | None = None,
        sha512: bytes | str | None = None,
        lists: Iterable[str] = (),
        min_sources: int = 1,
        newer_than_epoch: int = 0,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline of the call, which the server is told
    ) -> ItemAnswer:
        """Asks about one thing by any of its hashes, each raw or in hexadecimal.

        Ask as often as you like at the same time: questions of the same scope and timeout share calls. The timeout
        counts from when the call is made. Give every hash that you have: bodies list different ones. Raises
        `InvalidHashError` before anything is sent.
        """
        item = Item.of(md5=md5, sha1=sha1, sha256=sha256, sha512=sha512)
        terms = self._terms(lists, min_sources, newer_than_epoch, natures, max_distance, timeout)
        return await self._batcher.answer(item, terms)

    async def match_items(
        self,
        items: Iterable[Item],
        *,
        lists: Iterable[str] = (),
        min_sources: int = 1,
        newer_than_epoch: int = 0,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the deadline of each call, which the server is told
    ) -> list[ItemAnswer]:
        """Asks about items; the answers come in their order.

        More than `limits.batch_items` are asked in several calls, a few of them at the same time, so the answers may
        be of more than one epoch. `timeout` holds for each call. If one fails, the error is raised and none is
        returned.
        """
        terms = self._terms(lists, min_sources, newer_than_epoch, natures, max_distance, timeout)
        free = asyncio.Semaphore(self._limits.in_flight)

        async def ask(batch: Sequence[Item]) -> list[ItemAnswer]:
            async with free:
                return await self._ask(batch, terms)

        calls = [asyncio.ensure_future(ask(batch)) for batch in _batch.batches(items, self._limits.batch_items)]
        try:
            return [answer for answers in await asyncio.gather(*calls) for answer in answers]
        finally:
            for call in calls:
                call.cancel()

    def bulk_match(
        self,
        algorithm: Algorithm,
        digests: bytes | Iterable[bytes] | AsyncIterable[bytes],
        *,
        lists: Iterable[str] = (),
        min_sources: int = 1,
        newer_than_epoch: int = 0,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        qualities: bytes = b"",
    ) -> AsyncIterator[BulkAnswer]:
        """Asks about any number of digests of one algorithm; yields one sparse answer a batch, in order.

        `digests` are packed one after the other, or come one by one from an iterable, which is read as answers are
        taken. A few batches are sent ahead. When the run fails, what was yielded stands, and the error's
        `bulk_progress` tells how far that reaches: everything after it is unanswered.

        `qualities` are for PDQ codes that are packed: a byte for each, 0 to 100.
        """
        check_qualities(algorithm, digests, qualities)
        scope = Scope.of(lists, min_sources, newer_than_epoch, natures, max_distance, self._purpose)
        source = async_columns(algorithm, digests, self._limits.bulk_digests)
        renew_after = self._timeout.stream / 2
        run = BulkRun(algorithm, scope, self._limits.in_flight, renew_after, time.monotonic, qualities, self._saving)
        return self._bulk(run, source)

    async def _bulk(self, run: BulkRun, source: AsyncIterator[bytes]) -> AsyncIterator[BulkAnswer]:
        try:
            attempt = 1
            while (column := await anext(source, None)) is not None:
                try:
                    async for answer in self._bulk_stream(run, column, source, attempt):
                        yield answer
                    attempt = 1
                except _ReasonLostError:
                    source = _after(run.take_back(), source)
                    attempt += 1
                except OutOfTimeError:
                    source = _after(run.take_back(), source)
                    attempt = 1
        except HashmatchClientError as error:
            raise run.failed(error) from error.__cause__

    async def _bulk_stream(
        self, run: BulkRun, column: bytes | None, source: AsyncIterator[bytes], attempt: int
    ) -> AsyncIterator[BulkAnswer]:
        """Carries `column` and what follows over one stream, or as much as may be sent before the stream gets old.

        Raises `OutOfTimeError`, and `_ReasonLostError`, unless this is the last `attempt`, if the stream was refused
        and nobody knows why.
        """
        requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        request_id = _transport.new_request_id()
        run.stream_opened(request_id)
        call = self._bulk_match(
            _until_none(requests), timeout=self._timeout.stream, metadata=_transport.metadata(request_id)
        )
        responses = _responses(call, request_id)
        try:
            if attempt > 1:
                await _wait_for_a_refusal(call)
            while column is not None:
                requests.put_nowait(run.request(column))
                if run.is_full and (response := await _next(run, responses)) is not None:
                    yield run.answer(response)
                if run.is_full or run.stream_is_old:
                    break
                column = await anext(source, None)
            requests.put_nowait(None)
            while (response := await _next(run, responses)) is not None:
                yield run.answer(response)
            run.stream_ended()
        except DeadlineExceededError as error:
            if run.server_was_slow:
                raise
            raise OutOfTimeError from error
        except ApiError as error:
            if error.code is grpc.StatusCode.INTERNAL and not error.reason:
                if run.stream_is_over and not run.server_was_slow:
                    raise OutOfTimeError from error
                if attempt < _BULK_ATTEMPTS and not run.stream_has_answered:
                    raise _ReasonLostError from error
                # Not a word of the server's: grpcio was writing when the stream ended and lost the status.
                raise UnavailableError(
                    "the stream broke while more was being sent", code=error.code, request_id=request_id
                ) from error
            raise
        finally:
            call.cancel()
            requests.put_nowait(None)  # grpcio goes on waiting for requests of a call that ended

    async def snapshot(
        self,
        since_epoch: int = 0,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> SnapshotUpdate:
        """What is served now, and what changed after `since_epoch`."""
        request_id = _transport.new_request_id()
        try:
            response = await self._match.GetSnapshot(
                match_service_pb2.GetSnapshotRequest(since_epoch=since_epoch),
                timeout=self._timeout.call if timeout is None else timeout,
                metadata=_transport.metadata(request_id),
            )
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure
        return _wire.snapshot_update(response, request_id)

    async def watch_snapshots(self, since_epoch: int = 0) -> AsyncIterator[SnapshotUpdate]:
        """What is served now, and again at every new epoch; it ends only with an error, or when you stop reading.

        A stream that breaks after it had answered is taken up again where it was. One that cannot be opened raises.
        """
        seen: int | None = None
        while True:
            request_id = _transport.new_request_id()
            call = self._match.WatchSnapshots(
                match_service_pb2.WatchSnapshotsRequest(since_epoch=since_epoch if seen is None else seen),
                timeout=self._timeout.stream,
                metadata=_transport.metadata(request_id),
            )
            answered = False
            try:
                async for response in _responses(call, request_id):
                    answered = True
                    update = _wire.snapshot_update(response, request_id)
                    if seen is None or update.snapshot.epoch > seen:
                        seen = update.snapshot.epoch
                        yield update
            except (DeadlineExceededError, UnavailableError):
                if not answered:
                    raise
            finally:
                call.cancel()
            if not answered:
                raise ProtocolViolationError("the server ended a watch without an answer", request_id)
            await asyncio.sleep(self._retry.initial_backoff)

    async def lists(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> AsyncIterator[HashList]:
        """The lists that the caller may see, ordered by id, page by page; 0 leaves the page size to the server."""
        token = ""
        while True:
            request_id = _transport.new_request_id()
            try:
                page = await self._list.ListLists(
                    list_service_pb2.ListListsRequest(page_size=page_size, page_token=token),
                    timeout=self._timeout.call if timeout is None else timeout,
                    metadata=_transport.metadata(request_id),
                )
            except grpc.RpcError as failure:
                raise api_error(failure, request_id) from failure
            for each in page.lists:
                yield _wire.hash_list(each)
            if not page.next_page_token:
                return
            if page.next_page_token == token:
                raise ProtocolViolationError("the server gave the same page twice", request_id)
            token = page.next_page_token

    async def get_list(
        self,
        list_id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> HashList:
        """One list; raises `NotFoundError` if there is none of that id."""
        request_id = _transport.new_request_id()
        try:
            response = await self._list.GetList(
                list_service_pb2.GetListRequest(list_id=list_id),
                timeout=self._timeout.call if timeout is None else timeout,
                metadata=_transport.metadata(request_id),
            )
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure
        return _wire.hash_list(response.list)

    async def report_feedback(
        self,
        feedback: Iterable[HitFeedback],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> list[FeedbackOutcome]:
        """Says of matches that they are right or wrong; what came of each, in their order.

        Saying it again changes nothing, so that a call that failed may simply be made again.
        """
        told: list[FeedbackOutcome] = []
        for request in _feedback.requests(feedback, self._purpose):
            request_id = _transport.new_request_id()
            try:
                response = await self._match.ReportFeedback(
                    request,
                    timeout=self._timeout.call if timeout is None else timeout,
                    metadata=_transport.metadata(request_id),
                )
            except grpc.RpcError as failure:
                raise api_error(failure, request_id) from failure
            told += _feedback.outcomes(response)
        return told

    def _terms(
        self,
        lists: Iterable[str],
        min_sources: int,
        newer_than_epoch: int,
        natures: Iterable[ListNature],
        max_distance: int | None,
        timeout: float | None,
    ) -> Terms:
        scope = Scope.of(lists, min_sources, newer_than_epoch, natures, max_distance, self._purpose)
        return Terms(scope, self._timeout.call if timeout is None else timeout)

    async def _ask(self, items: Sequence[Item], terms: Terms) -> list[ItemAnswer]:
        request_id = _transport.new_request_id()
        request = _wire.batch_request(items, terms.scope, want_receipt=self._saving is not None).SerializeToString()
        try:
            received = await self._batch_match(request, timeout=terms.timeout, metadata=_transport.metadata(request_id))
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure
        answers = _batch.answers(items, received.message, request_id)
        save(self._saving, received, request, b"", request_id)
        return answers


async def _wait_for_a_refusal(call: grpc.aio.Call) -> None:
    """Returns once the server said anything about the call, or after `_TIME_TO_REFUSE`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(call.initial_metadata(), _TIME_TO_REFUSE)


async def _after(columns: Iterable[bytes], source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`columns`, then what `source` holds."""
    for column in columns:
        yield column
    async for column in source:
        yield column


async def _next(run: BulkRun, responses: AsyncIterator[T]) -> T | None:
    """The next answer of a stream, None after the last."""
    with run.waiting():
        return await anext(responses, None)


async def _until_none(queue: asyncio.Queue[T | None]) -> AsyncIterator[T]:
    while (entry := await queue.get()) is not None:
        yield entry


async def _responses(call: AsyncIterable[T], request_id: str) -> AsyncIterator[T]:
    """The messages of a stream, whose failure becomes an exception of ours."""
    try:
        async for response in call:
            yield response
    except grpc.RpcError as failure:
        raise api_error(failure, request_id) from failure
