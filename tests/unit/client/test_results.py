"""Answers cannot be mistaken for yes or no, and bulk answers count right."""

import dataclasses

import pytest
from hashmatch_client import (
    Agreement,
    Algorithm,
    BulkAnswer,
    Finding,
    HashAnswer,
    ItemAnswer,
    SnapshotInfo,
    UndeterminedRange,
    Verdict,
)

SNAPSHOT = SnapshotInfo(3, None, None, None, (), 2)
FINDING = Finding(Agreement.SINGLE, (), ())
DIGESTS = b"".join(bytes([n]) * 16 for n in range(10))
BULK = BulkAnswer(
    batch=2,
    first=100,
    count=10,
    algorithm=Algorithm.MD5,
    digests=DIGESTS,
    match_indexes=(0, 4),
    finding_indexes=(0, 0),
    findings=(FINDING,),
    undetermined=(UndeterminedRange(5, 3, ()),),
    snapshot=SNAPSHOT,
    request_id="id",
)


@pytest.mark.parametrize(
    "value",
    [
        Verdict.NO_KNOWN_MATCH,
        HashAnswer(Algorithm.MD5, Verdict.MATCH, (), (), suppressed=False, below_min_sources=False),
        ItemAnswer("", Verdict.MATCH, Agreement.NONE, (), (), SNAPSHOT, ""),
        BULK,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_answer_has_a_truth_value(value):
    with pytest.raises(TypeError, match="is_match"):
        bool(value)


def test_every_digest_of_a_bulk_answer_has_one_verdict():
    verdicts = [BULK.verdict_of(index) for index in range(10)]
    assert [verdicts.count(verdict) for verdict in Verdict] == [2, 5, 3]
    assert (BULK.matches, BULK.no_known_match, BULK.not_determined) == (2, 5, 3)
    with pytest.raises(IndexError):
        BULK.verdict_of(10)
    with pytest.raises(IndexError):
        BULK.verdict_of(-1)


def test_a_hit_names_its_digest_and_its_place_in_the_run():
    hit = list(BULK.hits())[1]
    assert (hit.position, hit.index, hit.digest, hit.finding) == (104, 4, bytes([4]) * 16, FINDING)
    assert "digest" not in repr(hit)
    assert "digests" not in repr(BULK)


def test_answers_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BULK.count = 0
