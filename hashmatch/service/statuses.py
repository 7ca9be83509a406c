"""How a `HashmatchError` becomes a gRPC status: one table from reason to code, and the details that go with it."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.logs import redact_field

ERROR_DOMAIN: Final = "hashmatch"
DETAILS_METADATA: Final = "grpc-status-details-bin"

# Status and details travel in HTTP/2 trailers. Clients begin to refuse those at 8 KiB, now and then, so that a longer
# error would reach some callers as a different one. With these limits, in bytes of UTF-8, it stays below 6 KiB even if
# the message has to be percent-encoded throughout.
_MAXIMUM_MESSAGE = 400
_MAXIMUM_TEXT = 120
_MAXIMUM_NAME = 60
_MAXIMUM_ITEMS = 8

_CODE: Final = {
    ErrorReason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.EMPTY_BATCH: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.BATCH_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.RAGGED_COLUMN: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.UNKNOWN_ALGORITHM: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.ALGORITHM_NOT_SERVED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.DELIVERY_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.DELIVERY_DIGEST_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.DELIVERY_INCOMPLETE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.UNKNOWN_FORMAT: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.INVALID_PROFILE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.INVALID_POLICY: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.DEADLINE_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.LIST_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.STAGING_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.GENERATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.FEED_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.STAGING_OUTDATED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.STAGINGS_FULL: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.STAGING_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.GATE_NOT_MET: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVALS_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVAL_DIGEST_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ADMINISTRATION_DISABLED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.STORE_MISCONFIGURED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.POLICY_OUTDATED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVER_IS_IMPORTER: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.IDENTITY_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.DELIVERY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.BUDGET_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.NOT_SERVING: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.STORE_DAMAGED: grpc.StatusCode.DATA_LOSS,
    ErrorReason.FEED_FAILED: grpc.StatusCode.ABORTED,
    ErrorReason.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorReason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorReason.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorReason.PROPOSAL_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.PROPOSAL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.PROPOSAL_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.PROPOSAL_OUTDATED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.SIGNATURE_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVAL_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.APPROVAL_SIGNATURE_INVALID: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.APPROVAL_FOR_ANOTHER_ACT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVER_NOT_ENROLLED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.APPROVER_REVOKED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.APPROVER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.FEEDBACK_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.AUDIT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.NO_RECEIPTS: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def code_of(reason: ErrorReason) -> grpc.StatusCode:
    """The gRPC code that goes with a reason."""
    return _CODE[reason]


def message_of(error: HashmatchError) -> str:
    """What a person is told."""
    return _short(redact_field("message", error.message), _MAXIMUM_MESSAGE)


def details_of(error: HashmatchError) -> bytes:
    """The serialized google.rpc.Status that goes into the trailing metadata under `DETAILS_METADATA`.

    It has an ErrorInfo always, a BadRequest if fields are named, and a RetryInfo if trying again can help. Errors never
    hold a hash; that is enforced here once more, as it is for the log.
    """
    status = status_pb2.Status(code=_CODE[error.reason].value[0], message=message_of(error))
    info = error_details_pb2.ErrorInfo(reason=str(error.reason), domain=ERROR_DOMAIN)
    for key, value in list(error.metadata.items())[:_MAXIMUM_ITEMS]:
        info.metadata[_short(key, _MAXIMUM_NAME)] = _short(redact_field(key, value))
    status.details.add().Pack(info)
    if error.fields:
        violations = error_details_pb2.BadRequest()
        for field, problem in list(error.fields.items())[:_MAXIMUM_ITEMS]:
            violations.field_violations.add(
                field=_short(field, _MAXIMUM_NAME), description=_short(redact_field(field, problem))
            )
        status.details.add().Pack(violations)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    serialized: bytes = status.SerializeToString()
    return serialized


def _short(text: str, most: int = _MAXIMUM_TEXT) -> str:
    encoded = text.encode("utf-8", errors="replace")
    if len(encoded) <= most:
        return text
    return encoded[: most - 3].decode("utf-8", errors="ignore") + "…"
