"""The compiled loop that compares values by squared Euclidean distance."""

from __future__ import annotations

import numba
import numpy as np

# So many components are summed up before it is asked whether the sum is already too large: the loop over them is one
# that the compiler makes into a few instructions.
_STRIDE = 48


@numba.njit(nogil=True, cache=True, boundscheck=False)
def within(codes, query, threshold, out_entries, out_distances):
    """Note the rows of (n, size) `codes` within `threshold` of `query`, ascending; returns how many. size % 48 == 0."""
    size = codes.shape[1]
    found = 0
    for row in range(codes.shape[0]):
        total = np.int32(0)
        for start in range(0, size, _STRIDE):
            for at in range(start, start + _STRIDE):
                difference = np.int32(codes[row, at]) - np.int32(query[at])
                total += difference * difference
            if total > threshold:
                break
        if total <= threshold:
            out_entries[found] = row
            out_distances[found] = total
            found += 1
    return found
