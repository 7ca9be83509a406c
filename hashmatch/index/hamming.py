"""Nearest PDQ codes by Hamming distance, exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests


class HammingMatches(NamedTuple):
    """What was found: match i is of query `queries[i]` with entry `entries[i]`, at `distances[i]`; all (n,) int64.

    `exceeded`, (k,) int64, are the queries that would have taken more comparisons than the work limit.
    """

    queries: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    exceeded: npt.NDArray[np.int64]


class HammingIndex:
    """An immutable index over distinct codes; thread-safe, and searches without the interpreter's lock."""

    def __init__(self, codes: Digests) -> None:
        """`codes` is (n, 32) uint8, distinct."""
        self._codes = np.ascontiguousarray(codes)
        self._words = np.ascontiguousarray(self._codes.view(np.uint64).T)

    @property
    def entries(self) -> int:
        """How many codes it holds."""
        return len(self._codes)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        return self._codes.nbytes + self._words.nbytes

    def codes(self, entries: npt.NDArray[np.integer]) -> Digests:
        """The codes of (m,) entries: (m, 32) uint8."""
        chosen: Digests = self._codes[entries]
        return chosen

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> HammingMatches:
        """Every entry within `distance` of (n, 32) queries; `work_limit` counts comparisons a query."""
        nothing = np.empty(0, np.int64)
        if work_limit is not None and self.entries > work_limit:
            return HammingMatches(nothing, nothing, nothing, np.arange(len(queries)))
        numbers, entries, distances = [nothing], [nothing], [nothing]
        for number, query in enumerate(np.ascontiguousarray(queries).view(np.uint64)):
            apart = np.zeros(self.entries, np.uint16)
            for column, word in zip(self._words, query, strict=True):
                apart += np.bitwise_count(column ^ word)
            found = np.flatnonzero(apart <= distance)
            numbers.append(np.full(len(found), number))
            entries.append(found)
            distances.append(apart[found].astype(np.int64))
        return HammingMatches(np.concatenate(numbers), np.concatenate(entries), np.concatenate(distances), nothing)
