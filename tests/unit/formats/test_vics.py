"""Project VIC's JSON: every fingerprint that can be read arrives with its opinion, every other is counted."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats._collector import Limits
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.registry import open_parser
from hashmatch.formats.vics import VicsParser, recognises
from hashmatch.model.opinions import Statement

MD5, SHA1 = "0123456789ABCDEF" * 2, "0123456789ABCDEF0123456789ABCDEF01234567"
PDQ = "0123456789abcdef" * 4
PHOTODNA = bytes(range(144))
V1 = "http://github.com/ICMEC/ProjectVic/DataModels/{}.xml#{}"
V2 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#{}"
US_MEDIA = V2.format("US", "Media")


def media(**fields):
    return {"MediaID": 1, "Category": 1, "MD5": MD5, **fields}


def document(*records, context=US_MEDIA, **more):
    name = "@odata.context" if "2.0" in context else "odata.metadata"
    return json.dumps({name: context, **more, "value": list(records)}, ensure_ascii=False)


@pytest.fixture
def reading_of(read):
    def reading_of(text, limits=None, **options):
        data = text if isinstance(text, bytes) else text.encode()
        return read(VicsParser(ParserOptions(**options), limits), [data])

    return reading_of


def test_a_record_arrives_with_its_opinion(reading_of):
    record = media(
        SHA1=SHA1,
        PhotoDNA=base64.b64encode(PHOTODNA).decode(),
        DateUpdated="2023-06-07T23:31:49.8300-05:00",
        VictimIdentified="true",
        OffenderIdentified=False,
        IsDistributed="TRUE",
        IsPrecategorized=True,
        Series=" A series ",
        Tags="one, two,",
        MediaSize=5,
        Exifs=[{"PropertyName": "Make"}],
    )
    reading = reading_of(document(record), jurisdiction="US")
    flags = ("distributed", "precategorized", "series:A series", "tag:one", "tag:two", "victim-identified")
    statement = Statement("1", "vics:us", "US", flags, "2023-06-08")
    assert sorted(reading.added) == [
        ("MD5", MD5.lower(), statement, 1),
        ("PHOTODNA", PHOTODNA.hex(), statement, 1),
        ("SHA1", SHA1.lower(), statement, 1),
    ]
    assert [(each.record, each.key) for each in reading.keyed] == [(1, "1")]


@pytest.mark.parametrize(
    ("context", "options", "scheme"),
    [
        (V1.format("1.2", "Media"), {}, "vics"),
        (V1.format("1.3", "Media"), {"scheme": "stated"}, "stated"),
        (V2.format("US", "Media"), {"scheme": "stated"}, "vics:us"),
        (V2.format("UK", "Media"), {}, "vics:uk"),
        (V2.format("Default", "Media"), {}, "vics:default"),
    ],
)
def test_the_country_decides_the_scale(reading_of, context, options, scheme):
    assert [each[2].scheme for each in reading_of(document(media(), context=context), **options).added] == [scheme]


@pytest.mark.parametrize(
    ("category", "label"),
    [(0, "0"), ("0", "0"), (3, "3"), ("", "stated"), (" ", "stated"), (None, "stated")],
)
def test_zero_is_a_category_and_blank_is_none(reading_of, category, label):
    assert [each[2].label for each in reading_of(document(media(Category=category)), label="stated").added] == [label]


def test_cases_hold_media_and_their_ids_keep_media_apart(reading_of):
    cases = [
        {"CaseID": "c1", "CaseMetadata": [{"Media": [1]}], "Media": [media()], "Source": "x"},
        {"CaseID": 2, "Media": [media(Category=2)]},
        {"CaseID": "c3", "Media": None},
        {"Media": [media(Category=3)], "CaseID": "comes too late"},
    ]
    reading = reading_of(document(*cases, context=V2.format("UK", "Cases")))
    assert sorted(each[2].label for each in reading.added) == ["1", "2", "3"]
    assert [(each.record, each.key) for each in reading.keyed] == [(1, "c1/1"), (2, "2/1")]


def test_no_two_media_of_cases_have_one_key(reading_of):
    cases = [{"CaseID": "c/d", "Media": [media()]}, {"CaseID": "c", "Media": [media(MediaID="d/1"), media()]}]
    reading = reading_of(document(*cases, context=V2.format("UK", "Cases")))
    assert [each.key for each in reading.keyed] == ["c/d/1", "c/1"]
    assert reading.tally.examples == {"bad-value": [2]}


def test_conflicting_categories_of_one_hash_stay_apart(reading_of):
    reading = reading_of(document(media(MediaID="a"), media(MediaID="b", Category=2)))
    assert [(each[2].label, each[3]) for each in reading.added] == [("1", 1), ("2", 2)]
    assert [each.key for each in reading.keyed] == ["a", "b"]


def test_alternative_hashes_are_told_by_name(reading_of):
    alternatives = [
        {"HashName": "SHA-256", "HashValue": "ab" * 31 + "cd"},
        {"HashName": "pdq", "HashValue": PDQ},
        {"HashName": "PhotoDNA", "HashValue": base64.b64encode(PHOTODNA).decode()},
        {"HashName": "SHA1", "HashValue": SHA1},
        {"HashName": "SSDEEP", "HashValue": "3:abc:def"},
        {"HashName": "MD5", "HashValue": "zz"},
        {"HashName": "MD5", "HashValue": None},
        "no object",
    ]
    reading = reading_of(document(media(SHA1=SHA1, AlternativeHashes=alternatives)))
    assert sorted(each[0] for each in reading.added) == ["MD5", "PDQ", "PHOTODNA", "SHA1", "SHA256"]
    assert reading.tally.quarantined == {"unknown-algorithm": 2, "wrong-length": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"VictimIdentified": "perhaps"}, "bad-boolean"),
        ({"VictimIdentified": ["true"]}, "bad-value"),
        ({"DateUpdated": "yesterday"}, "bad-date"),
        ({"DateUpdated": {}}, "bad-value"),
        ({"Series": "s" * 200}, "value-too-long"),
        ({"Tags": [{}]}, "bad-value"),
        ({"SHA1": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, "empty-file-digest"),
        ({"SHA1": 7}, "wrong-length"),
        ({"PhotoDNA": "AAAA"}, "wrong-length"),
        ({"PhotoDNA": "A" * 192}, "degenerate"),
        ({"AlternativeHashes": {"HashName": "SHA1", "HashValue": SHA1}}, "unknown-algorithm"),
        ({"AlternativeHashes": SHA1}, "unknown-algorithm"),
        ({"AlternativeHashes": [{"hashName": "SHA1", "hashValue": SHA1}]}, "unknown-algorithm"),
    ],
)
def test_one_bad_value_costs_itself(reading_of, fields, reason):
    reading = reading_of(document(media(**fields)))
    assert [each[:2] for each in reading.added] == [("MD5", MD5.lower())]
    assert reading.tally.quarantined == {reason: 1}


def test_equal_values_of_other_types_are_not_the_same(reading_of):
    for values in ([1, True], [True, 1]):
        reading = reading_of(document(*(media(Series=value) for value in values)))
        assert [each[2].flags for each in reading.added] == [(f"series:{json.dumps(value)}",) for value in values]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("null", "not-an-object"),
        ("[[]]", "not-an-object"),
        ('"a text"', "not-an-object"),
        ("{}", "no-fingerprint"),
        (json.dumps(media(Category=[1])), "bad-value"),
        (json.dumps(media(Category=1.5)), "bad-value"),
        (json.dumps(media(Category="c" * 201)), "label-too-long"),
        (json.dumps(media(MediaID="m" * 201)), "key-too-long"),
        (json.dumps(media(Tags=[str(number) for number in range(65)])), "too-many-flags"),
        ('{"MD5" "x"}', "not-json"),
        ('{"MD5": "\\x"}', "not-json"),
        ('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", "not-json"),
        (json.dumps(media(a="x" * 9_000)), "record-too-large"),
    ],
)
def test_an_unsound_record_is_refused_and_its_neighbours_are_read(read_cut, record, reason):
    before, after = json.dumps(media(MediaID="before")), json.dumps(media(MediaID="after"))
    text = f'{{"@odata.context": "{US_MEDIA}", "value": [{before}, {record},\r\n {after}]}}'.encode()
    limits = Limits(record_size=20_000 if reason == "not-json" else 8_192)
    for cuts in ([], range(0, len(text), 1_000)):
        reading = read_cut(VicsParser(ParserOptions(), limits), text, cuts)
        assert not reading.error
        assert [each.key for each in reading.keyed] == ["before", "after"]
        assert reading.tally.quarantined == {reason: 1}
        assert reading.tally.records == 3


@pytest.mark.parametrize(
    ("opened", "closed"), [('{"a": [},', '{"b": ]}'), ('{"a": ["x"}},', "{}"), ("{],", "{}"), ('{"a": "\\"["]},', "{}")]
)
@pytest.mark.parametrize("size", [0, 9_000])
def test_brackets_that_do_not_match_swallow_no_record(read_cut, opened, closed, size):
    """Where such a record ends cannot be told, nor which of those behind it are sound."""
    records = [media(MediaID="before"), media(MediaID="between", a="x" * size)]
    before, between = map(json.dumps, records)
    text = f'{{"@odata.context": "{US_MEDIA}", "value": [{before}, {opened} {between}, {closed}]}}'.encode()
    for cuts in ([], range(0, len(text), 700)):
        error = read_cut(VicsParser(ParserOptions(), Limits(record_size=8_192)), text, cuts).error
        assert error == "record 1: this is not JSON, or its brackets do not match"


def test_brackets_that_nest_very_deeply_are_refused(reading_of):
    for deep in ("[" * 70_000, "{" * 70_000):
        assert "not JSON" in reading_of(document(media()).replace('"value"', f'"x": {deep}')).error


@pytest.mark.parametrize(("mark", "encoding"), [("", "utf-8"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le")])
def test_byte_order_marks(reading_of, mark, encoding):
    assert len(reading_of((mark + document(media(Series="Ünïcode"))).encode(encoding)).added) == 1


@pytest.mark.parametrize(
    ("count", "declared"), [(2, 2), ("2", 2), (None, None), (True, None), (-1, None), ("two", None), ([2], None)]
)
def test_the_odata_count_declares_the_records(reading_of, count, declared):
    """Numbers of 64 bits are texts in older OData."""
    assert reading_of(document(media(), **{"@odata.count": count})).tally.declared_records == declared
    assert reading_of(document(media())).tally.declared_records is None


def test_numbers_that_are_written_as_fractions_are_whole(reading_of):
    reading = reading_of(document(media(MediaID=17.0, Category=2.0)))
    assert [(each[2].label, keyed.key) for each, keyed in zip(reading.added, reading.keyed, strict=True)] == [
        ("2", "17")
    ]


def test_what_is_blank_is_no_fingerprint(reading_of):
    blank = {"SHA1": "", "PhotoDNA": " ", "AlternativeHashes": [{"HashName": "SHA256"}, {"HashValue": " \n"}]}
    assert reading_of(document(media(**blank))).tally.read == 1


def test_texts_that_python_takes_for_equal_stay_apart(reading_of):
    reading = reading_of(
        document(*(media(MediaID=number, Series=each) for number, each in enumerate([True, 1, "1"], 1)))
    )
    assert [each[2].flags for each in reading.added] == [("series:true",), ("series:1",), ("series:1",)]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"CaseID": "c"}, "no-fingerprint"),
        (media(), "no-fingerprint"),
        ({"Media": media()}, "bad-value"),
        ({"Media": "x"}, "bad-value"),
    ],
)
def test_media_that_are_not_where_they_belong_are_not_passed_over(reading_of, case, reason):
    reading = reading_of(document(case, {"CaseID": "d", "Media": [media()]}, context=V2.format("UK", "Cases")))
    assert reading.tally.examples == {reason: [1]}
    assert len(reading.added) == 1


def test_an_offset_counts_also_before_a_needless_z(reading_of):
    (added,) = reading_of(document(media(DateUpdated="2020-03-01T01:30:00.000+02:00Z"))).added
    assert added[2].updated_on == "2020-02-29"


def test_dates_of_older_odata(reading_of):
    (added,) = reading_of(document(media(DateUpdated="/Date(1490000000000+0100)/"))).added
    assert added[2].updated_on == "2017-03-20"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        (document(media())[:-1], "truncated"),
        (document(media())[:-9], "truncated"),
        (document(media()) + "x", "behind its end"),
        (document(media()) + document(media()), "behind its end"),
        (document(media(), **{"odata.metadata": V1.format("1.3", "Media")}), "more than once"),
        ("[]", "not JSON"),
        ('{"value": []}', "no OData metadata"),
        ("{}", "no OData metadata"),
        (document(media(), context="http://example.org/#Media"), "known version"),
        (document(media(), context=US_MEDIA.replace("2.0", "3.0")), "known version"),
        (document(media()).replace("[", "{").replace("]", "}"), "not JSON"),
        (document(media()).replace('"value":', '"value"'), "not JSON"),
    ],
)
def test_deliveries_that_are_refused(reading_of, text, message):
    assert message in reading_of(text).error


def harmless(number, category=8):
    """A record in the shape of NIST's: media are not numbered, sizes are texts, files are named inside."""
    md5 = f"{number:08x}" * 4
    return {
        "odata.id": f'Media("{md5}")',
        "MediaFiles@odata.navigationLinkUrl": f"/Media({md5})/MediaFiles",
        "MediaFiles": [
            {"MD5": md5, "FileName": "a.art", "FilePath": "A game's/data", "Media@odata.navigationLinkUrl": ""}
        ],
        "MediaID": 0,
        "MD5": md5,
        "SHA1": f"{number:08x}" * 5,
        "Category": category,
        "MediaSize": "488",
    }


