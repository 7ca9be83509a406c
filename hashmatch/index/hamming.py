"""Nearest codes by Hamming distance, exactly: every entry within the distance is found, and none beyond it.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing"). A code
of 256 bits is cut into m chunks. If two codes differ in at most d bits, and chunk i has a radius r_i, then some chunk
differs in at most r_i bits as long as the sum of all r_i + 1 exceeds d: were it not so, they would differ in more than
d bits. So the radii share d + 1 among them, and a chunk whose share is nothing is not looked up.

How many chunks there are follows from how many codes there are: fewer and wider chunks meet fewer entries by chance and
take more looks into their directories. Up to a few thousand codes are simply compared.

Codes of pictures are not uniform: neighbouring bits go together, and families of near duplicates share whole chunks.
Against the first, bits are shuffled before they are cut, by a fixed permutation. Chunks whose values crowd get the
smaller radii. What remains is bounded: a query that would be compared with more than `work_limit` entries is given up,
and says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests
from hashmatch.index import hamming_kernels as kernels
from hashmatch.index.matches import IndexMatches, given_up

CODE_SIZE = 32
MAXIMUM_DISTANCE = 31
_BITS = CODE_SIZE * 8
# From how many codes on into how many chunks they are cut; measured, see docs/adr/0011. Fewer are compared one by one.
_CHUNKS = ((4_096, 16), (200_000, 11))
_FEWEST_CHUNKS = min(chunks for _, chunks in _CHUNKS)
_LARGEST_RADIUS = -(-(MAXIMUM_DISTANCE + 1) // _FEWEST_CHUNKS) - 1
# From this many codes on the directories are made by threads side by side, this many at most: each needs memory.
_SIDE_BY_SIDE, _MOST_THREADS = 500_000, 4
# How many codes tell how much the values of a chunk crowd.
_SAMPLE = 65_536
_NO_LIMIT = np.iinfo(np.int64).max

_Words = npt.NDArray[np.uint64]
_Table = npt.NDArray[np.uint64]


class HammingIndex:
    """An immutable index over distinct codes; thread-safe, and searches without the interpreter's lock."""

    def __init__(self, codes: Digests) -> None:
        """`codes` is (n, 32) uint8, distinct, in any order; they are copied. Works for seconds on millions."""
        self._words = _shuffled(codes, _SCATTER)
        chunks = next((many for fewest, many in reversed(_CHUNKS) if len(codes) >= fewest), 0)
        self._directory = _Directory(self._words, chunks) if chunks else None

    @property
    def entries(self) -> int:
        """How many codes it holds."""
        return len(self._words)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        return self._words.nbytes + (self._directory.nbytes if self._directory is not None else 0)

    def codes(self, entries: npt.NDArray[np.integer[Any]]) -> Digests:
        """The codes of (m,) entries: (m, 32) uint8."""
        chosen = np.ascontiguousarray(self._words[entries]).view(np.uint8)
        return _shuffled(chosen, _GATHER).view(np.uint8)

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> IndexMatches:
        """Every entry within `distance`, 0 to 31, of (n, 32) queries.

        Distances are in bits. `work_limit` is how many entries a query may be compared with; one that needs more is
        given up.
        """
        if not 0 <= distance <= MAXIMUM_DISTANCE:
            raise ValueError(f"a distance is from 0 to {MAXIMUM_DISTANCE}")
        asked = _shuffled(queries, _SCATTER)
        limit = _NO_LIMIT if work_limit is None else work_limit
        if self._directory is not None:
            return self._directory.search(self._words, asked, distance, limit)
        if self.entries > limit:
            return given_up(len(asked))
        numbers, entries, distances = kernels.compare_all(self._words, asked, distance)
        return IndexMatches(numbers, entries, distances, np.empty(0, np.int64))


