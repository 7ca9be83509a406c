"""The reader of bulk requests understands what the library understands."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.service.bulk_request import decode_bulk_request
from hashmatch.v1 import match_service_pb2

columns = st.builds(
    match_service_pb2.HashColumn,
    algorithm=st.sampled_from([0, 1, 3, 99]),
    digests=st.binary(max_size=300),
    qualities=st.binary(max_size=5),
)
scopes = st.builds(
    match_service_pb2.MatchScope,
    list_ids=st.lists(st.text("ab", max_size=4), max_size=3),
    min_sources=st.integers(0, 5),
)
requests = st.builds(
    match_service_pb2.BulkMatchRequest,
    sequence=st.integers(0, (1 << 64) - 1),
    column=st.none() | columns,
    scope=st.none() | scopes,
)


def agrees(data: bytes) -> None:
    try:
        expected = match_service_pb2.BulkMatchRequest.FromString(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode_bulk_request(data)
        return
    found = decode_bulk_request(data)
    assert found.sequence == expected.sequence
    assert found.algorithm == expected.column.algorithm
    assert bytes(found.digests) == expected.column.digests
    assert found.qualities == expected.column.qualities
    assert (found.scope is not None) == expected.HasField("scope")
    assert found.scope is None or found.scope == expected.scope


@given(requests)
def test_a_request_is_read_as_the_library_reads_it(request: match_service_pb2.BulkMatchRequest):
    agrees(request.SerializeToString())


@given(requests, requests)
def test_fields_that_come_twice_are_merged_as_the_library_merges_them(first, second):
    agrees(first.SerializeToString() + second.SerializeToString())


@given(requests, st.integers(0, 400))
def test_a_truncated_request_is_read_or_refused_as_by_the_library(request, length):
    agrees(request.SerializeToString()[:length])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_as_by_the_library(data: bytes):
    agrees(data)


def test_digests_are_not_copied():
    data = match_service_pb2.BulkMatchRequest(
        sequence=1, column=match_service_pb2.HashColumn(algorithm=3, digests=bytes(64))
    ).SerializeToString()
    assert isinstance(decode_bulk_request(data).digests, memoryview)
