"""The compiled loops of the Hamming index: multi-index hashing over bitmaps.

A code is cut into chunks; for each chunk there is a directory from its value to the entries that have it. Two codes
within a distance of d have some chunk within its share of d, so that looking up each chunk of a query, and the values
within that chunk's radius, meets every entry within d.

The directory of a chunk is a bitmap of the values that occur, beside each of its words how many of them come before it
(together the `pairs`), where the entries of each value that occurs begin (`offsets`), and the entries. Values that
differ in their last six bits share a word of the bitmap, so that one look at a word settles all of them: a mask of its
bits within the radius takes the place of a look-up for each value.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hashmatch.index.kernels import prefetch

WORDS = 4
_CODE_BITS = 256
_WORD_BITS = 64
# The bits of a chunk that stand inside a word of its bitmap.
LOW_BITS = 6
_LOW = (1 << LOW_BITS) - 1
# How many values of one chunk may lie within its radius, of which 42, 22, 7 and 1 share a word: enough for a radius of
# 3 and 20 upper bits.
MAXIMUM_VALUES = 4_096
# How many entries are on their way from memory at once.
_ENTRIES = 1_024
_AHEAD = 32
_ONE = np.uint64(1)
_ZERO = np.uint64(0)


@intrinsic
def _ones(typing_context, word):  # noqa: ARG001
    """How many bits of a word are set."""

    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def _lowest(typing_context, word):  # noqa: ARG001
    """The position of the lowest bit that is set, in a word that has one."""

    def codegen(context, builder, signature, arguments):  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@numba.njit(nogil=True, cache=True, boundscheck=False)
def shuffle(codes, table, out):
    """Move the bits of (n, 32) uint8 codes: `out`, (n, 4) uint64, is `table[byte, value]` united over the bytes."""
    for row in range(codes.shape[0]):
        first = second = third = fourth = _ZERO
        for byte in range(codes.shape[1]):
            value = codes[row, byte]
            first |= table[byte, value, 0]
            second |= table[byte, value, 1]
            third |= table[byte, value, 2]
            fourth |= table[byte, value, 3]
        out[row, 0] = first
        out[row, 1] = second
        out[row, 2] = third
        out[row, 3] = fourth


@numba.njit(nogil=True, cache=True, inline="always")
def _chunk(words, row, start, width):
    """The bits from `start` on, `width` of them, of a row of (n, 4) words."""
    word = start // _WORD_BITS
    shift = np.uint64(start % _WORD_BITS)
    value = words[row, word] >> shift
    if start % _WORD_BITS + width > _WORD_BITS:
        value |= words[row, word + 1] << (np.uint64(_WORD_BITS) - shift)
    return np.int64(value & ((_ONE << np.uint64(width)) - _ONE))


@numba.njit(nogil=True, cache=True)
def crowding(words, start, width):
    """How many pairs of rows share the value of a chunk."""
    values = np.empty(words.shape[0], np.int64)
    for row in range(words.shape[0]):
        values[row] = _chunk(words, row, start, width)
    values.sort()
    pairs = run = 0
    for row in range(1, len(values)):
        run = run + 1 if values[row] == values[row - 1] else 0
        pairs += run
    return pairs


@numba.njit(nogil=True, cache=True, boundscheck=False)
def count_values(words, start, width, counts):
    """Count how many rows have each value of a chunk; `counts` is (2^width,) uint32, zeros."""
    total = words.shape[0]
    for row in range(total):
        if row + _AHEAD < total:
            prefetch(counts, _chunk(words, row + _AHEAD, start, width))
        counts[_chunk(words, row, start, width)] += 1


@numba.njit(nogil=True, cache=True, boundscheck=False)
def make_directory(words, start, width, base, counts, pairs, offsets, entries):
    """Fill in the directory of a chunk whose values were counted; `base` is where its entries begin among all.

    `offsets` has one element for each value that occurs, and the end. `counts` is used up.
    """
    occurring = 0
    at = 0
    for word in range(pairs.shape[0]):
        pairs[word, 1] = occurring
        bits = _ZERO
        for low in range(1 << LOW_BITS):
            value = (word << LOW_BITS) | low
            many = counts[value]
            counts[value] = at
            if many:
                bits |= _ONE << np.uint64(low)
                offsets[occurring] = base + at
                occurring += 1
                at += many
        pairs[word, 0] = bits
    offsets[occurring] = base + at
    total = words.shape[0]
    for row in range(total):
        if row + _AHEAD < total:
            prefetch(counts, _chunk(words, row + _AHEAD, start, width))
        value = _chunk(words, row, start, width)
        entries[counts[value]] = row
        counts[value] += 1


@numba.njit(nogil=True, cache=True, inline="always")
def _apart(words, entry, queries, query):
    return (
        _ones(words[entry, 0] ^ queries[query, 0])
        + _ones(words[entry, 1] ^ queries[query, 1])
        + _ones(words[entry, 2] ^ queries[query, 2])
        + _ones(words[entry, 3] ^ queries[query, 3])
    )


@numba.njit(nogil=True, cache=True)
def _grown(array):
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@numba.njit(nogil=True, cache=True, boundscheck=False)
def compare_all(words, queries, distance):
    """Compare every query with every entry: (queries, entries, distances) of those within `distance`."""
    numbers = np.empty(64, np.int64)
    found = np.empty(64, np.int64)
    apart = np.empty(64, np.uint8)
    count = 0
    for query in range(queries.shape[0]):
        for entry in range(words.shape[0]):
            bits = _apart(words, entry, queries, query)
            if bits <= distance:
                if count == len(numbers):
                    numbers, found, apart = _grown(numbers), _grown(found), _grown(apart)
                numbers[count] = query
                found[count] = entry
                apart[count] = bits
                count += 1
    return numbers[:count], found[:count], apart[:count]


@numba.njit(nogil=True, cache=True, inline="always")
def _call_for(queries, query, chunk, chunks, pair_starts, pairs, patterns, pattern_ends, radius):
    """Have the words of a chunk's bitmap brought closer."""
    start, width = chunks[chunk, 0], chunks[chunk, 1]
    upper = _chunk(queries, query, start, width) >> LOW_BITS
    for index in range(pattern_ends[chunk, radius]):
        prefetch(pairs, 2 * (pair_starts[chunk] + (upper ^ patterns[chunk, index])))


