"""The compiled loop that folds digests which are no uniform numbers into sixteen bytes that are placed like some."""

from __future__ import annotations

import numba
import numpy as np

_ODD_1 = np.uint64(0x9E3779B97F4A7C15)
_ODD_2 = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fold_all(words, out):
    """Fold (n, w) words, w even, into (n, 4): every bit of a digest changes both halves of its fold."""
    for row in range(words.shape[0]):
        one = _ODD_1
        other = _ODD_2
        for word in range(0, words.shape[1], 2):
            lane = np.uint64(words[row, word]) | (np.uint64(words[row, word + 1]) << _HALF)
            one = (one ^ lane) * _ODD_1
            one ^= one >> _HALF
            other = (other + lane) * _ODD_2
            other ^= other >> _HALF
        out[row, 0] = one & _LOW
        out[row, 1] = one >> _HALF
        out[row, 2] = other & _LOW
        out[row, 3] = other >> _HALF
