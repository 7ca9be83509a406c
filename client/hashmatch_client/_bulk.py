"""The bookkeeping of a bulk run: what was sent, what of it is answered, and whether an answer can be believed.

A sparse answer says NO_KNOWN_MATCH by leaving an index out. So nothing of an answer is used before all of it was
checked: one that is out of order, of another length or names indexes that do not exist ends the run, because what it
leaves out would be read as negatives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

from hashmatch.v1 import match_service_pb2
from hashmatch_client import _wire
from hashmatch_client._answers import Received, SaveAnswer, save
from hashmatch_client._errors import BulkProgress, HashmatchClientError, InvalidHashError, ProtocolViolationError
from hashmatch_client._hashes import MAX_QUALITY, Algorithm, Scope, digest_size
from hashmatch_client._results import BulkAnswer

F = TypeVar("F", bound=HashmatchClientError)


class OutOfTimeError(Exception):
    """A stream came to its deadline, and not because the server was slow: what it left is to be asked on another."""


class BulkRun:
    """A run of one algorithm under one scope, carried over as many streams as it takes."""

    def __init__(
        self,
        algorithm: Algorithm,
        scope: Scope,
        in_flight: int,
        renew_after: float,
        clock: Callable[[], float],
        qualities: bytes = b"",
        saving: SaveAnswer | None = None,
    ) -> None:
        """`renew_after` is half the deadline of a stream, both in seconds by `clock`.

        `qualities` has a byte for each digest of the whole run, or none at all; `saving` gets what came.
        """
        self._algorithm = algorithm
        self._number = _wire.algorithm_number(algorithm)
        self._size = digest_size(algorithm)
        self._scope = _wire.scope_message(scope)
        self._in_flight = in_flight
        self._renew_after = renew_after
        self._clock = clock
        self._saving = saving
        self._scope_request = b""
        # Of each batch that is not answered: its number, its digests, and the request that asked.
        self._sent: deque[tuple[int, bytes, bytes]] = deque()
        self._qualities = qualities
        self._batches_sent = 0
        self._digests_sent = 0
        self._batches_answered = 0
        self._digests_answered = 0
        self._stream_is_new = True
        self.stream_has_answered = False
        self._opened_at = 0.0
        # For how long the server was waited for on this stream, rather than the source or whoever takes the answers.
        self._waited = 0.0
        self.request_id = ""

    def stream_opened(self, request_id: str) -> None:
        """Notes that what is sent from now on goes to a new stream; what came before was answered or taken back."""
        self.request_id = request_id
        self._stream_is_new = True
        self.stream_has_answered = False
        self._opened_at = self._clock()
        self._waited = 0.0

    def take_back(self) -> list[bytes]:
        """The columns, in order, that a stream left unanswered when it ended, to be asked on another one."""
        columns = [digests for _, digests, _ in self._sent]
        self._sent.clear()
        self._batches_sent -= len(columns)
        self._digests_sent -= sum(map(len, columns)) // self._size
        return columns

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Where the server is waited for."""
        since = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - since

    @property
    def server_was_slow(self) -> bool:
        """Whether the server took so much of this stream's time that it is why the stream came to its deadline.

        If it did not, the source paused, or whoever takes the answers: neither is an error.
        """
        return self._waited >= self._renew_after

    @property
    def stream_is_over(self) -> bool:
        """Whether the deadline of this stream has come."""
        return self._clock() - self._opened_at >= 2 * self._renew_after

    @property
    def is_idle(self) -> bool:
        """Whether everything that was sent is answered."""
        return not self._sent

    @property
    def is_full(self) -> bool:
        """Whether an answer must come before more may be sent.

        A stream has to answer once before it gets ahead: what a server refuses, it refuses in the first message, and
        `grpc.aio` may lose the reason of a stream that ends while it is being written to (grpc#36066).
        """
        return len(self._sent) >= (self._in_flight if self.stream_has_answered else 1)

    @property
    def stream_is_old(self) -> bool:
        """Whether more should go to a new stream, so that it is not cut off by the deadline of this one."""
        return self._clock() - self._opened_at >= self._renew_after

    def request(self, digests: bytes) -> bytes:
        """The encoded message that asks about one column of digests."""
        end = self._digests_sent + len(digests) // self._size
        request = match_service_pb2.BulkMatchRequest(
            sequence=self._batches_sent,
            column=match_service_pb2.HashColumn(
                algorithm=self._number, digests=digests, qualities=self._qualities[self._digests_sent : end]
            ),
            scope=self._scope if self._stream_is_new else None,
            want_receipt=self._saving is not None,
        ).SerializeToString()
        if self._stream_is_new:
            self._scope_request = request
        self._sent.append((self._batches_sent, digests, request))
        self._batches_sent += 1
        self._digests_sent = end
        self._stream_is_new = False
        return request

    def answer(self, received: Received[match_service_pb2.BulkMatchResponse]) -> BulkAnswer:
        """The answer to the oldest batch that has none, checked against it."""
        if not self._sent:
            raise self.failed(ProtocolViolationError("an answer came to nothing that was asked", self.request_id))
        response = received.message
        batch, digests, request = self._sent[0]
        count = len(digests) // self._size
        problem = _problem(response, batch, count)
        if problem:
            raise self.failed(ProtocolViolationError(f"the answer to batch {batch}: {problem}", self.request_id))
        save(self._saving, received, request, self._scope_request, self.request_id)
        answer = BulkAnswer(
            batch=batch,
            first=self._digests_answered,
            count=count,
            algorithm=self._algorithm,
            digests=digests,
            match_indexes=tuple(response.match_indexes),
            finding_indexes=tuple(response.finding_indexes),
            findings=tuple(map(_wire.finding, response.findings)),
            undetermined=tuple(map(_wire.undetermined_range, response.undetermined)),
            snapshot=_wire.snapshot_info(response.snapshot),
            request_id=self.request_id,
            distances=tuple(response.distances),
        )
        self._sent.popleft()
        self.stream_has_answered = True
        self._batches_answered += 1
        self._digests_answered += count
        return answer

    def stream_ended(self) -> None:
        """Raises if the server ended the stream, though without an error, before it had answered everything."""
        if self._sent:
            problem = f"the stream ended with {len(self._sent)} batches unanswered"
            raise self.failed(ProtocolViolationError(problem, self.request_id))

    def failed(self, error: F) -> F:
        """`error`, with how far the run had come."""
        error.bulk_progress = BulkProgress(self._batches_answered, self._digests_answered)
        return error


