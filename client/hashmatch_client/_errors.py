"""The exceptions of the client.

    HashmatchClientError
    ├── ConfigurationError          a target, certificate file or setting that cannot be used
    ├── InvalidHashError            a value that is no hash of its algorithm; nothing was sent
    ├── ProtocolViolationError      an answer that contradicts itself or the question
    ├── ReceiptError                a saved answer whose receipt does not verify
    └── ApiError                    the call failed; it carries code, reason, request_id and more
        ├── UnavailableError        no server answers, or the store does not: worth trying again
        ├── OverloadedError         the server sheds load: try again after retry_delay
        ├── DeadlineExceededError   the time allowed for the call passed
        ├── NotPermittedError       no acceptable identity, or one that may not do this
        ├── NotFoundError           there is no such list
        └── InvalidRequestError     the server refused the request; fields names what is wrong

None of them ever holds a hash. What was asked in a failed call is *unanswered*: an exception is never a negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that the server refused, and why."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How much of a bulk run had been answered when it failed: the first `batches` batches, `digests` in all."""

    batches: int
    digests: int


class HashmatchClientError(Exception):
    """Everything that this client raises for a reason of its own.

    `bulk_progress` is set on errors that end a bulk run, and tells what had been answered before.
    """

    bulk_progress: BulkProgress | None = None


class ConfigurationError(HashmatchClientError):
    """A target, certificate file or setting that cannot be used."""


class InvalidHashError(HashmatchClientError):
    """A value that is no hash of its algorithm. It was not sent, and is not repeated in the message.

    `algorithm` is the name of the algorithm, or empty if it could not be told.
    """

    def __init__(self, message: str, algorithm: str = "") -> None:
        super().__init__(message)
        self.algorithm = algorithm


class ProtocolViolationError(HashmatchClientError):
    """An answer that contradicts itself or the question. No part of it is handed out."""

    def __init__(self, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


class ReceiptError(HashmatchClientError):
    """A saved answer whose receipt does not verify."""


class ApiError(HashmatchClientError):
    """A call that failed.

    `code` is the gRPC status; `reason` and `domain` identify the error for programs (empty if the server gave none, as
    when the connection failed); `fields` names the fields at fault; `retry_delay` is in seconds, or None; `request_id`
    is what the server's log knows the call by.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        domain: str = "",
        fields: tuple[FieldViolation, ...] = (),
        retry_delay: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.domain = domain
        self.fields = fields
        self.retry_delay = retry_delay
        self.request_id = request_id

    def __str__(self) -> str:
        code = self.code.name if self.code is not None else ""
        what = "/".join(part for part in (code, self.reason) if part)
        return f"{what}: {self.message}" if what else self.message


class UnavailableError(ApiError):
    """No server answers, or the server's store does not."""


class OverloadedError(ApiError):
    """The server sheds load; `retry_delay` says when to come back."""


class DeadlineExceededError(ApiError):
    """The time allowed for the call passed."""


class NotPermittedError(ApiError):
    """The server accepts no identity of the caller, or the identity may not do this."""


class NotFoundError(ApiError):
    """There is no such list."""


class InvalidRequestError(ApiError):
    """The server refused the request; `fields` names what is wrong with it."""
