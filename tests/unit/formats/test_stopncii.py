import hashlib
import json

import pytest

from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.stopncii import StopNciiParser, key_of, recognises
from hashmatch.model.opinions import Statement

SEED = b"a benign picture"
PDQ = hashlib.sha256(SEED).hexdigest()
MD5 = hashlib.md5(SEED).hexdigest()


def record(**members):
    return {
        "lastModtimestamp": 1625167804,
        "hashValue": PDQ,
        "hashStatus": "Received",
        "caseNumbers": {"27664732-76e1-4a17-8099-455798e67022": "Received", "b": "Active"},
        "signalType": "ImagePDQ",
    } | members


@pytest.fixture
def read_records(read):
    def read_records(*records, **page):
        document = {"count": len(records), "hasMoreRecords": False, "hashRecords": records} | page
        return read(StopNciiParser(ParserOptions(label="stated", jurisdiction="UK")), [json.dumps(document).encode()])

    return read_records


def test_a_record_arrives_with_what_cases_and_providers_say(read_records):
    feedback = [{"source": "A platform", "feedbackValue": "Blocked", "tags": ["Nude", "Objectionable"]}]
    reading = read_records(record(CSPFeedbacks=feedback))
    flags = (
        "case:Active",
        "case:Received",
        "feedback:A platform:Blocked",
        "feedback:A platform:tag:Nude",
        "feedback:A platform:tag:Objectionable",
    )
    assert reading.added == [("PDQ", PDQ, Statement("Received", "stopncii", "UK", flags, "2021-07-01"), 1)]
    assert reading.tally.declared_records == reading.tally.records == 1


@pytest.mark.parametrize("status", ["Withdrawn", "Deleted", "withdrawn"])
def test_what_was_taken_back_is_removed_by_its_key(read_records, status):
    reading = read_records(record(), record(hashStatus=status, lastModtimestamp=1625167999))
    assert [each.removed for each in reading.keyed] == [False, True]
    assert len({each.key for each in reading.keyed}) == 1
    assert reading.keyed[1].as_of > reading.keyed[0].as_of
    assert reading.tally.removals == 1


@pytest.mark.parametrize("signal", ["imagePDQ", "IMAGEPDQ", " imagepdq "])
def test_the_spelling_of_a_signal_makes_no_other_entry(read_records, signal):
    reading = read_records(record(), record(signalType=signal, hashStatus="Withdrawn", hashValue=PDQ.upper()))
    assert {each.key for each in reading.keyed} == {key_of("ImagePDQ", bytes.fromhex(PDQ))}


def test_keys_show_no_hash(read_records):
    (keyed,) = read_records(record()).keyed
    assert keyed.key == key_of("ImagePDQ", bytes.fromhex(PDQ))
    assert not any(PDQ[at : at + 8] in keyed.key for at in range(56))


@pytest.mark.parametrize(
    "unknown",
    [
        {"hashStatus": "Pondered"},
        {"caseNumbers": {"a": "Pondered"}},
        {"CSPFeedbacks": [{"source": "x", "feedbackValue": "Pondered"}]},
        {"something": {"new": [1]}},
        {"caseNumbers": None},
        {"CSPFeedbacks": None},
        {"hashStatus": None},
        {"lastModtimestamp": "soon"},
    ],
)
def test_words_that_are_not_known_cost_no_record(read_records, unknown):
    reading = read_records(record(**unknown))
    assert len(reading.added) == 1


@pytest.mark.parametrize("signal", ["VideoTMK", "Text", "URL"])
def test_signals_that_are_not_served_are_refused_alone(read_records, signal):
    reading = read_records(record(signalType=signal, hashValue="anything"), record())
    assert reading.tally.examples == {"algorithm-not-served": [1]}
    assert len(reading.added) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"hashValue": "00" * 32}, "degenerate"),
        ({"hashValue": PDQ[:-2]}, "wrong-length"),
        ({"hashValue": "zz" * 32}, "not-hex"),
        ({"hashValue": ""}, "no-fingerprint"),
        ({"signalType": "VideoMD5", "hashValue": hashlib.md5(b"").hexdigest()}, "empty-file-digest"),
        ({"signalType": "Smell"}, "unknown-algorithm"),
        ({"signalType": None}, "unknown-algorithm"),
        ({"hashStatus": "x" * 201}, "label-too-long"),
        ({"caseNumbers": {str(n): f"s{n}" for n in range(65)}}, "too-many-flags"),
    ],
)
def test_unsound_records_are_refused_alone(read_records, members, reason):
    reading = read_records(record(**members), record(signalType="VideoMD5", hashValue=MD5))
    assert reading.tally.examples == {reason: [1]}
    assert [name for name, *_ in reading.added] == ["MD5"]


@pytest.mark.parametrize(
    ("unsound", "reason"),
    [
        ({"CSPFeedbacks": ["x"]}, "bad-value"),
        ({"CSPFeedbacks": "x"}, "bad-value"),
        ({"CSPFeedbacks": [{"source": ["x"], "feedbackValue": "Blocked"}]}, "bad-value"),
        ({"CSPFeedbacks": [{"source": "x", "tags": "Nude"}]}, "bad-value"),
        ({"CSPFeedbacks": [{"source": "x", "tags": ["t" * 201]}]}, "value-too-long"),
        ({"caseNumbers": {"a": ["Active"], "b": "Active"}}, "bad-value"),
        ({"caseNumbers": "x"}, "bad-value"),
    ],
)
def test_what_is_said_of_a_hash_and_cannot_be_read_costs_no_hash(read_records, unsound, reason):
    reading = read_records(record(**unsound))
    assert len(reading.added) == 1
    assert reading.tally.quarantined == {reason: 1}


@pytest.mark.parametrize(
    ("providers", "tags", "kept"), [(4, 5, 4 + 4 * 5), (20, 5, 20), (80, 0, 1)], ids=["all", "no tags", "no sources"]
)
def test_a_hash_of_which_very_much_is_said_is_not_dropped(read_records, providers, tags, kept):
    feedbacks = [
        {"source": f"p{number}", "feedbackValue": "Blocked", "tags": [f"t{each}" for each in range(tags)]}
        for number in range(providers)
    ]
    (added,) = read_records(record(caseNumbers={}, CSPFeedbacks=feedbacks)).added
    assert len(added[2].flags) == kept
    assert any(flag.endswith("Blocked") for flag in added[2].flags)


def test_a_page_that_declares_other_counts_is_told(read_records):
    assert read_records(record(), count=7).tally.declared_records == 7
    assert read_records(record(), count=None).tally.declared_records is None


def test_it_is_recognised_by_its_members():
    assert recognises(b'\xef\xbb\xbf {"count": 0, "hashRecords": []}')
    assert recognises(json.dumps([record()]).encode())
    assert not recognises(b'{"results": []}')
    assert not recognises(b"hashRecords")
