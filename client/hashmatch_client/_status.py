"""From a failed RPC to the exception that says what went wrong."""

from __future__ import annotations

from typing import Protocol, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from hashmatch_client._errors import (
    ApiError,
    DeadlineExceededError,
    FieldViolation,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
    OverloadedError,
    UnavailableError,
)

_BY_CODE: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.PERMISSION_DENIED: NotPermittedError,
    grpc.StatusCode.UNAUTHENTICATED: NotPermittedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
}


class _Ended(Protocol):
    """What every error that a call raises also is, in both worlds of grpcio; the library's types do not say so."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


def api_error(failure: grpc.RpcError, request_id: str) -> ApiError:
    """The exception for `failure`, with what the server told beside the code where it told anything readable."""
    call = cast(_Ended, failure)
    code = call.code()
    error = _BY_CODE.get(code, ApiError)(call.details() or "no details", code=code, request_id=request_id)
    status = _rich_status(call)
    for packed in status.details if status is not None else ():
        try:
            _add(packed, error)
        except DecodeError:
            continue
    return error


def _rich_status(call: _Ended) -> status_pb2.Status | None:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(call)
    except (ValueError, DecodeError):  # the details contradict the status, or cannot be read: the status still stands
        return None
    return status


def _add(packed: Any, error: ApiError) -> None:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    if packed.Unpack(info):
        error.reason, error.domain = info.reason, info.domain
    elif packed.Unpack(bad_request):
        error.fields = tuple(FieldViolation(v.field, v.description) for v in bad_request.field_violations)
    elif packed.Unpack(retry):
        error.retry_delay = retry.retry_delay.ToNanoseconds() / 1e9
