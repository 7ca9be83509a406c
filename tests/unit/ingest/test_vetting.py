"""Vetting: what stands against a delivery is found, counted and told, whichever way the delivery comes."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from hashmatch.columns.rows import make_rows
from hashmatch.formats import registry
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.formats.registry import Format
from hashmatch.ingest.compaction import Compactor
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.evidence import _degenerate as degenerate
from hashmatch.ingest.near_duplicates import density_of
from hashmatch.ingest.overlaps import Comparison, compare
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching.scope import Scope
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm
from hashmatch.model.classification import classification_map
from hashmatch.model.errors import ErrorReason
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Statement
from hashmatch.model.verdicts import Verdict
from hashmatch.model.vetting import DeliveryMode, Gate, ListOverlap, VettingPolicy
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.numbered import digests, reason_of
from tests.support.office import ACTOR, UNKEYED_PROFILE, Office, row

MD5, PDQ = Algorithm.MD5, Algorithm.PDQ
FULL, INCREMENTAL = DeliveryMode.FULL, DeliveryMode.INCREMENTAL
KNOWN_GOOD = ListNature.KNOWN_GOOD
PDQ_PROFILE = 'layout = "csv"\nheader = false\n[[hash]]\ncolumn = 1\nalgorithm = "pdq"\n'


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def gate(staging: Staging, name: str) -> Gate:
    return next(gate for gate in staging.report.gates if gate.name == name)


def unmet(staging: Staging) -> list[str]:
    return [gate.name for gate in staging.report.unmet]


@pytest.fixture
def office(office: Office) -> Office:
    """With a list."""
    office.define()
    return office


@pytest.fixture
def corpus(office: Office) -> Office:
    """With a corpus of harmless files 0 to 99 besides."""
    office.define("corpus", nature=KNOWN_GOOD)
    office.deliver_hashes(digests(*range(100)), "corpus")
    return office


# ---- known-good corpora


@pytest.mark.parametrize("mode", DeliveryMode)
@pytest.mark.parametrize("several", [3, 120], ids=["looked up", "in passing"])
def test_what_is_known_to_be_harmless_stops_a_delivery(corpus: Office, publisher: Publisher, mode, several: int):
    staging = corpus.stage_hashes(digests(*range(98, 98 + several)), mode=mode)
    assert unmet(staging) == ["known-good"]
    assert gate(staging, "known-good").detail.startswith("2 hashes are in 1 known-good corpora (2 in corpus), 0 of")
    assert staging.report.overlaps == (ListOverlap(list_id="corpus", nature=KNOWN_GOOD, looked_for=several, shared=2),)
    corpus.approve(staging)
    publish = lambda **how: publisher.publish(staging.staging_id, ACTOR, **how)  # noqa: E731
    assert reason_of(publish) is ErrorReason.GATE_NOT_MET
    publish(accept_gates=["known-good"], reason="the corpus is wrong")


def test_a_corpus_is_looked_at_in_its_current_state(corpus: Office, store: Store, clock: ManualClock, publisher):
    removals = "".join(row(md5=digest(number), removed=True) for number in range(5))
    corpus.deliver(removals, "corpus", mode=INCREMENTAL, profile=UNKEYED_PROFILE)
    for several in (5, 200):
        staging = corpus.stage_hashes(digests(*range(5), *range(1_000, 1_000 + several)))
        assert unmet(staging) == []
    corpus.deliver_hashes(digests(3), "corpus", mode=INCREMENTAL)
    for several in (5, 200):
        staging = corpus.stage_hashes(digests(*range(5), *range(1_000, 1_000 + several)))
        assert staging.report.overlaps[0].shared == 1


def test_the_harmless_can_be_suppressed_instead_of_accepted(corpus: Office, suppressor: Suppressor):
    corpus.deliver_hashes(digests(1, 1_000))
    suppressor.suppress([(MD5, digest(1))], (), ACTOR, "harmless")
    assert unmet(corpus.stage_hashes(digests(1, 1_000))) == []
    assert unmet(corpus.stage_hashes(digests(1, 2, 1_000), mode=INCREMENTAL)) == ["known-good"]


def test_the_policy_may_let_some_of_the_harmless_pass(corpus: Office, store: Store, clock: ManualClock):
    lenient = Office(store, clock, corpus.publisher, Stager(store, clock, VettingPolicy(maximum_known_good_hashes=1)))
    assert unmet(lenient.stage_hashes(digests(1, 1_000))) == []
    assert unmet(lenient.stage_hashes(digests(1, 2, 1_000))) == ["known-good"]


def test_a_test_list_may_hold_what_is_harmless(corpus: Office):
    corpus.define("test", nature=ListNature.TEST)
    assert unmet(corpus.stage_hashes(digests(1), "test")) == []


def test_no_answer_is_given_from_a_corpus(office: Office):
    office.deliver_hashes(digests(1_000, 1_001))
    asked = digests(1, 1_000, 2_000)
    before = office.ask(MD5, asked)
    office.define("corpus", nature=KNOWN_GOOD)
    office.deliver_hashes(digests(1, 2), "corpus")
    after, snapshot = office.ask(MD5, asked), office.snapshot()
    assert "corpus" not in snapshot.lists
    assert all("corpus" not in part.lists for table in snapshot.tables.values() for part in table.parts)
    assert (before.positions.tolist(), before.findings, before.doubts) == (
        after.positions.tolist(),
        after.findings,
        after.doubts,
    )
    named = office.ask(MD5, asked, Scope(("corpus",)))
    assert not len(named.positions)
    assert named.doubts


@pytest.mark.parametrize("nature", ListNature)
def test_a_delivery_of_harmless_files_is_taken_only_by_a_corpus(
    office: Office, nature: ListNature, monkeypatch: pytest.MonkeyPatch
):
    harmless = Format("harmless", "harmless files", HashTextParser, known_good=True)
    monkeypatch.setattr(registry, "FORMATS", {**registry.FORMATS, "harmless": harmless})
    office.define("other", nature=nature)
    stage = lambda: office.stage(digest(1).hex(), "other", format="harmless")  # noqa: E731
    if nature is KNOWN_GOOD:
        assert stage().report.stored == 1
    else:
        assert reason_of(stage) is ErrorReason.INVALID_FIELD


# ---- natures


def test_a_published_list_keeps_its_nature(office: Office):
    office.define(nature=ListNature.TEST)
    office.deliver_hashes(digests(1))
    assert reason_of(lambda: office.define(nature=ListNature.ILLEGAL)) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: office.define(nature=KNOWN_GOOD)) is ErrorReason.INVALID_FIELD
    office.publisher.withdraw_list("list", ACTOR, "why")
    assert reason_of(lambda: office.define(nature=ListNature.ILLEGAL)) is ErrorReason.INVALID_FIELD
    office.define("list", "another body", nature=ListNature.TEST)


def test_what_was_vetted_for_one_nature_is_not_published_under_another(office: Office):
    office.define(nature=KNOWN_GOOD)
    staging = office.stage_hashes(digests(1))
    office.define(nature=ListNature.ILLEGAL)
    assert reason_of(lambda: office.publish(staging)) is ErrorReason.STAGING_OUTDATED


def test_stagings_from_before_natures_were_recorded_can_be_read(office: Office):
    staging = office.stage_hashes(digests(1))
    old = msgspec.to_builtins(staging, builtin_types=(bytes,))
    del old["nature"]
    for name in ("declared_records", "overlaps"):
        del old["report"][name]
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Staging)
    assert decoded == msgspec.structs.replace(staging, nature=None)


# ---- suppressed and withdrawn


@pytest.mark.parametrize("mode", DeliveryMode)
def test_what_is_suppressed_does_not_come_in_unremarked(office: Office, suppressor: Suppressor, mode):
    office.deliver_hashes(digests(1, 2))
    suppressor.suppress([(MD5, digest(2)), (MD5, digest(3))], (), ACTOR, "why")
    assert unmet(office.stage_hashes(digests(1, 2), mode=mode)) == []
    staging = office.stage_hashes(digests(1, 2, 3), mode=mode)
    assert unmet(staging) == ["suppressed"]
    assert gate(staging, "suppressed").detail.startswith("1 hashes that the list does not have are suppressed")
    suppressor.lift_suppression([(MD5, digest(3))], ACTOR, "why")
    assert "suppressed" not in unmet(office.stage_hashes(digests(1, 2, 3), mode=mode))


def test_a_suppression_in_another_list_does_not_concern_this_one(office: Office, suppressor: Suppressor):
    office.define("other")
    office.deliver_hashes(digests(1))
    suppressor.suppress([(MD5, digest(3))], ["other"], ACTOR, "why")
    assert unmet(office.stage_hashes(digests(3), mode=INCREMENTAL)) == ["additions"]
    assert "suppressed" in unmet(office.stage_hashes(digests(3), "other"))


@pytest.mark.parametrize("between", ["nothing", "compaction", "roll back", "another withdrawal"])
@pytest.mark.parametrize("mode", DeliveryMode)
def test_the_return_of_what_was_withdrawn_is_remarked(
    office: Office, publisher: Publisher, store: Store, clock: ManualClock, mode, between: str
):
    office.deliver_hashes(digests(*range(20)))
    publisher.withdraw_entries("list", [(MD5, digest(1))], [], ACTOR, "the body says so")
    if between == "compaction":
        for number in range(8):
            office.deliver_hashes(digests(100 + number), mode=INCREMENTAL)
        assert Compactor(store, clock, publisher).compact()
    elif between == "roll back":
        publisher.roll_back("list", 0, ACTOR, "why", accept_gates=["withdrawn"])
        office.deliver_hashes(digests(0, *range(2, 20)))
    elif between == "another withdrawal":
        publisher.withdraw_entries("list", [(MD5, digest(2))], [], ACTOR, "the body says so")
        office.deliver_hashes(digests(2), mode=INCREMENTAL)
    staging = office.stage_hashes(digests(*range(20)), mode=mode)
    assert "withdrawn" in unmet(staging)
    assert gate(staging, "withdrawn").detail.startswith("1 hashes and 0 entries")
    office.publish(staging)
    # Accepted once, it is on the list and is not asked about again.
    assert "withdrawn" not in unmet(office.stage_hashes(digests(*range(20)), mode=mode))


@pytest.mark.parametrize("mode", DeliveryMode)
def test_the_return_of_a_withdrawn_entry_is_remarked_though_its_hash_never_left(office: Office, publisher, mode):
    both = row(key="a", label="x", md5=digest(1)) + row(key="b", label="y", md5=digest(1))
    office.deliver(both)
    publisher.withdraw_entries("list", [], ["a"], ACTOR, "the body says so")
    staging = office.stage(both, mode=mode)
    assert gate(staging, "withdrawn").detail.startswith("0 hashes and 1 entries")
    assert not gate(staging, "withdrawn").passed
    assert gate(office.stage(row(key="b", label="z", md5=digest(1)), mode=mode), "withdrawn").passed


def test_trying_a_withdrawal_records_nothing(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1, 2))
    publisher.withdraw_entries("list", [(MD5, digest(1))], [], ACTOR, "why", validate_only=True)
    assert office.manifest().lists["list"].withdrawn == ()


# ---- counts


def test_a_delivery_must_have_as_many_records_as_it_says(office: Office, monkeypatch: pytest.MonkeyPatch):
    class Declaring(HashTextParser):
        def finish(self):
            self.tally.declared_records = 3
            return super().finish()

    declaring = Format("declaring", "says how many records it has", Declaring)
    monkeypatch.setattr(registry, "FORMATS", {**registry.FORMATS, "declaring": declaring})
    text = "".join(each.hex() + "\n" for each in digests(1, 2, 3))
    assert unmet(office.stage(text, format="declaring")) == []
    cut = office.stage(text[:-33], format="declaring")
    assert (unmet(cut), cut.report.declared_records) == (["own-count"], 3)


# ---- degenerate values


@pytest.mark.parametrize(
    ("algorithm", "value", "expected"),
    [
        (MD5, bytes(16), 1),
        (MD5, b"\xff" * 16, 1),
        (MD5, EMPTY_FILE_DIGESTS[MD5], 1),
        (MD5, digest(1), 0),
        (Algorithm.SHA1, EMPTY_FILE_DIGESTS[Algorithm.SHA1], 1),
        (Algorithm.SHA512, bytes(64), 1),
        (PDQ, b"\x55" * 32, 1),
        (PDQ, b"\x01" * 31 + b"\x00", 1),
        (PDQ, hashlib.sha256(b"a picture").digest(), 0),
    ],
)
def test_a_degenerate_value_that_a_parser_let_through_is_seen(office: Office, algorithm, value, expected):
    columns = np.frombuffer(value, np.uint8).reshape(1, -1)
    rows = make_rows(algorithm, columns, np.ones(1, np.uint32), ((), (Statement(),)), office.manifest().placement)
    assert degenerate(rows) == expected


def test_quarantined_degenerate_values_are_told_and_do_not_stop_the_rest(office: Office):
    staging = office.stage_hashes([*digests(*range(200)), bytes(16), EMPTY_FILE_DIGESTS[MD5]])
    assert gate(staging, "degenerate").passed
    assert gate(staging, "degenerate").detail.endswith("2 were quarantined")


# ---- agreement with other lists


def said(*labels: tuple[str, str]) -> tuple[Statement, ...]:
    return tuple(Statement(label=label, scheme=scheme) for scheme, label in labels)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (said(("s", "x")), said(("s", "x")), Comparison.AGREED),
        (said(("s", "x")), said(("s", "y")), Comparison.DISPUTED),
        (said(("s", "x"), ("s", "y")), said(("s", "x")), Comparison.DISPUTED),
        (said(("s", "x"), ("t", "y")), said(("s", "x")), Comparison.AGREED),
        (said(("s", "x")), said(("t", "x")), Comparison.INCOMPARABLE),
        (said(("ncmec", "A1")), said(("iwf", "A")), Comparison.INCOMPARABLE),
        (said(("ncmec", "B2")), said(("interpol-baseline", "yes")), Comparison.DISPUTED),
    ],
)
def test_labels_agree_under_one_scheme_and_dispute_where_both_cannot_be_true(one, other, expected):
    assert compare(one, other, classification_map()) is expected
    assert compare(other, one, classification_map()) is expected


@pytest.mark.parametrize(("wrong", "met"), [(500, True), (501, False)])
def test_a_delivery_that_other_lists_dispute_does_not_pass_unremarked(office: Office, wrong: int, met: bool):
    office.define("other")
    office.deliver("".join(row(key=str(number), label="x", md5=digest(number)) for number in range(1_000)), "other")
    rows = (row(key=str(number), label="y" if number < wrong else "x", md5=digest(number)) for number in range(1_100))
    staging = office.stage("".join(rows))
    assert gate(staging, "agreement").passed is met
    assert staging.report.overlaps == (
        ListOverlap(
            list_id="other",
            nature=ListNature.ILLEGAL,
            looked_for=1_100,
            shared=1_000,
            agreed=1_000 - wrong,
            disputed=wrong,
        ),
    )


# ---- near duplicates


def pictures(families: int, size: int, bits: int) -> np.ndarray:
    """Codes in families whose members are at most `bits` bits from the first."""
    random = np.random.default_rng(families)
    codes = np.repeat(random.integers(0, 256, (families, 32), np.uint8), size, axis=0)
    for member in range(len(codes)):
        if member % size:
            for bit in random.choice(256, 1 + member % bits, replace=False):
                codes[member, bit // 8] ^= 1 << (bit % 8)
    return np.unique(codes, axis=0)


def test_density_counts_the_codes_that_have_another_near(monkeypatch: pytest.MonkeyPatch):
    alone, crowded = pictures(300, 1, 1), pictures(10, 20, 15)
    density = density_of(np.concatenate((alone, crowded)), alone[:0])
    assert (density.near, density.probes) == (len(crowded), len(alone) + len(crowded))
    assert density.largest_family == 20
    # What is delivered is also compared with what the list has besides.
    assert density_of(crowded[:1], np.concatenate((alone, crowded[1:]))).near == 1
    assert density_of(alone, crowded).near == 0


def test_codes_at_the_largest_distance_are_near_and_beyond_it_are_not():
    code = np.frombuffer(hashlib.sha256(b"a").digest(), np.uint8).copy()
    for bits, near in ((31, 2), (32, 0), (256, 0)):
        other = code.copy()
        for bit in range(bits):
            other[bit // 8] ^= 1 << (bit % 8)
        assert density_of(np.stack((code, other)), np.empty((0, 32), np.uint8)).near == near


def test_a_large_delivery_is_sampled_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.ingest.near_duplicates._PAIRS", 100_000)
    monkeypatch.setattr("hashmatch.ingest.near_duplicates._MAXIMUM_REFERENCES", 1_000)
    codes = pictures(100, 30, 10)
    first = density_of(codes, codes[:0])
    assert (first.probes, first.references) == (100, 1_000)
    assert first == density_of(codes, codes[:0])
    assert first.share > 0.9


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_list_that_is_full_of_near_duplicates_does_not_pass_unremarked(office: Office, mode: DeliveryMode):
    def stage(codes: np.ndarray) -> Staging:
        return office.stage("".join(code.tobytes().hex() + "\n" for code in codes), profile=PDQ_PROFILE, mode=mode)

    assert gate(stage(pictures(1_000, 1, 1)), "near-duplicates").passed
    crowded = stage(pictures(60, 20, 10))
    assert not gate(crowded, "near-duplicates").passed
    assert gate(crowded, "near-duplicates").acceptable


def test_the_same_delivery_upon_the_same_state_has_the_same_report_and_digest(corpus: Office, suppressor: Suppressor):
    corpus.define("other")
    corpus.deliver_hashes(digests(*range(50, 150)), "other")
    suppressor.suppress([(MD5, digest(7))], (), ACTOR, "why")
    one, same = (corpus.stage_hashes(digests(*range(120))) for _ in range(2))
    assert one.report == same.report
    assert one.approval_digest == same.approval_digest


def test_no_report_tells_which_hashes_are_concerned(corpus: Office, suppressor: Suppressor):
    suppressor.suppress([(MD5, digest(7))], (), ACTOR, "why")
    report = corpus.stage_hashes(digests(*range(120))).report
    text = repr(report)
    assert report.unmet
    assert not any(each.hex() in text or repr(each) in text for each in digests(*range(120)))


def test_a_list_is_looked_through_both_ways_with_the_same_outcome(office: Office, store: Store):
    office.deliver_hashes(digests(*range(0, 3_000, 2)))
    office.deliver_hashes(digests(*range(1, 40, 2)), mode=INCREMENTAL)
    state = office.manifest().lists["list"]
    current = CurrentList(state, office.manifest().placement, store.segments)
    other = office.manifest()
    for numbers in (range(10), range(3_000)):
        columns = np.frombuffer(b"".join(digests(*numbers)), np.uint8).reshape(-1, 16)
        rows = make_rows(MD5, columns, np.zeros(len(columns), np.uint32), ((),), other.placement)
        expected = [number % 2 == 0 or number < 40 for number in numbers]
        listed = dict(zip(map(bytes, rows.digests), current.lists(rows).tolist(), strict=True))
        assert [listed[digest(number)] for number in numbers] == expected
    assert office.ask(MD5, digests(1)).findings[0].verdict is Verdict.MATCH
