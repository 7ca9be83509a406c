"""Whatever spares a parser work changes nothing of what it reads, wherever the delivery is cut or damaged."""

import base64
import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.formats import _digest_batches, _xml_stream, vics
from hashmatch.formats._collector import Limits
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.ncmec import NAMESPACE, NcmecParser
from hashmatch.formats.vics import VicsParser

LIMITS = Limits(record_size=4_096, statements=12, chunk_size=9)


def digest(size, seed):
    return bytes((seed * 29 + index * 73 + 11) % 256 for index in range(size))


HASHES = st.one_of(
    st.tuples(st.sampled_from(["md5", "MD5", "sha1", "pdq", "sha256"]), st.integers(0, 99)).map(
        lambda drawn: (drawn[0], digest({"md5": 16, "sha1": 20}.get(drawn[0].lower(), 32), drawn[1]).hex())
    ),
    st.integers(0, 99).map(lambda seed: ("pdna", base64.b64encode(digest(144, seed)).decode())),
    st.sampled_from(
        [
            ("md5", "d41d8cd98f00b204e9800998ecf8427e"),
            ("sha1", "0" * 40),
            ("md5", "abc"),
            ("md5", "x" * 32),
            ("md5", ""),
            ("md5", " "),
            ("netclean", "abc"),
            ("md4", "abc"),
            ("vpdq", "ab" * 32),
            ("pdq", "00" * 31 + "01"),
            ("md5", " 0123456789abcdef0123456789abcdef\n"),
        ]
    ),
)

# What stands in the place of texts: much of it is XML that is not plain.
TEXTS = st.sampled_from(
    [
        *("e1", "A1", "", " ", "a b", "a/b", "\t2\n", "a>b", "'\"", "\x7f", "x" * 201),
        *("&amp;", "&#65;", "&lt;x", "&no;", "é", "<!-- c -->", "<![CDATA[a]]>", "a<x/>b", "a\r\nb", "<?pi?>"),
        *("</image>", "<!-- </image> -->", "<![CDATA[</image>]]>", "]]", "]]>", "\x01"),
    ]
)
WHEN = st.sampled_from(["2024-05-06T23:30:00Z", "2024-05-07T00:00:00+02:00", "yesterday", "", " 2024-05-06 "])
MEMBERS = st.sampled_from(
    [
        '<member id="42">Example Member</member>',
        "<member id='42'>x</member>",
        '<member id="4 2" name="x"/>',
        '<member  id="4&amp;2">x</member>',
        '<member id="4\t2">x</member>',
        '<member xmlns="other" id="42">x</member>',
        '<member id="1" id="2"/>',
        f'<m:member xmlns:m="{NAMESPACE}" id="42"/>',
        "",
    ]
)
SPACE = st.sampled_from(["", " ", "\n  ", "\r\n\t", "<!-- c -->", "text"])


@st.composite
def entries(draw):
    kind = draw(st.sampled_from(["image"] * 4 + ["video", "deletedImage", "audio", "image xmlns='other'", "h:image"]))
    space = draw(st.sampled_from(["", "\n    "])) if draw(st.booleans()) else draw(SPACE)
    usual = draw(st.integers(0, 2))

    def text(value):
        return value if usual else draw(TEXTS)

    pieces = [
        '<member id="42">Example Member</member>' if usual else draw(MEMBERS),
        f"<timestamp>{draw(WHEN)}</timestamp>",
        f"<id>{text(f'e{draw(st.integers(0, 9))}')}</id>",
        f"<classification>{text(draw(st.sampled_from(['A1', 'B2'])))}</classification>",
        "<fingerprints>"
        + space.join(f"<{name}>{value}</{name}>" for name, value in draw(st.lists(HASHES, max_size=4)))
        + f"{space}</fingerprints>",
    ]
    if draw(st.integers(0, 4)) == 0:
        pieces.pop(draw(st.integers(0, len(pieces) - 1)))
    if draw(st.integers(0, 4)) == 0:
        pieces.append('<feedback><negativeFeedback type="Md5"/></feedback>')
    if draw(st.integers(0, 9)) == 0:
        pieces = draw(st.permutations(pieces))
    return f"{space}<{kind}>{space}{space.join(pieces)}{space}</{kind.partition(' ')[0]}>"


