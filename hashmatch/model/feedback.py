"""Feedback: what callers found when they looked into matches. It is told beside opinions, and changes no verdict."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hashmatch.model.videos import Frame, usable_frames

MAXIMUM_NOTE = 500


class Judgement(enum.IntEnum):
    """What a caller says of a match; the numbers are those of the contract."""

    CONFIRMED = 1
    DISPUTED = 2
    WITHDRAWN = 3


class DisputeReason(enum.IntEnum):
    """Why a match is disputed; the numbers are those of the contract. NONE for anything but a dispute."""

    NONE = 0
    OTHER_CONTENT = 1
    LAWFUL = 2
    WRONG_LABEL = 3
    OTHER = 4


class Subject(NamedTuple):
    """The hash that feedback is about, as it was asked: the number of its algorithm, and its value (`value_of`)."""

    algorithm: int
    value: bytes


class FeedbackCounts(NamedTuple):
    """How many callers confirmed and disputed a match in one list."""

    confirmed: int
    disputed: int


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What one client says of one hash in one list. `said_at` is in seconds since 1970."""

    list_id: str
    algorithm: int
    value: bytes
    client: str
    judgement: Judgement
    reason: DisputeReason
    note: str
    said_at: float
    generation: int
    source_keys: tuple[str, ...]
    near: bool

    @property
    def subject(self) -> Subject:
        """What it is about."""
        return Subject(self.algorithm, self.value)

    def says_the_same_as(self, other: Feedback) -> bool:
        """Whether it tells nothing that the other does not."""
        return (self.judgement, self.reason, self.note) == (other.judgement, other.reason, other.note)


def value_of(value: bytes, frames: Sequence[Frame]) -> bytes:
    """What a hash is known by: its value, and a video by the SHA-256 of its usable frames, in whatever order."""
    return hashlib.sha256(b"".join(sorted(usable_frames(frames)))).digest() if frames else value
