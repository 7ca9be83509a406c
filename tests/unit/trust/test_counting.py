"""Counting without keeping: near the truth, blind to repetition, and the same for whoever has the key."""

from __future__ import annotations

import numpy as np
import pytest

from hashmatch.trust.counting import REGISTERS, CountingKey, DistinctSketch, NearDuplicates
from hashmatch.trust.sealing import KEY_SIZE, SealingKey

KEY = CountingKey(SealingKey(bytes(range(KEY_SIZE))))


def hashes(count: int, seed: int = 1, words: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, (count, words), np.uint32)


def near(centre: np.ndarray, count: int, distance: int, seed: int = 2) -> np.ndarray:
    """Distinct codes at one distance from a code."""
    random = np.random.default_rng(seed)
    bits = np.repeat(np.unpackbits(centre.view(np.uint8))[None, :], count, axis=0)
    for row in bits:
        row[random.choice(256, distance, replace=False)] ^= 1
    return np.packbits(bits, axis=1).view(np.uint32)


@pytest.mark.parametrize("count", [1, 100, 5_000, 12_000, 50_000, 1_000_000])
def test_the_estimate_is_within_five_standard_errors(count: int) -> None:
    sketch = DistinctSketch(KEY)
    sketch.add(hashes(count))
    assert sketch.estimate == pytest.approx(count, rel=5 * 1.04 / REGISTERS**0.5, abs=1)


def test_what_is_asked_again_counts_once() -> None:
    sketch = DistinctSketch(KEY)
    asked = hashes(3_000)
    sketch.add(asked)
    once = sketch.estimate
    for _ in range(5):
        sketch.add(asked)
    assert sketch.estimate == once


def test_sketches_of_two_servers_add_up_and_what_they_share_counts_once() -> None:
    one, two, both = DistinctSketch(KEY), DistinctSketch(KEY), DistinctSketch(KEY)
    one.add(hashes(4_000)[:3_000])
    two.add(hashes(4_000)[2_000:])
    both.add(hashes(4_000))
    one.merge(two.registers)
    assert one.estimate == both.estimate


def test_what_rose_is_taken_once_and_put_back_if_it_could_not_be_told() -> None:
    sketch = DistinctSketch(KEY)
    sketch.add(hashes(500))
    taken = sketch.take_raised(100)
    assert len(taken) == 100
    sketch.put_back(taken)
    everything = sketch.take_raised(REGISTERS)
    assert np.array_equal(everything, np.flatnonzero(sketch.registers))
    assert not sketch.has_raised
    sketch.add(hashes(500))
    assert not sketch.has_raised


def test_another_key_counts_elsewhere() -> None:
    other = DistinctSketch(CountingKey(SealingKey(bytes(KEY_SIZE))))
    mine = DistinctSketch(KEY)
    for sketch in (mine, other):
        sketch.add(hashes(50))
    assert not np.array_equal(mine.registers, other.registers)


@pytest.mark.parametrize("distance", [1, 4, 8, 16, 24, 31])
def test_ten_thousand_neighbours_of_one_code_stand_out(distance: int) -> None:
    counting = NearDuplicates(KEY)
    assert counting.add(near(hashes(1)[0], 10_000, distance)) >= 100


def test_neighbours_stand_out_among_other_codes() -> None:
    counting = NearDuplicates(KEY)
    mixed = np.concatenate([hashes(8_000, seed=5), near(hashes(1)[0], 2_000, 16)])
    np.random.default_rng(6).shuffle(mixed)
    assert counting.add(mixed) >= 100


def test_codes_that_have_nothing_to_do_with_each_other_do_not_stand_out() -> None:
    counting = NearDuplicates(KEY)
    assert max(counting.add(hashes(4_096, seed=seed)) for seed in range(40)) < 20


def test_one_code_asked_ten_thousand_times_does_not_stand_out() -> None:
    counting = NearDuplicates(KEY)
    assert counting.add(np.repeat(hashes(1), 10_000, axis=0)) == 1
