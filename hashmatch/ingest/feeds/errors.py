"""The one error of a feed."""

from __future__ import annotations

import enum


class FeedFailure(enum.StrEnum):
    """Why a round failed: a stable word for logs, metrics and people who search for it."""

    CREDENTIALS = "credentials"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed-out"
    RATE_LIMITED = "rate-limited"
    REFUSED = "refused"
    BODY_ERROR = "body-error"
    REDIRECTED = "redirected"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    PAGE_LOOP = "page-loop"
    WRONG_NATURE = "wrong-nature"
    NOT_STAGED = "not-staged"
    STORE = "store"


class FeedError(Exception):
    """Something that keeps a round from being whole. `detail` is for people and holds no hash, secret or query."""

    def __init__(self, reason: FeedFailure, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
