"""The rules from holdings to a verdict, one row of a table each."""

from __future__ import annotations

import msgspec
import pytest

from hashmatch.matching.evaluation import evaluate
from hashmatch.matching.findings import Holding
from hashmatch.matching.scope import Scope
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Agreement, Statement
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.store.suppressions import Suppression

HIT, MISS, UNKNOWN = Verdict.MATCH, Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED


def said(list_id: str, *labels: str, since: int = 1) -> Holding:
    return Holding(list_id, tuple(Statement(label, "scheme", since_generation=since) for label in labels or ("x",)))


def unread(list_id: str) -> Holding:
    return Holding(list_id, unread=Cause(UndeterminedReason.STORE_DAMAGED, list_id))


def suppression(*list_ids: str, lifted: int = 0) -> Suppression:
    scopes = list_ids or ("",)
    return Suppression(
        algorithm=1,
        digest=b"",
        list_ids=list_ids,
        reason="",
        actor="",
        changed=dict.fromkeys(scopes, lifted or 15),
        lifted=dict.fromkeys(scopes, lifted) if lifted else {},
        active=not lifted,
    )


@pytest.fixture
def lists(state):
    """Lists a and b of a body each, c of the same body as b."""
    return state("a", "A"), state("b", "B"), state("c", "B")


@pytest.mark.parametrize(
    ("holdings", "scope", "suppressed", "verdict", "listed_by"),
    [
        pytest.param([], {}, None, MISS, "", id="nobody"),
        pytest.param([said("a")], {}, None, HIT, "a", id="one"),
        pytest.param([Holding("a")], {}, None, MISS, "", id="removed"),
        pytest.param([said("a"), said("b")], {"min_sources": 2}, None, HIT, "ab", id="two bodies"),
        pytest.param([said("a")], {"min_sources": 2}, None, MISS, "a", id="one body of two"),
        pytest.param([said("b"), said("c")], {"min_sources": 2}, None, MISS, "bc", id="two lists of one body"),
        pytest.param(
            [said("a"), said("b"), said("c")], {"min_sources": 3}, None, MISS, "abc", id="two bodies of three"
        ),
        # Suppressions.
        pytest.param([said("a")], {}, suppression(), MISS, "", id="suppressed everywhere"),
        pytest.param([said("a")], {}, suppression("a"), MISS, "", id="suppressed in its list"),
        pytest.param([said("a")], {}, suppression("b"), HIT, "a", id="suppressed in another list"),
        pytest.param([said("a"), said("b")], {}, suppression("a"), HIT, "b", id="suppressed in one of two"),
        pytest.param([said("a"), said("b")], {"min_sources": 2}, suppression("a"), MISS, "b", id="too few left"),
        pytest.param([said("a")], {}, suppression(lifted=25), HIT, "a", id="lifted"),
        # Newer than: generation 1 is of epoch 10, generation 2 of epoch 20.
        pytest.param([said("a")], {"newer_than_epoch": 9}, None, HIT, "a", id="newer"),
        pytest.param([said("a")], {"newer_than_epoch": 10}, None, MISS, "", id="as old"),
        pytest.param([said("a", since=2)], {"newer_than_epoch": 10}, None, HIT, "a", id="of the next generation"),
        pytest.param([said("a"), said("b", since=2)], {"newer_than_epoch": 10}, None, HIT, "b", id="one is newer"),
        pytest.param([said("a")], {"newer_than_epoch": 24}, suppression(lifted=25), HIT, "a", id="lifted since"),
        pytest.param([said("a")], {"newer_than_epoch": 25}, suppression(lifted=25), MISS, "", id="lifted before"),
        pytest.param(
            [said("a")], {"newer_than_epoch": 24}, suppression("b", lifted=25), MISS, "", id="lifted elsewhere"
        ),
        # What could not be read.
        pytest.param([unread("a")], {}, None, UNKNOWN, "", id="unread"),
        pytest.param([unread("a"), said("b")], {}, None, HIT, "b", id="unread, and enough without it"),
        pytest.param(
            [unread("a"), said("b")], {"min_sources": 2}, None, UNKNOWN, "b", id="unread, and it may be enough"
        ),
        pytest.param([unread("c"), said("b")], {"min_sources": 2}, None, MISS, "b", id="unread of the same body"),
        pytest.param(
            [unread("a"), said("b")], {"min_sources": 3}, None, MISS, "b", id="unread, and not enough with it"
        ),
        pytest.param([unread("a"), unread("b")], {"min_sources": 2}, None, UNKNOWN, "", id="both unread"),
        pytest.param([unread("a"), said("b")], {}, suppression("b"), UNKNOWN, "", id="unread and suppressed"),
    ],
)
def test_rules(view_of, lists, holdings, scope, suppressed, verdict, listed_by):
    finding = evaluate(view_of(*lists, scope=Scope(**scope)), holdings, suppressed)
    assert finding.verdict is verdict
    assert "".join(opinion.list_id for opinion in finding.opinions) == listed_by
    assert finding.below_min_sources == (bool(listed_by) and verdict is not HIT)
    # A cause is named where it stands in the way, and never beside a plain negative.
    assert bool(finding.causes) == (any(each.unread for each in holdings) and verdict is not MISS)


