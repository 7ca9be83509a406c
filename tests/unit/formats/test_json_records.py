"""What holds for every body whose deliveries are records in JSON documents."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats._collector import Limits
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.stopncii import StopNciiParser
from hashmatch.formats.tech_against_terrorism import TechAgainstTerrorismParser
from hashmatch.formats.threatexchange import ThreatExchangeParser

SEED = b"a benign file"
MD5 = hashlib.md5(SEED).hexdigest()


def stopncii(number, **members):
    value = hashlib.md5(SEED + bytes([number])).hexdigest()
    return {"signalType": "VideoMD5", "hashValue": value, "hashStatus": "Active", "lastModtimestamp": 1} | members


def tat(number, **members):
    value = hashlib.md5(SEED + bytes([number])).hexdigest()
    return {"id": number, "hash_digest": value, "algorithm": "MD5", "ideology": "x", "deleted": False} | members


def threatexchange(number, **members):
    value = hashlib.md5(SEED + bytes([number])).hexdigest()
    descriptors = {"data": [{"owner": {"id": "7"}, "status": "MALICIOUS"}]}
    return {"id": str(number), "indicator": value, "type": "HASH_MD5", "descriptors": descriptors} | members


BODIES = [
    pytest.param(StopNciiParser, "hashRecords", stopncii, id="stopncii"),
    pytest.param(TechAgainstTerrorismParser, "results", tat, id="tech-against-terrorism"),
    pytest.param(ThreatExchangeParser, "data", threatexchange, id="threatexchange"),
]
bodies = pytest.mark.parametrize(("parser", "member", "record"), BODIES)


def text(*documents, between="\n"):
    return between.join(map(json.dumps, documents)).encode()


@bodies
@pytest.mark.parametrize("between", ["", " ", "\n", "\r\n\r\n"])
def test_pages_follow_on_each_other(read, parser, member, record, between):
    pages = [{member: [record(1), record(2)], "next": None}, {member: []}, {member: None}, {member: [record(3)]}]
    reading = read(parser(ParserOptions()), [text(*pages, between=between)])
    assert not reading.error
    assert [number for *_, number in reading.added] == [1, 2, 3]
    assert [each.record for each in reading.keyed] == [1, 2, 3]
    assert reading.tally.records == 3


@bodies
def test_a_list_of_records_and_single_records_are_documents_too(read, parser, member, record):
    reading = read(parser(ParserOptions()), [text([record(1), record(2)], record(3), {member: [record(4)]}, [])])
    assert [number for *_, number in reading.added] == [1, 2, 3, 4]


@bodies
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(read, parser, member, record, encoding):
    reading = read(parser(ParserOptions()), [json.dumps({member: [record(1)]}).encode(encoding)])
    assert len(reading.added) == 1


@bodies
@pytest.mark.parametrize("item", [1, "x", None, True, [], [[{}]], 1.5])
def test_what_is_no_object_is_no_record_and_costs_no_other(read, parser, member, record, item):
    reading = read(parser(ParserOptions()), [text({member: [record(1), item, record(2)]})])
    assert [number for *_, number in reading.added] == [1, 3]
    assert reading.tally.examples == {"not-an-object": [2]}


@bodies
def test_a_record_that_is_too_large_costs_no_other(read, parser, member, record):
    large = record(2, padding=[["y" * 100] * 4] * 4)
    reading = read(parser(ParserOptions(), Limits(record_size=1_000)), [text({member: [record(1), large, record(3)]})])
    assert [number for *_, number in reading.added] == [1, 3]
    assert reading.tally.examples == {"record-too-large": [2]}


@bodies
def test_text_that_is_not_in_the_encoding_costs_one_record(read, parser, member, record):
    (name,) = {"hashValue", "hash_digest", "indicator"} & record(1).keys()
    damaged = text({member: [record(1, **{name: "@@"}), record(2)]}).replace(b"@@", b"\xff\xfe")
    reading = read(parser(ParserOptions()), [damaged])
    assert [number for *_, number in reading.added] == [2]
    assert reading.tally.examples == {"bad-encoding": [1]}


@bodies
def test_the_end_of_a_delivery_is_missed(read, parser, member, record):
    whole = text({member: [record(1), record(2)]})
    for end in range(len(whole)):
        reading = read(parser(ParserOptions()), [whole[:end]])
        assert "truncated" in reading.error, end


@bodies
@pytest.mark.parametrize(
    "data",
    [b"{}", b'{"error": "no"}', b"<xml/>", b"\0\0", b"{]", b'{"a": NaN}', b'{"a": 1' + b"0" * 5_000 + b"}", b"nothing"],
)
def test_what_is_not_of_the_body_is_refused_as_a_whole(read, parser, member, record, data):
    assert read(parser(ParserOptions()), [text({member: [record(1)]}) + data]).error


@bodies
def test_depth_is_bounded(read, parser, member, record):
    assert "nested" in read(parser(ParserOptions()), [b'{"a":' * 5_000]).error


@bodies
def test_one_value_cannot_take_all_memory(read, parser, member, record):
    pieces = [b'[{"id": "'] + [b"x" * 65_536] * 64
    assert "too long" in read(parser(ParserOptions()), pieces).error


@bodies
def test_records_that_state_no_time_come_after_those_before_them(read, parser, member, record):
    states = [record(1, lastModtimestamp=90, updated_on=90, last_updated=90), record(1)]
    for name in ("lastModtimestamp", "updated_on", "last_updated"):
        states[1].pop(name, None)
    reading = read(parser(ParserOptions()), [text(*states)])
    first, second = reading.keyed
    assert (first.key, first.as_of) == (second.key, second.as_of)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["hashValue", "signalType", "hashStatus", "caseNumbers", "CSPFeedbacks", "lastModtimestamp", "id", "deleted"]
NAMES += ["hash_digest", "algorithm", "ideology", "file_type", "updated_on", "indicator", "type", "descriptors"]
NAMES += ["should_delete", "last_updated"]


@bodies
@given(data=st.data())
def test_any_values_are_taken_or_refused_one_by_one(read, parser, member, record, data):
    odd = data.draw(st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=4), max_size=4))
    page = {member: [record(1), *(record(2) | each for each in odd), record(3)], "count": data.draw(values)}
    whole = text(page)
    reading = read(parser(ParserOptions()), [whole])
    if reading.error:
        # Numbers beyond 64 bits cannot be read on.
        assert "not JSON" in reading.error
        return
    assert reading.tally.records == len(odd) + 2
    assert {1, len(odd) + 2} <= {number for *_, number in reading.added}


@bodies
@given(
    cuts=st.lists(st.integers(0, 10_000), max_size=6), damage=st.none() | st.tuples(st.integers(0, 999), st.binary())
)
def test_cuts_do_not_matter_and_damage_is_told(read, read_cut, parser, member, record, cuts, damage):
    whole = text({member: [record(1), record(2, tags=["é", "\\u00e9"])], "count": 2}, {member: [record(3)]})
    if damage is not None:
        at = damage[0] % len(whole)
        whole = whole[:at] + damage[1] + whole[at + 1 :]
    assert read_cut(parser(ParserOptions()), whole, cuts).outcome() == read(parser(ParserOptions()), [whole]).outcome()