def _problem(response: match_service_pb2.BulkMatchResponse, batch: int, count: int) -> str | None:
    """What is wrong with an answer to `count` digests, or None."""
    matches = response.match_indexes
    findings = len(response.findings)
    if response.sequence != batch:
        return f"it has the sequence {response.sequence}"
    if response.count != count:
        return f"it is about {response.count} digests, {count} were sent"
    if not _ascends(matches) or (matches and matches[-1] >= count):
        return "its matches do not ascend within the batch"
    if len(response.finding_indexes) != len(matches):
        return f"it has {len(matches)} matches and findings for {len(response.finding_indexes)}"
    if any(index >= findings for index in response.finding_indexes):
        return "a match names a finding that is not there"
    if response.distances and len(response.distances) != len(matches):
        return f"it has {len(matches)} matches and distances for {len(response.distances)}"
    undetermined = 0
    end = 0
    for run in response.undetermined:
        if run.count == 0 or run.first < end or run.first + run.count > count:
            return "its undetermined ranges do not ascend within the batch"
        end = run.first + run.count
        undetermined += run.count
    if _overlaps(matches, response.undetermined):
        return "a digest is both a match and undetermined"
    if response.snapshot.epoch == 0 and len(matches) + undetermined < count:
        return "it has negatives and names no epoch"
    return None


