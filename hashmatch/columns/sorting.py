"""Sorting digests by placement, then digest, then position.

Placements are uniform, so two rounds of partition (first over the whole column, then inside pieces that fit the cache)
leave a handful of digests to a bucket, which insertion finishes: several times as fast as a comparison sort of ten
million. A column of few distinct digests defeats that; its crowded buckets are left to numpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements, as_words

_FIRST_BITS = 10
_SECOND_BITS = 10
# Insertion sort is quadratic: larger buckets, which only repeated digests make, are left to numpy.
_CROWDED = 64


class Sorted(NamedTuple):
    """Sorted digests: (n, size) uint8; their placements, (n,) uint64; the position each came from, (n,) int64; and
    whether each differs from the one before, (n,) bool.
    """

    digests: Digests
    placed: Placements
    order: npt.NDArray[np.int64]
    first: npt.NDArray[np.bool_]


@numba.njit(nogil=True, cache=True)
def _partition(words, placed, out_words, out_placed, out_order):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move everything into pieces by the upper bits of the placement. Returns the starts of the pieces."""
    pieces = 1 << _FIRST_BITS
    shift = np.uint64(64 - _FIRST_BITS)
    starts = np.zeros(pieces + 1, np.int64)
    for position in range(placed.shape[0]):
        starts[np.int64(placed[position] >> shift) + 1] += 1
    for piece in range(pieces):
        starts[piece + 1] += starts[piece]
    cursor = starts[:pieces].copy()
    for position in range(placed.shape[0]):
        piece = np.int64(placed[position] >> shift)
        target = cursor[piece]
        cursor[piece] = target + 1
        out_order[target] = position
        out_placed[target] = placed[position]
        for word in range(words.shape[1]):
            out_words[target, word] = words[position, word]
    return starts


@numba.njit(nogil=True, cache=True)
def _precedes(placed, words, order, left, right):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if placed[left] != placed[right]:
        return placed[left] < placed[right]
    for word in range(words.shape[1]):
        if words[left, word] != words[right, word]:
            return words[left, word] < words[right, word]
    return order[left] < order[right]


@numba.njit(nogil=True, cache=True)
def _sort_pieces(words, placed, order, starts, crowded):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Sort each piece in place; leave crowded buckets unsorted and note them. Returns how many there are."""
    buckets = 1 << _SECOND_BITS
    shift = np.uint64(64 - _FIRST_BITS - _SECOND_BITS)
    mask = np.uint64(buckets - 1)
    noted = 0
    for piece in range(starts.shape[0] - 1):
        low = starts[piece]
        high = starts[piece + 1]
        piece_placed = placed[low:high].copy()
        piece_words = words[low:high].copy()
        piece_order = order[low:high].copy()
        local = np.empty(high - low, np.int64)
        ends = np.zeros(buckets + 1, np.int64)
        for index in range(high - low):
            ends[np.int64((piece_placed[index] >> shift) & mask) + 1] += 1
        for bucket in range(buckets):
            ends[bucket + 1] += ends[bucket]
        cursor = ends[:buckets].copy()
        for index in range(high - low):
            bucket = np.int64((piece_placed[index] >> shift) & mask)
            local[cursor[bucket]] = index
            cursor[bucket] += 1
        for bucket in range(buckets):
            start = ends[bucket]
            end = ends[bucket + 1]
            if end - start > _CROWDED:
                crowded[noted, 0] = low + start
                crowded[noted, 1] = low + end
                noted += 1
                continue
            for index in range(start + 1, end):
                moved = local[index]
                hole = index
                while hole > start and _precedes(piece_placed, piece_words, piece_order, moved, local[hole - 1]):
                    local[hole] = local[hole - 1]
                    hole -= 1
                local[hole] = moved
        for index in range(high - low):
            source = local[index]
            placed[low + index] = piece_placed[source]
            order[low + index] = piece_order[source]
            for word in range(words.shape[1]):
                words[low + index, word] = piece_words[source, word]
    return noted


@numba.njit(nogil=True, cache=True)
def _differs_from_previous(words, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for index in range(words.shape[0]):
        differs = index == 0
        if not differs:
            for word in range(words.shape[1]):
                if words[index, word] != words[index - 1, word]:
                    differs = True
                    break
        out[index] = differs


def sort_digests(digests: Digests, placed: Placements) -> Sorted:
    """Sort by placement, then digest, then position."""
    words = as_words(digests)
    out_words = np.empty_like(words)
    out_placed = np.empty_like(placed)
    order = np.empty(len(placed), np.int64)
    if len(placed) < 1 << (_FIRST_BITS + 4):
        # Too few to be worth a thousand pieces.
        order[:] = _lexicographic(words, placed, np.arange(len(placed)))
        out_words, out_placed = words[order], placed[order]
    else:
        starts = _partition(words, placed, out_words, out_placed, order)
        crowded = np.empty((len(placed) // _CROWDED + 1, 2), np.int64)
        for start, end in crowded[: _sort_pieces(out_words, out_placed, order, starts, crowded)]:
            settled = _lexicographic(out_words[start:end], out_placed[start:end], order[start:end])
            for column in (out_words, out_placed, order):
                column[start:end] = column[start:end][settled]
    first = np.empty(len(order), np.bool_)
    _differs_from_previous(out_words, first)
    return Sorted(out_words.view(np.uint8), out_placed, order, first)


def _lexicographic(
    words: npt.NDArray[np.uint32], placed: Placements, positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    return np.lexsort((positions, *(words[:, word] for word in range(words.shape[1] - 1, -1, -1)), placed))
