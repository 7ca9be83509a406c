"""The synchronous client."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

import grpc

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
from hashmatch_client._bulk import BulkRun, OutOfTimeError, check_qualities, columns
from hashmatch_client._errors import (
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


class HashmatchClient:
    """Asks a hashmatch server about hashes.

        with HashmatchClient("localhost:50051") as client:
            answer = client.match(sha256=digest)
            if answer.is_match: ...
            elif not answer.is_determined: ...

    `target` is `host:port` or `unix:path`; without `tls` the connection is in plain text. One client serves any number
    of threads. `purpose` is what is asked for, where the server's policy names several. `channel` takes the place of
    the connection, in tests for example, and is then the caller's to close. With `save_answers` a receipt is asked for
    with every answer, and that is called with each answer as it came, before it is returned; see `verify_receipt`.
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
        channel: grpc.Channel | None = None,
        save_answers: SaveAnswer | None = None,
    ) -> None:
        self._timeout = timeout
        self._limits = limits
        self._retry = retry
        self._purpose = purpose
        self._channel = _transport.open_channel(target, tls, limits, retry) if channel is None else channel
        self._owns_channel = channel is None
        self._saving = save_answers
        self._match = match_service_pb2_grpc.MatchServiceStub(self._channel)
        self._batch_match: grpc.UnaryUnaryMultiCallable[bytes, Received[match_service_pb2.BatchMatchResponse]]
        self._batch_match = self._channel.unary_unary(BATCH_MATCH, response_deserializer=received_batch)
        self._bulk_match: grpc.StreamStreamMultiCallable[bytes, Received[match_service_pb2.BulkMatchResponse]]
        self._bulk_match = self._channel.stream_stream(BULK_MATCH, response_deserializer=received_column)
        self._list = list_service_pb2_grpc.ListServiceStub(self._channel)

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

    def close(self) -> None:
        """Ends every call and closes the connection."""
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def match(
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
        timeout: float | None = None,
    ) -> ItemAnswer:
        """Asks about one thing by any of its hashes, each raw or in hexadecimal.

        Give every hash that you have: bodies list different ones. Raises `InvalidHashError` before anything is sent.
        """
        item = Item.of(md5=md5, sha1=sha1, sha256=sha256, sha512=sha512)
        return self.match_items(
            (item,),
            lists=lists,
            min_sources=min_sources,
            newer_than_epoch=newer_than_epoch,
            natures=natures,
            max_distance=max_distance,
            timeout=timeout,
        )[0]

    def match_items(
        self,
        items: Iterable[Item],
        *,
        lists: Iterable[str] = (),
        min_sources: int = 1,
        newer_than_epoch: int = 0,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        timeout: float | None = None,
    ) -> list[ItemAnswer]:
        """Asks about items; the answers come in their order.

        More than `limits.batch_items` are asked in several calls, a few of them at the same time, so the answers may
        be of more than one epoch. `timeout` holds for each call. If one fails, the error is raised and none is
        returned.
        """
        scope = Scope.of(lists, min_sources, newer_than_epoch, natures, max_distance, self._purpose)
        seconds = self._timeout.call if timeout is None else timeout
        answers: list[ItemAnswer] = []
        calls: deque[_BatchCall] = deque()
        try:
            for batch in _batch.batches(items, self._limits.batch_items):
                if len(calls) >= self._limits.in_flight:
                    answers += calls.popleft().answers()
                calls.append(_BatchCall(self._batch_match, batch, scope, seconds, self._saving))
            while calls:
                answers += calls.popleft().answers()
        finally:
            for call in calls:
                call.cancel()
        return answers

    def bulk_match(
        self,
        algorithm: Algorithm,
        digests: bytes | Iterable[bytes],
        *,
        lists: Iterable[str] = (),
        min_sources: int = 1,
        newer_than_epoch: int = 0,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        qualities: bytes = b"",
    ) -> Iterator[BulkAnswer]:
        """Asks about any number of digests of one algorithm; yields one sparse answer a batch, in order.

        `digests` are packed one after the other, or come one by one from an iterable, which is read as answers are
        taken. A few batches are sent ahead. When the run fails, what was yielded stands, and the error's
        `bulk_progress` tells how far that reaches: everything after it is unanswered.

        `qualities` are for PDQ codes that are packed: a byte for each, 0 to 100.
        """
        check_qualities(algorithm, digests, qualities)
        scope = Scope.of(lists, min_sources, newer_than_epoch, natures, max_distance, self._purpose)
        source = columns(algorithm, digests, self._limits.bulk_digests)
        run = BulkRun(
            algorithm, scope, self._limits.in_flight, self._timeout.stream / 2, time.monotonic, qualities, self._saving
        )
        return self._bulk(run, source)

    def _bulk(self, run: BulkRun, source: Iterator[bytes]) -> Iterator[BulkAnswer]:
        try:
            while (column := next(source, None)) is not None:
                try:
                    yield from self._bulk_stream(run, chain((column,), source))
                except OutOfTimeError:
                    source = chain(run.take_back(), source)
        except HashmatchClientError as error:
            raise run.failed(error) from error.__cause__

    def _bulk_stream(self, run: BulkRun, source: Iterator[bytes]) -> Iterator[BulkAnswer]:
        """Carries what `source` holds over one stream, or as much as may be sent before the stream gets old.

        Raises `OutOfTimeError`.
        """
        requests: SimpleQueue[bytes | None] = SimpleQueue()
        request_id = _transport.new_request_id()
        run.stream_opened(request_id)
        call = self._bulk_match(
            iter(requests.get, None), timeout=self._timeout.stream, metadata=_transport.metadata(request_id)
        )
        responses = _responses(call, request_id)
        try:
            for column in source:
                requests.put(run.request(column))
                if run.is_full and (response := _next(run, responses)) is not None:
                    yield run.answer(response)
                if run.is_full or run.stream_is_old:
                    break
            requests.put(None)
            while (response := _next(run, responses)) is not None:
                yield run.answer(response)
            run.stream_ended()
        except DeadlineExceededError as error:
            if run.server_was_slow:
                raise
            raise OutOfTimeError from error
        finally:
            requests.put(None)
            call.cancel()

    def snapshot(self, since_epoch: int = 0, *, timeout: float | None = None) -> SnapshotUpdate:
        """What is served now, and what changed after `since_epoch`."""
        request_id = _transport.new_request_id()
        try:
            response = self._match.GetSnapshot(
                match_service_pb2.GetSnapshotRequest(since_epoch=since_epoch),
                timeout=self._timeout.call if timeout is None else timeout,
                metadata=_transport.metadata(request_id),
            )
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure
        return _wire.snapshot_update(response, request_id)

    def watch_snapshots(self, since_epoch: int = 0) -> Iterator[SnapshotUpdate]:
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
                for response in _responses(call, request_id):
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
            time.sleep(self._retry.initial_backoff)

    def lists(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[HashList]:
        """The lists that the caller may see, ordered by id, page by page; 0 leaves the page size to the server."""
        token = ""
        while True:
            request_id = _transport.new_request_id()
            try:
                page = self._list.ListLists(
                    list_service_pb2.ListListsRequest(page_size=page_size, page_token=token),
                    timeout=self._timeout.call if timeout is None else timeout,
                    metadata=_transport.metadata(request_id),
                )
            except grpc.RpcError as failure:
                raise api_error(failure, request_id) from failure
            yield from map(_wire.hash_list, page.lists)
            if not page.next_page_token:
                return
            if page.next_page_token == token:
                raise ProtocolViolationError("the server gave the same page twice", request_id)
            token = page.next_page_token

    def get_list(self, list_id: str, *, timeout: float | None = None) -> HashList:
        """One list; raises `NotFoundError` if there is none of that id."""
        request_id = _transport.new_request_id()
        try:
            response = self._list.GetList(
                list_service_pb2.GetListRequest(list_id=list_id),
                timeout=self._timeout.call if timeout is None else timeout,
                metadata=_transport.metadata(request_id),
            )
        except grpc.RpcError as failure:
            raise api_error(failure, request_id) from failure
        return _wire.hash_list(response.list)

    def report_feedback(
        self, feedback: Iterable[HitFeedback], *, timeout: float | None = None
    ) -> list[FeedbackOutcome]:
        """Says of matches that they are right or wrong; what came of each, in their order.

        Saying it again changes nothing, so that a call that failed may simply be made again.
        """
        told: list[FeedbackOutcome] = []
        for request in _feedback.requests(feedback, self._purpose):
            request_id = _transport.new_request_id()
            try:
                response = self._match.ReportFeedback(
                    request,
                    timeout=self._timeout.call if timeout is None else timeout,
                    metadata=_transport.metadata(request_id),
                )
            except grpc.RpcError as failure:
                raise api_error(failure, request_id) from failure
            told += _feedback.outcomes(response)
        return told


class _BatchCall:
    """A BatchMatch under way."""

    def __init__(
        self,
        ask: grpc.UnaryUnaryMultiCallable[bytes, Received[match_service_pb2.BatchMatchResponse]],
        items: tuple[Item, ...],
        scope: Scope,
        timeout: float,
        saving: SaveAnswer | None,
    ) -> None:
        self._items = items
        self._saving = saving
        self._request_id = _transport.new_request_id()
        self._request = _wire.batch_request(items, scope, want_receipt=saving is not None).SerializeToString()
        self._call = ask.future(self._request, timeout=timeout, metadata=_transport.metadata(self._request_id))

    def answers(self) -> list[ItemAnswer]:
        """Waits for the answers."""
        try:
            received = self._call.result()
        except grpc.RpcError as failure:
            raise api_error(failure, self._request_id) from failure
        answers = _batch.answers(self._items, received.message, self._request_id)
        save(self._saving, received, self._request, b"", self._request_id)
        return answers

    def cancel(self) -> None:
        """Gives the call up."""
        self._call.cancel()


def _next(run: BulkRun, responses: Iterator[T]) -> T | None:
    """The next answer of a stream, None after the last."""
    with run.waiting():
        return next(responses, None)


def _responses(call: Iterator[T], request_id: str) -> Iterator[T]:
    """The messages of a stream, whose failure becomes an exception of ours."""
    try:
        yield from call
    except grpc.RpcError as failure:
        raise api_error(failure, request_id) from failure