HARMLESS = document(*map(harmless, range(1, 4)), context=V1.format("1.2", "Media"))


@pytest.mark.parametrize("category", [0, 8, "8"])
def test_the_harmless_files_of_nist_are_no_list(reading_of, category):
    records = [harmless(number, category) for number in range(1, 4)]
    assert "nist-vics" in reading_of(document(*records, context=V1.format("1.2", "Media"))).error


def test_media_that_are_not_numbered_are_not_one_entry(read):
    """NIST's are all number 0: as a key it would leave the last of millions."""
    assert not read(open_parser("nist-vics", ParserOptions()), [HARMLESS.encode()]).keyed
    cases = document({"CaseID": "c", "Media": [media(MediaID="0"), media(MediaID=0)]}, context=V2.format("UK", "Cases"))
    reading = read(VicsParser(ParserOptions()), [cases.encode()])
    assert (len(reading.added), reading.keyed) == (2, [])


@pytest.mark.parametrize("fields", [{"Category": 1}, {"VictimIdentified": "true"}, {"Category": None}])
def test_one_other_record_makes_it_a_list(reading_of, fields):
    records = [media(MediaID=number + 1, Category=0) for number in range(3)]
    records[1].update(fields)
    assert len(reading_of(document(*records, context=V1.format("1.2", "Media"))).added) == 3


