"""The little of the encoding of messages that is done here rather than by the library, for columns of thousands.

The encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VARINT, LENGTH_DELIMITED = 0, 2
_LONGEST_VARINT = 10


class WireError(Exception):
    """The bytes are not what was expected there."""


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends. Raises `WireError`."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(data):
            raise WireError
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError


def varint(number: int) -> bytes:
    """A number, not negative."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def submessage(field: int, content: bytes) -> bytes:
    """A field that holds an encoded message."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def packed_fixed32(field: int, numbers: npt.NDArray[np.int64]) -> bytes:
    """A packed repeated fixed32 field of numbers from 0 to 2^32 - 1."""
    return submessage(field, numbers.astype("<u4").tobytes())