@st.composite
def ncmec_documents(draw):
    opening = draw(
        st.sampled_from(
            [f'<queryResult xmlns="{NAMESPACE}">'] * 6
            + [f'<queryResult xmlns="{NAMESPACE}" xmlns:h="{NAMESPACE}">']
            + [f'<h:queryResult xmlns="other" xmlns:h="{NAMESPACE}">', f'<h:queryResult xmlns:h="{NAMESPACE}">']
        )
    )
    prefix = "h:" if "<h:" in opening else ""
    groups = draw(st.lists(st.sampled_from(["images", "videos", "images xmlns='other'", "others"]), max_size=2))
    body = "".join(
        f"<{prefix}{group}>{''.join(draw(st.lists(entries(), max_size=6)))}</{prefix}{group.partition(' ')[0]}>"
        for group in groups
    )
    declaration = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>']))
    return f"{declaration}{opening}{body}</{prefix}queryResult>"


def whole_outcome(parser, reading):
    return reading.error, sorted(reading.added, key=str), reading.keyed, reading.tally, parser.statements


def read_both(read_cut, make, data, cuts, plainly):
    parser = make()
    quick = whole_outcome(parser, read_cut(parser, data, cuts))
    with pytest.MonkeyPatch.context() as patch:
        plainly(patch)
        parser = make()
        return quick, whole_outcome(parser, read_cut(parser, data, cuts))


def damaged(data, damage):
    for at, new, drop in damage:
        at %= len(data)
        data = data[:at] + new + data[at + drop :]
    return data


DAMAGE = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=2), st.integers(0, 9)), max_size=1)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=4)


def without_plain_entries(patch):
    patch.setattr(NcmecParser, "take_plain", lambda _self, _group, _text, start: start)
    patch.setattr(_digest_batches, "_sound", lambda _algorithm, _texts: None)


@settings(max_examples=400, deadline=None)
@given(pages=st.lists(ncmec_documents(), min_size=1, max_size=2), cuts=CUTS, damage=DAMAGE)
def test_plain_entries_of_ncmec_are_what_expat_makes_of_them(read_cut, pages, cuts, damage):
    data = damaged("\n".join(pages).encode(), damage)
    quick, plain = read_both(
        read_cut, lambda: NcmecParser(ParserOptions(label="x"), LIMITS), data, cuts, without_plain_entries
    )
    assert quick == plain


PLAIN = (
    '<{kind}><member id="1">x</member><timestamp></timestamp><id>{name}</id><classification>{label}</classification>'
    "<fingerprints><md5>" + digest(16, 1).hex() + "</md5></fingerprints></{kind}>"
)


def plain(name="a", label="A1", kind="image"):
    return PLAIN.format(name=name, label=label, kind=kind)


def ncmec_page(*records, encoding="utf-8"):
    page = f'<?xml version="1.0" encoding="{encoding}"?><queryResult xmlns="{NAMESPACE}"><images>'
    return f"{page}{''.join(records)}</images></queryResult>".encode(encoding)


def read_both_whole(read_cut, data):
    return read_both(read_cut, lambda: NcmecParser(ParserOptions()), data, [], without_plain_entries)


def national(name):
    """An encoding like those of 7 bits that had other characters in the place of a few."""
    if name != "x_national":
        return None
    characters = "".join("\u00a5" if each == "$" else each for each in map(chr, range(256)))
    return codecs.CodecInfo(
        lambda text, errors="strict": codecs.charmap_encode(text, errors, codecs.charmap_build(characters)),
        lambda data, errors="strict": codecs.charmap_decode(data, errors, characters),
        name=name,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16", "koi8-r", "x_national"])
def test_plain_entries_are_what_they_look_like_in_every_encoding(read_cut, encoding):
    codecs.register(national)
    try:
        data = ncmec_page(plain(), plain(label="\u00a5" if encoding == "x_national" else "$"), encoding=encoding)
        quick, expat = read_both_whole(read_cut, data)
    finally:
        codecs.unregister(national)
    assert quick == expat
    assert len(quick[1]) == 2


@pytest.mark.parametrize("outside", ["<!-- {} -->", "<![CDATA[{}]]>", "<?pi {}?>"])
def test_what_looks_like_an_entry_and_is_none_is_not_read(read_cut, outside):
    data = ncmec_page(plain("a"), outside.format("</image>" + plain("b") * 3), plain("c"))
    quick, expat = read_both_whole(read_cut, data)
    assert quick == expat
    assert [each.key for each in quick[2]] == ["1/a", "1/c"]


def test_the_stretch_without_a_record_is_the_same_behind_a_plain_entry(read_cut):
    refused = set()
    for size in range(_xml_stream.MAXIMUM_STRETCH - 400, _xml_stream.MAXIMUM_STRETCH, 5):
        quick, expat = read_both_whole(read_cut, ncmec_page(plain(), plain(kind="deletedImage"), " " * size, plain()))
        assert quick == expat
        refused.add(bool(quick[0]))
    assert refused == {False, True}


def test_plain_entries_do_not_pass_through_expat(read, monkeypatch):
    other = "<image>\n<member id='1'/><timestamp/><id>a</id></image>"
    passed = []
    take_record = NcmecParser.take_record
    monkeypatch.setattr(
        NcmecParser, "take_record", lambda self, *record: (passed.append(record), take_record(self, *record))
    )
    assert read(NcmecParser(ParserOptions()), [ncmec_page(other, *map(plain, range(50)))]).tally.records == 51
    assert len(passed) == 1


def test_plain_entries_behind_many_others_are_read(read_cut):
    other = plain("b").replace("</image>", '<feedback><negativeFeedback type="Md5"/></feedback></image>')
    quick, expat = read_both_whole(read_cut, ncmec_page(*[other] * 20, plain("a"), other, *[plain("a")] * 3))
    assert quick == expat
    assert len(quick[1]) == 25


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 3), st.just(1.0), st.text(max_size=3), st.just("s" * 201), st.just([])
)


