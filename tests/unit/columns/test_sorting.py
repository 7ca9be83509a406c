"""Sorting a column: always what Python's own sort gives, however unkind the column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.columns import kernels
from hashmatch.columns.placement import PlacementSecret, as_words, placements
from hashmatch.columns.sorting import sort_digests

# From here on columns are sorted in pieces.
LARGE = 1 << (kernels.FIRST_BITS + 4)


def expected_order(digests, placed):
    words = as_words(digests).tolist()
    return sorted(range(len(placed)), key=lambda position: (int(placed[position]), words[position], position))


def check(digests, placed):
    done = sort_digests(digests, placed)
    order = expected_order(digests, placed)
    assert done.order.tolist() == order
    assert np.array_equal(done.digests, digests[order])
    assert np.array_equal(done.placed, placed[order])
    in_order = [digest.tobytes() for digest in digests[order]]
    assert done.first.tolist() == [at == 0 or each != in_order[at - 1] for at, each in enumerate(in_order)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 3) | st.integers(0, 2**64 - 1)), max_size=60)
)
def test_few_digests_are_sorted_like_python_sorts_them(rows):
    digests = np.array([list(digest) for digest, _ in rows], np.uint8).reshape(-1, 16)
    check(digests, np.array([placed for _, placed in rows], np.uint64))


@pytest.mark.parametrize("size", [16, 20, 32, 64])
@pytest.mark.parametrize(
    "distinct", [1, 5, 300, 4 * LARGE], ids=["one digest", "a few digests", "long runs", "all but distinct"]
)
def test_many_digests_are_sorted_like_python_sorts_them(secret: PlacementSecret, size: int, distinct: int):
    generator = np.random.default_rng(distinct + size)
    pool = generator.integers(0, 256, (distinct, size), np.uint8)
    digests = pool[generator.integers(0, distinct, LARGE + 7)]
    check(digests, placements(digests, secret))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_different_digests_of_one_placement_are_sorted_by_their_bytes(secret: PlacementSecret, share: float):
    """Nobody without the secret can choose such digests, but the order must not depend on that."""
    generator = np.random.default_rng(7)
    digests = generator.integers(0, 2, (LARGE + 100, 16), np.uint8)
    placed = placements(digests, secret)
    placed[: int(share * len(placed))] = 12345
    check(digests, placed)


def test_placements_at_both_ends_are_sorted():
    generator = np.random.default_rng(8)
    digests = generator.integers(0, 256, (LARGE, 20), np.uint8)
    placed = np.where(generator.random(LARGE) < 0.5, np.uint64(0), np.uint64(2**64 - 1))
    check(digests, placed)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_way_of_sorting_does_not_show(secret: PlacementSecret, extra: int):
    digests = np.random.default_rng(9).integers(0, 256, (LARGE + extra, 16), np.uint8)
    check(digests, placements(digests, secret))


def test_nothing_is_sorted_into_nothing():
    done = sort_digests(np.empty((0, 32), np.uint8), np.empty(0, np.uint64))
    assert [len(each) for each in done] == [0, 0, 0, 0]
