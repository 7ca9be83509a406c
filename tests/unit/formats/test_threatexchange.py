import hashlib
import json

import pytest

from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.threatexchange import ThreatExchangeParser, recognises
from hashmatch.model.opinions import Statement

SEED = b"a benign file"
MD5 = hashlib.md5(SEED).hexdigest()


def descriptor(owner="7", status="MALICIOUS", **members):
    return {"id": f"9{owner}", "owner": {"id": owner, "name": "x"}, "status": status} | members


def indicator(*descriptors, **members):
    return {
        "id": "3058061737574159",
        "indicator": MD5,
        "type": "HASH_MD5",
        "last_updated": 1625167804,
        "should_delete": False,
        "descriptors": {"data": list(descriptors or [descriptor()])},
    } | members


def said(label, *flags):
    return Statement(label, "threatexchange", "", flags, "2021-07-01")


@pytest.fixture
def read_records(read):
    def read_records(*records):
        document = {"data": records, "paging": {"cursors": {"after": "x"}}}
        return read(ThreatExchangeParser(ParserOptions()), [json.dumps(document).encode()])

    return read_records


def test_every_member_has_its_own_opinion(read_records):
    reactions = [{"key": "HELPFUL", "value": "11,12"}, {"key": "DISAGREE_WITH_TAGS", "value": "13"}]
    reading = read_records(
        indicator(
            descriptor("7", tags=["a", "b"], reactions=reactions),
            descriptor("8", "NON_MALICIOUS", tags={"data": [{"id": "1", "text": "c"}]}),
            descriptor("9", "SOMETHING_NEW", tags=None),
        )
    )
    assert [(digest, statement) for _, digest, statement, _ in reading.added] == [
        (
            MD5,
            said(
                "MALICIOUS", "a", "b", "owner:7", "reaction:DISAGREE_WITH_TAGS:13", "reaction:HELPFUL:11",
                "reaction:HELPFUL:12",
            ),
        ),
        (MD5, said("NON_MALICIOUS", "c", "owner:8")),
        (MD5, said("SOMETHING_NEW", "owner:9")),
    ]  # fmt: skip
    assert [(each.record, each.key) for each in reading.keyed] == [(1, "3058061737574159")]


def test_equal_opinions_are_one(read_records):
    assert len(read_records(indicator(descriptor(), descriptor())).added) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"should_delete": True},
        {"should_delete": "true"},
        {"descriptors": None},
        {"descriptors": {"data": []}},
        {"descriptors": []},
        {"descriptors": {"data": [descriptor("7", "NON_MALICIOUS"), descriptor("8", "non_malicious")]}},
        {"should_delete": True, "indicator": None, "type": "HASH_UNHEARD_OF"},
    ],
)
def test_what_nobody_claims_any_more_is_removed_by_its_key(read_records, members):
    reading = read_records(indicator(**members))
    assert not reading.added
    assert [(each.key, each.removed) for each in reading.keyed] == [("3058061737574159", True)]


@pytest.mark.parametrize("shape", [[descriptor()], descriptor(), {"data": [descriptor()]}])
def test_shapes_of_descriptors(read_records, shape):
    assert [s for _, _, s, _ in read_records(indicator(descriptors=shape)).added] == [said("MALICIOUS", "owner:7")]


NEXT = {"cursors": {"after": "x"}, "next": "https://graph.facebook.com/v20.0/1/descriptors?after=x"}


@pytest.mark.parametrize("first_page", [[], [descriptor("7", "NON_MALICIOUS")]])
def test_the_first_page_of_descriptors_withdraws_nothing(read_records, first_page):
    """On the next one a member may claim the hash."""
    reading = read_records(indicator(descriptors={"data": first_page, "paging": NEXT}))
    assert not reading.keyed
    assert reading.tally.quarantined == {"opinions-missing": 1}
    last_page = {"data": first_page, "paging": {"cursors": {"after": "x"}}}
    assert [each.removed for each in read_records(indicator(descriptors=last_page)).keyed] == [True]


