"""Answers as they are sent: the raw label with what it is known to say, the natures, and never a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace

import pytest
from google.protobuf.message import Message

from hashmatch.index.refresher import Served
from hashmatch.matching.columns import ColumnQuestion
from hashmatch.matching.items import AskedHash, ItemsQuestion
from hashmatch.matching.scope import EVERYTHING, Scope
from hashmatch.matching.visibility import visibility
from hashmatch.model.access import UNRESTRICTED
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.classification import CURRENT_VERSION
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListNature
from hashmatch.model.verdicts import Verdict
from hashmatch.service import messages
from hashmatch.service.answering import Answering
from hashmatch.service.daily_counts import DailyCounts
from hashmatch.service.identity import Caller
from hashmatch.service.match_messages import batch_response, bulk_response
from hashmatch.service.metrics import Metrics
from hashmatch.v1 import common_pb2, match_service_pb2
from tests.support.desk import Desk
from tests.support.office import Office

MD5 = Algorithm.MD5
Ask = Callable[..., tuple[match_service_pb2.BatchMatchResponse, match_service_pb2.BulkMatchResponse]]


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


@pytest.fixture
def ask(office: Office, clock, metrics: Metrics) -> Ask:
    """What both calls answer, an item for each digest, from what is published now."""

    def ask(numbers: Sequence[int], scope: Scope = EVERYTHING):
        snapshot = office.snapshot()
        header = office.store.manifests.header()
        served = Served(snapshot, header, clock.now(), clock.monotonic())
        answering = Answering(
            SimpleNamespace(served=served, doubts=tuple), clock, metrics, DailyCounts(clock), threads=1
        )
        try:
            view = answering.view(served, scope)
            info = answering.encoded_snapshot(served, view)
            question = ItemsQuestion(view, [[AskedHash(MD5, digest(number))] for number in numbers])
            question.probe()
            encoded = partial(answering.encoded_answer, view)
            batch = batch_response(map(str, numbers), question.confirm(), info.batch, encoded)
            column = ColumnQuestion(view, MD5, b"".join(map(digest, numbers)))
            column.probe()
            bulk = bulk_response(1, column.confirm(), info.bulk, partial(answering.encoded_finding, view))
            return match_service_pb2.BatchMatchResponse.FromString(
                batch
            ), match_service_pb2.BulkMatchResponse.FromString(bulk.data)
        finally:
            answering.close()

    return ask


def test_a_label_comes_raw_and_with_what_it_is_known_to_say(office: Office, ask: Ask):
    office.define("list")
    for number, label in ((1, "a2"), (2, "Z9"), (3, "")):
        text = f"{digest(number).hex()}\n"
        office.publish(office.stage(text, "list", mode=2, format="hash-text", label=label, scheme="NCMEC"))
    batch, bulk = ask([1, 2, 3])
    one, two, three = (result.hashes[0].opinions[0] for result in batch.results)
    assert (one.label, one.scheme) == ("a2", "NCMEC")
    assert one.classification == common_pb2.Classification(
        status=common_pb2.CLASSIFICATION_STATUS_MAPPED,
        mapping_version=CURRENT_VERSION,
        depicted=["under-13-genital-focus", "under-13-other-nudity-or-posing"],
        age="under-13",
    )
    unmapped = common_pb2.Classification(
        status=common_pb2.CLASSIFICATION_STATUS_UNMAPPED, mapping_version=CURRENT_VERSION
    )
    assert [(each.label, each.classification) for each in (two, three)] == [("Z9", unmapped), ("", unmapped)]
    assert list(bulk.match_indexes) == [0, 1, 2]
    said = [bulk.findings[number].opinions[0].classification for number in bulk.finding_indexes]
    assert said == [one.classification, unmapped, unmapped]


def test_the_natures_that_a_match_rests_on_stand_at_the_verdict(office: Office, ask: Ask):
    for list_id, nature, numbers in (
        ("illegal", ListNature.ILLEGAL, (1, 2)),
        ("exploitative", ListNature.EXPLOITATIVE, (2, 3)),
        ("test", ListNature.TEST, (4,)),
    ):
        office.define(list_id, nature=nature)
        office.deliver_hashes(map(digest, numbers), list_id)
    batch, bulk = ask([1, 2, 3, 4, 5])
    expected = [[1], [1, 2], [2], [5], []]
    assert [list(result.natures) for result in batch.results] == expected
    assert [list(result.hashes[0].natures) for result in batch.results] == expected
    assert [list(bulk.findings[number].natures) for number in bulk.finding_indexes] == expected[:4]
    batch, bulk = ask([1, 2, 3, 4], Scope(natures=(ListNature.ILLEGAL,)))
    assert [result.verdict for result in batch.results] == [1, 1, 2, 2]
    assert list(bulk.match_indexes) == [0, 1]
    assert [each.list_id for each in bulk.snapshot.lists] == ["illegal"]


def test_items_that_share_an_answer_are_told_and_counted_each_for_itself(office: Office):
    """Equal answers are made and encoded once: neither another algorithm's nor another item's may take their place."""
    office.define("list")
    office.publish(office.stage(f"{digest(1).hex()}\n{digest(2).hex()}\n", "list", format="hash-text"))
    unknown, sha1, missed = 4_242, int(Algorithm.SHA1), digest(3)
    items = [
        [(MD5, digest(1))],
        [(MD5, missed)],
        [(sha1, b"1" * 20)],
        [(MD5, digest(2))],
        [(unknown, b"")],
        [(MD5, missed), (sha1, b"2" * 20)],
        [(sha1, b"2" * 20), (MD5, missed)],
        [(MD5, digest(4))],
        [(MD5, b"short")],
        [(unknown + 1, b"")],
    ]
    desk = Desk(office)
    desk.follow()
    try:
        answer = desk.batch(Caller("loopback:anonymous", authenticated=False), items)
    finally:
        desk.close()
    match, miss, undetermined = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH, 3
    told = [[(each.algorithm, each.verdict) for each in result.hashes] for result in answer.results]
    assert told == [
        [(MD5, match)],
        [(MD5, miss)],
        [(sha1, undetermined)],
        [(MD5, match)],
        [(unknown, undetermined)],
        [(MD5, miss), (sha1, undetermined)],
        [(sha1, undetermined), (MD5, miss)],
        [(MD5, miss)],
        [(MD5, undetermined)],
        [(unknown + 1, undetermined)],
    ]
    verdicts = [match, miss, undetermined, match, undetermined, miss, miss, miss, undetermined, undetermined]
    assert [result.verdict for result in answer.results] == verdicts
    assert desk.metrics.answers.by_verdict() == {Verdict.MATCH: 2, Verdict.NO_KNOWN_MATCH: 4, Verdict.NOT_DETERMINED: 6}


def test_publishing_a_corpus_changes_no_answer_by_a_byte(office: Office, ask: Ask):
    office.define("list")
    office.deliver_hashes(map(digest, range(60)), "list")
    numbers = [*range(40, 100)]
    before = [_without_epoch(answer) for answer in ask(numbers)]
    office.define("corpus", nature=ListNature.KNOWN_GOOD)
    office.deliver_hashes(map(digest, range(50, 80)), "corpus")
    assert [_without_epoch(answer) for answer in ask(numbers)] == before


def _without_epoch(answer: Message) -> bytes:
    # Each answer has a copy of its own.
    answer.snapshot.ClearField("epoch")
    answer.snapshot.ClearField("published_at")
    return answer.SerializeToString(deterministic=True)


def test_changes_of_a_corpus_are_not_told_to_those_who_ask_again(office: Office):
    office.define("list")
    office.deliver_hashes([digest(1)], "list")
    office.define("corpus", nature=ListNature.KNOWN_GOOD)
    office.deliver_hashes([digest(2)], "corpus")
    changes, complete = messages.changes_since(visibility(office.snapshot(), UNRESTRICTED), 0)
    assert ({change.list_id for change in changes}, complete) == ({"list"}, True)


@pytest.mark.parametrize("nature", [0, 6, 77])
def test_only_natures_that_are_served_can_be_asked_for(nature: int):
    with pytest.raises(HashmatchError) as caught:
        messages.scope_of(match_service_pb2.MatchScope(natures=[common_pb2.ListNature.ValueType(nature)]))
    assert caught.value.reason is ErrorReason.INVALID_FIELD


def test_natures_are_asked_for_in_any_order():
    scope = messages.scope_of(match_service_pb2.MatchScope(natures=[5, 1, 5]))
    assert scope.natures == (ListNature.ILLEGAL, ListNature.TEST)
