"""Assembly: what a delivery leaves standing when its last record is read."""

from __future__ import annotations

import numpy as np
import pytest

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.source_keys import unpack_source_keys
from hashmatch.formats.delivery import Chunk, Column, KeyedRecord
from hashmatch.ingest.assembly import Assembler, rows_of
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

A, B, C = Statement("a"), Statement("b"), Statement("c")
STATEMENTS = [A, B, C]
GENERATION = 4


def digest(number: int) -> bytes:
    return bytes([number]) * 16


def column(*fingerprints: tuple[int, int, int], removal: bool = False) -> Column:
    """A column of (record, digest, statement)."""
    return Column(
        Algorithm.MD5,
        np.array([[number] * 16 for _, number, _ in fingerprints], np.uint8).reshape(-1, 16),
        np.array([statement for _, _, statement in fingerprints], np.uint32),
        np.array([record for record, _, _ in fingerprints], np.uint64),
        removal,
    )


def removed(*records: tuple[int, int]) -> Column:
    return column(*((record, number, 0) for record, number in records), removal=True)


@pytest.fixture
def standing(secret: PlacementSecret):
    """What stands after some chunks: digest to (label, key) pairs; with the counts that reconcile."""

    def standing(*chunks: Chunk):
        assembler = Assembler()
        for chunk in chunks:
            assembler.add(chunk)
        entries = assembler.finish(STATEMENTS)
        held = {}
        counts = [0, entries.superseded]
        for fingerprints in entries.fingerprints:
            rows, stored, repeated = rows_of(fingerprints, entries, secret, GENERATION)
            counts[0] += stored
            counts[1] += repeated
            for row in range(len(rows)):
                said = rows.sets[rows.refs[row]]
                assert {each.since_generation for each in said} == {GENERATION}
                keys = unpack_source_keys(rows.payloads[row]) if rows.payloads else [""] * len(said)
                held[rows.digests[row, 0].item()] = [(each.label, key) for each, key in zip(said, keys, strict=True)]
        return held, tuple(counts), entries

    return standing


def test_the_last_state_of_a_key_stands(standing):
    held, (stored, duplicates), entries = standing(
        Chunk((column((1, 1, 0), (1, 2, 0), (2, 3, 1)),), (KeyedRecord(1, "k"), KeyedRecord(2, "other"))),
        Chunk((column((3, 1, 2), (3, 4, 2)),), (KeyedRecord(3, "k"),)),
    )
    # The entry no longer has hash 2: its last record does not name it.
    assert held == {1: [("c", "k")], 3: [("b", "other")], 4: [("c", "k")]}
    assert (stored, duplicates) == (3, 2)
    assert sorted(entries.keys) == ["k", "other"]


def test_an_entry_that_is_withdrawn_last_is_gone(standing):
    held, counts, entries = standing(
        Chunk((column((1, 1, 0), (2, 2, 0)),), (KeyedRecord(1, "k"), KeyedRecord(2, "stays"))),
        Chunk((), (KeyedRecord(3, "k", removed=True),)),
    )
    assert held == {2: [("a", "stays")]}
    assert counts == (1, 1)
    assert (list(entries.keys), list(entries.removed_keys)) == (["stays"], ["k"])


def test_an_entry_that_returns_after_its_withdrawal_stands(standing):
    held, _, entries = standing(
        Chunk((), (KeyedRecord(1, "k", removed=True),)), Chunk((column((2, 1, 1)),), (KeyedRecord(2, "k"),))
    )
    assert held == {1: [("b", "k")]}
    assert list(entries.removed_keys) == []


def test_entries_that_carry_one_hash_all_stand(standing):
    held, counts, _ = standing(
        Chunk(
            (column((1, 1, 1), (2, 1, 0), (3, 1, 1), (4, 1, 0)),),
            (KeyedRecord(1, "x"), KeyedRecord(2, "y"), KeyedRecord(3, "z")),
        )
    )
    # Record 4 has no key: it is an entry of its own.
    assert held == {1: [("a", ""), ("a", "y"), ("b", "x"), ("b", "z")]}
    assert counts == (4, 0)


def test_a_hash_that_an_entry_names_twice_is_one(standing):
    held, counts, _ = standing(Chunk((column((1, 1, 0), (1, 1, 0)),), (KeyedRecord(1, "k"),)))
    assert held == {1: [("a", "k")]}
    assert counts == (1, 1)


def test_a_body_may_contradict_itself(standing):
    held, counts, entries = standing(Chunk((column((1, 1, 1), (2, 1, 0), (3, 1, 1), (4, 2, 2)),)))
    assert held == {1: [("a", ""), ("b", "")], 2: [("c", "")]}
    assert counts == (3, 1)
    assert not entries.keyed


def test_a_removal_takes_off_what_came_before_it_and_not_what_comes_after(standing):
    held, counts, entries = standing(
        Chunk((column((1, 1, 0), (2, 2, 0), (3, 3, 0)), removed((4, 1), (5, 2), (6, 9)))),
        Chunk((column((7, 2, 1)),)),
    )
    assert held == {2: [("b", "")], 3: [("a", "")]}
    # 2 came back, so that only 1 and 9 are to go from the list.
    assert sorted(entries.fingerprints[0].removed[:, 0].tolist()) == [1, 9]
    assert counts == (2, 2)


def test_the_last_of_several_removals_counts(standing):
    held, _, entries = standing(Chunk((column((2, 1, 0)), removed((1, 1), (3, 1)))))
    assert held == {}
    assert entries.fingerprints[0].removed[:, 0].tolist() == [1]


def test_a_delivery_that_only_removes_leaves_nothing(standing):
    held, counts, entries = standing(Chunk((removed((1, 1)),)))
    assert held == {}
    assert counts == (0, 0)
    assert len(entries.fingerprints[0].removed) == 1


def test_formats_without_records_need_none(standing):
    digests = np.array([[1] * 16, [2] * 16, [1] * 16], np.uint8)
    held, counts, _ = standing(Chunk((Column(Algorithm.MD5, digests, 1),)))
    assert held == {1: [("b", "")], 2: [("b", "")]}
    assert counts == (2, 1)


def test_empty_columns_count_for_nothing(standing):
    held, counts, entries = standing(Chunk((column(),)), Chunk(()))
    assert (held, counts, entries.fingerprints) == ({}, (0, 0), ())
