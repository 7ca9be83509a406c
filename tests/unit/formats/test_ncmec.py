"""NCMEC's XML: every fingerprint that can be read arrives with its opinion, every other is counted with a reason."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import _xml_stream
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.formats.ncmec import NcmecParser, recognises
from hashmatch.ingest.assembly import Assembler
from hashmatch.model.opinions import Statement

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MD5, SHA1 = "0123456789abcdef" * 2, "0123456789abcdef0123456789abcdef01234567"
PDQ = "0123456789abcdef" * 4
PHOTODNA = bytes(range(144))
FINGERPRINTS = f"<md5>{MD5}</md5><sha1>{SHA1.upper()}</sha1>"


def entry(
    *, kind="image", member="42", entry_id="e1", when="2024-05-06T23:30:00Z", label="A1", prints=FINGERPRINTS, more=""
):
    classification = f"<classification>{label}</classification>" if label else ""
    fingerprints = f"<fingerprints>{prints}</fingerprints>" if prints is not None else ""
    return (
        f'<{kind}><member id="{member}">Example Member</member><timestamp>{when}</timestamp>\n<id>{entry_id}</id>'
        f"{classification}{fingerprints}{more}</{kind}>\n"
    )


def document(*entries, group="images", count=None):
    count = len(entries) if count is None else count
    return (
        f'{DECLARATION}<queryResult xmlns="{NAMESPACE}">\n<{group} count="{count}" maxTimestamp="2024-05-06T23:30:00Z">'
        f"{''.join(entries)}</{group}>\n<paging><next>/v2/entries?from=a&amp;to=b</next></paging></queryResult>"
    )


@pytest.fixture
def reading_of(read):
    def reading_of(*documents, **options):
        return read(NcmecParser(ParserOptions(**options)), ["".join(documents).encode()])

    return reading_of


def test_an_entry_arrives_with_its_opinion(reading_of):
    reading = reading_of(document(entry()), jurisdiction="US", scheme="ours", label="stated")
    statement = Statement("A1", "ncmec", "US", (), "2024-05-06")
    assert reading.added == [("MD5", MD5, statement, 1), ("SHA1", SHA1, statement, 1)]
    assert [(each.record, each.key, each.removed) for each in reading.keyed] == [(1, "42/e1", False)]
    assert (reading.tally.records, reading.tally.read, reading.tally.declared_records) == (1, 2, 1)


def test_perceptual_values_arrive(reading_of):
    prints = f"<pdna>{base64.b64encode(PHOTODNA).decode()}</pdna><pdna>{PHOTODNA.hex()}</pdna><pdq>{PDQ}</pdq>"
    reading = reading_of(document(entry(prints=prints)))
    assert [(name, value) for name, value, *_ in reading.added] == [
        ("PHOTODNA", PHOTODNA.hex()), ("PHOTODNA", PHOTODNA.hex()), ("PDQ", PDQ)
    ]  # fmt: skip


def test_without_a_classification_the_stated_label_holds(reading_of):
    (first, *_) = reading_of(document(entry(label="")), label="stated").added
    assert first[2] == Statement("stated", "ncmec", "", (), "2024-05-06")


@pytest.mark.parametrize("kind", ["deletedImage", "deletedVideo", "DeletedImage", "deletedvideo"])
def test_a_deleted_entry_is_withdrawn(reading_of, kind):
    reading = reading_of(document(entry(kind=kind, prints=None, label="")))
    assert [(each.key, each.removed) for each in reading.keyed] == [("42/e1", True)]
    assert (reading.tally.read, reading.tally.removals) == (1, 1)


@pytest.mark.parametrize("name", ["MD5", "Md5", "md-5", "md_5"])
def test_names_of_types_vary(reading_of, name):
    assert [value for _, value, *_ in reading_of(document(entry(prints=f"<{name}>{MD5}</{name}>"))).added] == [MD5]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("<netclean>abc</netclean>", "algorithm-not-served"),
        ('<tmk-pdqf href="/v2/e/1"/>', "algorithm-not-served"),
        ('<videntifier href="/v2/e/1"></videntifier>', "algorithm-not-served"),
        ("<ssvh-pdna>abc</ssvh-pdna>", "algorithm-not-served"),
        ("<SSVH_SAFER_HASH>abc</SSVH_SAFER_HASH>", "algorithm-not-served"),
        ("<md4>abc</md4>", "unknown-algorithm"),
        (f"<pdq>{'0' * 64}</pdq>", "degenerate"),
        (f"<pdq>{'0' * 32}</pdq>", "wrong-length"),
        ("<sha1>da39a3ee5e6b4b0d3255bfef95601890afd80709</sha1>", "empty-file-digest"),
        ("<pdna>a1a1a1...</pdna>", "wrong-length"),
        (f"<sha1>{'x' * 40}</sha1>", "not-hex"),
    ],
)
def test_one_bad_fingerprint_costs_itself(reading_of, bad, reason):
    reading = reading_of(document(entry(prints=f"<md5>{MD5}</md5>{bad}")))
    assert [value for _, value, *_ in reading.added] == [MD5]
    assert reading.tally.quarantined == {reason: 1}


@pytest.mark.parametrize(
    ("changed", "reason", "count"),
    [
        ({"member": ""}, "key-missing", 2),
        ({"entry_id": " "}, "key-missing", 2),
        ({"entry_id": "e" * 200}, "key-too-long", 2),
        ({"member": "4/2"}, "bad-value", 2),
        ({"label": "A" * 201}, "label-too-long", 2),
        ({"prints": ""}, "no-fingerprint", 1),
        ({"prints": "<md5/>"}, "no-fingerprint", 1),
        ({"kind": "audio"}, "unknown-record", 2),
    ],
)
def test_an_unsound_entry_is_refused_and_its_neighbours_are_read(reading_of, changed, reason, count):
    reading = reading_of(document(entry(entry_id="before"), entry(**changed), entry(entry_id="after")))
    assert [each.key for each in reading.keyed] == ["42/before", "42/after"]
    assert reading.tally.quarantined == {reason: count}
    assert reading.tally.records == 3


def test_an_entry_without_readable_fingerprints_leaves_the_earlier_state(reading_of):
    assert reading_of(document(entry(), entry(prints="<md5>zz</md5>"))).keyed[-1].record == 1


def test_a_bad_timestamp_costs_the_date(reading_of):
    reading = reading_of(document(entry(when="yesterday")))
    assert [(value, statement.updated_on) for _, value, statement, _ in reading.added] == [(MD5, ""), (SHA1, "")]
    assert reading.tally.quarantined == {"bad-date": 1}


def test_dates_are_in_utc(reading_of):
    reading = reading_of(document(entry(when="2024-05-06T23:30:00-05:00")))
    assert {statement.updated_on for _, _, statement, _ in reading.added} == {"2024-05-07"}


def test_feedback_of_others_is_kept_and_their_ids_are_not_taken_for_the_entry(reading_of):
    more = """<feedback lastUpdateTimestamp="2023-06-01T12:48:14Z">
        <affirmativeFeedback type="Md5"><members><member id="7">Other</member></members></affirmativeFeedback>
        <negativeFeedback type="Sha1"><reasons><reason guid="g" name="Reason" type="Sha1"/>
        <members><member id="8">Another</member></members></reasons></negativeFeedback></feedback>"""
    reading = reading_of(document(entry(more=more)))
    assert {each[2].flags for each in reading.added} == {("affirmative-feedback:md5", "negative-feedback:sha1")}
    assert reading.keyed[0].key == "42/e1"


def test_feedback_that_is_too_long_costs_itself(reading_of):
    more = f'<feedback><affirmativeFeedback type="{"t" * 200}"/><negativeFeedback type="Pdq"/></feedback>'
    reading = reading_of(document(entry(more=more)))
    assert reading.tally.quarantined == {"value-too-long": 1}
    assert {each[2].flags for each in reading.added} == {("negative-feedback:pdq",)}


def test_feedback_without_end_is_refused_with_its_entry(reading_of):
    more = "".join(f'<affirmativeFeedback type="t{number}"/>' for number in range(65))
    reading = reading_of(document(entry(more=f"<feedback>{more}</feedback>"), entry(entry_id="e2")))
    assert set(reading.tally.quarantined) == {"too-many-flags"}
    assert [each.key for each in reading.keyed] == ["42/e2"]


@pytest.mark.parametrize("late_first", [True, False])
@pytest.mark.parametrize("last_state", ["A2", "deleted"])
def test_the_later_timestamp_is_the_later_state_in_whatever_order(late_first, last_state):
    early = entry(when="2024-01-01T00:00:00Z", label="A1")
    late = entry(when="2024-01-02T00:00:00Z", label="A2", kind="image" if last_state == "A2" else "deletedImage")
    parser, assembler = NcmecParser(ParserOptions()), Assembler()
    text = document(*([late, early] if late_first else [early, late]))
    for chunks in (parser.feed(text.encode()), parser.finish()):
        for chunk in chunks:
            assembler.add(chunk)
    entries = assembler.finish(parser.statements)
    if last_state == "deleted":
        assert (entries.keys, entries.removed_keys) == ([], ["42/e1"])
    else:
        stands = {entries.statements[number].label for each in entries.fingerprints for number in each.statements}
        assert stands == {"A2"}


def test_pages_may_follow_on_each_other(reading_of):
    pages = [document(entry(entry_id=f"e{page}")) for page in range(3)]
    reading = reading_of("\n", "\n\n".join(pages), "\n<!-- the end -->\n")
    assert [each.key for each in reading.keyed] == ["42/e0", "42/e1", "42/e2"]
    assert reading.tally.declared_records == 3


@pytest.mark.parametrize("group", ["Images", "VIDEOS"])
def test_groups_are_told_in_any_case(reading_of, group):
    reading = reading_of(document(entry(), entry(kind="deletedVideo", entry_id="e2", prints=None), group=group))
    assert [(each.key, each.removed) for each in reading.keyed] == [("42/e1", False), ("42/e2", True)]
    assert reading.tally.declared_records == reading.tally.records == 2


@pytest.mark.parametrize("group", ["deletedImages", "others", 'images xmlns="other"', "entries"])
def test_entries_in_other_groups_are_not_dropped_without_a_trace(reading_of, group):
    """A withdrawal that nobody saw would go on being served."""
    opening = group.partition(" ")[0]
    entries = entry(kind="deletedImage", prints=None) + entry(kind="Video", entry_id="e2") + "<note>image</note>"
    text = f'<queryResult xmlns="{NAMESPACE}"><{group} count="2">{entries}</{opening}></queryResult>'
    reading = reading_of(text)
    assert set(reading.tally.quarantined) == {"unknown-record"}
    assert not reading.added
    assert not reading.keyed
    assert reading.tally.declared_records == reading.tally.records == 2


@pytest.mark.parametrize("kind", ["image", "deletedVideo", "DeletedImage"])
def test_an_entry_right_inside_the_root_is_not_dropped_without_a_trace(reading_of, kind):
    text = document(entry(entry_id="e2")).replace("</queryResult>", f"{entry(kind=kind)}</queryResult>")
    reading = reading_of(text)
    assert [each.key for each in reading.keyed] == ["42/e2"]
    assert reading.tally.examples == {"unknown-record": [2]}
    assert (reading.tally.declared_records, reading.tally.records) == (1, 2)


def test_what_stands_beside_the_groups_declares_nothing(reading_of):
    text = document(entry()).replace("</queryResult>", "<note>image</note></queryResult>")
    reading = reading_of(text)
    assert reading.tally.declared_records == reading.tally.records == 1
    assert not reading.tally.quarantined


def test_an_empty_page_is_sound(reading_of):
    assert not reading_of(f'<queryResult xmlns="{NAMESPACE}"/>').error


@pytest.mark.parametrize("count", ["", "many", "-1"])
def test_a_count_that_is_none_declares_nothing(reading_of, count):
    assert reading_of(document(entry(), count=count)).tally.declared_records is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        (DECLARATION, "truncated"),
        (document(entry())[:-1], "truncated"),
        (document(entry()) + document(entry())[:300], "truncated"),
        (document(entry()) + DECLARATION, "truncated"),
        ("<queryResult/>", "namespace"),
        (document(entry()).replace("queryResult", "status"), "namespace"),
        (document(entry()).replace("</md5>", "</md6>"), "well-formed"),
        (document(entry()) + "text", "well-formed"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + document(entry()).removeprefix(DECLARATION), "type declaration"),
        (document(entry(more="<a>" * 70 + "</a>" * 70)), "inside each other"),
        (document(entry(more=f"<a>{'x' * (1 << 20)}</a>")), "without the end of a record"),
        ('{"value": []}', "well-formed"),
    ],
)
def test_deliveries_that_are_refused(reading_of, text, message):
    assert message in reading_of(text).error


WHOLE = (
    document(
        entry(),
        entry(entry_id="e2", prints=f"<pdq>{PDQ}</pdq><md4>x</md4>", label="é"),
        entry(kind="deletedImage", prints=None),
        entry(member=""),
    )
    + "\n"
    + document(entry(kind="video", prints=f"<md5><![CDATA[{MD5}]]></md5><!-- c -->"), group="videos")
).encode()


@given(cuts=st.lists(st.integers(0, 1 << 16), max_size=8))
def test_cuts_do_not_matter(read_cut, cuts):
    assert (
        read_cut(NcmecParser(ParserOptions()), WHOLE, cuts).outcome()
        == read_cut(NcmecParser(ParserOptions()), WHOLE, []).outcome()
    )


@given(
    at=st.integers(0, len(WHOLE) - 1), new=st.binary(max_size=3), drop=st.integers(0, 40), cut=st.integers(0, 1 << 16)
)
def test_damage_is_refused_or_reconciles(read_cut, at, new, drop, cut):
    read_cut(NcmecParser(ParserOptions()), WHOLE[:at] + new + WHOLE[at + drop :], [cut]).check_sound()


@given(end=st.integers(0, len(WHOLE) - 1))
def test_what_is_truncated_inside_a_document_says_so(read_cut, end):
    reading = read_cut(NcmecParser(ParserOptions()), WHOLE[:end], [])
    between = WHOLE[:end].strip().endswith(b"</queryResult>")
    assert bool(reading.error) != between


def test_nothing_of_the_document_stands_in_an_error(reading_of):
    assert MD5 not in reading_of(document(entry()).replace("</md5>", f"</{MD5}>")).error


def test_memory_is_bounded_by_the_stretch(reading_of):
    assert str(_xml_stream.MAXIMUM_STRETCH) in reading_of(document(" " * (2 << 20))).error


@pytest.mark.parametrize("named", ["<a{}/>", '<a xmlns:a{}="b"/>', '<a xmlns:a="b{}"/>', '<a a{}=""/>'])
def test_memory_is_bounded_by_the_names(reading_of, named):
    def pages(count):
        return [
            entry(more="".join(named.format(1_000_000 + 99 * page + number) for number in range(99)))
            for page in range(count)
        ]

    assert not reading_of(document(*pages(3))).error
    assert str(_xml_stream.MAXIMUM_NAMES) in reading_of(document(*pages(500))).error


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_it_is_recognised(mark):
    assert recognises((mark + document()).encode())
    assert recognises((mark or "\ufeff").encode("utf-16-le") + document().encode("utf-16-le"))
    for other in (b"", b"{}", b"<rss/>", NAMESPACE.encode()):
        assert not recognises(other)


def test_the_key_says_which_record_and_when(reading_of):
    (keyed,) = reading_of(document(entry(when="1970-01-01T00:01:00Z"))).keyed
    assert keyed == KeyedRecord(1, "42/e1", as_of=60.0)
