"""The format `columns`: tables that are damaged, truncated or hostile."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import columns_profile
from hashmatch.formats.columns_profile import ColumnsParser, Limits
from hashmatch.formats.delivery import ParserOptions
from tests.unit.formats.columns import FULL, FULL_HEADER, MD5, SHA1, SIMPLE, digests, one_hash, refusals


def test_row_too_short(read_table):
    assert refusals(read_table(SIMPLE, f"MD5,a,b\n{MD5},1\n")) == {"ragged-row": 1}


def test_row_too_long(read_table):
    assert refusals(read_table(SIMPLE, f"MD5,a\n{MD5},1,2\n")) == {"ragged-row": 1}


def test_blank_fields_behind_the_row_do_no_harm(read_table):
    assert digests(read_table(SIMPLE, f"MD5,a\n{MD5},1,, \n")) == [("MD5", MD5)]


def test_short_rows_as_blank(read_table):
    profile = one_hash(rest='short_rows = "blank"\nlabel = ["b"]')
    assert digests(read_table(profile, f"MD5,a,b\n{MD5}\n")) == [("MD5", MD5)]


def test_short_row_without_a_header(read_table):
    assert refusals(read_table(one_hash("3", rest="header = false"), f"{MD5},1\n")) == {"ragged-row": 1}


def test_column_that_the_header_lacks(read_table):
    reading = read_table(FULL, "MD5;ID;Severity\n")
    assert reading.error.startswith("record 1: the header lacks columns: 'Value', 'Type', 'Age'")


def test_number_beyond_the_header(read_table):
    assert read_table(one_hash("3"), "a,b\n").error.endswith("lacks columns: 3")


@pytest.mark.parametrize("blank", ["\n", " \t\n", ",\n", '" ",\n'])
def test_rows_of_blank_fields_are_no_records(read_table, blank):
    reading = read_table(SIMPLE, f"{blank}MD5,a\n{blank}{MD5},1\n{blank}")
    assert [record for *_, record in reading.added] == [4]
    assert (reading.tally.records, reading.tally.read) == (1, 1)


def test_the_hint_of_spreadsheets_at_the_delimiter_is_no_header(read_table):
    reading = read_table('delimiter = ";"\n' + SIMPLE, f"sep=;\r\nMD5;a\r\n{MD5};sep=\r\n")
    assert digests(reading) == [("MD5", MD5)]


def test_column_that_the_header_has_twice(read_table):
    assert read_table(SIMPLE, "MD5,md5\n").error == "record 1: the header has the column 'MD5' more than once"


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_header(read_table, text):
    assert read_table(SIMPLE, text).error == "truncated: there is no header"


def test_header_that_is_none(read_table):
    assert read_table(SIMPLE, '"MD5"x,a\n').error == "record 1: the header cannot be read"


def test_header_alone_is_an_empty_table(read_table):
    assert read_table(SIMPLE, "MD5").tally.records == 0


def test_quoted_field_that_never_ends(read_table):
    reading = read_table(SIMPLE, f'MD5\n{MD5}\n"{MD5}\n{MD5}\n')
    assert reading.error == "record 3: truncated: a quoted field never ends"


def test_bad_quoting_counts_every_line_that_it_swallowed(read_table):
    reading = read_table(SIMPLE, f'MD5,a\n{MD5},"\n{MD5},1\n{MD5},"x"\n{MD5},2\n')
    assert [record for *_, record in reading.added] == [5]
    assert reading.tally.quarantined == {"bad-quoting": 3}
    assert reading.tally.examples == {"bad-quoting": [2]}
    assert reading.tally.records == 4


def test_swallowed_rows_that_make_a_ragged_one_are_counted(read_table):
    reading = read_table(SIMPLE, f'MD5,a\n{MD5},"\n{MD5},1\n{MD5},",x\n{MD5},2\n')
    assert [record for *_, record in reading.added] == [5]
    assert reading.tally.quarantined == {"ragged-row": 3}


@pytest.mark.parametrize("size", [99, 100])
def test_record_too_large(read_table, size):
    text = f"MD5,a\n{MD5},{'x' * (size - 33)}\n{MD5},1\n"
    reading = read_table(SIMPLE, text, limits=Limits(record_size=99))
    assert len(reading.added) == (2 if size == 99 else 1)
    assert reading.tally.quarantined == ({} if size == 99 else {"record-too-large": 1})


def test_stray_quotation_mark_costs_no_more_than_one_large_record(read_table):
    text = f'MD5,a\n{MD5},"x\n' + f"{MD5},1\n" * 5
    reading = read_table(SIMPLE, text, limits=Limits(record_size=99))
    assert [record for *_, record in reading.added] == [5, 6, 7]
    assert reading.tally.quarantined == {"record-too-large": 3}


def test_json_line_too_large(read_table):
    text = json.dumps({"MD5": MD5, "a": "x" * 100}) + "\n" + json.dumps({"MD5": MD5})
    reading = read_table(SIMPLE, text, layout="jsonl", limits=Limits(record_size=99))
    assert [record for *_, record in reading.added] == [2]
    assert reading.tally.quarantined == {"record-too-large": 1}


@pytest.mark.parametrize(
    "line", ["{", "nonsense", '{"MD5": 1}}', "[" * 60_000, '{"MD5": "\\ud800"}', '{"a": 1' + "0" * 5_000 + "}"]
)
def test_not_json(read_table, line):
    assert refusals(read_table(SIMPLE, line + "\n", layout="jsonl")) == {"not-json": 1}


@pytest.mark.parametrize("line", ["[]", "1", '"a"', "null"])
def test_json_but_no_object(read_table, line):
    assert refusals(read_table(SIMPLE, line + "\n", layout="jsonl")) == {"not-an-object": 1}


def test_truncated_json(read_table):
    reading = read_table(SIMPLE, f'{{"MD5": "{MD5}"}}\n{{"MD5": "{MD5}', layout="jsonl")
    assert reading.error == "record 2: truncated: the last line is not whole"


LAST = 'key = ["id"]\nlabel = ["l"]\ndeleted = { column = "st", values = ["withdrawn"] }\n' + SIMPLE
WITHDRAWN = f"MD5,id,l,st\n{SHA1[:32]},1,A,\n{MD5},1701,B,withdrawn"


def test_no_cut_of_a_table_makes_an_addition_of_a_removal_or_another_key(read_table):
    for end in range(WITHDRAWN.index("1701"), len(WITHDRAWN)):
        reading = read_table(LAST, WITHDRAWN[:end])
        if WITHDRAWN[:end].count(",") < 9:
            assert reading.error == "record 3: truncated: the last line is not whole"
        else:
            assert reading.tally.quarantined == {"unfinished-row": 1}
            assert [each.key for each in reading.keyed] == ["1"]


def test_a_whole_row_needs_no_line_end(read_table):
    assert [each.removed for each in read_table(LAST, WITHDRAWN).keyed] == [False, True]
    active = read_table(LAST, WITHDRAWN.replace("withdrawn", "active"))
    assert [each.key for each in active.keyed] == ["1", "1701"]
    assert len(read_table(LAST, WITHDRAWN + ",").keyed) == 2
    assert len(read_table(LAST, WITHDRAWN.removesuffix("withdrawn") + "\r").keyed) == 2


@pytest.mark.parametrize(
    ("header", "row", "is_taken"),
    [
        ("MD5,st,l,id", f"{MD5},,A,17", False),
        ("MD5,st,l,id", f'{MD5},,A,"17"', True),
        ("MD5,st,l,id", f"{MD5},,A,17,", True),
        ("MD5,st,id,l", f"{MD5},,17,A", True),
        ("MD5,st,id,l", f"{MD5},,17,", False),
        ("MD5,st,id,l", f"{MD5},withdrawn,17,", True),
        ("MD5,st,id,l,more", f"{MD5},,17,,", True),
        ("id,st,l,MD5", f"17,,A,{MD5}", True),
    ],
)
def test_a_last_row_is_taken_if_no_cut_could_turn_it_into_another(read_table, header, row, is_taken):
    reading = read_table(LAST, f"{header}\n{row}")
    assert not reading.error
    assert [each.key for each in reading.keyed] == ["17"] * is_taken
    assert reading.tally.quarantined == ({} if is_taken else {"unfinished-row": 1})


@pytest.mark.parametrize(("text", "is_taken"), [("", False), ("no", True), ("0", True), ("yes", True)])
def test_a_last_row_that_does_not_say_whether_it_removes(read_table, text, is_taken):
    profile = one_hash(rest='deleted = { column = "d" }')
    reading = read_table(profile, f"MD5,d\n{MD5},{text}")
    assert len(reading.added + reading.removed) == is_taken


def test_a_last_row_that_lacks_fields_is_no_row_of_blank_ones(read_table):
    profile = one_hash(rest='short_rows = "blank"\nlabel = ["b"]')
    assert "not whole" in read_table(profile, f"MD5,a,b\n{MD5},1").error


def test_truncated_character(read_table):
    assert read_table(SIMPLE, "MD5\né".encode()[:-1]).error == "truncated: the last character is not whole"


def test_damaged_cell(read_table):
    profile = one_hash(rest='label = ["l"]')
    assert refusals(read_table(profile, b"l,MD5\n\xff," + MD5.encode())) == {"bad-encoding": 1}


def test_damaged_cell_that_nobody_reads(read_table):
    assert digests(read_table(SIMPLE, b"l,MD5\n\xff," + MD5.encode())) == [("MD5", MD5)]


def test_nul(read_table):
    assert read_table(SIMPLE, f"MD5\r\n{MD5}\r\0").error.startswith("record 3: this is not text")


def test_encoding_that_is_not_the_stated_one(read_table):
    assert read_table(SIMPLE, f"MD5\n{MD5}".encode("utf-16-le")).error.startswith("record 1: this is not text")


def test_chunks_have_a_size(read_table):
    profile = one_hash(rest='key = ["k"]')
    text = "k,MD5\n" + "".join(f"{number},{MD5}\n" for number in range(100))
    reading = read_table(profile, text, limits=Limits(chunk_size=10))
    assert [len(chunk.keyed) for chunk in reading.chunks] == [5] * 20
    assert [record for *_, record in reading.added] == list(range(2, 102))


def test_errors_and_tallies_hold_no_content(read_table):
    secret = "5ec2e7" * 4
    for profile, text, layout in [
        (SIMPLE, f'MD5\n"{secret}', "csv"),
        (SIMPLE, f"{secret}\n", "csv"),
        (SIMPLE, f'"{secret}"x\n', "csv"),
        (SIMPLE, f"MD5\n{secret}\n{secret},{secret}\n", "csv"),
        (SIMPLE, f'{{"MD5": "{secret}', "jsonl"),
        (SIMPLE, f'{{"MD5": {secret}}}\n', "jsonl"),
    ]:
        reading = read_table(profile, text, layout=layout)
        assert secret not in reading.error + repr(reading.tally)


_CELL = st.one_of(
    st.sampled_from(["", "0", "yes", "no", "A", "withdrawn", "md5", "sha1", "pdq", MD5, SHA1, "2025-12-31", "x", "é"]),
    st.text(alphabet='a";,\n\r \0\ufffd', max_size=4),
)
_ROWS = st.lists(st.lists(_CELL, min_size=11, max_size=13).map(";".join), max_size=8)
_END = st.sampled_from(["\n", "\r\n", "\r"])
_CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def both_ways(read, read_cut, profile, data, cuts):
    limits = Limits(record_size=200, chunk_size=3, statements=50)
    whole = read(ColumnsParser(ParserOptions(profile=profile), limits), [data])
    cut = read_cut(ColumnsParser(ParserOptions(profile=profile), limits), data, cuts)
    assert cut.outcome() == whole.outcome()


@given(rows=_ROWS, end=_END, last=st.booleans(), cuts=_CUTS, encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_cuts_of_a_table_change_nothing(read, read_cut, rows, end, last, cuts, encoding):
    data = end.join([FULL_HEADER, *rows, *([""] if last else [])]).encode(encoding)
    both_ways(read, read_cut, f'layout = "csv"\nencoding = "{encoding}"\n{FULL}', data, cuts)


_VALUE = st.one_of(_CELL, st.none(), st.booleans(), st.integers(-1, 1), st.just(1.5), st.lists(_CELL, max_size=2))
_OBJECT = st.dictionaries(st.sampled_from(["MD5", "k", "d", "t"]), _VALUE).map(lambda value: json.dumps(value))
_JSON_PROFILE = (
    'layout = "jsonl"\nlabel = ["t"]\ndeleted = { column = "d" }\n' + SIMPLE + '[[flag]]\ncolumn = "k"\nseparator = ","'
)


@given(lines=st.lists(st.one_of(_OBJECT, _CELL), max_size=8), end=_END, cuts=_CUTS)
def test_cuts_of_json_lines_change_nothing(read, read_cut, lines, end, cuts):
    both_ways(read, read_cut, _JSON_PROFILE, end.join(lines).encode(), cuts)


@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\xff\xfe", b"MD5,t,d\n"]),
    layout=st.sampled_from(["csv", "tsv", "jsonl"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    cuts=_CUTS,
)
def test_any_bytes_are_read_or_refused(read, read_cut, data, head, layout, encoding, cuts):
    both_ways(read, read_cut, f'layout = "{layout}"\nencoding = "{encoding}"\n{SIMPLE}', head + data, cuts)


def test_limits_stay_below_those_of_the_csv_module():
    assert columns_profile.Limits().record_size < csv.field_size_limit()