@st.composite
def media(draw):
    record = {"MediaID": draw(st.integers(0, 9)), "Category": draw(st.integers(0, 3))}
    names = {"md5": "MD5", "sha1": "SHA1", "pdna": "PhotoDNA"}
    alternatives = []
    for name, value in draw(st.lists(HASHES, max_size=4)):
        if name in names and names[name] not in record:
            record[names[name]] = value
        else:
            alternatives.append({"HashName": name, "HashValue": value})
    if alternatives:
        record["AlternativeHashes"] = alternatives
    for name in (
        "VictimIdentified",
        "OffenderIdentified",
        "IsDistributed",
        "Series",
        "Tags",
        "DateUpdated",
        "Category",
    ):
        if draw(st.integers(0, 4)) == 0:
            record[name] = draw(VALUES)
    return json.dumps(record)


def vics_document(records):
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
    return f'{{"@odata.context": "{context}", "value": [{", ".join(records)}]}}'.encode()


ODD = st.sampled_from(["null", "{}", '{"MD5" 1}', '{"MD5": ["x"}}', '{"a": "\\x"}', '{"a": "}{"}', "[[]]", '{"a":"]"}'])


def one_by_one(patch):
    patch.setattr(VicsParser, "_decoded", lambda self, run: [self._decoded_alone(run.text[a:b]) for a, b in run.bounds])
    patch.setattr(_digest_batches, "_sound", lambda _algorithm, _texts: None)
    patch.setattr(vics, "_known_flags_of", vics._flags_of)


@settings(max_examples=300, deadline=None)
@given(records=st.lists(media() | ODD, max_size=12), cuts=CUTS, damage=DAMAGE)
def test_media_that_are_decoded_together_are_what_each_is_alone(read_cut, records, cuts, damage):
    data = damaged(vics_document(records), damage)
    quick, plain = read_both(read_cut, lambda: VicsParser(ParserOptions(label="x"), LIMITS), data, cuts, one_by_one)
    assert quick == plain


def test_refusals_are_counted_in_the_order_of_records(read):
    """The first is told when its text is decoded, the second by its name."""
    entries = (plain(name).replace("md5>", f"{kind}>") for name, kind in (("a", "vpdq"), ("b", "netclean")))
    reading = read(NcmecParser(ParserOptions()), [ncmec_page(*entries, plain("c"))])
    assert reading.tally.examples == {"algorithm-not-served": [1, 2]}


def test_nothing_is_handed_out_where_nothing_can_be_read(read):
    reading = read(NcmecParser(ParserOptions()), [ncmec_page(plain().replace("md5>", "sha256>"))])
    assert (reading.chunks, reading.tally.quarantined) == ([], {"wrong-length": 1})


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (NcmecParser, ncmec_page(plain(), plain().replace("md5>", "sha256>"))[:-1]),
        (VicsParser, vics_document([json.dumps({"MD5": digest(16, 1).hex()}), '{"MD5": "1"}'])[:-1]),
    ],
)
def test_what_was_read_before_an_error_is_counted(read, make, data):
    reading = read(make(ParserOptions()), [data])
    assert "truncated" in reading.error
    assert (reading.tally.read, reading.tally.quarantined.total()) == (2, 1)
