"""Placements: spread evenly, keyed, and within the blocks that there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.columns.placement import (
    PlacementSecret,
    block_of,
    blocks_of,
    packed_digests,
    placement_of_one,
    placements,
    placements_of,
)
from hashmatch.model.algorithms import PERCEPTUAL_ALGORITHMS, Algorithm

COUNT = 40_000
BUCKETS = 256


@pytest.mark.parametrize("size", [16, 20, 32, 64])
def test_one_digest_is_placed_as_many_are(secret: PlacementSecret, size: int):
    digests = np.random.default_rng(size).integers(0, 256, (1_000, size), np.uint8)
    digests[0], digests[1] = 0, 255
    for each in (secret, PlacementSecret(0, 0), PlacementSecret(2**64 - 1, 2**64 - 1)):
        one_by_one = [placement_of_one(digest.tobytes(), each) for digest in digests]
        assert one_by_one == placements(digests, each).tolist()


def chi_square(placed, shift):
    counts = np.bincount(((placed >> np.uint64(shift)) % np.uint64(BUCKETS)).astype(np.int64), minlength=BUCKETS)
    return float((((counts - COUNT / BUCKETS) ** 2) / (COUNT / BUCKETS)).sum())


def sequential(size, at):
    digests = np.zeros((COUNT, size), np.uint8)
    digests[:, at : at + 4] = np.arange(COUNT, dtype="<u4").view(np.uint8).reshape(-1, 4)
    return digests


@pytest.mark.parametrize("size", [16, 20, 32, 64])
@pytest.mark.parametrize("end", ["first", "last"])
def test_digests_that_count_up_are_spread_evenly(secret: PlacementSecret, size: int, end: str):
    placed = placements(sequential(size, 0 if end == "first" else size - 4), secret)
    assert len(np.unique(placed)) == COUNT
    # The blocks go by the upper bits, the fingerprints by the lowest. 255 degrees of freedom: 360 is one in 10^5.
    for shift in (56, 48, 32, 8, 0):
        assert chi_square(placed, shift) < 360


def test_another_secret_places_elsewhere(secret: PlacementSecret):
    digests = np.random.default_rng(1).integers(0, 256, (1_000, 16), np.uint8)
    elsewhere = [PlacementSecret(secret.first ^ 1, secret.second), PlacementSecret(secret.first, secret.second ^ 1)]
    for other in elsewhere:
        assert not np.any(placements(digests, secret) == placements(digests, other))


def test_a_secret_does_not_show_and_is_fresh():
    one, other = PlacementSecret.random(), PlacementSecret.random()
    assert one != other
    assert repr(one) == "PlacementSecret(***)"
    assert str(one.first) not in f"{one!r} {one}"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.integers(1, 2**31))
def test_every_placement_has_a_block_and_blocks_follow_placements(placed, blocks):
    ordered = sorted([*placed, 0, 2**64 - 1])
    numbers = blocks_of(np.array(ordered, np.uint64), blocks)
    assert numbers.tolist() == [block_of(each, blocks) for each in ordered]
    assert numbers[0] == 0
    assert numbers[-1] == blocks - 1
    assert np.all(np.diff(numbers) >= 0)


@pytest.mark.parametrize("kind", Algorithm)
def test_where_a_digest_is_placed_does_not_depend_on_where_in_memory_it_lies(secret: PlacementSecret, kind: Algorithm):
    size = kind.digest_size
    digests = np.random.default_rng(2).integers(0, 256, (10, size), np.uint8)
    placed = placements_of(kind, digests, secret).tolist()
    assert placements_of(kind, np.asfortranarray(digests), secret).tolist() == placed
    for shift in range(8):
        message = memoryview(bytes(shift) + digests.tobytes())
        assert placements_of(kind, packed_digests(message[shift:], size), secret).tolist() == placed


@pytest.mark.parametrize("kind", sorted(PERCEPTUAL_ALGORITHMS))
@pytest.mark.parametrize("at", [0, 8, 16, 24, 28])
def test_near_duplicates_of_a_perceptual_value_are_spread_evenly(secret: PlacementSecret, kind: Algorithm, at: int):
    """What such values differ in may be anywhere; families of them must not crowd one block."""
    placed = placements_of(kind, sequential(kind.digest_size, at), secret)
    assert len(np.unique(placed)) == COUNT
    for shift in (56, 48, 32, 8, 0):
        assert chi_square(placed, shift) < 360