@numba.njit(nogil=True, cache=True, inline="always")
def _met_before(words, entry, queries, query, chunks, radii, place):
    """Whether a chunk that comes earlier in the order has met this entry already."""
    for chunk in range(place):
        start, width = chunks[chunk, 0], chunks[chunk, 1]
        different = _chunk(words, entry, start, width) ^ _chunk(queries, query, start, width)
        if np.int64(_ones(np.uint64(different))) <= radii[chunk]:
            return True
    return False


@numba.njit(nogil=True, cache=True, boundscheck=False)
def search(
    words, chunks, pair_starts, pairs, offset_starts, offsets, entries,
    patterns, pattern_ends, balls, radii, queries, distance, work_limit,
):  # fmt: skip
    """Every entry within `distance` of each query, once: (queries, entries, distances, queries given up).

    `words` (n, 4) and `queries` (q, 4) uint64; `chunks` (m, 2) int64, start and width, in the order in which they are
    looked up, and so are all that follow: `pairs` from `pair_starts` on, `offsets` from `offset_starts` on, `entries`
    (m * n,). `patterns[chunk]` are the differences of the upper bits, fewest bits first, of which those up to
    `pattern_ends[chunk, k]` have at most k bits; `balls[value, radius]` is the mask of the values of the lower bits
    within a radius. `radii` (m,) is how far each chunk is looked up, -1 for not at all. A query is
    given up when more than `work_limit` entries would have to be compared with it.
    """
    numbers = np.empty(64, np.int64)
    found = np.empty(64, np.int64)
    apart = np.empty(64, np.uint8)
    exceeded = np.empty(8, np.int64)
    values = np.empty(MAXIMUM_VALUES, np.int64)
    slots = np.empty(_ENTRIES, np.int64)
    count = given_up = 0
    for query in range(queries.shape[0]):
        work = 0
        begin = count
        if radii[0] >= 0:
            _call_for(queries, query, 0, chunks, pair_starts, pairs, patterns, pattern_ends, radii[0])
        for chunk in range(chunks.shape[0]):
            radius = radii[chunk]
            if radius < 0 or work > work_limit:
                break
            if chunk + 1 < chunks.shape[0] and radii[chunk + 1] >= 0:
                _call_for(
                    queries, query, chunk + 1, chunks, pair_starts, pairs, patterns, pattern_ends, radii[chunk + 1]
                )
            key = _chunk(queries, query, chunks[chunk, 0], chunks[chunk, 1])
            upper, low = key >> LOW_BITS, key & _LOW
            first_pair, first_offset = pair_starts[chunk], offset_starts[chunk]
            # Gather the values that occur within the radius.
            held = 0
            first = 0
            for flips in range(radius + 1):
                ball = balls[low, radius - flips]
                for index in range(first, pattern_ends[chunk, flips]):
                    at = first_pair + (upper ^ patterns[chunk, index])
                    word = pairs[at, 0]
                    bits = word & ball
                    while bits != _ZERO:
                        below = (_ONE << _lowest(bits)) - _ONE
                        value = first_offset + np.int64(pairs[at, 1] + _ones(word & below))
                        prefetch(offsets, value)
                        values[held] = value
                        held += 1
                        bits &= bits - _ONE
                first = pattern_ends[chunk, flips]
            # Then their entries, then the entries' codes: each step asks memory for what the next one reads.
            taken = 0
            slot = stop = np.int64(0)
            while taken < held or slot < stop:
                ready = 0
                while ready < _ENTRIES and (slot < stop or taken < held):
                    if slot == stop:
                        slot, stop = np.int64(offsets[values[taken]]), np.int64(offsets[values[taken] + 1])
                        taken += 1
                        prefetch(entries, slot)
                        continue
                    slots[ready] = slot
                    slot += 1
                    ready += 1
                work += ready
                if work > work_limit:
                    break
                for index in range(ready):
                    slots[index] = entries[slots[index]]
                    prefetch(words, slots[index] * WORDS)
                for index in range(ready):
                    entry = slots[index]
                    bits_apart = _apart(words, entry, queries, query)
                    if bits_apart > distance or _met_before(words, entry, queries, query, chunks, radii, chunk):
                        continue
                    if count == len(numbers):
                        numbers, found, apart = _grown(numbers), _grown(found), _grown(apart)
                    numbers[count] = query
                    found[count] = entry
                    apart[count] = bits_apart
                    count += 1
        if work > work_limit:
            count = begin
            if given_up == len(exceeded):
                exceeded = _grown(exceeded)
            exceeded[given_up] = query
            given_up += 1
    return numbers[:count], found[:count], apart[:count], exceeded[:given_up]
