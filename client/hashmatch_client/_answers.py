"""The two calls that answer, with the bytes that go over the wire: a receipt is over bytes as they were sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from hashmatch.v1 import match_service_pb2, receipt_pb2
from hashmatch_client._errors import ProtocolViolationError, ReceiptError

BATCH_MATCH = "/hashmatch.v1.MatchService/BatchMatch"
BULK_MATCH = "/hashmatch.v1.MatchService/BulkMatch"

M = TypeVar("M", bound=Message)


class Received(NamedTuple, Generic[M]):
    """A message, and the bytes in which it came."""

    message: M
    data: bytes


def received_batch(data: bytes) -> Received[match_service_pb2.BatchMatchResponse]:
    """An answer to BatchMatch."""
    return Received(match_service_pb2.BatchMatchResponse.FromString(data), data)


def received_column(data: bytes) -> Received[match_service_pb2.BulkMatchResponse]:
    """An answer of BulkMatch."""
    return Received(match_service_pb2.BulkMatchResponse.FromString(data), data)


class SavedAnswer(NamedTuple):
    """An answer with its receipt and what it answers, as they went over the wire. It holds the hashes that were asked.

    `scope_request` is the request that stated the scope in force, where that is an earlier one of the stream.
    """

    method: str
    request: bytes
    response: bytes
    scope_request: bytes = b""

    def to_bytes(self) -> bytes:
        """What a file of it holds: an encoded `hashmatch.v1.SavedAnswer`."""
        return receipt_pb2.SavedAnswer(**self._asdict()).SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> SavedAnswer:
        """The answer in a file. Raises `ReceiptError`."""
        try:
            saved = receipt_pb2.SavedAnswer.FromString(data)
        except Exception as error:  # protobuf's decoders have no common base of their own
            raise ReceiptError("this is no saved answer") from error
        if saved.method not in ("BatchMatch", "BulkMatch"):
            raise ReceiptError("this is no saved answer")
        return cls(saved.method, saved.request, saved.response, saved.scope_request)


SaveAnswer = Callable[[SavedAnswer], None]


def save(
    saving: SaveAnswer | None, received: Received[M], request: bytes, scope_request: bytes, request_id: str
) -> None:
    """Hand an answer with its receipt to whoever saves them. Raises `ProtocolViolationError` if it has none."""
    if saving is None:
        return
    if not received.message.HasField("receipt"):
        raise ProtocolViolationError("the server gave no receipt, though one was asked for", request_id)
    method = received.message.DESCRIPTOR.name.removesuffix("Response")
    saving(SavedAnswer(method, request, received.data, scope_request))
