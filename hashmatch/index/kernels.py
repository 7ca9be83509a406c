"""The compiled loops of the exact filter.

A bucket is one cache line: 32 slots of a 16-bit fingerprint. 0 marks an empty slot. In a bucket that had to turn
entries away the last slot holds OVERFLOWED and the rest of its entries lie in the sorted overflow.

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

SLOTS = 32
EMPTY = np.uint16(0)
OVERFLOWED = np.uint16(0xFFFF)
_LAST = SLOTS - 1
_HALF = np.uint64(32)
_LOW_16 = np.uint64(0xFFFF)
# Where the part of the fingerprint that goes into the mark begins in a placement: above the 16 bits of the slot.
_MARK_SHIFT = np.uint64(16)
# How many lookups are on their way to memory at once: enough to hide its latency behind the work of the others.
_AHEAD = 32
# How many placements are computed at a time. In a loop of their own they are computed eight at once, and so many of
# them stay in the nearest cache until they are looked up.
_CHUNK = 8_192
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
def _equal_slots(typing_context, array, start, fingerprint):  # noqa: ARG001
    """Compare the SLOTS slots from `array.flat[start]` with `fingerprint` at once: bit i is set if slot i is equal."""
    signature = types.uint32(array, types.int64, types.uint16)

    def codegen(context, builder, signature, arguments):
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        line = ir.VectorType(ir.IntType(16), SLOTS)
        address = builder.gep(structure.data, [arguments[1]])
        slots = builder.load(builder.bitcast(address, line.as_pointer()))
        slots.align = 2
        undefined = ir.Constant(line, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), SLOTS), [0] * SLOTS)
        first_lane = builder.insert_element(undefined, arguments[2], ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(first_lane, undefined, lanes)
        return builder.bitcast(builder.icmp_unsigned("==", slots, splat), ir.IntType(SLOTS))

    return signature, codegen


@numba.njit(nogil=True, cache=True, inline="always")
def _bucket(placed, buckets):
    return np.int64(((placed >> _HALF) * buckets) >> _HALF)


@numba.njit(nogil=True, cache=True, inline="always")
def _fingerprint(placed):
    fingerprint = np.uint16(placed & _LOW_16)
    if fingerprint == EMPTY:
        return np.uint16(1)
    if fingerprint == OVERFLOWED:
        return np.uint16(0xFFFE)
    return fingerprint


@numba.njit(nogil=True, cache=True, inline="always")
def mark_of(placed, tag, spare):
    """The mark of an entry; the lowest `spare` bits of marks are for the fingerprint."""
    return np.uint8((tag << spare) | (np.int64(placed >> _MARK_SHIFT) & ((1 << spare) - 1)))


@numba.njit(nogil=True, cache=True)
def fill(placed, tag, spare, slots, marks, overflow, overflow_marks, used):
    """Add entries of one tag; returns how many of the overflow are in use, or -1 if it is full.

    `slots` is flat, (buckets * SLOTS,) uint16; `marks` the same in uint8.
    """
    buckets = np.uint64(slots.shape[0] // SLOTS)
    total = placed.shape[0]
    for low in range(0, total, _AHEAD):
        high = min(low + _AHEAD, total)
        for index in range(low, high):
            prefetch(slots, _bucket(placed[index], buckets) * SLOTS)
        for index in range(low, high):
            start = _bucket(placed[index], buckets) * SLOTS
            fingerprint = _fingerprint(placed[index])
            mark = mark_of(placed[index], tag, spare)
            slot = 0
            while slot < SLOTS and slots[start + slot] != EMPTY:
                slot += 1
            if slot < SLOTS:
                slots[start + slot] = fingerprint
                marks[start + slot] = mark
                continue
            if used + 2 > overflow.shape[0]:
                return -1
            if slots[start + _LAST] != OVERFLOWED:
                # The entry in the last slot makes room for the sign. Its placement is not known any more, but bucket,
                # fingerprint and mark are all that a lookup compares.
                overflow[used] = (np.uint64(start // SLOTS) << _HALF) | np.uint64(slots[start + _LAST])
                overflow_marks[used] = marks[start + _LAST]
                used += 1
                slots[start + _LAST] = OVERFLOWED
            overflow[used] = (np.uint64(start // SLOTS) << _HALF) | np.uint64(fingerprint)
            overflow_marks[used] = mark
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


@numba.njit(nogil=True, cache=True)
def _first_in_overflow(overflow, starts, bucket, fingerprint):
    """Where entries of this bucket and fingerprint begin in the overflow, or an entry with another key."""
    key = (np.uint64(bucket) << _HALF) | np.uint64(fingerprint)
    low = np.int64(starts[bucket // OVERFLOW_RUN])
    high = np.int64(starts[bucket // OVERFLOW_RUN + 1])
    # A run is seldom longer than a few entries, but one that is listed thousands of times may be in it.
    while low < high:
        middle = (low + high) // 2
        if overflow[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low, key


@numba.njit(nogil=True, cache=True)
def _may_be_listed(placed, spare, slots, marks, overflow, overflow_marks, starts):
    """Whether an entry has the bucket, the fingerprint and the fingerprint's part of the mark."""
    bucket = _bucket(placed, np.uint64(slots.shape[0] // SLOTS))
    start = bucket * SLOTS
    fingerprint = _fingerprint(placed)
    spare_bits = (1 << spare) - 1
    wanted = mark_of(placed, 0, spare)
    if _equal_slots(slots, start, fingerprint) != 0:
        for slot in range(SLOTS):
            if slots[start + slot] == fingerprint and marks[start + slot] & spare_bits == wanted:
                return True
    if slots[start + _LAST] == OVERFLOWED:
        at, key = _first_in_overflow(overflow, starts, bucket, fingerprint)
        while at < overflow.shape[0] and overflow[at] == key:
            if overflow_marks[at] & spare_bits == wanted:
                return True
            at += 1
    return False


@numba.njit(nogil=True, cache=True, inline="always")
def _stands_out(placed, slots, buckets):
    """Whether the cache line of an entry does not rule it out. There is no branch here to be guessed wrong."""
    start = _bucket(placed, buckets) * SLOTS
    return (_equal_slots(slots, start, _fingerprint(placed)) != 0) | (slots[start + _LAST] == OVERFLOWED)


@numba.njit(nogil=True, cache=True, boundscheck=False)
def probe(words, first, second, spare, slots, marks, overflow, overflow_marks, starts, out):
    """Write the rows of `words` that may be listed to `out`, ascending; returns how many. The others are not listed."""
    buckets = np.uint64(slots.shape[0] // SLOTS)
    total = words.shape[0]
    placed = np.empty(min(_CHUNK, total), np.uint64)
    kept = 0
    for low in range(0, total, _CHUNK):
        count = min(_CHUNK, total - low)
        for index in range(count):
            placed[index] = place(words, low + index, first, second)
        ahead = min(_AHEAD, count)
        for index in range(ahead):
            prefetch(slots, _bucket(placed[index], buckets) * SLOTS)
        found = kept
        for index in range(count - ahead):
            prefetch(slots, _bucket(placed[index + ahead], buckets) * SLOTS)
            out[found] = low + index
            found += _stands_out(placed[index], slots, buckets)
        for index in range(count - ahead, count):
            out[found] = low + index
            found += _stands_out(placed[index], slots, buckets)
        for at in range(kept, found):
            if _may_be_listed(placed[out[at] - low], spare, slots, marks, overflow, overflow_marks, starts):
                out[kept] = out[at]
                kept += 1
    return kept


# For batches that are probed on the event loop: whoever lets go of the interpreter's lock may wait milliseconds to get
# it back, which is longer than any such batch takes.
probe_few = numba.njit(cache=True, boundscheck=False)(probe.py_func)


@numba.njit(nogil=True, cache=True)
def mark_tags(placed, spare, slots, marks, overflow, overflow_marks, starts, out):
    """Set `out[i, t]` for every tag t under which entry i may be listed."""
    buckets = np.uint64(slots.shape[0] // SLOTS)
    spare_bits = (1 << spare) - 1
    for index in range(placed.shape[0]):
        bucket = _bucket(placed[index], buckets)
        start = bucket * SLOTS
        fingerprint = _fingerprint(placed[index])
        wanted = mark_of(placed[index], 0, spare)
        for slot in range(SLOTS):
            if slots[start + slot] == fingerprint and marks[start + slot] & spare_bits == wanted:
                out[index, marks[start + slot] >> spare] = True
        if slots[start + _LAST] == OVERFLOWED:
            at, key = _first_in_overflow(overflow, starts, bucket, fingerprint)
            while at < overflow.shape[0] and overflow[at] == key:
                if overflow_marks[at] & spare_bits == wanted:
                    out[index, overflow_marks[at] >> spare] = True
                at += 1