@pytest.mark.parametrize(("by", "shown"), [(suppression(), True), (suppression("b"), False), (None, False)])
def test_what_was_left_out_shows(view_of, lists, by, shown):
    assert evaluate(view_of(*lists), [said("a")], by).suppressed is shown


def test_a_suppression_that_hides_nothing_does_not_show(view_of, lists):
    """Otherwise it would tell that the operator suppressed a hash that nobody lists."""
    assert not evaluate(view_of(*lists), [Holding("a")], suppression()).suppressed


@pytest.mark.parametrize(
    ("holdings", "agreement"),
    [
        ([], Agreement.NONE),
        ([said("a", "x")], Agreement.SINGLE),
        ([said("b", "x"), said("c", "x")], Agreement.SINGLE),
        ([said("a", "x"), said("b", "x")], Agreement.AGREED),
        ([said("a", "x"), said("b", "y")], Agreement.DISPUTED),
        ([said("a", "x", "y")], Agreement.DISPUTED),
    ],
)
def test_bodies_agree_or_do_not(view_of, lists, holdings, agreement):
    assert evaluate(view_of(*lists), holdings, None).agreement is agreement


def test_what_is_suppressed_takes_no_part_in_a_dispute(view_of, lists):
    finding = evaluate(view_of(*lists), [said("a", "x"), said("b", "y")], suppression("a"))
    assert finding.agreement is Agreement.SINGLE


def test_an_opinion_names_its_generation_and_since_when(view_of, lists):
    finding = evaluate(view_of(*lists), [said("a", "x", "y", since=2)], None)
    assert [(each.generation, each.since_epoch, each.position, each.statement.label) for each in finding.opinions] == [
        (3, 20, 0, "x"),
        (3, 20, 1, "y"),
    ]


def test_source_keys_go_to_the_opinions_of_their_entries(view_of, lists):
    newer = Holding("a", (Statement("x", since_generation=1), Statement("y", since_generation=2)))
    finding = evaluate(view_of(*lists, scope=Scope(newer_than_epoch=15)), [newer, said("b", since=3)], None)
    with_keys = finding.with_source_keys({"a": ["key of x", "key of y"]})
    # The first statement is too old to be told; the key of the second stays its own.
    assert [(each.statement.label, each.source_key) for each in with_keys.opinions] == [("y", "key of y"), ("x", "")]


def test_a_match_names_the_natures_that_it_rests_on(view_of, lists):
    natures = {"a": ListNature.TEST, "b": ListNature.EXPLOITATIVE, "c": ListNature.TEST}
    stated = [
        msgspec.structs.replace(
            each, definition=msgspec.structs.replace(each.definition, nature=natures[each.definition.list_id])
        )
        for each in lists
    ]
    seen = view_of(*stated)
    assert evaluate(seen, [said("a"), said("c")], None).natures == (ListNature.TEST,)
    assert evaluate(seen, [said("a"), said("b")], None).natures == (ListNature.EXPLOITATIVE, ListNature.TEST)
    # A suppressed opinion carries no match, and what is no match has no nature.
    assert evaluate(seen, [said("a"), said("b")], suppression("b")).natures == (ListNature.TEST,)
    assert evaluate(seen, [said("a")], suppression()).natures == ()
    assert evaluate(view_of(*stated, scope=Scope(min_sources=2)), [said("a")], None).natures == ()
