"""Sorting digests by placement, then digest, then position.

Placements are uniform, so two rounds of partition (first over the whole column, then inside pieces that fit the cache)
leave a handful of digests to a bucket, which insertion finishes: several times as fast as a comparison sort of ten
million. A column of few distinct digests defeats that; its crowded buckets are left to numpy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns import kernels
from hashmatch.columns.placement import Digests, Placements, as_words


class Sorted(NamedTuple):
    """Sorted digests and where they came from."""

    # (n, size) uint8
    digests: Digests
    # (n,) uint64, ascending
    placed: Placements
    # (n,) int64, the position that each had
    order: npt.NDArray[np.int64]
    # (n,) bool, whether each differs from the one before
    first: npt.NDArray[np.bool_]


def sort_digests(digests: Digests, placed: Placements) -> Sorted:
    """Sort by placement, then digest, then position."""
    words = as_words(digests)
    out_words = np.empty_like(words)
    out_placed = np.empty_like(placed)
    order = np.empty(len(placed), np.int64)
    if len(placed) < 1 << (kernels.FIRST_BITS + 4):
        # Too few to be worth a thousand pieces.
        order[:] = _lexicographic(words, placed, np.arange(len(placed)))
        out_words, out_placed = words[order], placed[order]
    else:
        starts = kernels.partition(words, placed, out_words, out_placed, order)
        crowded = np.empty((len(placed) // kernels.CROWDED + 1, 2), np.int64)
        for start, end in crowded[: kernels.sort_pieces(out_words, out_placed, order, starts, crowded)]:
            settled = _lexicographic(out_words[start:end], out_placed[start:end], order[start:end])
            for column in (out_words, out_placed, order):
                column[start:end] = column[start:end][settled]
    first = np.empty(len(order), np.bool_)
    kernels.differs_from_previous(out_words, first)
    return Sorted(out_words.view(np.uint8), out_placed, order, first)


def _lexicographic(
    words: npt.NDArray[np.uint32], placed: Placements, positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    keys: list[npt.NDArray[Any]] = [words[:, word] for word in range(words.shape[1] - 1, -1, -1)]
    return np.lexsort((positions, *keys, placed))