def test_opinions_on_a_next_page_are_missed_and_cost_no_other(read_records):
    reading = read_records(indicator(descriptors={"data": [descriptor()], "paging": NEXT}))
    assert [s for _, _, s, _ in reading.added] == [said("MALICIOUS", "owner:7")]
    assert [each.removed for each in reading.keyed] == [False]
    assert reading.tally.quarantined == {"opinions-missing": 1}


def test_a_next_page_keeps_no_deletion_from_its_effect(read_records):
    reading = read_records(indicator(should_delete=True, descriptors={"data": [descriptor()], "paging": NEXT}))
    assert [each.removed for each in reading.keyed] == [True]
    assert not reading.tally.quarantined


def test_a_descriptor_whose_owner_is_hidden_counts(read_records):
    hidden = {"status": "SUSPICIOUS"}
    assert [s for _, _, s, _ in read_records(indicator(hidden)).added] == [said("SUSPICIOUS")]


@pytest.mark.parametrize(
    ("name", "algorithm", "function"),
    [
        ("HASH_MD5", "MD5", "md5"),
        ("HASH_VIDEO_MD5", "MD5", "md5"),
        ("HASH_SHA1", "SHA1", "sha1"),
        ("HASH_SHA256", "SHA256", "sha256"),
        ("HASH_PDQ", "PDQ", "sha256"),
    ],
)
def test_types(read_records, name, algorithm, function):
    value = hashlib.new(function, SEED).hexdigest()
    reading = read_records(indicator(type=name, indicator=value))
    assert [(found, digest) for found, digest, *_ in reading.added] == [(algorithm, value)]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"id": ""}, "key-missing"),
        ({"type": "HASH_TMK"}, "algorithm-not-served"),
        ({"type": "URI"}, "algorithm-not-served"),
        ({"type": "SMELL"}, "unknown-algorithm"),
        ({"indicator": None}, "no-fingerprint"),
        ({"indicator": hashlib.md5(b"").hexdigest()}, "empty-file-digest"),
        ({"type": "HASH_PDQ", "indicator": "00" * 32}, "degenerate"),
        ({"descriptors": ["x"]}, "bad-value"),
        ({"should_delete": "perhaps"}, "bad-boolean"),
    ],
)
def test_unsound_records_are_refused_alone(read_records, members, reason):
    reading = read_records(indicator(**members), indicator(id="2"))
    assert reading.tally.examples == {reason: [1]}
    assert len(reading.added) == 1


def test_very_many_reactions_cost_no_record(read_records):
    crowd = [{"key": "HELPFUL", "value": ",".join(map(str, range(1_000)))}]
    reading = read_records(indicator(descriptor(reactions=crowd)))
    assert [s for _, _, s, _ in reading.added] == [said("MALICIOUS", "owner:7", "reaction:HELPFUL")]


def test_it_is_recognised_by_its_members():
    assert recognises(json.dumps({"data": [indicator()]}).encode())
    assert recognises(
        json.dumps({"data": [{"id": "1", "indicator": "x", "type": "y", "should_delete": True}]}).encode()
    )
    assert not recognises(b'{"data": [{"descriptors": {}}]}')


@pytest.mark.parametrize("value", ["x", 1, {"data": "x"}, ["x"]])
def test_descriptors_that_are_none_withdraw_nothing(read_records, value):
    reading = read_records(indicator(descriptors=value))
    assert reading.tally.quarantined == {"bad-value": 1}
    assert not reading.keyed


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"tags": "x"}, "bad-value"),
        ({"tags": [["x"]]}, "bad-value"),
        ({"tags": ["x" * 201]}, "value-too-long"),
        ({"reactions": ["x"]}, "bad-value"),
        ({"reactions": [{"key": [], "value": "1"}]}, "bad-value"),
    ],
)
def test_flags_that_cannot_be_read_cost_no_opinion(read_records, members, reason):
    reading = read_records(indicator(descriptor(**members)))
    assert [statement.flags for _, _, statement, _ in reading.added] == [("owner:7",)]
    assert reading.tally.quarantined == {reason: 1}


def test_types_are_told_in_any_case(read_records):
    assert len(read_records(indicator(type="hash_md5")).added) == 1
