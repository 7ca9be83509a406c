"""The exact filter: it never misses an entry, whatever was put into it, and seldom raises a false alarm."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.columns.placement import PlacementSecret, placements
from hashmatch.index import kernels
from hashmatch.index.exact_filter import TAGS, ExactFilter

SECRET = PlacementSecret(3, 4)
BUCKETS = 16


def random_digests(count: int, seed: int, size: int = 16):
    return np.random.default_rng(seed).integers(0, 256, (count, size), np.uint8)


def filter_of(*groups):
    return ExactFilter(SECRET, [(tag, placements(digests, SECRET)) for tag, digests in groups])


def check_complete(made: ExactFilter, *groups) -> None:
    for tag, digests in groups:
        candidates, where = made.candidates(digests)
        assert candidates.tolist() == list(range(len(digests)))
        assert where.tolist() == placements(digests, SECRET).tolist()
        assert made.tags(placements(digests, SECRET))[:, tag].all()
        check_one_by_one(made, digests)


def check_one_by_one(made: ExactFilter, digests) -> None:
    """Single placements get the very answers that many at once get, false alarms included."""
    candidates, _ = made.candidates(digests)
    single = [row for row, placed in enumerate(placements(digests, SECRET).tolist()) if made.may_have(placed)]
    assert single == candidates.tolist()


def in_one_bucket(count: int):
    """Digests that a small filter puts into the same bucket."""
    digests = random_digests(count * BUCKETS * 2, seed=5)
    bucket = (placements(digests, SECRET) >> np.uint64(32)) * np.uint64(BUCKETS) >> np.uint64(32)
    return digests[bucket == 3][:count]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 7, 255]), st.lists(st.integers(0, 40), max_size=30), st.integers(1, 60)),
        max_size=6,
    )
)
def test_no_entry_is_missed_however_often_and_under_whatever_tags_it_is_listed(groups):
    made = [
        (tag, np.array([[number] * 16 for number in numbers * times], np.uint8).reshape(-1, 16))
        for tag, numbers, times in groups
    ]
    check_complete(filter_of(*made), *made)


@pytest.mark.parametrize("size", [16, 20, 32, 64])
def test_no_entry_is_missed_among_many(size: int):
    groups = [(tag, random_digests(5_000, seed=tag, size=size)) for tag in (0, 1, 255)]
    check_complete(filter_of(*groups), *groups)


@pytest.mark.parametrize("count", [kernels.SLOTS - 1, kernels.SLOTS, kernels.SLOTS + 1, 300])
def test_no_entry_of_a_crowded_bucket_is_missed(count: int):
    digests = in_one_bucket(count)
    assert len(digests) == count
    groups = [(tag, digests[tag::3]) for tag in range(3)]
    made = filter_of(*groups)
    check_complete(made, *groups)
    assert (len(made._overflow) > 0) == (count > kernels.SLOTS)


def test_one_entry_listed_very_often_crowds_nobody_out():
    often = np.repeat(random_digests(1, seed=1), 20_000, axis=0)
    groups = [(9, often), (8, in_one_bucket(50)), (7, random_digests(100, seed=2))]
    check_complete(filter_of(*groups), *groups)


def test_placements_at_both_ends_and_with_a_reserved_fingerprint_are_kept():
    """0 marks an empty slot: an entry with such a fingerprint gets its neighbour's."""
    edges = np.array([upper << 32 | lower for upper in (0, 2**32 - 1) for lower in (0, 1, 0xFFFE, 0xFFFF)], np.uint64)
    for copies in (1, 40):
        made = ExactFilter(SECRET, [(2, np.repeat(edges, copies))])
        assert made.tags(edges)[:, 2].all()
        assert all(made.may_have(placed) for placed in edges.tolist())


@pytest.mark.parametrize("lists", [1, 16, 256])
def test_one_by_one_strangers_raise_the_same_false_alarms(lists: int):
    listed = random_digests(10_000, seed=1)
    made = filter_of(*((tag, listed[tag::lists]) for tag in range(lists)))
    # Strangers, and those that share a bucket and the fingerprint in its slot with an entry, and nothing else.
    near = placements(listed, SECRET)[:, None] ^ (np.uint64(1) << np.arange(16, 32, dtype=np.uint64))
    alarms = [placed for placed in near.ravel().tolist() if made.may_have(placed)]
    assert alarms == near.ravel()[made.tags(near.ravel()).any(axis=1)].tolist()
    assert 0 < len(alarms) < near.size
    check_one_by_one(made, random_digests(30_000, seed=2))


def test_an_empty_filter_lets_nothing_through():
    made = filter_of()
    assert made.candidates(random_digests(10_000, seed=3))[0].tolist() == []
    check_one_by_one(made, random_digests(100, seed=3))
    assert not made.tags(placements(random_digests(100, seed=3), SECRET)).any()
    assert made.candidates(random_digests(0, seed=3))[0].tolist() == []


def test_false_alarms_are_few():
    listed, strangers = random_digests(100_000, seed=1), random_digests(300_000, seed=2)
    shares = {}
    for lists in (1, 16, 256):
        made = filter_of(*((tag, listed[tag::lists]) for tag in range(lists)))
        shares[lists] = len(made.candidates(strangers)[0]) / len(strangers)
        assert made.nbytes < 6 * len(listed)
    # 22 fingerprints of 16 bits beside one another: 3.4 in ten thousand. Bits that tags do not need halve it each.
    assert 1e-4 < shares[256] < 6e-4
    assert 0 < shares[16] < 6e-5
    assert shares[1] < 2e-5


def test_tags_are_few():
    """A candidate is looked up in the lists that its tags name: a list too many costs a block each time."""
    groups = [(tag, random_digests(2_000, seed=tag)) for tag in range(20)]
    made = filter_of(*groups)
    for tag, digests in groups:
        marked = made.tags(placements(digests, SECRET))
        assert marked.shape == (2_000, TAGS)
        assert marked.sum() < 1.01 * len(digests)
        assert marked[:, tag].all()


def test_it_travels_without_the_view_that_a_process_has_of_it():
    digests = random_digests(1_000, seed=4)
    made = filter_of((0, digests))
    check_one_by_one(made, digests)
    check_complete(pickle.loads(pickle.dumps(made)), (0, digests))


def test_what_it_lets_through_does_not_depend_on_the_run():
    """Processes share tables: the same entries under the same secret make the same filter."""
    digests = random_digests(1_000, seed=4)
    probes = random_digests(100_000, seed=5)
    hits = [filter_of((0, digests)).candidates(probes)[0].tobytes() for _ in range(2)]
    assert hashlib.sha256(hits[0]).digest() == hashlib.sha256(hits[1]).digest()
