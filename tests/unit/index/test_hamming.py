"""The Hamming index: every code within the distance is found and none beyond it, however the codes lie."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.index import hamming
from hashmatch.index.hamming import MAXIMUM_DISTANCE, HammingIndex
from tests.support.plain_hamming import PlainIndex

# How many chunks codes are cut into; none means that they are compared one by one.
REGIMES = (0, 11, 16)


@pytest.fixture(params=REGIMES, ids=["one by one", "11 chunks", "16 chunks"])
def chunks(request, monkeypatch) -> int:
    """The way in which lists of any size are searched."""
    monkeypatch.setattr(hamming, "_CHUNKS", ((0, request.param),) if request.param else ())
    return request.param


def uniform(count: int, seed: int):
    return np.unique(np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8), axis=0)


def flipped(codes, bits: int, rng):
    """Each code with so many different bits changed."""
    changed = np.unpackbits(codes, axis=1)
    for row in changed:
        row[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(changed, axis=1)


def families(count: int, size: int, spread: int, seed: int):
    """Near duplicates: families of so many codes, each within so many bits of its family's first."""
    rng = np.random.default_rng(seed)
    made = [uniform(count, seed)]
    for _ in range(size - 1):
        made.append(flipped(made[0], int(rng.integers(1, spread + 1)), rng))
    return np.unique(np.concatenate(made), axis=0)


def outcome(found):
    return sorted(zip(found.queries.tolist(), found.entries.tolist(), found.distances.tolist(), strict=True))


def check(index: HammingIndex, codes, queries, distance: int) -> None:
    found = index.search(queries, distance)
    assert outcome(found) == outcome(PlainIndex(codes).search(queries, distance))
    assert np.all(np.diff(found.queries) >= 0)
    assert not len(found.exceeded)


def spread_over_chunks(index: HammingIndex, code, distance: int, *, beyond: bool, within: int = 0):
    """A code so far away that only the chunk `within` is within its radius; or, one bit beyond, that none is."""
    directory = index._directory
    assert directory is not None
    bits = np.unpackbits(code, bitorder="little")
    place_of = np.argsort(hamming._ORDER)
    radii = hamming._radii(len(directory._chunks), distance).tolist()
    for number, ((start, _), radius) in enumerate(zip(directory._chunks.tolist(), radii, strict=True)):
        changed = radius + 1 - (number == within and not beyond)
        bits[place_of[start : start + changed]] ^= 1
    assert np.bitwise_count(np.packbits(bits, bitorder="little") ^ code).sum() == distance + beyond
    return np.packbits(bits, bitorder="little")


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("distance", range(MAXIMUM_DISTANCE + 1))
def test_what_lies_at_the_distance_is_found_and_what_lies_beyond_is_not(distance: int):
    codes = uniform(400, seed=1)
    index = HammingIndex(codes)
    rng = np.random.default_rng(distance)
    for bits in {0, distance, distance + 1}:
        queries = flipped(codes[:40], bits, rng)
        found = index.search(queries, distance)
        assert set(zip(range(40), range(40), strict=True)) & set(
            zip(found.queries.tolist(), found.entries.tolist(), strict=True)
        ) == (set(zip(range(40), range(40), strict=True)) if bits <= distance else set())
        check(index, codes, queries, distance)


@pytest.mark.parametrize("chunks", REGIMES[1:], indirect=True)
@pytest.mark.parametrize("distance", range(MAXIMUM_DISTANCE + 1))
def test_differences_that_are_spread_over_all_chunks_are_found(chunks: int, distance: int):
    codes = uniform(50, seed=2)
    index = HammingIndex(codes)
    at = np.stack([spread_over_chunks(index, code, distance, beyond=False) for code in codes])
    found = index.search(at, distance)
    assert found.entries.tolist() == list(range(len(codes)))
    assert found.distances.tolist() == [distance] * len(codes)
    beyond = np.stack([spread_over_chunks(index, code, distance, beyond=True) for code in codes])
    assert not len(index.search(beyond, distance).queries)


@pytest.mark.parametrize("chunks", REGIMES[1:], indirect=True)
def test_a_radius_that_is_one_too_small_is_noticed(chunks: int, monkeypatch):
    """A seeded bug: the chunks share the distance, and not one more than the distance."""
    right = hamming._radii
    index = HammingIndex(uniform(50, seed=2))
    code = index.codes(np.arange(1))[0]
    # The chunk that gets the last share.
    last = MAXIMUM_DISTANCE % chunks
    asked = spread_over_chunks(index, code, MAXIMUM_DISTANCE, beyond=False, within=last)[None]
    assert index.search(asked, MAXIMUM_DISTANCE).entries.tolist() == [0]
    monkeypatch.setattr(hamming, "_radii", lambda chunks, distance: right(chunks, distance - 1))
    # With a share of the distance alone, the one chunk that was within its radius is so no longer.
    assert index.search(asked, MAXIMUM_DISTANCE).entries.tolist() == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(0, MAXIMUM_DISTANCE), st.integers(1, 40), st.integers(1, 12))
