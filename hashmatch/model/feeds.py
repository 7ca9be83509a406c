"""Feeds: how far a list has been pulled from its body, and how the last attempt went."""

from __future__ import annotations

import enum

import msgspec


class FeedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a generation holds what a body publishes.

    It is part of the generation: what is rolled back goes back with it. `source` identifies where it was read, so that
    a position is never used elsewhere; `position` is the body's own; `read_at` is in seconds since 1970.
    """

    feed: str
    source: str
    position: str
    read_at: float


class FeedOutcome(enum.IntEnum):
    """How a round went; the numbers are those of the contract."""

    STAGED = 1
    PUBLISHED = 2
    WAITING = 3
    FAILED = 4


class FeedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last round of a feed. Times are in seconds since 1970, 0 for never.

    `reason` is a stable word and `detail` a sentence; both are empty unless the round failed. `records` and `pages`
    count what was read. `failures` counts the rounds that failed in a row.
    """

    feed: str
    started_at: float = 0.0
    ended_at: float = 0.0
    succeeded_at: float = 0.0
    outcome: FeedOutcome | None = None
    reason: str = ""
    detail: str = ""
    full: bool = False
    pages: int = 0
    records: int = 0
    staging_id: str = ""
    failures: int = 0
