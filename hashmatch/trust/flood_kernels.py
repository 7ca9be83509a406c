"""The compiled loop that counts how often listed values match."""

from __future__ import annotations

import numba
import numpy as np

from hashmatch.columns.kernels import place

_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


# Without letting go of the interpreter's lock: for a batch, waiting for it again would take longer than the work.
@numba.njit(cache=True, error_model="numpy")
def count_matches(
    values, numbers, starts, salts, first, second, counts, usual, noted, counted, least, above, ratio, found
):
    """Count (n, size) values that matched in a count-min sketch, each once for every list that it matched in.

    `numbers` (n,) is the finding of each, `salts[starts[f]:starts[f + 1]]` the lists of a finding. `counts` and
    `usual`, (tables, 2^b) with tables * b + 18 <= 64, are this window's counts and what is usual in one; `noted`
    (2^18,) marks what was found in this window, and `counted` is how many were counted in it before. What has come to
    `least`, to `above` times the mean of a bucket and to `ratio` times what is usual, and was not found yet, is written
    to `found` (m, 4) as row, salt, count and usual count; what does not fit into it is found the next time. Returns how
    many were counted in the window and how many found.
    """
    bits = np.uint64(0)
    while (np.int64(1) << np.int64(bits)) < counts.shape[1]:
        bits += np.uint64(1)
    mask = np.uint64(counts.shape[1] - 1)
    note_shift = np.uint64(64 - 18)
    flooding = 0
    for row in range(values.shape[0]):
        low, high = starts[numbers[row]], starts[numbers[row] + 1]
        if low == high:
            continue
        placed = place(values, row, first, second)
        for salt in range(low, high):
            key = (placed ^ salts[salt]) * _ODD
            key ^= key >> _HALF
            counted += 1
            estimate = np.int64(1) << 62
            rest = key
            for table in range(counts.shape[0]):
                bucket = rest & mask
                rest >>= bits
                counts[table, bucket] += 1
                estimate = min(estimate, np.int64(counts[table, bucket]))
            if estimate < least or estimate * counts.shape[1] < above * counted:
                continue
            before = np.inf
            rest = key
            for table in range(counts.shape[0]):
                before = min(before, np.float64(usual[table, rest & mask]))
                rest >>= bits
            note = key >> note_shift
            if estimate >= ratio * before and not noted[note] and flooding < found.shape[0]:
                noted[note] = True
                found[flooding, 0] = row
                found[flooding, 1] = salt
                found[flooding, 2] = estimate
                found[flooding, 3] = np.int64(before)
                flooding += 1
    return counted, flooding
