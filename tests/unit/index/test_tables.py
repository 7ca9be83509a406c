"""Tables: whatever came and went, every live row of every served segment is found under its list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.columns.placement import PlacementSecret, placements
from hashmatch.index import tables
from hashmatch.index.exact_filter import TAGS
from hashmatch.index.tables import AlgorithmTable, extend, make_part, wants_new_base

SECRET = PlacementSecret(3, 4)
# Segments by id, each of one list, each with digests of its own.
SEGMENTS = {
    f"segment {number}": (f"list {number % 3}", np.random.default_rng(number).integers(0, 256, (40, 16), np.uint8))
    for number in range(8)
}


def placed(segment_id: str):
    return placements(SEGMENTS[segment_id][1], SECRET)


def next_table(table: AlgorithmTable | None, active) -> AlgorithmTable:
    """What a loader does: it reads only what the table does not cover."""
    covered = frozenset() if table is None else table.segment_ids
    lists = {segment_id: SEGMENTS[segment_id][0] for segment_id in active}
    return extend(table, SECRET, lists, {each: placed(each) for each in active if each not in covered})


def check_complete(table: AlgorithmTable, active) -> None:
    assert set(active) <= table.segment_ids
    for segment_id in active:
        list_id, digests = SEGMENTS[segment_id]
        candidates, where = table.candidates(digests)
        assert candidates.tolist() == list(range(len(digests)))
        assert where.tolist() == placed(segment_id).tolist()
        assert table.lists_to_ask(placed(segment_id))[list_id].tolist() == list(range(len(digests)))
        few = table.candidates_of_few([digest.tobytes() for digest in digests])
        assert few == (list(range(len(digests))), placed(segment_id).tolist())


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(sorted(SEGMENTS)), max_size=6, unique=True), min_size=1, max_size=8))
def test_every_row_that_is_served_is_covered_after_every_step(steps):
    table = None
    for active in steps:
        table = next_table(table, active)
        check_complete(table, active)
        assert len(table.parts) <= 2


def test_a_small_change_leaves_the_base_as_it_is():
    first = next_table(None, ["segment 0", "segment 1"])
    second = next_table(first, ["segment 0", "segment 1", "segment 2"])
    third = next_table(second, ["segment 1", "segment 2", "segment 3"])
    assert [len(table.parts) for table in (first, second, third)] == [1, 2, 2]
    assert first.parts[0] is second.parts[0] is third.parts[0]
    assert third.parts[1].segment_ids == {"segment 2", "segment 3"}
    # Without anything outside the base the overlay is gone; without anything in it the base is.
    assert next_table(third, ["segment 1"]).parts == first.parts
    assert next_table(third, ["segment 3"]).parts[0].segment_ids == {"segment 3"}


def test_a_table_of_nothing_lets_nothing_through():
    table = next_table(next_table(None, ["segment 0"]), [])
    assert [each.tolist() for each in table.candidates(SEGMENTS["segment 0"][1])] == [[], []]
    assert table.lists_to_ask(placed("segment 0")) == {}
    assert table.candidates_of_few([row.tobytes() for row in SEGMENTS["segment 0"][1]]) == ([], [])


@pytest.mark.parametrize("count", [1, TAGS, TAGS + 1, 2 * TAGS + 3])
def test_more_lists_than_tags_are_all_asked(count: int):
    digests = np.random.default_rng(1).integers(0, 256, (count, 16), np.uint8)
    where = placements(digests, SECRET)
    lists = {f"segment {number}": (f"list {number}", where[number : number + 1]) for number in range(count)}
    table = AlgorithmTable((make_part(SECRET, lists),), {})
    asked = table.lists_to_ask(where)
    for number in range(count):
        assert number in asked[f"list {number}"].tolist()
    assert sum(map(len, asked.values())) < count * (2 + count // TAGS)


def test_an_entry_of_several_lists_is_asked_of_each():
    where = placed("segment 0")
    part = make_part(SECRET, {"a": ("list a", where), "b": ("list b", where), "c": ("list c", where[:1])})
    overlay = make_part(SECRET, {"d": ("list d", where), "e": ("list a", where)})
    asked = AlgorithmTable((part, overlay), {}).lists_to_ask(where)
    for list_id in ("list a", "list b", "list d"):
        assert asked[list_id].tolist() == list(range(len(where)))
    assert 0 in asked["list c"].tolist()


@pytest.mark.parametrize(
    ("base", "overlay", "live", "wanted"),
    [
        (40, 0, 40, False),
        (80, 40, 120, False),
        # The overlay is more than an eighth of the base and than what is small.
        (40, 80, 120, True),
        # Most of the base serves nothing any more.
        (160, 0, 20, True),
        (160, 40, 20, True),
        (160, 0, 60, False),
    ],
)
def test_a_new_base_is_wanted_when_it_pays(
    monkeypatch: pytest.MonkeyPatch, base: int, overlay: int, live: int, wanted: bool
):
    monkeypatch.setattr(tables, "_SMALL_OVERLAY", 50)
    parts = [
        make_part(SECRET, {f"{name} {number}": ("list", placed("segment 0")) for number in range(entries // 40)})
        for name, entries in (("base", base), ("overlay", overlay))
        if entries
    ]
    assert wants_new_base(AlgorithmTable(tuple(parts), {}), live) is wanted


def test_an_empty_table_wants_no_base():
    assert not wants_new_base(AlgorithmTable((), {}), 0)
