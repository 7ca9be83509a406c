"""Answers from a real store: columns and items, few and many, say the same, and what the lists hold."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.index.snapshot import Snapshot
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching import columns
from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import Finding
from hashmatch.matching.scope import EVERYTHING, Scope, view
from hashmatch.model.access import UNRESTRICTED, Permission
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Agreement
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.store import Store
from hashmatch.store.supply import Supply
from tests.support.clock import ManualClock
from tests.support.office import ACTOR, Office, row

MD5, SHA1, SHA256 = Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256
HIT, MISS, UNKNOWN = Verdict.MATCH, Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED
NOT_CARRIED = Cause(UndeterminedReason.ALGORITHM_NOT_CARRIED)


def digest(number: int, algorithm: Algorithm = MD5) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(algorithm.digest_size)


def findings(answer: ColumnAnswer) -> list[Finding]:
    """The finding on each digest, as a caller is told of it."""
    silence = Finding(UNKNOWN if answer.doubts else MISS)
    told = [silence] * answer.count
    for position, number in zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True):
        told[position] = answer.findings[number]._replace(verdict=answer.verdict_at(number))
    return told


@pytest.fixture
def office(office: Office, suppressor: Suppressor) -> Office:
    """Three lists of two bodies: some hashes in one, in two, in all; some suppressed, some lifted."""
    office.define("a", "A")
    office.define("b", "B")
    office.define("c", "B")
    for list_id, numbers, label in (("a", range(90), "x"), ("b", range(60, 120), "x"), ("c", range(80, 150), "y")):
        rows = [row(key=f"{list_id}-{number}", label=label, md5=digest(number)) for number in numbers]
        office.deliver("".join(rows), list_id)
    office.deliver(
        "".join(row(key=f"a-{number}", label="x", md5=digest(number)) for number in range(95))
        + row(key="a-s", label="x", sha256=digest(0, SHA256)),
        "a",
    )
    suppressor.suppress([(int(MD5), digest(number)) for number in (3, 85)], [], ACTOR, "why")
    suppressor.suppress([(int(MD5), digest(number)) for number in (4, 86, 999)], ["a"], ACTOR, "why")
    suppressor.suppress([(int(MD5), digest(number)) for number in (5, 87)], [], ACTOR, "why")
    suppressor.lift_suppression([(int(MD5), digest(number)) for number in (5, 87)], ACTOR, "why")
    return office


scopes = st.builds(
    Scope,
    st.sampled_from([(), ("a",), ("a", "b"), ("c", "b")]),
    st.integers(1, 3),
    st.sampled_from([0, 3, 4, 5, 6, 7, 8, 9, 10]),
    permission=st.sampled_from(
        [UNRESTRICTED, Permission(since_epoch=6), Permission(lists=frozenset("abc"), algorithms=frozenset(Algorithm))]
    ),
)


@pytest.fixture(params=[False, True], ids=["stored", "resident"])
def snapshot(office: Office, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    return office.snapshot(resident=request.param)


def in_each_way(office: Office, numbers, scope: Scope, snapshot: Snapshot) -> list[list[Finding]]:
    """The findings on hashes, asked for as a column and as items, settled one by one and all at once.

    The blocks for one by one are waited for or supplied.
    """
    ways = []
    digests = [digest(number) for number in numbers]
    for few, supplied in ((0, False), (1_000_000, False), (1_000_000, True)):
        ask, ask_items = partial(office.ask, supplied=supplied), partial(office.ask_items, supplied=supplied)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columns, "FEW", few)
            shared = findings(ask(MD5, digests, scope, snapshot=snapshot))
            apart = findings(ask(MD5, digests, scope, snapshot=snapshot, source_keys=True))
            items = ask_items([[(MD5, each)] for each in digests], scope, snapshot=snapshot)
        ways += [shared, [_without_keys(each) for each in apart], [_without_keys(each.findings[0]) for each in items]]
        ways.append([finding._replace(verdict=item.verdict) for item, finding in zip(items, ways[-1], strict=True)])
        assert {each.source_key == "" for finding in apart for each in finding.opinions} <= {False}
    return [[finding._replace(causes=()) for finding in way] for way in ways]


def _without_keys(finding: Finding) -> Finding:
    return finding._replace(opinions=tuple(each._replace(source_key="") for each in finding.opinions))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 200), max_size=60), scopes)
def test_columns_and_items_few_and_many_say_the_same(office: Office, snapshot: Snapshot, numbers, scope):
    first, *others = in_each_way(office, numbers, scope, snapshot)
    for other in others:
        assert other == first


def test_the_answer_is_what_the_lists_hold(office: Office, snapshot: Snapshot):
    """P1, hash by hash."""
    for number, finding in enumerate(findings(office.ask(MD5, [digest(n) for n in range(200)], snapshot=snapshot))):
        holders = {"a": number < 95, "b": 60 <= number < 120, "c": 80 <= number < 150}
        if number in (3, 85):
            holders = {}
        if number in (4, 86):
            holders["a"] = False
        expected = [list_id for list_id, holds in holders.items() if holds]
        assert [opinion.list_id for opinion in finding.opinions] == expected
        assert finding.verdict is (HIT if expected else MISS)
        assert finding.suppressed == (number in (3, 4, 85, 86))
        bodies = {"A" if each == "a" else "B" for each in expected}
        labels = {"y" if each == "c" else "x" for each in expected}
        agreement = Agreement.NONE
        if expected:
            agreement = Agreement.SINGLE if len(bodies) == 1 else Agreement.AGREED
        assert finding.agreement is (Agreement.DISPUTED if len(labels) > 1 else agreement)


def test_equal_findings_are_shared(office: Office, snapshot: Snapshot):
    """A column of a million hits must not cost a million objects."""
    answer = office.ask(MD5, [digest(number) for number in range(10, 60)] * 40, snapshot=snapshot)
    assert len(answer.positions) == 2_000
    assert len(answer.findings) == 1


def test_positions_are_ascending_and_repeats_are_all_answered(office: Office, snapshot: Snapshot):
    answer = office.ask(MD5, [digest(number) for number in (1, 500, 1, 3, 1)], snapshot=snapshot)
    assert answer.positions.tolist() == [0, 2, 3, 4]
    assert answer.count == 5


def test_nothing_asked_is_nothing_answered(office: Office, snapshot: Snapshot):
    answer = office.ask(MD5, [], snapshot=snapshot)
    assert (answer.count, len(answer.positions), answer.findings) == (0, 0, ())
    assert office.ask_items([], snapshot=snapshot) == []


def test_keys_of_entries_are_in_answers_about_items(office: Office, snapshot: Snapshot):
    ((finding,),) = (answer.findings for answer in office.ask_items([[(MD5, digest(85 + 3))]], snapshot=snapshot))
    assert [(each.list_id, each.source_key) for each in finding.opinions] == [
        ("a", "a-88"),
        ("b", "b-88"),
        ("c", "c-88"),
    ]


# ---- the store


@pytest.mark.parametrize("few", [0, 1_000])
def test_without_the_store_negatives_stand_and_hits_are_not_determined(
    office: Office, store: Store, monkeypatch: pytest.MonkeyPatch, few: int
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    monkeypatch.setattr(columns, "FEW", few)
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)

    def away(*_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    monkeypatch.setattr(store.connection, "get_many", away)
    answer = office.ask(MD5, [digest(number) for number in (1, 500, 88)], snapshot=snapshot)
    told = findings(answer)
    assert [each.verdict for each in told] == [UNKNOWN, MISS, UNKNOWN]
    assert set(told[2].causes) == {Cause(UndeterminedReason.STORE_UNAVAILABLE, each) for each in "abc"}


@pytest.mark.parametrize("few", [0, 1_000])
def test_damage_in_one_list_leaves_the_word_to_the_others(
    office: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, few: int
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    monkeypatch.setattr(columns, "FEW", few)
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    for source in snapshot.lists["a"].chains[MD5]:
        valkey.delete(*valkey.keys(b"hashmatch:b:%b:*" % source.info.segment_id.encode()))
    told = findings(office.ask(MD5, [digest(number) for number in (1, 500, 88)], snapshot=snapshot))
    assert [each.verdict for each in told] == [UNKNOWN, MISS, HIT]
    assert told[0].causes == told[2].causes == (Cause(UndeterminedReason.STORE_DAMAGED, "a"),)


def test_a_question_that_is_given_up_has_no_negatives_among_its_candidates(office: Office, snapshot: Snapshot):
    seen = view(snapshot, EVERYTHING, now=office.clock.now())
    question = ColumnQuestion(seen, MD5, digest(1) + digest(500) + digest(88))
    assert question.probe()
    answer = question.give_up()
    assert [each.verdict for each in findings(answer)] == [UNKNOWN, MISS, UNKNOWN]
    assert answer.findings[0].causes == (Cause(UndeterminedReason.WORK_LIMIT),)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_only_what_may_be_listed_and_is_not_at_hand_needs_the_store(
    office: Office, snapshot: Snapshot, cache_bytes: int
):
    stored = snapshot.lists["a"].chains[MD5][0].needs_store
    loader = office.loader(resident=not stored, cache_bytes=cache_bytes)
    seen = view(loader.load(office.manifest(), None), EVERYTHING, now=office.clock.now())
    for numbers, may in (((500, 501), False), ((500, 1), stored and not cache_bytes)):
        question = ColumnQuestion(seen, MD5, b"".join(map(digest, numbers)))
        question.probe()
        assert question.needs_store(Supply()) is may


# ---- doubts


def test_a_stale_list_gives_matches_and_no_negatives(office: Office, snapshot: Snapshot, clock: ManualClock):
    clock.advance(31 * 86_400.0)
    told = findings(office.ask(MD5, [digest(1), digest(500), digest(3)], snapshot=snapshot))
    # The third is listed and suppressed: that is a negative as well.
    assert [each.verdict for each in told] == [HIT, UNKNOWN, UNKNOWN]
    answers = office.ask_items([[(MD5, digest(number))] for number in (1, 500, 3)], snapshot=snapshot)
    assert [each.verdict for each in answers] == [HIT, UNKNOWN, UNKNOWN]
    assert {cause.reason for cause in answers[1].findings[0].causes} == {UndeterminedReason.LIST_STALE}


def test_an_unconfirmed_snapshot_gives_no_negatives(office: Office, snapshot: Snapshot):
    doubts = (Cause(UndeterminedReason.SNAPSHOT_UNCONFIRMED),)
    answer = office.ask(MD5, [digest(1), digest(500)], snapshot=snapshot, doubts=doubts)
    assert [each.verdict for each in findings(answer)] == [HIT, UNKNOWN]


def test_with_nothing_published_nothing_is_determined(office: Office):
    for list_id in "abc":
        office.publisher.withdraw_list(list_id, ACTOR, "why")
    assert [each.verdict for each in findings(office.ask(MD5, [digest(1)]))] == [UNKNOWN]


# ---- items


@pytest.mark.parametrize(
    ("item", "scope", "verdict"),
    [
        pytest.param([(MD5, digest(1))], {}, HIT, id="listed"),
        pytest.param([(MD5, digest(500))], {}, MISS, id="not listed"),
        pytest.param([(MD5, digest(500)), (SHA256, digest(0, SHA256))], {}, HIT, id="one of two listed"),
        pytest.param([(MD5, digest(500)), (SHA256, digest(1, SHA256))], {}, MISS, id="neither listed"),
        # Hashes that have nobody to ask leave the word to the others.
        pytest.param([(SHA1, digest(1, SHA1))], {}, UNKNOWN, id="nobody to ask"),
        pytest.param([(Algorithm.PDQ, bytes(32))], {}, UNKNOWN, id="not served"),
        pytest.param([(MD5, digest(500)), (SHA1, digest(1, SHA1))], {}, MISS, id="nobody to ask about one"),
        pytest.param([(MD5, digest(500)), (Algorithm.PDQ, bytes(32))], {}, MISS, id="one not served"),
        pytest.param([(Algorithm.PDQ, bytes(32)), (SHA1, digest(1, SHA1))], {}, UNKNOWN, id="nobody to ask about two"),
        # What could have been asked and was not is a doubt.
        pytest.param([(MD5, b"short")], {}, UNKNOWN, id="invalid"),
        pytest.param([(MD5, digest(500)), (MD5, b"short")], {}, UNKNOWN, id="one invalid"),
        pytest.param([(MD5, digest(500)), (77, b"?")], {}, UNKNOWN, id="one unknown"),
        pytest.param([(MD5, digest(1)), (MD5, b"short")], {}, HIT, id="listed beside an invalid one"),
        pytest.param([(MD5, digest(1)), (77, b"?")], {}, HIT, id="listed beside an unknown one"),
        pytest.param([], {}, UNKNOWN, id="no hash"),
        # A list that was named is asked or missed.
        pytest.param([(SHA256, digest(1, SHA256))], {"list_ids": ("a",)}, MISS, id="the named list is asked"),
        pytest.param([(SHA256, digest(1, SHA256))], {"list_ids": ("a", "b")}, UNKNOWN, id="a named list is not asked"),
        pytest.param(
            [(SHA256, digest(1, SHA256)), (MD5, digest(500))], {"list_ids": ("a", "b")}, MISS, id="each by some hash"
        ),
        pytest.param([(MD5, digest(1))], {"list_ids": ("c",)}, MISS, id="listed elsewhere"),
        pytest.param([(MD5, digest(1))], {"min_sources": 2}, MISS, id="by too few"),
        pytest.param([(MD5, digest(70))], {"min_sources": 2}, HIT, id="by enough"),
        pytest.param([(MD5, digest(500))], {"min_sources": 3}, UNKNOWN, id="not enough to ask"),
    ],
)
def test_an_item_is_what_its_hashes_say_together(office: Office, snapshot: Snapshot, item, scope, verdict):
    (answer,) = office.ask_items([item], Scope(**scope), snapshot=snapshot)
    assert answer.verdict is verdict
    assert len(answer.findings) == len(item)
    for finding in answer.findings:
        assert (finding.verdict is UNKNOWN) <= bool(finding.causes)


def test_an_item_agrees_over_all_of_its_hashes(office: Office, snapshot: Snapshot):
    hashes = {number: (MD5, digest(number)) for number in (1, 2, 70, 125, 500)}
    items = [[hashes[1], hashes[2]], [hashes[1], hashes[70]], [hashes[1], hashes[125]], [hashes[500]]]
    answers = office.ask_items(items, snapshot=snapshot)
    assert [each.agreement for each in answers] == [
        Agreement.SINGLE,
        Agreement.AGREED,
        Agreement.DISPUTED,
        Agreement.NONE,
    ]


def test_answers_are_in_the_order_of_the_items(office: Office, snapshot: Snapshot):
    generator = np.random.default_rng(1)
    items = [
        [(MD5, digest(int(number))) for number in generator.integers(0, 300, generator.integers(1, 4))]
        for _ in range(50)
    ]
    together = office.ask_items(items, snapshot=snapshot)
    assert together == [office.ask_items([item], snapshot=snapshot)[0] for item in items]
