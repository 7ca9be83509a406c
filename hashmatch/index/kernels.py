"""The compiled loops of the exact filter.

A bucket is one cache line: 31 slots of a 16-bit fingerprint, where 0 marks an empty one, and a set of 16 bits. Entries
that a full bucket turned away lie in the sorted overflow; each has set one of the 16 bits, so that of the questions
that come to a full bucket only few have to look there.

Beside each slot, in another array, stands a mark of one byte: the entry's tag and, in the bits that the tags of a
filter leave over, more of its fingerprint. Marks are looked at only where a fingerprint is equal, which is seldom.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hashmatch.columns.kernels import place

# The 16-bit fields of a bucket, and how many of them are slots; the last field is the set of who is in the overflow.
FIELDS = 32
SLOTS = FIELDS - 1
EMPTY = np.uint16(0)
_HALF = np.uint64(32)
_LOW_16 = np.uint64(0xFFFF)
_ALL_SLOTS = np.uint32((1 << SLOTS) - 1)
# Where the part of the fingerprint that goes into the mark begins in a placement: above the 16 bits of the slot; and
# above that the four bits that choose a bit of the set.
_MARK_SHIFT = np.uint64(16)
_TURNED_AWAY_SHIFT = np.uint64(24)
_TURNED_AWAY_BITS = np.uint64(15)
# How many lookups are on their way to memory at once, a power of two: enough to hide its latency behind the work of the
# others.
_AHEAD = 32
# How many buckets share an entry point into the overflow.
OVERFLOW_RUN = 16


@intrinsic
def prefetch(typing_context, array, index):  # noqa: ARG001
    """Ask the processor to bring the cache line of `array.flat[index]` closer. Changes nothing but time."""
    signature = types.void(array, index)

    def codegen(context, builder, signature, arguments):
        array_type = signature.args[0]
        structure = context.make_array(array_type)(context, builder, arguments[0])
        address = builder.gep(structure.data, [arguments[1]])
        bytes_pointer = ir.IntType(8).as_pointer()
        word = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [bytes_pointer, word, word, word])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
        builder.call(
            function,
            # to read, keep in every level, data
            [builder.bitcast(address, bytes_pointer), word(0), word(3), word(1)],
        )
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _equal_fields(typing_context, array, start, fingerprint):  # noqa: ARG001
    """Compare the fields from `array.flat[start]` with `fingerprint` at once: bit i is set if field i is equal."""
    signature = types.uint32(array, types.int64, types.uint16)

    def codegen(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        line = ir.VectorType(ir.IntType(16), FIELDS)
        address = builder.gep(structure.data, [arguments[1]])
        slots = builder.load(builder.bitcast(address, line.as_pointer()))
        slots.align = 2
        undefined = ir.Constant(line, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), FIELDS), [0] * FIELDS)
        first_lane = builder.insert_element(undefined, arguments[2], ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(first_lane, undefined, lanes)
        return builder.bitcast(builder.icmp_unsigned("==", slots, splat), ir.IntType(FIELDS))

    return signature, codegen


@numba.njit(nogil=True, cache=True, inline="always")
def _start(placed, buckets):
    """Where the bucket of an entry begins."""
    return np.int64(((placed >> _HALF) * buckets) >> _HALF) * FIELDS


@numba.njit(nogil=True, cache=True, inline="always")
def _fingerprint(placed):
    fingerprint = np.uint16(placed & _LOW_16)
    return fingerprint if fingerprint != EMPTY else np.uint16(1)


@numba.njit(nogil=True, cache=True, inline="always")
def _bit(placed):
    """The bit of an entry in the set of those that were turned away."""
    return np.int64((placed >> _TURNED_AWAY_SHIFT) & _TURNED_AWAY_BITS)


@numba.njit(nogil=True, cache=True, inline="always")
def mark_of(placed, tag, spare):
    """The mark of an entry; the lowest `spare` bits of marks are for the fingerprint."""
    return np.uint8((tag << spare) | (np.int64(placed >> _MARK_SHIFT) & ((1 << spare) - 1)))


@numba.njit(nogil=True, cache=True)
def fill(placed, tag, spare, lines, marks, overflow, overflow_marks, used):
    """Add entries of one tag; returns how many of the overflow are in use, or -1 if it is full.

    `lines` is flat, (buckets * FIELDS,) uint16; `marks` the same in uint8.
    """
    buckets = np.uint64(lines.shape[0] // FIELDS)
    total = placed.shape[0]
    for low in range(0, total, _AHEAD):
        high = min(low + _AHEAD, total)
        for index in range(low, high):
            prefetch(lines, _start(placed[index], buckets))
        for index in range(low, high):
            start = _start(placed[index], buckets)
            slot = 0
            while slot < SLOTS and lines[start + slot] != EMPTY:
                slot += 1
            if slot < SLOTS:
                lines[start + slot] = _fingerprint(placed[index])
                marks[start + slot] = mark_of(placed[index], tag, spare)
                continue
            if used == overflow.shape[0]:
                return -1
            lines[start + SLOTS] |= np.uint16(1 << _bit(placed[index]))
            overflow[used] = _overflow_key(start, placed[index])
            overflow_marks[used] = mark_of(placed[index], tag, spare)
            used += 1
    return used


@numba.njit(nogil=True, cache=True)
def point_at_overflow(overflow, starts):
    """Fill in where the overflow of each run of OVERFLOW_RUN buckets begins: (buckets // OVERFLOW_RUN + 2,) uint32."""
    at = 0
    for run in range(starts.shape[0]):
        while at < overflow.shape[0] and np.int64(overflow[at] >> _HALF) < run * OVERFLOW_RUN:
            at += 1
        starts[run] = at


@numba.njit(nogil=True, cache=True, inline="always")
def _overflow_key(start, placed):
    return (np.uint64(start // FIELDS) << _HALF) | np.uint64(_fingerprint(placed))


@numba.njit(nogil=True, cache=True)
def _first_in_overflow(overflow, starts, start, placed):
    """Where entries of this bucket and fingerprint begin in the overflow, or an entry with another key; and the key."""
    key = _overflow_key(start, placed)
    run = start // FIELDS // OVERFLOW_RUN
    low = np.int64(starts[run])
    high = np.int64(starts[run + 1])
    # A run is seldom longer than a few entries, but one that is listed thousands of times may be in it.
    while low < high:
        middle = (low + high) // 2
        if overflow[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low, key


@numba.njit(nogil=True, cache=True, inline="always")
def _was_turned_away(placed, lines, start):
    """Whether the overflow may have an entry."""
    return (np.int64(lines[start + SLOTS]) >> _bit(placed)) & 1 != 0


@numba.njit(nogil=True, cache=True, inline="always")
def _stands_out(placed, lines, buckets):
    """Whether the cache line of an entry does not rule it out. There is no branch here to be guessed wrong."""
    start = _start(placed, buckets)
    in_slot = _equal_fields(lines, start, _fingerprint(placed)) & _ALL_SLOTS != 0
    return in_slot | _was_turned_away(placed, lines, start)


@numba.njit(nogil=True, cache=True)
def may_be_listed(placed, spare, lines, marks, overflow, overflow_marks, starts):
    """Whether an entry has the bucket, the fingerprint and the fingerprint's part of the mark."""
    start = _start(placed, np.uint64(lines.shape[0] // FIELDS))
    fingerprint = _fingerprint(placed)
    spare_bits = (1 << spare) - 1
    wanted = mark_of(placed, 0, spare)
    for slot in range(SLOTS):
        if lines[start + slot] == fingerprint and marks[start + slot] & spare_bits == wanted:
            return True
    if _was_turned_away(placed, lines, start):
        at, key = _first_in_overflow(overflow, starts, start, placed)
        while at < overflow.shape[0] and overflow[at] == key:
            if overflow_marks[at] & spare_bits == wanted:
                return True
            at += 1
    return False


@numba.njit(nogil=True, cache=True, boundscheck=False)
def probe(digests, first, second, spare, lines, marks, overflow, overflow_marks, starts, out, out_placed):
    """Write the rows of (n, size) `digests` that may be listed to `out`, ascending, and their placements; how many.

    `digests` may begin anywhere in memory: they are read where a message has them.
    """
    buckets = np.uint64(lines.shape[0] // FIELDS)
    total = digests.shape[0]
    ahead = min(_AHEAD, total)
    coming = np.empty(_AHEAD, np.uint64)
    for row in range(ahead):
        coming[row] = place(digests, row, first, second)
        prefetch(lines, _start(coming[row], buckets))
    found = 0
    for row in range(total):
        placed = coming[row & (_AHEAD - 1)]
        if row + ahead < total:
            then = place(digests, row + ahead, first, second)
            coming[row & (_AHEAD - 1)] = then
            prefetch(lines, _start(then, buckets))
        out[found] = row
        found += _stands_out(placed, lines, buckets)
    kept = 0
    for at in range(found):
        placed = place(digests, out[at], first, second)
        if may_be_listed(placed, spare, lines, marks, overflow, overflow_marks, starts):
            out[kept] = out[at]
            out_placed[kept] = placed
            kept += 1
    return kept


# For batches that are probed on the event loop: whoever lets go of the interpreter's lock may wait milliseconds to get
# it back, which is longer than any such batch takes.
probe_few = numba.njit(cache=True, boundscheck=False)(probe.py_func)


@numba.njit(nogil=True, cache=True)
def mark_tags(placed, spare, lines, marks, overflow, overflow_marks, starts, out):
    """Set `out[i, t]` for every tag t under which entry i may be listed."""
    buckets = np.uint64(lines.shape[0] // FIELDS)
    spare_bits = (1 << spare) - 1
    for index in range(placed.shape[0]):
        start = _start(placed[index], buckets)
        fingerprint = _fingerprint(placed[index])
        wanted = mark_of(placed[index], 0, spare)
        for slot in range(SLOTS):
            if lines[start + slot] == fingerprint and marks[start + slot] & spare_bits == wanted:
                out[index, marks[start + slot] >> spare] = True
        if _was_turned_away(placed[index], lines, start):
            at, key = _first_in_overflow(overflow, starts, start, placed[index])
            while at < overflow.shape[0] and overflow[at] == key:
                if overflow_marks[at] & spare_bits == wanted:
                    out[index, overflow_marks[at] >> spare] = True
                at += 1