def test_families_of_near_duplicates_are_found_whole(chunks: int, seed: int, distance: int, size: int, spread: int):
    codes = families(8, size, spread, seed)
    rng = np.random.default_rng(seed)
    queries = np.concatenate([codes[:20], flipped(codes[:20], int(rng.integers(0, 40)), rng)])
    check(HammingIndex(codes), codes, queries, distance)


@pytest.mark.usefixtures("chunks")
def test_a_family_of_thousands_is_found_whole():
    codes = families(1, 3_000, 6, seed=4)
    check(HammingIndex(codes), codes, codes[:3], MAXIMUM_DISTANCE)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(st.lists(st.binary(min_size=2, max_size=2), min_size=1, max_size=60), st.integers(0, MAXIMUM_DISTANCE))
def test_codes_that_are_anything_but_uniform_are_found(chunks: int, parts: list[bytes], distance: int):
    codes = np.unique(np.frombuffer(b"".join(part * 16 for part in parts), np.uint8).reshape(-1, 32), axis=0)
    check(HammingIndex(codes), codes, codes, distance)


@pytest.mark.parametrize("count", [1, 5_000, 201_000])
def test_lists_of_every_size_are_searched(count: int):
    """The sizes at which the way of searching changes lie between these."""
    codes = uniform(count, seed=5)
    index = HammingIndex(codes)
    rng = np.random.default_rng(6)
    chosen = rng.choice(len(codes), min(50, len(codes)), replace=False)
    queries = np.concatenate([flipped(codes[chosen], 31, rng), uniform(50, seed=7)])
    check(index, codes, queries[:10], MAXIMUM_DISTANCE)
    found = index.search(queries, MAXIMUM_DISTANCE)
    assert set(chosen.tolist()) <= set(found.entries.tolist())
    assert index.entries == len(codes)
    assert index.nbytes >= codes.nbytes


@pytest.mark.usefixtures("chunks")
def test_nothing_is_found_among_nothing_and_for_nothing():
    codes = uniform(20, seed=8)
    assert not len(HammingIndex(codes[:0]).search(codes, MAXIMUM_DISTANCE).queries)
    assert not len(HammingIndex(codes).search(codes[:0], MAXIMUM_DISTANCE).queries)


@pytest.mark.usefixtures("chunks")
def test_codes_are_given_back_and_do_not_follow_the_callers_array():
    codes = uniform(200, seed=9)
    given_codes = codes.copy()
    index = HammingIndex(given_codes)
    given_codes[:] = 0
    order = np.random.default_rng(1).permutation(len(codes))
    assert np.array_equal(index.codes(order), codes[order])
    assert len(index.search(codes[:5], 0).queries) == 5


def test_a_query_beyond_the_work_limit_is_given_up_and_the_others_are_answered(chunks: int):
    family = families(1, 400, 3, seed=10)
    codes = np.unique(np.concatenate([family, uniform(100, seed=11)]), axis=0)
    index = HammingIndex(codes)
    queries = np.concatenate([uniform(100, seed=11)[:3], family[:1], uniform(100, seed=11)[3:5]])
    whole = outcome(index.search(queries, MAXIMUM_DISTANCE))
    # The family is met in one chunk after the other: the limit comes before the first match, or after many.
    for limit in (300, 450, 900, 1_500):
        found = index.search(queries, MAXIMUM_DISTANCE, limit)
        # Compared one by one, a list larger than the limit is beyond it for everybody.
        given_up = [3] if chunks else list(range(6)) if limit < len(codes) else []
        assert found.exceeded.tolist() == given_up
        assert outcome(found) == [each for each in whole if each[0] not in given_up]
    assert not len(index.search(queries, MAXIMUM_DISTANCE, 1_000_000).exceeded)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("distance", [-1, MAXIMUM_DISTANCE + 1])
def test_other_distances_are_refused(distance: int):
    with pytest.raises(ValueError, match="from 0 to 31"):
        HammingIndex(uniform(5, seed=1)).search(uniform(5, seed=1), distance)


@pytest.mark.usefixtures("chunks")
def test_threads_do_not_disturb_each_other():
    codes = families(50, 10, 8, seed=12)
    index = HammingIndex(codes)
    expected = outcome(index.search(codes, MAXIMUM_DISTANCE))
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda _: outcome(index.search(codes, MAXIMUM_DISTANCE)), range(8))
        assert all(each == expected for each in found)
