"""Nearest PDQ codes by comparing all with all: what an index is held against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests
from hashmatch.index.matches import IndexMatches, given_up


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

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> IndexMatches:
        if work_limit is not None and work_limit < len(self._codes):
            return given_up(len(queries))
        distances = np.bitwise_count(queries[:, None, :] ^ self._codes[None, :, :]).sum(axis=2, dtype=np.int64)
        found, entries = np.nonzero(distances <= distance)
        return IndexMatches(found, entries, distances[found, entries], np.empty(0, np.int64))
