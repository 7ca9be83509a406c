"""The kernel that cuts JSON into records: where an object ends, without reading what is in it."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

_QUOTE, _BACKSLASH, _COMMA = ord('"'), ord("\\"), ord(",")
_OPENING_BRACE, _CLOSING_BRACE = ord("{"), ord("}")
_OPENING_BRACKET, _CLOSING_BRACKET = ord("["), ord("]")
_LARGEST_SPACE = 0x20

# The slots of a nesting: how many brackets are open, and whether the last byte was inside a string or escaped there.
_DEPTH, _IN_STRING, _ESCAPED = 0, 1, 2
# What is nested deeper is taken for damage; no decoder reads it.
_DEEPEST = 65_536
_UNFINISHED, _MISMATCH = -1, -2


class Nesting:
    """What is open inside a value that has not ended."""

    def __init__(self) -> None:
        self._state = np.zeros(3, np.int64)
        self._closing = np.empty(_DEEPEST, np.uint8)

    def end(self, text: bytes, start: int) -> int:
        """The position behind the end of the object or array, or -1 if it does not end in `text`.

        The first call begins at its opening bracket, each further one where the text before stopped. Raises
        `ValueError` where brackets do not match.
        """
        end = int(_end(np.frombuffer(text, np.uint8), start, self._state, self._closing))
        if end == _MISMATCH:
            raise ValueError
        return end


def whole_objects(text: bytes, start: int, maximum: int, enough: int) -> npt.NDArray[np.int64]:
    """The (n, 2) bounds of the objects that follow on each other from `start`, with a comma between two.

    There are `maximum` at most, and no further one behind the first `enough` bytes. Each of them is whole; what stands
    behind the last one is for the caller. Raises `ValueError` if the brackets of the first one do not match: where it
    ends, and what belongs to the next one, cannot be told.
    """
    bounds = np.empty((maximum, 2), np.int64)
    count = _whole_objects(np.frombuffer(text, np.uint8), start, bounds, enough)
    if count == _MISMATCH:
        raise ValueError
    return bounds[:count]


@numba.njit(nogil=True, cache=True)
def _end(data, start, state, closing):
    depth, in_string, escaped = state[_DEPTH], state[_IN_STRING], state[_ESCAPED]
    for at in range(start, data.shape[0]):
        byte = data[at]
        if in_string:
            if escaped:
                escaped = 0
            elif byte == _BACKSLASH:
                escaped = 1
            elif byte == _QUOTE:
                in_string = 0
        elif byte == _QUOTE:
            in_string = 1
        elif byte in (_OPENING_BRACE, _OPENING_BRACKET):
            if depth == _DEEPEST:
                return _MISMATCH
            # Either bracket closes with the character two behind it.
            closing[depth] = byte + 2
            depth += 1
        elif byte in (_CLOSING_BRACE, _CLOSING_BRACKET):
            depth -= 1
            if byte != closing[depth]:
                return _MISMATCH
            if depth == 0:
                return at + 1
    state[_DEPTH], state[_IN_STRING], state[_ESCAPED] = depth, in_string, escaped
    return _UNFINISHED


@numba.njit(nogil=True, cache=True)
def _whole_objects(data, start, bounds, enough):
    count = 0
    at = start
    length = data.shape[0]
    state = np.zeros(3, np.int64)
    closing = np.empty(_DEEPEST, np.uint8)
    while count < bounds.shape[0] and at - start < enough:
        if count > 0:
            while at < length and data[at] <= _LARGEST_SPACE:
                at += 1
            if at == length or data[at] != _COMMA:
                break
            at += 1
        while at < length and data[at] <= _LARGEST_SPACE:
            at += 1
        if at == length or data[at] != _OPENING_BRACE:
            break
        state[:] = 0
        end = _end(data, at, state, closing)
        if end == _MISMATCH and count == 0:
            return _MISMATCH
        if end < 0:
            break
        bounds[count, 0] = at
        bounds[count, 1] = end
        count += 1
        at = end
    return count
