"""The compiled loops that count what a caller asks about: how many distinct hashes, and how many around one code."""

from __future__ import annotations

import numba
import numpy as np

from hashmatch.columns.kernels import place

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_HALF = np.uint64(32)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def raise_registers(words, first, second, index_bits, registers, raised):
    """Let (n, w) words raise the registers of a sketch; marks those that rose in `raised` and returns how often."""
    shift = np.uint64(64 - index_bits)
    rest = np.uint64(index_bits)
    rises = 0
    for row in range(words.shape[0]):
        placed = place(words, row, first, second)
        register = placed >> shift
        value = placed << rest
        # As many leading zeros as the register says, or more: only then is anything counted out.
        if value <= _ALL >> np.uint64(registers[register]):
            rank = 1
            while rank <= 64 - index_bits and not value >> np.uint64(63):
                value <<= _ONE
                rank += 1
            if rank > registers[register]:
                registers[register] = rank
                raised[register] = True
                rises += 1
    return rises


# For a batch: letting go of the interpreter's lock and waiting for it again would take longer than the work.
raise_registers_holding_lock = numba.njit(cache=True, error_model="numpy")(raise_registers.py_func)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_around(words, masks, first, second, seen, counts):
    """Count distinct (n, w) codes by what is left of them under each of (t, w) masks.

    `seen` is a bitmap of the codes that were counted, `counts` (t, buckets) how many fell into each bucket. Both have a
    power of two of places. Returns how many codes were new, and the largest count that one of them came to.
    """
    places = np.uint64(seen.shape[0] * 8 - 1)
    buckets = np.uint64(counts.shape[1] - 1)
    new = 0
    largest = 0
    for row in range(words.shape[0]):
        whole = first
        for word in range(words.shape[1]):
            whole = (whole ^ np.uint64(words[row, word])) * _ODD
            whole ^= whole >> _HALF
        place_of = whole & places
        byte, bit = place_of >> np.uint64(3), np.uint8(1 << np.int64(place_of & np.uint64(7)))
        if seen[byte] & bit:
            continue
        seen[byte] |= bit
        new += 1
        for table in range(masks.shape[0]):
            mixed = second ^ np.uint64(table)
            for word in range(words.shape[1]):
                mixed = (mixed ^ np.uint64(words[row, word] & masks[table, word])) * _ODD
                mixed ^= mixed >> _HALF
            bucket = mixed & buckets
            counts[table, bucket] += 1
            if counts[table, bucket] > largest:
                largest = np.int64(counts[table, bucket])
    return new, largest
