"""Scopes and doubts: what stands in the way of a negative is always said."""

from __future__ import annotations

import msgspec
import pytest

from hashmatch.matching.scope import MAXIMUM_SCOPE_LISTS, MAXIMUM_SOURCES, Scope
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListNature
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.manifest import ListState

MD5, SHA1 = Algorithm.MD5, Algorithm.SHA1
NOT_CARRIED = UndeterminedReason.ALGORITHM_NOT_CARRIED
STALE = UndeterminedReason.LIST_STALE
TOO_FEW = UndeterminedReason.TOO_FEW_SOURCES


def test_fresh_lists_that_carry_the_algorithm_leave_no_doubt(view_of, state):
    assert view_of(state("a"), state("b")).doubts_about(MD5) == ()


def test_nothing_published_is_a_doubt(view_of, state):
    assert view_of().doubts_about(MD5) == (Cause(NOT_CARRIED),)
    assert view_of(state("a", served=False)).doubts_about(MD5) == (Cause(NOT_CARRIED),)


def test_an_algorithm_that_nobody_carries_is_a_doubt(view_of, state):
    assert view_of(state("a")).doubts_about(SHA1) == (Cause(NOT_CARRIED),)


def test_an_algorithm_that_somebody_carries_is_none_unless_the_others_were_named(view_of, state):
    lists = state("a"), state("b", carries=(SHA1,)), state("c", served=False)
    assert view_of(*lists).doubts_about(MD5) == ()
    named = view_of(*lists, scope=Scope(("a", "b", "c")))
    assert set(named.doubts_about(MD5)) == {Cause(NOT_CARRIED, "b"), Cause(NOT_CARRIED, "c")}
    assert named.unserved == ("c",)


def test_a_stale_list_is_a_doubt_where_it_carries_the_algorithm(view_of, state):
    lists = state("a", age=100.1), state("b", age=100.0), state("c", age=500.0, carries=(SHA1,))
    assert view_of(*lists).doubts_about(MD5) == (Cause(STALE, "a"),)
    assert view_of(*lists, scope=Scope(("b",))).doubts_about(MD5) == ()


def test_fewer_bodies_than_asked_for_are_a_doubt(view_of, state):
    lists = state("a", "A"), state("b", "A"), state("c", "B")
    assert view_of(*lists, scope=Scope(min_sources=2)).doubts_about(MD5) == ()
    assert view_of(*lists, scope=Scope(min_sources=3)).doubts_about(MD5) == (Cause(TOO_FEW),)
    assert view_of(*lists, scope=Scope(("a", "b"), min_sources=2)).doubts_about(MD5) == (Cause(TOO_FEW),)


def test_doubts_about_the_server_are_doubts_about_every_list(view_of, state):
    doubts = (Cause(UndeterminedReason.SNAPSHOT_UNCONFIRMED),)
    assert view_of(state("a"), doubts=doubts).doubts_about(MD5) == doubts


def test_a_scope_sees_only_its_lists(view_of, state):
    seen = view_of(state("a"), state("b"), scope=Scope(("b", "b")))
    assert list(seen.lists) == ["b"]
    assert list(seen.carriers(MD5)) == ["b"]
    assert list(seen.carriers(SHA1)) == []


def test_a_named_list_that_does_not_exist_is_an_error(view_of, state):
    with pytest.raises(HashmatchError) as caught:
        view_of(state("a"), scope=Scope(("a", "nowhere")))
    assert caught.value.reason is ErrorReason.LIST_NOT_FOUND


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (Scope(("a",) * (MAXIMUM_SCOPE_LISTS + 1)), "scope.list_ids"),
        (Scope(("A",)), "list_id"),
        (Scope(min_sources=0), "scope.min_sources"),
        (Scope(min_sources=MAXIMUM_SOURCES + 1), "scope.min_sources"),
    ],
)
def test_a_scope_out_of_range_is_refused(scope: Scope, field: str):
    with pytest.raises(HashmatchError) as caught:
        scope.validate()
    assert list(caught.value.fields) == [field]


def test_a_scope_within_its_range_is_fine():
    Scope(("a",) * MAXIMUM_SCOPE_LISTS, MAXIMUM_SOURCES).validate()


def with_nature(state: ListState, nature: ListNature) -> ListState:
    return msgspec.structs.replace(state, definition=msgspec.structs.replace(state.definition, nature=nature))


def test_a_scope_of_natures_sees_only_lists_of_these(view_of, state):
    lists = (
        with_nature(state("a"), ListNature.ILLEGAL),
        with_nature(state("b"), ListNature.EXPLOITATIVE),
        with_nature(state("c"), ListNature.TEST),
    )
    seen = view_of(*lists, scope=Scope(natures=(ListNature.ILLEGAL, ListNature.TEST)))
    assert list(seen.lists) == ["a", "c"]
    assert list(view_of(*lists).lists) == ["a", "b", "c"]
    assert view_of(*lists, scope=Scope(natures=(ListNature.TERRORIST,))).doubts_about(MD5) == (Cause(NOT_CARRIED),)


def test_a_named_list_of_another_nature_is_a_doubt(view_of, state):
    lists = with_nature(state("a"), ListNature.ILLEGAL), with_nature(state("b"), ListNature.TEST)
    seen = view_of(*lists, scope=Scope(("a", "b"), natures=(ListNature.ILLEGAL,)))
    assert seen.doubts_about(MD5) == (Cause(NOT_CARRIED, "b"),)


def test_corroboration_counts_within_the_natures_asked_for(view_of, state):
    lists = with_nature(state("a"), ListNature.ILLEGAL), with_nature(state("b"), ListNature.TEST)
    asked = Scope(min_sources=2)
    assert view_of(*lists, scope=asked).doubts_about(MD5) == ()
    assert view_of(*lists, scope=asked._replace(natures=(ListNature.ILLEGAL,))).doubts_about(MD5) == (Cause(TOO_FEW),)


def test_known_good_lists_cannot_be_asked_for():
    with pytest.raises(HashmatchError) as caught:
        Scope(natures=(ListNature.KNOWN_GOOD,)).validate()
    assert caught.value.reason is ErrorReason.INVALID_FIELD
