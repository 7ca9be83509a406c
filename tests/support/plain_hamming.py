"""Nearest PDQ codes by comparing all with all: what an index is held against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests


class PlainMatches(NamedTuple):
    """What `HammingIndex.search` returns."""

    queries: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    exceeded: npt.NDArray[np.int64]


class PlainIndex:
    """Does what a `HammingIndex` does, in no time for a test and forever for a list."""

    def __init__(self, codes: Digests) -> None:
        self._codes = np.ascontiguousarray(codes)
        assert len(np.unique(self._codes, axis=0)) == len(self._codes)

    @property
    def entries(self) -> int:
        return len(self._codes)

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes

    def codes(self, entries: npt.NDArray[np.integer]) -> Digests:
        return self._codes[entries]

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> PlainMatches:
        if work_limit is not None and work_limit < len(self._codes):
            nothing = np.empty(0, np.int64)
            return PlainMatches(nothing, nothing, nothing, np.arange(len(queries)))
        distances = np.bitwise_count(queries[:, None, :] ^ self._codes[None, :, :]).sum(axis=2, dtype=np.int64)
        found, entries = np.nonzero(distances <= distance)
        return PlainMatches(found, entries, distances[found, entries], np.empty(0, np.int64))
