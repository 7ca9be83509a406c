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
    RECORDS_LOST = "records-lost"
    STORE = "store"
    INTERNAL = "internal"
    # Of the repository of another instance; see `hashmatch.trust.trust_state.ExchangeFailure`.
    ROLLBACK = "rollback"
    FREEZE = "freeze"
    MIX_AND_MATCH = "mix-and-match"
    TOO_FEW_SIGNATURES = "too-few-signatures"
    TAMPERED = "tampered"
    TRUNCATED = "truncated"
    NOT_PUBLISHED = "not-published"
    STATE_MISSING = "trust-state-missing"
    STATE_DAMAGED = "trust-state-damaged"
    STATE_OUTDATED = "trust-state-outdated"
    STATE_LOCKED = "trust-state-locked"


class FeedError(Exception):
    """Something that keeps a round from being whole. `detail` is for people and holds no hash, secret or query.

    `status` is that of HTTP where it was the body's answer that failed, else 0.
    """

    def __init__(self, reason: FeedFailure, detail: str, *, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
