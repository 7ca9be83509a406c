"""The format `columns`: layouts, encodings and headers."""

import json

import pytest

from tests.unit.formats.columns import MD5, SIMPLE, digests, one_hash, statements


def test_csv(read_table):
    assert digests(read_table(SIMPLE, f"a,MD5\n1,{MD5}\n")) == [("MD5", MD5)]


def test_tsv(read_table):
    assert digests(read_table(SIMPLE, f"a\tMD5\n1\t{MD5}\n", layout="tsv")) == [("MD5", MD5)]


def test_json_lines(read_table):
    text = f'{{"MD5": "{MD5}"}}\n\n{{"MD5": "{MD5.upper()}"}}'
    assert digests(read_table(SIMPLE, text, layout="jsonl")) == [("MD5", MD5)] * 2


def test_dotted_paths(read_table):
    text = json.dumps({"hash": {"md5": MD5}, "more": [1.5]})
    assert digests(read_table(one_hash('"hash.md5"'), text, layout="jsonl")) == [("MD5", MD5)]


def test_header_in_any_order_and_case(read_table):
    assert digests(read_table(SIMPLE, f" b , md5 ,MD5x\n1,{MD5},2\n")) == [("MD5", MD5)]


def test_numbers_without_a_header(read_table):
    assert digests(read_table(one_hash("2", rest="header = false"), f"1,{MD5}\n2,{MD5},x\n")) == [("MD5", MD5)] * 2


def test_numbers_with_a_header(read_table):
    assert digests(read_table(one_hash("2"), f"a,a\n1,{MD5}\n")) == [("MD5", MD5)]


def test_quoted_fields(read_table):
    reading = read_table(one_hash(rest='label = ["l"]'), f'"l","MD5"\r\n"a ""b"", \r\nc","{MD5}"\r\nd,{MD5}\r\n')
    assert [statement.label for statement in statements(reading)] == ['a "b", \nc', "d"]
    assert [record for *_, record in reading.added] == [2, 4]


def test_no_quoting(read_table):
    reading = read_table(one_hash(rest="quote = ''\nlabel = ['l']"), f'l,MD5\n"a,{MD5}\n')
    assert [statement.label for statement in statements(reading)] == ['"a']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(read_table, end):
    reading = read_table(SIMPLE, end.join(["MD5", MD5, "", MD5]))
    assert [record for *_, record in reading.added] == [2, 4]


@pytest.mark.parametrize(
    ("stated", "encoding", "mark"),
    [
        ("utf-8", "utf-8", ""),
        ("utf-8", "utf-8", "\ufeff"),
        ("latin-1", "latin-1", ""),
        ("utf-16", "utf-16-le", ""),
        ("utf-16", "utf-16-be", "\ufeff"),
        ("utf-8", "utf-16-le", "\ufeff"),
        ("latin-1", "utf-8", "\ufeff"),
    ],
)
def test_encodings(read_table, stated, encoding, mark):
    profile = one_hash(rest=f'encoding = "{stated}"\nlabel = ["é"]')
    reading = read_table(profile, f"{mark}é,MD5\nà\x85b,{MD5}\n".encode(encoding))
    assert [statement.label for statement in statements(reading)] == ["à\x85b"]
