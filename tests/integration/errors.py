"""What a failed call says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import errors_pb2


class Refusal(NamedTuple):
    """The status of a failed call."""

    code: grpc.StatusCode
    reason: str
    message: str
    fields: dict[str, str]
    retry_delay: float | None
    # Everything that came over the wire, as text and as bytes.
    whole: str


def refusal_of(error: grpc.RpcError) -> Refusal:
    """Read a status. Fails unless it has an ErrorInfo of ours with a frozen reason, and no traceback."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    info = None
    fields: dict[str, str] = {}
    retry_delay = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            violations = error_details_pb2.BadRequest()
            detail.Unpack(violations)
            fields = {each.field: each.description for each in violations.field_violations}
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_delay = retry.retry_delay.ToNanoseconds() / 1e9
    assert info is not None
    assert info.domain == "hashmatch"
    assert info.reason in ErrorReason.__members__
    assert errors_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}")
    whole = f"{error.details()} {status} {error.trailing_metadata()}"
    assert "Traceback" not in whole
    assert 'File "' not in whole
    return Refusal(error.code(), info.reason, error.details(), fields, retry_delay, whole)


def refused(call: Callable[[], Any]) -> Refusal:
    """How a call is refused; fails if it is not."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_of(caught.value)