def _ascends(indexes: Sequence[int]) -> bool:
    return all(before < after for before, after in pairwise(indexes))


def _overlaps(matches: Iterable[int], ranges: Iterable[match_service_pb2.UndeterminedRange]) -> bool:
    """Whether an index lies in a range; both ascend."""
    remaining = iter(ranges)
    run = next(remaining, None)
    for index in matches:
        while run is not None and run.first + run.count <= index:
            run = next(remaining, None)
        if run is None:
            return False
        if run.first <= index:
            return True
    return False


def check_qualities(algorithm: Algorithm, digests: object, qualities: bytes) -> None:
    """Raises `InvalidHashError` unless qualities, where there are any, fit the packed codes that they are of."""
    if not qualities:
        return
    packed = digests if isinstance(digests, bytes | bytearray | memoryview) else None
    if algorithm is not Algorithm.PDQ or packed is None or len(packed) != len(qualities) * digest_size(algorithm):
        raise InvalidHashError("qualities go with packed PDQ codes, one byte for each", algorithm.value)
    if max(qualities) > MAX_QUALITY:
        raise InvalidHashError(f"the quality of a perceptual hash lies between 0 and {MAX_QUALITY}", algorithm.value)


def columns(algorithm: Algorithm, digests: bytes | Iterable[bytes], per_column: int) -> Iterator[bytes]:
    """`digests`, packed or one by one, cut into columns of at most `per_column`.

    Packed bytes are checked at once, single digests as they come: each must have the length of its algorithm, for two
    short digests look like a long one when they stand side by side.
    """
    size = digest_size(algorithm)
    if isinstance(digests, bytes | bytearray | memoryview):
        packed = bytes(digests)
        if len(packed) % size:
            raise InvalidHashError(
                f"{len(packed)} bytes are not a whole number of {algorithm.title} values of {size} bytes",
                algorithm.value,
            )
        step = size * per_column
        return (packed[start : start + step] for start in range(0, len(packed), step))
    return _gathered(algorithm, digests, per_column)


def _gathered(algorithm: Algorithm, digests: Iterable[bytes], per_column: int) -> Iterator[bytes]:
    column = _Column(algorithm, per_column)
    for digest in digests:
        if full := column.add(digest):
            yield full
    if rest := column.take():
        yield rest


def async_columns(
    algorithm: Algorithm, digests: bytes | Iterable[bytes] | AsyncIterable[bytes], per_column: int
) -> AsyncIterator[bytes]:
    """As `columns`, from a source that may be asynchronous."""
    if isinstance(digests, AsyncIterable):
        return _gathered_async(algorithm, digests, per_column)
    return _as_async(columns(algorithm, digests, per_column))


async def _as_async(ready: Iterator[bytes]) -> AsyncIterator[bytes]:
    for column in ready:
        yield column


async def _gathered_async(algorithm: Algorithm, digests: AsyncIterable[bytes], per_column: int) -> AsyncIterator[bytes]:
    column = _Column(algorithm, per_column)
    async for digest in digests:
        if full := column.add(digest):
            yield full
    if rest := column.take():
        yield rest


class _Column:
    """Digests on their way into a column."""

    def __init__(self, algorithm: Algorithm, per_column: int) -> None:
        self._algorithm = algorithm
        self._size = digest_size(algorithm)
        self._full = self._size * per_column
        self._packed = bytearray()

    def add(self, digest: bytes) -> bytes:
        """Adds a digest; returns the column if that filled it, else nothing."""
        if len(digest) != self._size:
            raise InvalidHashError(
                f"a {self._algorithm.title} value has {self._size} bytes, {len(digest)} were given",
                self._algorithm.value,
            )
        self._packed += digest
        return self.take() if len(self._packed) == self._full else b""

    def take(self) -> bytes:
        """What has gathered since the last time."""
        packed = bytes(self._packed)
        self._packed.clear()
        return packed
