"""The compiled loops of the exact filter.

A bucket is one cache line: 32 slots of a 16-bit fingerprint. 0 marks an empty slot. In a bucket that had to turn
entries away the last slot holds OVERFLOWED and the rest of its entries lie in the sorted overflow.
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
# How many lookups are on their way to memory at once: enough to hide its latency behind the work of the others.
_AHEAD = 64


@intrinsic
def _prefetch(typing_context, array, index):  # noqa: ARG001
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


@numba.njit(nogil=True, cache=True)
def fill(placed, tag, slots, tags, overflow, overflow_tags, used):
    """Add entries of one tag; returns how many of the overflow are in use, or -1 if it is full.

    `slots` is flat, (buckets * SLOTS,) uint16; `tags` the same in uint8.
    """
    buckets = np.uint64(slots.shape[0] // SLOTS)
    total = placed.shape[0]
    for low in range(0, total, _AHEAD):
        high = min(low + _AHEAD, total)
        for index in range(low, high):
            _prefetch(slots, _bucket(placed[index], buckets) * SLOTS)
        for index in range(low, high):
            start = _bucket(placed[index], buckets) * SLOTS
            fingerprint = _fingerprint(placed[index])
            slot = 0
            while slot < SLOTS and slots[start + slot] != EMPTY:
                slot += 1
            if slot < SLOTS:
                slots[start + slot] = fingerprint
                tags[start + slot] = tag
                continue
            if used + 2 > overflow.shape[0]:
                return -1
            if slots[start + _LAST] != OVERFLOWED:
                # The entry in the last slot makes room for the mark. Its placement is not known any more, but bucket
                # and fingerprint are all that a lookup compares.
                overflow[used] = (np.uint64(start // SLOTS) << _HALF) | np.uint64(slots[start + _LAST])
                overflow_tags[used] = tags[start + _LAST]
                used += 1
                slots[start + _LAST] = OVERFLOWED
            overflow[used] = (np.uint64(start // SLOTS) << _HALF) | np.uint64(fingerprint)
            overflow_tags[used] = tag
            used += 1
    return used


@numba.njit(nogil=True, cache=True)
def _first_not_below(overflow, key):
    low = 0
    high = overflow.shape[0]
    while low < high:
        middle = (low + high) // 2
        if overflow[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)
def _in_overflow(overflow, bucket, fingerprint):
    key = (np.uint64(bucket) << _HALF) | np.uint64(fingerprint)
    at = _first_not_below(overflow, key)
    return at < overflow.shape[0] and overflow[at] == key


@numba.njit(nogil=True, cache=True, boundscheck=False)
def probe(words, first, second, slots, overflow, out):
    """Write the rows of `words` that may be listed to `out`, ascending; returns how many. The others are not listed."""
    buckets = np.uint64(slots.shape[0] // SLOTS)
    total = words.shape[0]
    found = 0
    placed = np.empty(_AHEAD, np.uint64)
    for low in range(0, total, _AHEAD):
        count = min(_AHEAD, total - low)
        for index in range(count):
            each = place(words, low + index, first, second)
            placed[index] = each
            _prefetch(slots, _bucket(each, buckets) * SLOTS)
        for index in range(count):
            start = _bucket(placed[index], buckets) * SLOTS
            fingerprint = _fingerprint(placed[index])
            if _equal_slots(slots, start, fingerprint) != 0 or (
                slots[start + _LAST] == OVERFLOWED and _in_overflow(overflow, start // SLOTS, fingerprint)
            ):
                out[found] = low + index
                found += 1
    return found


# For batches that are probed on the event loop: whoever lets go of the interpreter's lock may wait milliseconds to get
# it back, which is longer than any such batch takes.
probe_few = numba.njit(cache=True, boundscheck=False)(probe.py_func)


@numba.njit(nogil=True, cache=True)
def mark_tags(placed, slots, tags, overflow, overflow_tags, out):
    """Set `out[i, t]` for every tag t under which entry i may be listed."""
    buckets = np.uint64(slots.shape[0] // SLOTS)
    for index in range(placed.shape[0]):
        start = _bucket(placed[index], buckets) * SLOTS
        fingerprint = _fingerprint(placed[index])
        for slot in range(SLOTS):
            if slots[start + slot] == fingerprint:
                out[index, tags[start + slot]] = True
        if slots[start + _LAST] == OVERFLOWED:
            key = (np.uint64(start // SLOTS) << _HALF) | np.uint64(fingerprint)
            at = _first_not_below(overflow, key)
            while at < overflow.shape[0] and overflow[at] == key:
                out[index, overflow_tags[at]] = True
                at += 1
