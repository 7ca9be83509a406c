"""What an index of near values finds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class IndexMatches(NamedTuple):
    """What an index found: match i is of query `queries[i]` with the index's entry `entries[i]`, at `distances[i]`.

    `queries`, ascending, and `entries` are (n,) int64; `distances` (n,) counts in the unit of the index. `exceeded`,
    (k,) int64, ascending, are the queries that were given up at the work limit; they have no matches.
    """

    queries: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    distances: npt.NDArray[np.integer[Any]]
    exceeded: npt.NDArray[np.int64]


def given_up(queries: int) -> IndexMatches:
    """The outcome where every one of so many queries is beyond the work limit."""
    nothing = np.empty(0, np.int64)
    return IndexMatches(nothing, nothing, nothing, np.arange(queries))
