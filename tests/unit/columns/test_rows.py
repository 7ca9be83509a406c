"""Rows: joined and folded like dictionaries would be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import Payloads, empty_rows, joined_payloads, make_rows, overlay, positions_in
from hashmatch.columns.source_keys import pack_source_keys, source_key_digest, unpack_source_keys
from hashmatch.model.opinions import Statement

SECRET = PlacementSecret(11, 22)
KIND = 1
SETS = ((), (Statement("a"),), (Statement("b"),), (Statement("a"), Statement("b")))
digests_16 = st.integers(0, 12).map(lambda number: number.to_bytes(16, "big"))
# What a layer says of some digests: a set, and the payload that goes with it.
layers = st.dictionaries(digests_16, st.tuples(st.integers(0, 3), st.binary(max_size=3)), max_size=10)


def rows_from(layer, *, payloads=True):
    digests = np.frombuffer(b"".join(layer), np.uint8).reshape(-1, 16)
    refs = np.array([number for number, _ in layer.values()], np.uint32)
    held = Payloads.of([payload for _, payload in layer.values()]) if payloads else None
    return make_rows(KIND, digests, refs, SETS, SECRET, held)


def as_dict(rows):
    return {
        rows.digests[at].tobytes(): (rows.sets[rows.refs[at]], rows.payloads[at] if rows.payloads else b"")
        for at in range(len(rows))
    }


def meant(layer):
    return {digest: (SETS[number], payload) for digest, (number, payload) in layer.items()}


@settings(deadline=None)
@given(st.lists(layers, min_size=1, max_size=4), st.booleans())
# Three columns that numpy joins in another layout than it was given.
@example([{}, {bytes(16): (1, b"")}, {bytes(16): (2, b"")}], False)
def test_the_newest_layer_that_has_a_digest_decides(given_layers, keep_removed):
    folded = overlay([rows_from(layer) for layer in given_layers], keep_removed=keep_removed)
    expected = {}
    for layer in given_layers:
        expected |= meant(layer)
    if not keep_removed:
        expected = {digest: said for digest, said in expected.items() if said[0]}
    assert as_dict(folded) == expected
    assert np.all(np.diff(folded.placed.astype(object)) >= 0)
    assert len(np.unique(folded.digests, axis=0)) == len(folded)


@settings(deadline=None)
@given(layers, layers)
def test_layers_without_payloads_fold_with_those_that_have_them(older, newer):
    newer = {digest: (number, b"") for digest, (number, _) in newer.items()}
    folded = overlay([rows_from(older), rows_from(newer, payloads=False)], keep_removed=True)
    assert as_dict(folded) == meant(older) | meant(newer)


def test_folding_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to fold"):
        overlay([], keep_removed=True)


@settings(deadline=None)
@given(layers, layers)
def test_positions_are_those_of_the_same_digest(left, right):
    one, other = rows_from(left), rows_from(right)
    theirs = {digest.tobytes(): position for position, digest in enumerate(other.digests)}
    assert positions_in(one, other).tolist() == [theirs.get(digest.tobytes(), -1) for digest in one.digests]


def test_positions_are_right_where_placements_are_equal():
    """A placement is no digest: rows that share one are still told apart by their bytes."""
    rows = rows_from({bytes([number]) * 16: (1, b"") for number in range(6)}, payloads=False)
    order = np.lexsort(rows.digests.view(np.uint32).T[::-1])
    crowd = type(rows)(KIND, rows.digests[order], np.zeros(6, np.uint64), rows.refs[order], SETS)
    some = crowd.take(np.array([1, 4]))
    assert positions_in(some, crowd).tolist() == [1, 4]
    assert positions_in(crowd, some).tolist() == [-1, 0, -1, -1, 1, -1]


@settings(deadline=None)
@given(layers, st.data())
def test_taking_rows_keeps_all_that_belongs_to_them(layer, data):
    rows = rows_from(layer)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    expected = [item for item, kept in zip(as_dict(rows).items(), mask, strict=True) if kept]
    assert list(as_dict(rows.take(mask)).items()) == expected
    assert list(as_dict(rows.take(np.flatnonzero(mask))).items()) == expected


def test_rows_with_a_statement_are_live():
    rows = rows_from({bytes([number]) * 16: (number, b"") for number in range(4)})
    assert rows.live.tolist() == [bool(statements) for statements, _ in as_dict(rows).values()]
    assert np.count_nonzero(rows.live) == 3
    assert empty_rows(KIND, 16).live.tolist() == []


@settings(deadline=None)
@given(st.lists(st.binary(max_size=5), max_size=12), st.data())
def test_payloads_come_back_as_they_were_packed(parts, data):
    payloads = Payloads.of(parts)
    assert [payloads[row] for row in range(len(parts))] == parts
    order = data.draw(st.lists(st.integers(0, len(parts) - 1), max_size=12)) if parts else []
    taken = payloads.take(np.array(order, np.int64))
    assert [taken[row] for row in range(len(order))] == [parts[row] for row in order]
    joined = joined_payloads([(payloads, len(parts)), (None, 2), (payloads, len(parts))])
    assert [joined[row] for row in range(2 * len(parts) + 2)] == [*parts, b"", b"", *parts]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5))
def test_source_keys_come_back_as_they_were_packed(keys):
    assert unpack_source_keys(pack_source_keys(keys)) == (keys if any(keys) else [])


def test_entries_without_keys_are_packed_like_a_list_that_has_none():
    assert pack_source_keys(["", ""]) == pack_source_keys([]) == b""
    assert unpack_source_keys(b"") == []


def test_keys_are_placed_under_digests_of_their_own():
    keys = ["", "a", "A", "ä", "a" * 1_000]
    assert len({source_key_digest(key) for key in keys}) == len(keys)
    assert {len(source_key_digest(key)) for key in keys} == {16}
