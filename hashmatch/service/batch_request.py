"""A BatchMatchRequest with the bytes that it arrived in, which a receipt is over."""

from __future__ import annotations

from typing import NamedTuple

from hashmatch.v1 import match_service_pb2


class BatchRequest(NamedTuple):
    """A request, and the whole of it as it was sent."""

    message: match_service_pb2.BatchMatchRequest
    sent: bytes = b""


def decode_batch_request(data: bytes) -> BatchRequest:
    """Read a request. Raises `google.protobuf.message.DecodeError` if it is no such message."""
    return BatchRequest(match_service_pb2.BatchMatchRequest.FromString(data), data)
