"""What is encoded and decoded by hand is what the library encodes and decodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.service.wire import WireError, packed_fixed32, read_varint, varint
from hashmatch.v1 import match_service_pb2

NUMBERS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=300)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_numbers_are_read_back(number: int, rest: bytes):
    written = varint(number)
    assert read_varint(memoryview(b"\xff" + written + rest), 1) == (number, 1 + len(written))


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_the_library_writes_them(number: int):
    message = match_service_pb2.BulkMatchRequest(sequence=number).SerializeToString()
    assert message == (b"\x08" + varint(number) if number else b"")


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 10, b"\xff" * 11])
def test_what_does_not_end_is_refused(data: bytes):
    with pytest.raises(WireError):
        read_varint(memoryview(data), 0)


@given(NUMBERS, NUMBERS)
def test_columns_are_those_of_the_library(first: list[int], second: list[int]):
    response = match_service_pb2.BulkMatchResponse(sequence=7)
    response.MergeFromString(packed_fixed32(3, np.array(first)) + packed_fixed32(4, np.array(second)))
    expected = match_service_pb2.BulkMatchResponse(sequence=7, match_indexes=first, finding_indexes=second)
    assert response == expected
    assert response.SerializeToString() == expected.SerializeToString()
