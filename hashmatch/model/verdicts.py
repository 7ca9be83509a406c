"""Verdicts: the three answers there are, and why one could not be given."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Verdict(enum.IntEnum):
    """What the lists in scope say of a hash; the numbers are those of the contract. None means "clean"."""

    MATCH = 1
    NO_KNOWN_MATCH = 2
    NOT_DETERMINED = 3

    __hash__ = int.__hash__


class UndeterminedReason(enum.IntEnum):
    """Why a verdict is NOT_DETERMINED; the numbers are those of the contract, which describes each."""

    INVALID_HASH = 1
    UNKNOWN_ALGORITHM = 2
    ALGORITHM_NOT_SERVED = 3
    ALGORITHM_NOT_CARRIED = 4
    TOO_FEW_SOURCES = 5
    LIST_STALE = 6
    NO_SNAPSHOT = 7
    SNAPSHOT_UNCONFIRMED = 8
    STORE_UNAVAILABLE = 9
    STORE_DAMAGED = 10
    LOW_QUALITY = 11
    DEGENERATE_HASH = 12
    WORK_LIMIT = 13

    __hash__ = int.__hash__


class Cause(NamedTuple):
    """One cause of a NOT_DETERMINED; `list_id` is empty if it concerns all lists."""

    reason: UndeterminedReason
    list_id: str = ""
