"""Nearest PhotoDNA values: by squared Euclidean distance over their 144 components, exactly.

Squared distances are no metric, so no tree can be pruned by them; and the published ways to prune by distances proper
do not pay for values of 144 dimensions. So every value is compared, which takes a few nanoseconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests
from hashmatch.index import euclidean_kernels
from hashmatch.index.matches import IndexMatches, given_up


class EuclideanIndex:
    """An immutable index over distinct values; thread-safe, and searches without the interpreter's lock."""

    def __init__(self, codes: Digests) -> None:
        """`codes` is (n, 144) uint8, distinct."""
        self._codes = np.ascontiguousarray(codes)

    @property
    def entries(self) -> int:
        """How many values it holds."""
        return len(self._codes)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        return self._codes.nbytes

    def codes(self, entries: npt.NDArray[np.integer]) -> Digests:
        """The values of (m,) entries: (m, 144) uint8."""
        chosen: Digests = self._codes[entries]
        return chosen

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> IndexMatches:
        """Every entry within the squared `distance` of (n, 144) queries; `work_limit` counts comparisons a query."""
        if work_limit is not None and len(self._codes) > work_limit:
            return given_up(len(queries))
        entries = np.empty(len(self._codes), np.int64)
        distances = np.empty(len(self._codes), np.int64)
        counts, found_entries, found_distances = [], [entries[:0]], [distances[:0]]
        for query in np.ascontiguousarray(queries):
            found = euclidean_kernels.within(self._codes, query, distance, entries, distances)
            counts.append(found)
            found_entries.append(entries[:found].copy())
            found_distances.append(distances[:found].copy())
        return IndexMatches(
            np.repeat(np.arange(len(counts)), np.array(counts, np.int64)),
            np.concatenate(found_entries),
            np.concatenate(found_distances),
            np.empty(0, np.int64),
        )