class _Directory:
    """From the values of chunks to the entries that have them."""

    def __init__(self, words: _Words, chunks: int) -> None:
        total = len(words)
        widths = np.full(chunks, _BITS // chunks, np.int64)
        widths[: _BITS % chunks] += 1
        cut = np.stack([np.cumsum(widths) - widths, widths], axis=1)
        # The first in the order get what the radii leave over: those whose values crowd least.
        sample = words[:: max(1, total // _SAMPLE)]
        crowding = [kernels.crowding(sample, start, width) for start, width in cut.tolist()]
        self._chunks = cut[np.argsort(crowding, kind="stable")]
        self._pair_starts = _starts(1 << (self._chunks[:, 1] - kernels.LOW_BITS))
        self._pairs = np.empty((self._pair_starts[-1], 2), np.uint64)
        self._entries = np.empty(chunks * total, np.uint32)
        with ThreadPoolExecutor(_threads(total), thread_name_prefix="index") as threads:
            offsets = list(threads.map(lambda chunk: self._make(words, chunk), range(chunks)))
        self._offset_starts = _starts(np.array([len(each) for each in offsets]))
        self._offsets = np.concatenate(offsets)
        self._patterns, self._pattern_ends = _patterns((self._chunks[:, 1] - kernels.LOW_BITS).tolist())

    def _make(self, words: _Words, chunk: int) -> npt.NDArray[np.uint32]:
        """Fill in the directory of a chunk; returns its offsets."""
        start, width = self._chunks[chunk].tolist()
        counts = np.zeros(1 << width, np.uint32)
        kernels.count_values(words, start, width, counts)
        offsets = np.empty(np.count_nonzero(counts) + 1, np.uint32)
        own = slice(self._pair_starts[chunk], self._pair_starts[chunk + 1])
        begin, end = chunk * len(words), (chunk + 1) * len(words)
        kernels.make_directory(
            words,
            start,
            width,
            begin,
            counts,
            self._pairs[own],
            offsets,
            self._entries[begin:end],
        )
        return offsets

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        return sum(each.nbytes for each in (self._pairs, self._offsets, self._entries))

    def search(self, words: _Words, queries: _Words, distance: int, work_limit: int) -> IndexMatches:
        """What is within `distance` of (q, 4) shuffled queries."""
        numbers, entries, distances, exceeded = kernels.search(
            words,
            self._chunks,
            self._pair_starts,
            self._pairs,
            self._offset_starts,
            self._offsets,
            self._entries,
            self._patterns,
            self._pattern_ends,
            _BALLS,
            _radii(len(self._chunks), distance),
            queries,
            distance,
            work_limit,
        )
        return IndexMatches(numbers, entries, distances, exceeded)


def _radii(chunks: int, distance: int) -> npt.NDArray[np.int64]:
    """How far each chunk is looked up: the shares of distance + 1, as even as can be, less one."""
    return (distance + chunks - np.arange(chunks)) // chunks - 1


def _threads(total: int) -> int:
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS) if total >= _SIDE_BY_SIDE else 1


def _starts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of several parts begins that lie one after the other, and where the last ends."""
    return np.concatenate([[0], np.cumsum(sizes)])


def _patterns(widths: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each of the widths the numbers of few bits, fewest first, and how many of them have at most k bits."""
    rows = [
        [[sum(1 << bit for bit in bits) for bits in combinations(range(width), flips)] for flips in _RADII]
        for width in widths
    ]
    ends = np.array([np.cumsum([len(each) for each in row]) for row in rows], np.int64)
    patterns = np.zeros((len(widths), int(ends.max())), np.int64)
    for row, numbers in zip(patterns, rows, strict=True):
        flat = [number for each in numbers for number in each]
        row[: len(flat)] = flat
    return patterns, ends


def _balls() -> npt.NDArray[np.uint64]:
    """For each value of the lower bits and each radius the mask of the values within it: (64, radii) uint64."""
    size = 1 << kernels.LOW_BITS
    return np.array(
        [
            [sum(1 << other for other in range(size) if (value ^ other).bit_count() <= radius) for radius in _RADII]
            for value in range(size)
        ],
        np.uint64,
    )


def _table(order: npt.NDArray[np.int64]) -> _Table:
    """The table with which `kernels.shuffle` moves bit i to bit `order[i]`: (32, 256, 4) uint64."""
    table = np.zeros((CODE_SIZE, 256, kernels.WORDS), np.uint64)
    for bit, target in enumerate(order.tolist()):
        values = np.flatnonzero(np.arange(256) >> (bit % 8) & 1)
        table[bit // 8, values, target // 64] |= np.uint64(1 << (target % 64))
    return table


def _shuffled(codes: Digests, table: _Table) -> _Words:
    words = np.empty((len(codes), kernels.WORDS), np.uint64)
    kernels.shuffle(np.ascontiguousarray(codes), table, words)
    return words


_RADII = range(_LARGEST_RADIUS + 1)
_BALLS = _balls()
# Any permutation is exact. This one is the same in every process, and takes neighbours apart.
_ORDER = np.random.default_rng(256).permutation(_BITS)
_SCATTER, _GATHER = _table(_ORDER), _table(np.argsort(_ORDER))
