"""The compiled loops over columns. They release the interpreter's lock and know only arrays."""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# What placements are mixed with: odd, so that nothing is lost, and without a pattern.
ODD_1 = np.uint64(0x9E3779B97F4A7C15)
ODD_2 = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)

FIRST_BITS = 10
SECOND_BITS = 10
# Insertion sort is quadratic: larger buckets, which only repeated digests make, are left to numpy.
CROWDED = 64


@intrinsic
def _load_word(typing_context, array, index):  # noqa: ARG001
    """The 8 bytes from `array.flat[index]` as one little-endian number, wherever in memory they begin."""
    signature = types.uint64(array, types.int64)

    def codegen(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(structure.data, [arguments[1]])
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return signature, codegen


@numba.njit(nogil=True, cache=True, inline="always", error_model="numpy")
def place(digests, row, first, second):
    """The placement of one of (n, size) digests; inlined into the kernels that need it."""
    size = digests.shape[1]
    head = _load_word(digests, row * size)
    tail = _load_word(digests, row * size + size - 8)
    mixed = (head ^ first) * ODD_1
    mixed ^= mixed >> _SHIFT
    mixed = (mixed ^ tail ^ second) * ODD_2
    mixed ^= mixed >> _SHIFT
    mixed *= ODD_1
    return mixed ^ (mixed >> _SHIFT)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def place_all(digests, first, second, out):
    """Place every digest."""
    for row in range(digests.shape[0]):
        out[row] = place(digests, row, first, second)


# For a handful of digests: letting go of the interpreter's lock and getting it back would take longer than the work.
place_few = numba.njit(cache=True, error_model="numpy")(place_all.py_func)


@numba.njit(nogil=True, cache=True)
def partition(words, placed, out_words, out_placed, out_order):
    """Move everything into pieces by the upper bits of the placement. Returns the starts of the pieces."""
    pieces = 1 << FIRST_BITS
    shift = np.uint64(64 - FIRST_BITS)
    starts = np.zeros(pieces + 1, np.int64)
    for position in range(placed.shape[0]):
        starts[np.int64(placed[position] >> shift) + 1] += 1
    for piece in range(pieces):
        starts[piece + 1] += starts[piece]
    cursor = starts[:pieces].copy()
    for position in range(placed.shape[0]):
        piece = np.int64(placed[position] >> shift)
        target = cursor[piece]
        cursor[piece] += 1
        out_order[target] = position
        out_placed[target] = placed[position]
        for word in range(words.shape[1]):
            out_words[target, word] = words[position, word]
    return starts


@numba.njit(nogil=True, cache=True)
def _precedes(placed, words, order, left, right):
    if placed[left] != placed[right]:
        return placed[left] < placed[right]
    for word in range(words.shape[1]):
        if words[left, word] != words[right, word]:
            return words[left, word] < words[right, word]
    return order[left] < order[right]


@numba.njit(nogil=True, cache=True)
def sort_pieces(words, placed, order, starts, crowded):
    """Sort each piece in place; leave crowded buckets unsorted and note them. Returns how many there are."""
    buckets = 1 << SECOND_BITS
    shift = np.uint64(64 - FIRST_BITS - SECOND_BITS)
    mask = np.uint64(buckets - 1)
    noted = 0
    for piece in range(starts.shape[0] - 1):
        low, high = starts[piece], starts[piece + 1]
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
            if end - start > CROWDED:
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
def differs_from_previous(words, out):
    """Note of each digest whether it differs from the one before."""
    for index in range(words.shape[0]):
        differs = index == 0
        if not differs:
            for word in range(words.shape[1]):
                if words[index, word] != words[index - 1, word]:
                    differs = True
                    break
        out[index] = differs


@numba.njit(nogil=True, cache=True)
def gather_payloads(source_offsets, source, order, offsets, out):
    """Copy the payloads of the rows in `order`, one after the other."""
    for position in range(order.shape[0]):
        start = source_offsets[order[position]]
        for index in range(offsets[position + 1] - offsets[position]):
            out[offsets[position] + index] = source[start + index]


@numba.njit(nogil=True, cache=True)
def take(words, order, out):
    """Copy the digests in `order`."""
    for position in range(order.shape[0]):
        source = order[position]
        for word in range(words.shape[1]):
            out[position, word] = words[source, word]


@numba.njit(nogil=True, cache=True)
def walk(left_placed, left, right_placed, right, out):
    """For each left row the position of the equal right row, or -1. Both sorted by placement, then digest."""
    position = 0
    for row in range(left_placed.shape[0]):
        out[row] = -1
        while position < right_placed.shape[0] and right_placed[position] < left_placed[row]:
            position += 1
        probe = position
        while probe < right_placed.shape[0] and right_placed[probe] == left_placed[row]:
            same = True
            for word in range(left.shape[1]):
                if left[row, word] != right[probe, word]:
                    same = False
                    break
            if same:
                out[row] = probe
                break
            probe += 1
