"""The one error that crosses the boundary between rooms and, at the edge, becomes a status with `ErrorInfo`."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class ErrorReason(enum.StrEnum):
    """Frozen reasons: the names of `hashmatch.v1.ErrorReason` without their prefix."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:  # noqa: ARG004
        return name

    INVALID_FIELD = enum.auto()
    EMPTY_BATCH = enum.auto()
    BATCH_TOO_LARGE = enum.auto()
    RAGGED_COLUMN = enum.auto()
    UNKNOWN_ALGORITHM = enum.auto()
    LIST_NOT_FOUND = enum.auto()
    STAGING_NOT_FOUND = enum.auto()
    GENERATION_NOT_FOUND = enum.auto()
    DELIVERY_MALFORMED = enum.auto()
    DELIVERY_DIGEST_MISMATCH = enum.auto()
    UNKNOWN_FORMAT = enum.auto()
    INVALID_PROFILE = enum.auto()
    DELIVERY_TOO_LARGE = enum.auto()
    STAGING_OUTDATED = enum.auto()
    STAGING_CLOSED = enum.auto()
    GATE_NOT_MET = enum.auto()
    APPROVALS_MISSING = enum.auto()
    APPROVER_IS_IMPORTER = enum.auto()
    APPROVAL_DIGEST_MISMATCH = enum.auto()
    IDENTITY_MISSING = enum.auto()
    NOT_PERMITTED = enum.auto()
    OVERLOADED = enum.auto()
    STORE_UNAVAILABLE = enum.auto()
    STORE_DAMAGED = enum.auto()
    CONFLICT = enum.auto()
    DEADLINE_REQUIRED = enum.auto()
    DEADLINE_EXCEEDED = enum.auto()
    NOT_SERVING = enum.auto()
    INTERNAL = enum.auto()
    ADMINISTRATION_DISABLED = enum.auto()
    ALGORITHM_NOT_SERVED = enum.auto()
    STORE_MISCONFIGURED = enum.auto()
    CANCELLED = enum.auto()
    FEED_NOT_FOUND = enum.auto()
    FEED_FAILED = enum.auto()
    INVALID_POLICY = enum.auto()
    POLICY_OUTDATED = enum.auto()
    BUDGET_EXHAUSTED = enum.auto()
    PROPOSAL_REQUIRED = enum.auto()
    PROPOSAL_NOT_FOUND = enum.auto()
    PROPOSAL_CLOSED = enum.auto()
    PROPOSAL_OUTDATED = enum.auto()
    SIGNATURE_REQUIRED = enum.auto()
    APPROVAL_MALFORMED = enum.auto()
    APPROVAL_SIGNATURE_INVALID = enum.auto()
    APPROVAL_FOR_ANOTHER_ACT = enum.auto()
    APPROVER_NOT_ENROLLED = enum.auto()
    APPROVER_REVOKED = enum.auto()
    APPROVER_NOT_FOUND = enum.auto()
    FEEDBACK_FULL = enum.auto()
    AUDIT_UNAVAILABLE = enum.auto()
    NO_RECEIPTS = enum.auto()
    DELIVERY_INCOMPLETE = enum.auto()
    STAGINGS_FULL = enum.auto()


class HashmatchError(Exception):
    """A failure that a caller can be told of.

    `message` is for people and `metadata` for programs; neither ever holds a hash. `fields` maps the names of request
    fields to what is wrong with them. `retry_after` is in seconds, or None if trying again will not help.
    """

    def __init__(
        self,
        reason: ErrorReason,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fields = dict(fields or {})
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        # The importer runs in a process of its own, so that its errors travel between processes.
        return _rebuild, (type(self), str(self.reason), self.message, self.fields, self.metadata, self.retry_after)


def _rebuild(
    cls: type[HashmatchError],
    reason: str,
    message: str,
    fields: dict[str, str],
    metadata: dict[str, str],
    retry_after: float | None,
) -> HashmatchError:
    error = cls.__new__(cls)
    HashmatchError.__init__(
        error, ErrorReason(reason), message, fields=fields, metadata=metadata, retry_after=retry_after
    )
    return error


def invalid_field(field: str, problem: str) -> HashmatchError:
    """An `INVALID_FIELD` for one request field."""
    return HashmatchError(ErrorReason.INVALID_FIELD, f"{field}: {problem}", fields={field: problem})
