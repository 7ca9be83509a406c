"""Notices what suddenly matches far more often than before, in bounded memory and without keeping what matches.

Matches are counted by list and listed value in a count-min sketch (Cormode and Muthukrishnan 2005) for each window of
time. What a window had becomes what is usual, which fades with a half-life: so what matches often every day is not
noticed every morning. The sketch is keyed with a secret, so that nobody can make hashes that hide one another.

In the first window there is nothing to compare with, and nothing is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests
from hashmatch.model.clock import Clock
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.flood_kernels import count_matches

_TABLES, _BUCKETS = 3, 1 << 15
_NOTED = 1 << 18
# In how many windows what is usual fades to a half: with ten minutes a window, in six hours.
_HALF_LIFE = 36
# How many times as often as a bucket is hit on average something must match, so that it is not others that share its
# buckets: of three tables at once these have so much with a likelihood of less than 1 / 8^3, and in practice never.
_ABOVE_NOISE = 8
# The most that is found in one batch; the rest is found in the next.
_MOST_AT_ONCE = 64
# More than anything can be counted to.
_NEVER = 1 << 62


class FloodLimits(NamedTuple):
    """From how many matches in a window, and how many times as many as usual, something is a flood."""

    window_seconds: float
    minimum: int
    ratio: float


class Flooding(NamedTuple):
    """Something that floods: the row in what was counted, the list, and the estimated counts."""

    row: int
    list_id: str
    matches: int
    usual: int


class FloodSketch:
    """Counts matches, and tells what floods: each list and value once a window. For one thread; about 1 MB.

    Whoever adds to it looks before whether the window `is_over`.
    """

    def __init__(self, key: CountingKey, limits: FloodLimits, clock: Clock) -> None:
        self._key = key
        self._limits = limits
        self._clock = clock
        self._salts: dict[str, int] = {}
        self._counts = np.zeros((_TABLES, _BUCKETS), np.uint32)
        self._usual = np.zeros((_TABLES, _BUCKETS), np.float32)
        self._noted = np.zeros(_NOTED, np.bool_)
        self._counted = 0
        self._began = clock.monotonic()
        self._has_past = False
        self._found = np.zeros((_MOST_AT_ONCE, 4), np.int64)

    def add(self, values: Digests, numbers: npt.NDArray[np.int64], lists_of: Sequence[Sequence[str]]) -> list[Flooding]:
        """Count (n, size) listed values that matched; `lists_of[numbers[i]]` are the lists that value i matched in."""
        starts = np.zeros(len(lists_of) + 1, np.int64)
        np.cumsum([len(lists) for lists in lists_of], out=starts[1:])
        list_ids = [list_id for lists in lists_of for list_id in lists]
        if not list_ids:
            return []
        limits, key = self._limits, self._key
        self._counted, found = count_matches(
            np.ascontiguousarray(values),
            np.ascontiguousarray(numbers),
            starts,
            np.array([self._salt(list_id) for list_id in list_ids], np.uint64),
            key.first,
            key.second,
            self._counts,
            self._usual,
            self._noted,
            self._counted,
            limits.minimum if self._has_past else _NEVER,
            _ABOVE_NOISE,
            limits.ratio,
            self._found,
        )
        return [
            Flooding(row, list_ids[salt], matches, usual) for row, salt, matches, usual in self._found[:found].tolist()
        ]

    def _salt(self, list_id: str) -> int:
        salt = self._salts.get(list_id)
        if salt is None:
            # No secret: it only has to be another one for each list.
            digest = hashlib.blake2b(list_id.encode(), digest_size=8).digest()
            salt = self._salts[list_id] = int.from_bytes(digest, "big")
        return salt

    @property
    def is_over(self) -> bool:
        """Whether the window is over, and it is time to turn."""
        return self._clock.monotonic() - self._began >= self._limits.window_seconds

    def turn(self) -> None:
        """Begin the next window; what the one that is over counted becomes the past."""
        windows = int((self._clock.monotonic() - self._began) / self._limits.window_seconds)
        np.maximum(self._usual * np.float32(0.5 ** (1 / _HALF_LIFE)), self._counts, out=self._usual)
        # Windows in which nothing matched at all.
        self._usual *= np.float32(0.5 ** ((windows - 1) / _HALF_LIFE))
        self._counts[:] = 0
        self._noted[:] = False
        self._counted = 0
        self._began += windows * self._limits.window_seconds
        self._has_past = True
