"""Blocks: what is packed is found and read again, and nothing malformed passes for a block."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.columns.placement import PlacementSecret, blocks_of, placements
from hashmatch.columns.rows import Payloads, empty_rows, make_rows
from hashmatch.store import kernels
from hashmatch.store.blocks import (
    ABSENT,
    DAMAGED,
    ROWS_PER_BLOCK,
    BlockError,
    PlainBlocks,
    block_count,
    find_in_block,
    pack,
    payload_of_row,
)

SECRET = PlacementSecret(5, 6)
SIZES = [16, 20, 32, 64]
KIND = 1


def rows_of(digests, refs, payloads=None):
    return make_rows(KIND, digests, np.asarray(refs, np.uint32), ((),), SECRET, payloads)


def random_rows(count, size, *, refs=1, payloads=False, seed=0):
    generator = np.random.default_rng(seed)
    digests = generator.integers(0, 256, (count, size), np.uint8)
    held = Payloads.of([bytes([number % 251]) * (number % 5) for number in range(count)]) if payloads else None
    return rows_of(digests, generator.integers(0, refs, count), held)


def packed(rows, blocks):
    return [part for _, parts in pack(rows, blocks) for part in parts]


@st.composite
def some_rows(draw):
    size = draw(st.sampled_from(SIZES))
    digests = draw(st.lists(st.binary(min_size=size, max_size=size), max_size=80, unique=True))
    refs = draw(st.lists(st.sampled_from([0, 1, 255, 2**16, 2**32 - 1]), min_size=len(digests), max_size=len(digests)))
    payloads = draw(
        st.none() | st.lists(st.binary(max_size=4), min_size=len(digests), max_size=len(digests)).map(Payloads.of)
    )
    return rows_of(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, size), refs, payloads)


@settings(deadline=None)
@given(some_rows(), st.integers(1, 9))
def test_rows_come_back_as_they_were_packed(rows, blocks):
    parts = packed(rows, blocks)
    assert len(parts) == blocks
    plain = PlainBlocks.of(parts, rows.digests.shape[1])
    digests, refs = plain.columns()
    assert np.array_equal(digests, rows.digests)
    assert np.array_equal(refs, rows.refs)
    payloads = plain.payloads()
    assert (payloads is None) == (rows.payloads is None)
    if payloads is not None and rows.payloads is not None:
        assert [payloads[row] for row in range(len(rows))] == [rows.payloads[row] for row in range(len(rows))]


@settings(deadline=None)
@given(some_rows(), st.integers(1, 9), st.data())
def test_a_digest_is_found_where_its_placement_says_and_no_other_is(rows, blocks, data):
    size = rows.digests.shape[1]
    strangers = data.draw(st.lists(st.binary(min_size=size, max_size=size), max_size=10))
    digests = np.concatenate([rows.digests, np.frombuffer(b"".join(strangers), np.uint8).reshape(-1, size)])
    numbers = blocks_of(placements(digests, SECRET), blocks)
    parts = packed(rows, blocks)
    plain = PlainBlocks.of(parts, size)
    found = plain.find(numbers, digests)
    held = {digest.tobytes(): row for row, digest in enumerate(rows.digests)}
    for index, digest in enumerate(digests):
        row = held.get(digest.tobytes())
        assert found.refs[index] == (-1 if row is None else rows.refs[row])
        assert (found.rows[index] < 0) == (row is None)
        # The way for few digests finds the same.
        part = parts[int(numbers[index])]
        assert find_in_block(part, digest.tobytes()) == (found.refs[index], found.rows[index])
        if row is not None:
            payload = plain.payload(int(numbers[index]), int(found.rows[index]))
            assert payload == (b"" if rows.payloads is None else rows.payloads[row])
            assert payload_of_row(part, size, int(found.rows[index])) == payload


def test_digests_that_differ_in_one_byte_are_told_apart():
    for size in SIZES:
        one = np.zeros((1, size), np.uint8)
        plain = PlainBlocks.of(packed(rows_of(one, [0]), 1), size)
        others = np.eye(size, dtype=np.uint8)
        assert np.all(plain.find(np.zeros(size, np.int64), others).refs == kernels.NOT_FOUND)
        assert plain.find(np.zeros(1, np.int64), one).refs.tolist() == [0]


def test_bytes_that_stand_across_two_rows_are_no_digest():
    """Rows lie side by side: only where one begins may a digest be found."""
    digests = np.array([[1] * 8 + [2] * 8, [2] * 8 + [1] * 8, [2] * 16], np.uint8)
    block = packed(rows_of(digests[:2], [7, 9]), 1)[0]
    first, second = (PlainBlocks.of([block], 16).columns()[0][row].tobytes() for row in (0, 1))
    across = (first + second)[8:24]
    assert across == digests[2].tobytes() or across == bytes([1] * 16)
    assert find_in_block(block, across) == (ABSENT, ABSENT)
    refs = {digests[0].tobytes(): 7, digests[1].tobytes(): 9}
    assert find_in_block(block, second) == (refs[second], 1)


@pytest.mark.parametrize("payloads", [False, True])
def test_many_batches_of_blocks_are_packed_in_order(payloads):
    rows = random_rows(9_000, 16, refs=3, payloads=payloads)
    # More blocks than are packed at once, most of them empty.
    parts = list(pack(rows, 9_001))
    assert [first for first, _ in parts] == [0, 4_096, 8_192]
    plain = PlainBlocks.of([part for _, some in parts for part in some], 16)
    digests, refs = plain.columns()
    assert np.array_equal(digests, rows.digests)
    assert np.array_equal(refs, rows.refs)


def test_a_segment_without_rows_still_has_a_block():
    assert block_count(0) == 1
    assert [len(part) for part in packed(empty_rows(KIND, 16), 1)] == [kernels.HEADER_SIZE]


def test_blocks_hold_about_as_many_rows_as_they_should():
    assert block_count(ROWS_PER_BLOCK) == 1
    assert block_count(ROWS_PER_BLOCK + 1) == 2


def test_one_ref_for_all_rows_is_stored_once():
    alike, different = random_rows(32, 16, refs=1), random_rows(32, 16, refs=7)
    assert len(packed(different, 1)[0]) - len(packed(alike, 1)[0]) == 4 * 32


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=4))
def test_joined_blocks_are_the_blocks_side_by_side(groups):
    blocks = [packed(random_rows(3, 20, seed=seed), 1)[0] for seed in range(4)]
    whole = PlainBlocks.joined([PlainBlocks.of([blocks[each] for each in group], 20) for group in groups], 20)
    flat = PlainBlocks.of([blocks[each] for group in groups for each in group], 20)
    assert len(whole) == len(flat)
    assert np.array_equal(whole.columns()[0], flat.columns()[0])


def good_block():
    return packed(random_rows(4, 16, refs=3), 1)[0]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(good_block()[:-1], id="cut short"),
        pytest.param(good_block()[: kernels.HEADER_SIZE - 1], id="no header"),
        pytest.param(b"\x02" + good_block()[1:], id="another version"),
        pytest.param(good_block()[:4] + b"\xff\xff\xff\xff" + good_block()[8:], id="too many rows"),
    ],
)
def test_a_malformed_block_is_an_error_and_no_absence(bad):
    plain = PlainBlocks.of([good_block(), bad], 16)
    with pytest.raises(BlockError):
        plain.columns()
    digest = np.zeros((1, 16), np.uint8)
    with pytest.raises(BlockError):
        plain.find(np.array([1]), digest)
    assert find_in_block(bad, bytes(16)) == (DAMAGED, ABSENT)
    # A bad block is no trouble for those who ask the one beside it.
    assert plain.find(np.array([0]), digest).refs.tolist() == [kernels.NOT_FOUND]


@pytest.mark.parametrize(
    "payloads",
    [
        b"no deflate stream",
        b"",
        zlib.compress(b""),
        zlib.compress(b"\1\0\0\0" * 4 + b"abc"),
        zlib.compress(b"\1\0\0\0" * 4 + b"abcde"),
        zlib.compress(b"\1\0\0\0" * 3),
    ],
)
def test_payloads_that_do_not_add_up_are_an_error(payloads):
    block = packed(random_rows(4, 16, payloads=True), 1)[0]
    plain_size = kernels.HEADER_SIZE + 4 * 16
    with pytest.raises(BlockError):
        PlainBlocks.of([block[:plain_size] + payloads], 16).payload(0, 0)


def test_a_payload_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.store.blocks._MAXIMUM_PAYLOAD", 1_000)
    block = packed(random_rows(1, 16, payloads=True), 1)[0]
    bomb = zlib.compress((5_000).to_bytes(4, "little") + bytes(5_000))
    with pytest.raises(BlockError):
        PlainBlocks.of([block[: kernels.HEADER_SIZE + 16] + bomb], 16).payload(0, 0)