def test_as_a_corpus_the_harmless_files_are_read_and_nothing_else(read):
    assert len(read(open_parser("nist-vics", ParserOptions()), [HARMLESS.encode()]).added) == 6
    text = document(media(Category=0), media(Category=2), context=V1.format("1.2", "Media"))
    assert read(open_parser("nist-vics", ParserOptions()), [text.encode()]).tally.quarantined == {"not-known-good": 1}


WHOLE = document(
    {
        "CaseID": "c",
        "Notes": {"a": ["]", "}"]},
        "Media": [media(Series='a "quoted" \\ }]{ series'), media(MD5="zz"), 7],
    },
    {"CaseID": "d", "Media": []},
    "no case",
    {"CaseID": "e", "Media": [media(Tags=["é"], VictimIdentified="?"), {}]},
    context=V2.format("Default", "Cases"),
    other=[1.5, {"a": None}, "b"],
).encode()


@given(cuts=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_cuts_do_not_matter(read_cut, cuts):
    whole = read_cut(VicsParser(ParserOptions()), WHOLE, [])
    assert len(whole.added) == 2
    assert read_cut(VicsParser(ParserOptions()), WHOLE, cuts).outcome() == whole.outcome()


@given(
    at=st.integers(0, len(WHOLE) - 1), new=st.binary(max_size=3), drop=st.integers(0, 40), cut=st.integers(0, 1 << 16)
)
def test_damage_is_refused_or_reconciles(read_cut, at, new, drop, cut):
    read_cut(VicsParser(ParserOptions()), WHOLE[:at] + new + WHOLE[at + drop :], [cut]).check_sound()


@given(end=st.integers(0, len(WHOLE) - 1))
def test_what_is_truncated_says_so(read_cut, end):
    assert "truncated" in read_cut(VicsParser(ParserOptions()), WHOLE[:end], []).error


def test_nothing_of_the_document_stands_in_an_error(reading_of):
    error = reading_of(document(media())[:-3] + f'"{MD5}"').error
    assert error
    assert MD5 not in error


def test_it_is_recognised():
    for context in (US_MEDIA, V1.format("1.2", "Media"), V1.format("1.3", "Cases")):
        for mark in ("", "\ufeff"):
            assert recognises((mark + document(media(), context=context)).encode())
    for other in (b"", b"{}", b'{"value": []}', b"<a/>", US_MEDIA.encode()):
        assert not recognises(other)
