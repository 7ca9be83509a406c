"""Near findings: everything within reach and nothing beyond it, confirmed, merged, and never cut in silence."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.perceptual import indexes
from hashmatch.index.snapshot import Snapshot
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching.findings import ItemAnswer
from hashmatch.matching.items import AskedHash, ItemsQuestion
from hashmatch.matching.near import NearQuestion, NearValues
from hashmatch.matching.nearness import Nearness, degenerate_values
from hashmatch.matching.scope import EVERYTHING, Scope, view
from hashmatch.model.algorithms import Algorithm, is_degenerate
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.opinions import Agreement
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.sources import BlockCache
from tests.support.office import ACTOR, Office

PDQ, PHOTODNA = Algorithm.PDQ, Algorithm.PHOTODNA
HIT, MISS, UNKNOWN = Verdict.MATCH, Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED
WORK_LIMIT = Cause(UndeterminedReason.WORK_LIMIT)
INCREMENTAL = DeliveryMode.INCREMENTAL
TOLD = Nearness(tell_distances=True)

PROFILE = """
layout = "tsv"
header = false
short_rows = "blank"
key = [1]
label = [3]
deleted = { column = 2 }
[[hash]]
column = 4
algorithm = "pdq"
[[hash]]
column = 5
algorithm = "photodna"
"""


def code(seed: int, *flipped: int) -> bytes:
    """A code of its own for each seed, with bits of it flipped."""
    bits = np.unpackbits(np.random.default_rng(seed).integers(0, 256, 32, np.uint8))
    bits[list(flipped)] ^= 1
    return np.packbits(bits).tobytes()


def row(key: str, pdq: bytes = b"", *, label: str = "x", photodna: bytes = b"", removed: bool = False) -> str:
    return "\t".join((key, "yes" if removed else "no", label, pdq.hex(), photodna.hex())) + "\n"


def deliver(office: Office, list_id: str, *rows: str, **rest: object) -> None:
    office.deliver("".join(rows), list_id, profile=PROFILE, **rest)


def ask(
    office: Office,
    values: Sequence[bytes | AskedHash],
    nearness: Nearness = TOLD,
    scope: Scope = EVERYTHING,
    *,
    snapshot: Snapshot | None = None,
) -> list[ItemAnswer]:
    """The answers for hashes, each an item of its own; PDQ codes where only the value is given."""
    items = [[each if isinstance(each, AskedHash) else AskedHash(PDQ, each)] for each in values]
    question = ItemsQuestion(view(snapshot or office.snapshot(), scope, now=office.clock.now()), items, nearness)
    question.probe()
    return question.confirm()


def found(answer: ItemAnswer) -> dict[tuple[str, str], tuple[bool, int | None]]:
    """What an answer of one hash rests on: by list and source key whether it is near and how far."""
    (finding,) = answer.findings
    return {(each.list_id, each.source_key): (each.near, each.distance) for each in finding.opinions}


@pytest.fixture
def pair(office: Office) -> Office:
    """Two lists of two bodies; seed 1 is listed by both, five bits apart."""
    office.define("a", "A")
    office.define("b", "B")
    deliver(office, "a", row("a1", code(1)), row("a2", code(2)))
    deliver(office, "b", row("b1", code(1, *range(5))), row("b3", code(3), label="y"))
    return office


def test_what_is_within_reach_is_found_and_nothing_beyond(pair: Office):
    for apart in (0, 1, 8, 31, 32, 40):
        (answer,) = ask(pair, [code(2, *range(100, 100 + apart))])
        assert answer.verdict is (HIT if apart <= 31 else MISS)
        assert found(answer) == ({("a", "a2"): (apart > 0, apart)} if apart <= 31 else {})


def test_one_finding_is_made_of_the_equal_and_the_near(pair: Office):
    (answer,) = ask(pair, [code(1)])
    assert found(answer) == {("a", "a1"): (False, 0), ("b", "b1"): (True, 5)}
    assert answer.agreement is Agreement.AGREED


@pytest.mark.parametrize("sources", [2, 3])
def test_bodies_are_counted_over_all_that_is_near(pair: Office, sources: int):
    (both, one) = ask(pair, [code(1, 7, 8), code(2)], scope=Scope(("a", "b"), min_sources=sources))
    assert both.verdict is (HIT if sources == 2 else UNKNOWN)
    assert one.verdict is (MISS if sources == 2 else UNKNOWN)
    assert one.findings[0].below_min_sources


bits = st.lists(st.integers(0, 255), max_size=40, unique=True)
listed = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), bits), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(listed, listed, st.lists(st.tuples(st.integers(0, 2), bits), min_size=1, max_size=8), st.integers(0, 31))
def test_answers_are_those_of_comparing_all_with_all_after_deltas_too(
    office: Office, first, second, asked, distance: int
):
    """P1 for near values: what was delivered and not withdrawn, within the distance, decides."""
    names = {on: f"{on}-{uuid.uuid4().hex[:8]}" for on in "ab"}
    standing: dict[tuple[str, str], bytes] = {}
    loader = office.loader()
    for name in names.values():
        office.define(name)
        deliver(office, name, row("-", code(99)))
        standing[name, "-"] = code(99)
    snapshot = loader.load(office.manifest(), None)
    for step, delivery in enumerate((first, second)):
        withdrawn = sorted(standing)[1::2]
        for list_id in names.values():
            codes = {
                f"{step}-{at}": code(seed, *flips)
                for at, (on, seed, flips) in enumerate(delivery)
                if names[on] == list_id
            }
            rows = [row(key, value) for key, value in codes.items()]
            rows += [row(key, removed=True) for on, key in withdrawn if on == list_id and key != "-"]
            if rows:
                deliver(office, list_id, *rows, mode=INCREMENTAL)
            standing |= {(list_id, key): value for key, value in codes.items()}
        standing = {each: value for each, value in standing.items() if each not in withdrawn or each[1] == "-"}
        # Each step is a delta upon the tables of the one before.
        snapshot = loader.load(office.manifest(), snapshot)
    questions = [code(seed, *flips) for seed, flips in asked]
    scope = Scope(tuple(names.values()), max_distance=distance)
    for question, answer in zip(questions, ask(office, questions, scope=scope, snapshot=snapshot), strict=True):
        apart = {key: (int.from_bytes(value) ^ int.from_bytes(question)).bit_count() for key, value in standing.items()}
        near = {key: away for key, away in apart.items() if away <= distance}
        # Of one list, whose entries all say the same, the nearest are told.
        nearest = {list_id: min(away for (on, _), away in near.items() if on == list_id) for list_id, _ in near}
        assert {list_id for list_id, _ in found(answer)} == nearest.keys()
        assert all(near[key] == away == nearest[key[0]] for key, (_, away) in found(answer).items())
        assert answer.verdict is (HIT if near else MISS)


def test_columns_say_the_same_as_items_and_tell_distances_beside(pair: Office):
    asked = [code(1), code(2, *range(9)), code(4), code(3, *range(31)), code(3, *range(32)), bytes(32)]
    seen = view(pair.snapshot(), EVERYTHING, now=pair.clock.now())
    question = NearQuestion(seen, PDQ, NearValues.of_column(PDQ, b"".join(asked), b""), TOLD)
    question.probe()
    answer = question.confirm()
    told = dict(zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True))
    verdicts = [answer.verdict_at(told[at]) if at in told else MISS for at in range(len(asked))]
    assert verdicts == [each.verdict for each in ask(pair, asked)] == [HIT, HIT, MISS, HIT, MISS, UNKNOWN]
    assert answer.distances is not None
    matched = {at: away for at, away in zip(told, answer.distances.tolist(), strict=True) if verdicts[at] is HIT}
    assert matched == {0: 0, 1: 9, 3: 31}
    assert all(opinion.distance is None for finding in answer.findings for opinion in finding.opinions)


def test_who_is_not_told_distances_learns_exact_or_near_alone(pair: Office):
    untold = dataclasses.replace(TOLD, tell_distances=False)
    exact, near, nearer = ask(pair, [code(2), code(2, *range(20)), code(2, 1)], untold)
    assert found(exact) == {("a", "a2"): (False, None)}
    assert found(near) == found(nearer) == {("a", "a2"): (True, None)}
    seen = view(pair.snapshot(), EVERYTHING, now=pair.clock.now())
    question = NearQuestion(seen, PDQ, NearValues.of_column(PDQ, code(2), b""), untold)
    assert question.confirm().distances is None


def test_lists_server_and_caller_bound_the_distance(office: Office):
    for list_id, most in (("wide", None), ("tight", 10), ("equal", 0)):
        office.publisher.define_list(
            ListDefinition(
                list_id=list_id, body=list_id, nature=ListNature.ILLEGAL, max_age=1e6, maximum_distance=most
            ),
            ACTOR,
        )
        deliver(office, list_id, row("1", code(1)))

    def lists(apart: int, nearness: Nearness = TOLD, scope: Scope = EVERYTHING) -> set[str]:
        (answer,) = ask(office, [code(1, *range(apart))], nearness, scope)
        return {list_id for list_id, _ in found(answer)}

    assert lists(0) == {"wide", "tight", "equal"}
    assert lists(10) == {"wide", "tight"}
    assert lists(11) == lists(31) == {"wide"}
    assert lists(9, scope=Scope(max_distance=8)) == set()
    assert lists(0, scope=Scope(max_distance=0)) == {"wide", "tight", "equal"}
    assert lists(21, dataclasses.replace(TOLD, maximum_distance=20), Scope(max_distance=31)) == set()


@pytest.mark.parametrize(("quality", "verdict"), [(None, HIT), (100, HIT), (50, HIT), (49, UNKNOWN), (0, UNKNOWN)])
def test_a_code_of_low_quality_is_not_searched_even_if_it_is_listed(pair: Office, quality: int | None, verdict):
    (answer,) = ask(pair, [AskedHash(PDQ, code(2), quality)])
    assert answer.verdict is verdict
    if verdict is UNKNOWN:
        assert answer.findings[0].causes == (Cause(UndeterminedReason.LOW_QUALITY),)


@pytest.mark.parametrize(
    "value", [bytes(32), b"\xff" * 32, b"\x5a" * 32, bytes(28) + b"\xff\xff\xff\x7f", b"\xff" * 28 + bytes(4)]
)
def test_a_degenerate_code_is_not_searched_and_its_alternates_are(pair: Office, value: bytes):
    alone, beside, vain = ask(
        pair,
        [AskedHash(PDQ, value), AskedHash(PDQ, value, None, [code(2)]), AskedHash(PDQ, value, None, [code(9)])],
    )
    degenerate = is_degenerate(PDQ, value)
    for answer, verdict in ((alone, UNKNOWN), (beside, HIT), (vain, UNKNOWN)):
        assert answer.verdict is (verdict if degenerate or verdict is HIT else MISS)
        reasons = [cause.reason for cause in answer.findings[0].causes]
        assert reasons == [UndeterminedReason.DEGENERATE_HASH] * degenerate


@given(st.sampled_from([PDQ, PHOTODNA]), st.integers(0, 255), st.integers(0, 40))
def test_columns_are_judged_degenerate_like_single_values(algorithm: Algorithm, byte: int, flips: int):
    value = np.unpackbits(np.full(algorithm.digest_size, byte, np.uint8))
    value[:flips] ^= 1
    packed = np.packbits(value).reshape(1, -1)
    assert degenerate_values(algorithm, packed).tolist() == [is_degenerate(algorithm, packed.tobytes())]


def test_the_best_of_the_alternates_counts(pair: Office):
    variants = [code(7), code(2, *range(12)), code(8), code(2, 1, 2)]
    (answer,) = ask(pair, [AskedHash(PDQ, code(9), 80, variants)])
    assert answer.verdict is HIT
    assert found(answer) == {("a", "a2"): (True, 2)}


@pytest.mark.parametrize(
    "wrong",
    [
        AskedHash(PDQ, code(2), None, [bytes(31)]),
        AskedHash(PDQ, code(2), None, [code(number) for number in range(8)]),
        AskedHash(PDQ, code(2), 101),
        AskedHash(Algorithm.MD5, bytes(16), None, [bytes(16)]),
        AskedHash(PDQ, code(2)[:31]),
    ],
)
def test_what_no_perceptual_hash_may_have_makes_it_invalid(pair: Office, wrong: AskedHash):
    (answer,) = ask(pair, [wrong])
    assert answer.findings[0].causes == (Cause(UndeterminedReason.INVALID_HASH),)


def test_a_suppressed_value_yields_no_opinion_and_its_neighbours_do(pair: Office, suppressor: Suppressor):
    suppressor.suppress([(int(PDQ), code(1))], [], ACTOR, "why")
    (answer,) = ask(pair, [code(1, 1)])
    assert found(answer) == {("b", "b1"): (True, 4)}
    assert answer.findings[0].suppressed
    suppressor.suppress([(int(PDQ), code(1, *range(5)))], ["b"], ACTOR, "why")
    (answer,) = ask(pair, [code(1, 1)])
    assert answer.verdict is MISS
    assert answer.findings[0].suppressed


def test_a_value_that_is_itself_suppressed_is_near_nothing_where_that_holds(pair: Office, suppressor: Suppressor):
    asked = code(1, 9)
    suppressor.suppress([(int(PDQ), asked)], ["b"], ACTOR, "why")
    (answer,) = ask(pair, [asked])
    assert found(answer) == {("a", "a1"): (True, 1)}
    assert answer.findings[0].suppressed
    suppressor.suppress([(int(PDQ), asked)], [], ACTOR, "why")
    suppressed, turned, another = ask(pair, [asked, AskedHash(PDQ, code(50), alternates=[asked]), code(1, 8)])
    assert [each.verdict for each in (suppressed, turned, another)] == [MISS, MISS, HIT]
    assert suppressed.findings[0].suppressed
    assert not another.findings[0].suppressed
    suppressor.lift_suppression([(int(PDQ), asked)], ACTOR, "why")
    (answer,) = ask(pair, [asked])
    assert found(answer).keys() == {("a", "a1"), ("b", "b1")}
    assert not answer.findings[0].suppressed


def test_only_what_is_newer_counts_for_who_asks_so(pair: Office):
    before = pair.manifest().epoch
    deliver(pair, "a", row("a4", code(2, 3)), mode=INCREMENTAL)
    old, new = ask(pair, [code(1), code(2)], scope=Scope(newer_than_epoch=before))
    assert (old.verdict, new.verdict) == (MISS, HIT)
    assert found(new) == {("a", "a4"): (True, 1)}


def test_a_stale_list_gives_near_matches_and_no_negatives(pair: Office):
    snapshot = pair.snapshot()
    pair.clock.advance(31 * 86_400)
    hit, miss = ask(pair, [code(2, 1), code(9)], snapshot=snapshot)
    assert (hit.verdict, miss.verdict) == (HIT, UNKNOWN)
    assert {cause.reason for cause in miss.findings[0].causes} == {UndeterminedReason.LIST_STALE}


def test_a_store_that_is_away_makes_what_is_near_undetermined_and_nothing_else(
    pair: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    snapshot = pair.loader(cache_bytes=0).load(pair.manifest(), None)
    valkey.flushall()
    near, far = ask(pair, [code(2, 1), code(9)], snapshot=snapshot)
    assert (near.verdict, far.verdict) == (UNKNOWN, MISS)
    assert near.findings[0].causes == (Cause(UndeterminedReason.STORE_DAMAGED, "a"),)


def test_a_list_that_cannot_be_read_is_of_no_concern_beyond_its_own_distance(
    office: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    for list_id, most in (("wide", None), ("tight", 5)):
        office.publisher.define_list(
            ListDefinition(
                list_id=list_id, body=list_id, nature=ListNature.ILLEGAL, max_age=1e6, maximum_distance=most
            ),
            ACTOR,
        )
        deliver(office, list_id, row("1", code(1 if list_id == "tight" else 2)))
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    valkey.flushall()
    within, beyond = ask(office, [code(1, *range(5)), code(1, *range(6))], snapshot=snapshot)
    assert (within.verdict, beyond.verdict) == (UNKNOWN, MISS)


def test_work_beyond_the_limit_is_said(pair: Office):
    (answer,) = ask(pair, [code(2, 1)], dataclasses.replace(TOLD, work_limit=0))
    assert answer.verdict is UNKNOWN
    assert answer.findings[0].causes == (WORK_LIMIT,)


def test_no_more_than_so_many_values_are_looked_up_and_that_is_said(office: Office):
    office.define("family")
    deliver(office, "family", *(row(f"{bit:02}", code(1, bit), label=f"label {bit}") for bit in range(30)))
    some = dataclasses.replace(TOLD, maximum_confirmed=10)
    (answer,) = ask(office, [code(1, 3)], some)
    assert answer.verdict is HIT
    assert len(found(answer)) == 10
    assert found(answer)["family", "03"] == (False, 0)
    assert answer.findings[0].causes == (WORK_LIMIT,)
    (answer,) = ask(office, [code(1, 3)])
    assert len(found(answer)) == 30
    assert answer.findings[0].causes == ()


def test_what_there_was_no_time_for_is_said_and_the_rest_is_answered(pair: Office):
    looks = iter([False, True, True, True])
    hurried = dataclasses.replace(TOLD, expired=lambda: next(looks), cores=4)
    answers = ask(pair, [code(2, 1)] * 32, hurried)
    assert [each.verdict for each in answers] == [HIT] * 8 + [UNKNOWN] * 24
    assert answers[-1].findings[0].causes == (WORK_LIMIT,)


def test_giving_up_says_so_and_ends_the_search(pair: Office):
    seen = view(pair.snapshot(), EVERYTHING, now=pair.clock.now())
    asked = NearValues.of_column(PDQ, code(2) + bytes(32), b"")
    question = NearQuestion(seen, PDQ, asked, TOLD)
    assert question.probe()
    answer = question.give_up()
    assert [answer.findings[number].causes for number in answer.finding_numbers.tolist()] == [
        (WORK_LIMIT,),
        (Cause(UndeterminedReason.DEGENERATE_HASH),),
    ]
    assert {finding.verdict for finding in question.confirm().findings} == {UNKNOWN}


def test_threads_answer_like_one(pair: Office):
    asked = [code(seed % 5, *range(seed % 37)) for seed in range(100)]
    with ThreadPoolExecutor(3) as threads:
        parallel = ask(pair, asked, dataclasses.replace(TOLD, threads=threads, cores=3))
    assert parallel == ask(pair, asked)


def photodna(seed: int, *, moved: int = 0) -> bytes:
    """A value of its own for each seed, with as many components moved by two."""
    value = np.random.default_rng(seed).integers(10, 200, 144, np.uint8)
    value[:moved] += 2
    return value.tobytes()


@pytest.mark.parametrize("threshold", [0, 40])
def test_photodna_values_are_compared_for_equality_and_below_a_threshold(office: Office, threshold: int):
    office.define("a")
    deliver(office, "a", row("1", photodna=photodna(1)), row("2", photodna=photodna(2)))
    loader = SnapshotLoader(
        office.store.segments,
        office.store.suppressions,
        BlockCache(1 << 20),
        resident=False,
        nearness=indexes(photodna=threshold > 0),
    )
    snapshot = loader.load(office.manifest(), None)
    nearness = dataclasses.replace(TOLD, photodna_distance=threshold)
    asked = [AskedHash(PHOTODNA, photodna(1, moved=moved)) for moved in (0, 1, 10, 11)]
    answers = ask(office, asked, nearness, snapshot=snapshot)
    reach = [found(each).get(("a", "1")) for each in answers]
    assert reach == ([(False, 0), None, None, None] if not threshold else [(False, 0), (True, 4), (True, 40), None])
