import hashlib
import json

import pytest

from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.formats.tech_against_terrorism import TechAgainstTerrorismParser, recognises
from hashmatch.model.opinions import Statement

SEED = b"a benign video"
DIGESTS = {
    "MD5": hashlib.md5(SEED).hexdigest(),
    "SHA256": hashlib.sha256(SEED).hexdigest(),
    "SHA512": hashlib.sha512(SEED).hexdigest(),
    "PDQ": hashlib.sha256(SEED + b"!").hexdigest(),
}


def record(**members):
    return {
        "hash_digest": DIGESTS["MD5"],
        "algorithm": "MD5",
        "ideology": "far-right",
        "file_type": "mp4",
        "deleted": False,
        "updated_on": 1704901040.222779,
        "created_on": "2025-03-03T23:05:22.587000",
        "id": 2819,
    } | members


@pytest.fixture
def read_records(read):
    def read_records(*records, **page):
        document = {"count": len(records), "next": None, "checkpoint": "1724856487.709035,10594", "results": records}
        return read(TechAgainstTerrorismParser(ParserOptions()), [json.dumps(document | page).encode()])

    return read_records


@pytest.mark.parametrize("algorithm", DIGESTS)
def test_every_algorithm_of_the_body_arrives(read_records, algorithm):
    reading = read_records(record(algorithm=algorithm, hash_digest=DIGESTS[algorithm].upper()))
    said = Statement("far-right", "tech-against-terrorism", "", ("file-type:mp4",), "2024-01-10")
    assert reading.added == [(algorithm, DIGESTS[algorithm], said, 1)]
    assert reading.keyed == [KeyedRecord(1, "2819", as_of=1704901040.222779)]


def test_what_is_deleted_is_removed_by_its_key_whatever_else_it_says(read_records):
    reading = read_records(record(deleted=True, hash_digest="", algorithm=None))
    assert [(each.key, each.removed) for each in reading.keyed] == [("2819", True)]
    assert reading.tally.removals == reading.tally.read == 1


@pytest.mark.parametrize("deleted_first", [False, True])
def test_a_deletion_that_says_no_time_stands_over_what_came_before(read_records, deleted_first):
    """When the record was made says nothing: the state that is deleted was made then too."""
    states = [record(updated_on=1704901040), record(updated_on=None, deleted=True)]
    reading = read_records(*(reversed(states) if deleted_first else states))
    last = max(reading.keyed, key=lambda each: (each.as_of, each.record))
    assert last.removed != deleted_first


def test_hashes_of_the_wrong_length_are_refused_alone(read_records):
    odd = [record(hash_digest="123abc"), record(hash_digest="789ghi", algorithm="PDQ")]
    reading = read_records(*odd, record(), count=100)
    assert reading.tally.quarantined == {"wrong-length": 2}
    assert len(reading.added) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"id": None}, "key-missing"),
        ({"id": "x" * 201}, "key-too-long"),
        ({"algorithm": "MD6"}, "unknown-algorithm"),
        ({"deleted": "perhaps"}, "bad-boolean"),
        ({"hash_digest": "ff" * 16}, "degenerate"),
        ({"hash_digest": ["x"]}, "bad-value"),
        ({"ideology": "x" * 201}, "label-too-long"),
    ],
)
def test_unsound_records_are_refused_alone(read_records, members, reason):
    reading = read_records(record(**members), record(id=1))
    assert reading.tally.examples == {reason: [1]}
    assert len(reading.added) == 1


@pytest.mark.parametrize("unknown", [{"ideology": "new"}, {"file_type": None}, {"updated_on": "soon"}, {"extra": {}}])
def test_words_that_are_not_known_cost_no_record(read_records, unknown):
    assert len(read_records(record(**unknown)).added) == 1


@pytest.mark.parametrize(
    ("updated_on", "date"),
    [("2024-01-10T23:30:00-05:00", "2024-01-11"), (1704901040, "2024-01-10"), ("x", "2025-03-03")],
)
def test_dates(read_records, updated_on, date):
    assert [said.updated_on for _, _, said, _ in read_records(record(updated_on=updated_on)).added] == [date]


def test_the_first_page_says_how_many_records_there_are(read):
    pages = [{"count": 5, "results": [record()]}, {"count": 4, "results": [record(id=2)]}]
    reading = read(TechAgainstTerrorismParser(ParserOptions()), [json.dumps(page).encode() for page in pages])
    assert (reading.tally.declared_records, reading.tally.records) == (5, 2)


def test_it_is_recognised_by_its_members():
    assert recognises(b'{"results": [], "checkpoint": null}')
    assert recognises(json.dumps(record()).encode())
    assert not recognises(b'{"results": [{"hashRecords": 1}]}')


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "soon", True, -1])
def test_a_time_that_is_none_is_not_taken_for_another(read_records, time):
    reading = read_records(record(updated_on=time))
    assert [statement.updated_on for _, _, statement, _ in reading.added] == ["2025-03-03"]


def test_a_kind_of_file_that_cannot_be_read_costs_no_hash(read_records):
    reading = read_records(record(file_type=["mp4"]))
    assert reading.tally.quarantined == {"bad-value": 1}
    assert [statement.flags for _, _, statement, _ in reading.added] == [()]
