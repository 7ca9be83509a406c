"""The format `columns`: what a record states, and the keys by which entries are replaced and removed."""

import json
from itertools import chain

import numpy as np
import pytest

from hashmatch.formats.columns_profile import ColumnsParser, Limits
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.model.opinions import Statement
from tests.unit.formats.columns import (
    FULL,
    MD5,
    SHA1,
    SHA256,
    SIMPLE,
    digests,
    full_row,
    one_hash,
    refusals,
    statements,
)


def test_all_columns(read_table):
    reading = read_table(
        FULL,
        full_row(
            id="k",
            md5=MD5,
            value=SHA256,
            type="sha256",
            severity="A",
            age="3-6",
            scheme="s",
            country="GB",
            updated="31/12/2025",
            identified="Yes",
            tags=" b, a,,b",
        ),
    )
    statement = Statement("A/3-6", "s", "GB", ("a", "b", "victim-identified"), "2025-12-31")
    assert sorted(reading.added) == [("MD5", MD5, statement, 2), ("SHA256", SHA256, statement, 2)]
    assert reading.keyed == [KeyedRecord(2, "k")]


def test_importer_fills_in_what_is_blank(read_table):
    reading = read_table(FULL, full_row(id="k", md5=MD5), options={"label": "l", "scheme": "s", "jurisdiction": "NL"})
    assert statements(reading) == [Statement("l", "s", "NL")]


def test_parts_of_a_label_keep_their_places(read_table):
    first, second = (read_table(FULL, full_row(id="k", md5=MD5, **part)) for part in ({"severity": "A"}, {"age": "A"}))
    assert [each.label for each in statements(first) + statements(second)] == ["A/", "/A"]


def test_equal_statements_are_kept_once():
    parser = ColumnsParser(ParserOptions(profile='layout = "csv"\n' + one_hash(rest='label = ["l"]')))
    text = "l,MD5\n" + "".join(f"{number % 3},{MD5}\n" for number in range(30))
    (chunk,) = chain(parser.feed(text.encode()), parser.finish())
    assert len(parser.statements) == 4
    assert chunk.columns[0].statements.dtype == np.uint32


def test_longest_label(read_table):
    profile = one_hash(rest='label = ["l"]')
    assert len(statements(read_table(profile, f"l,MD5\n{'é' * 200},{MD5}\n"))) == 1
    assert refusals(read_table(profile, f"l,MD5\n{'é' * 201},{MD5}\n")) == {"label-too-long": 1}


@pytest.mark.parametrize("column", ["scheme", "country"])
def test_other_texts_have_a_limit(read_table, column):
    assert refusals(read_table(FULL, full_row(id="k", md5=MD5, **{column: "x" * 201}))) == {"value-too-long": 1}


def test_number_of_flags_has_a_limit(read_table):
    tags = ",".join(map(str, range(65)))
    assert refusals(read_table(FULL, full_row(id="k", md5=MD5, tags=tags))) == {"too-many-flags": 1}


def test_flags_as_a_list(read_table):
    text = json.dumps({"MD5": MD5, "t": ["b", "a,c", " ", None]})
    reading = read_table(SIMPLE + '[[flag]]\ncolumn = "t"\nseparator = ","', text, layout="jsonl")
    assert [statement.flags for statement in statements(reading)] == [("a,c", "b")]


@pytest.mark.parametrize("text", ["y", "YES", "t", "True", "1"])
def test_yes(read_table, text):
    assert [each.flags for each in statements(read_table(FULL, full_row(id="k", md5=MD5, identified=text)))] == [
        ("victim-identified",)
    ]


@pytest.mark.parametrize("text", ["n", "No", "F", "false", "0", " "])
def test_no(read_table, text):
    assert [each.flags for each in statements(read_table(FULL, full_row(id="k", md5=MD5, identified=text)))] == [()]


def test_neither_yes_nor_no(read_table):
    reading = read_table(FULL, full_row(id="k", md5=MD5, value=SHA1, type="sha1", identified="maybe", tags="a"))
    assert [each.flags for each in statements(reading)] == [("a",), ("a",)]
    assert reading.tally.quarantined == {"bad-boolean": 1}


@pytest.mark.parametrize(("tags", "reason"), [("a," + "x" * 201, "value-too-long"), ("a,\ufffd", "bad-encoding")])
def test_flags_that_cannot_be_kept_are_refused_without_the_fingerprints(read_table, tags, reason):
    reading = read_table(FULL, full_row(id="k", md5=MD5, identified="y", tags=tags))
    assert [each.flags for each in statements(reading)] == [("victim-identified",)]
    assert reading.tally.quarantined == {reason: 1}


@pytest.mark.parametrize(
    ("formats", "text", "date"),
    [
        ('"iso"', "2025-12-31", "2025-12-31"),
        ('"iso"', "2025-12-31T23:30:00-01:00", "2026-01-01"),
        ('"iso"', "2025-12-31T23:30:00Z", "2025-12-31"),
        ('"%m/%d/%y", "%d.%m.%Y"', "31.12.2025", "2025-12-31"),
        ('"unix"', "0", "1970-01-01"),
        ('"unix"', "1735689599.75", "2024-12-31"),
        ('"unix"', "-0.5", "1969-12-31"),
        ('"iso"', "", ""),
    ],
)
def test_dates(read_table, formats, text, date):
    profile = one_hash(rest=f'updated_on = {{ column = "u", formats = [{formats}] }}')
    assert [each.updated_on for each in statements(read_table(profile, f"u,MD5\n{text},{MD5}\n"))] == [date]


@pytest.mark.parametrize("text", ["2025-02-30", "soon", "0001-01-01T00:00:00+14:00", "10000000000", "1e3"])
def test_dates_that_are_none(read_table, text):
    profile = one_hash(rest='updated_on = { column = "u", formats = ["iso", "unix"] }')
    reading = read_table(profile, f"u,MD5\n{text},{MD5}\n")
    assert [each.updated_on for each in statements(reading)] == [""]
    assert reading.tally.quarantined == {"bad-date": 1}


def test_number_of_statements_has_a_limit(read_table):
    text = "l,MD5\n" + "".join(f"{number},{MD5}\n" for number in range(4))
    reading = read_table(one_hash(rest='label = ["l"]'), text, limits=Limits(statements=4))
    assert reading.error == "record 5: more than 4 different statements"


def test_removal_by_key(read_table):
    reading = read_table(FULL, full_row(id="k", md5="not read", status="Withdrawn"))
    assert reading.keyed == [KeyedRecord(2, "k", removed=True)]
    assert (reading.added, reading.removed) == ([], [])
    assert (reading.tally.records, reading.tally.read, reading.tally.removals) == (1, 1, 1)


def test_unknown_status_is_no_removal(read_table):
    assert read_table(FULL, full_row(id="k", md5=MD5, status="Brand new")).keyed == [KeyedRecord(2, "k")]


def test_removal_without_keys(read_table):
    profile = one_hash(rest='deleted = { column = "d" }')
    reading = read_table(profile, f"d,MD5\n0,{MD5}\nyes,{MD5}\n,{MD5}\n1,x\n")
    assert [record for *_, record in reading.added] == [2, 4]
    assert reading.removed == [("MD5", MD5, Statement(), 3)]
    assert (reading.tally.read, reading.tally.removals) == (4, 1)
    assert reading.tally.quarantined == {"wrong-length": 1}


def test_removal_that_cannot_be_told(read_table):
    profile = one_hash(rest='deleted = { column = "d" }')
    assert refusals(read_table(profile, f"d,MD5\nperhaps,{MD5}\n")) == {"bad-boolean": 1}


def test_record_without_its_key(read_table):
    assert refusals(read_table(FULL, full_row(md5=MD5))) == {"key-missing": 1}


def test_no_two_entries_have_one_key_of_several_parts(read_table):
    text = f'a,b,MD5\n"x\x1fy",z,{MD5}\nx,"y\x1fz",{MD5}\nx,y,{MD5}\n'
    reading = read_table(one_hash(rest='key = ["a", "b"]'), text)
    assert [each.key for each in reading.keyed] == ["x\x1fy"]
    assert reading.tally.examples == {"bad-value": [2, 3]}
    assert len(read_table(one_hash(rest='key = ["a"]'), text).keyed) == 3


def test_key_too_long(read_table):
    assert refusals(read_table(FULL, full_row(id="k" * 201, md5=MD5))) == {"key-too-long": 1}


def test_key_of_several_columns(read_table):
    profile = one_hash(rest='key = ["a", "b"]')
    reading = read_table(profile, f"a,b,MD5\n1,23,{MD5}\n12,3,{MD5}\n,3,{MD5}\n")
    assert len({keyed.key for keyed in reading.keyed}) == 2
    assert reading.tally.quarantined == {"key-missing": 1}


def test_key_zero(read_table):
    assert read_table(FULL, full_row(id="0", md5=MD5)).keyed == [KeyedRecord(2, "0")]


def test_one_bad_fingerprint_leaves_the_others(read_table):
    reading = read_table(FULL, full_row(id="k", md5=MD5, value="00", type="vpdq"))
    assert digests(reading) == [("MD5", MD5)]
    assert reading.tally.quarantined == {"bad-frames": 1}
    assert reading.keyed == [KeyedRecord(2, "k")]


def test_record_of_bad_fingerprints_changes_nothing(read_table):
    assert refusals(read_table(FULL, full_row(id="k", md5="x", value="00", type="vpdq"))) == {
        "wrong-length": 1,
        "bad-frames": 1,
    }


def test_record_without_fingerprints(read_table):
    assert refusals(read_table(FULL, full_row(id="k", severity="A"))) == {"no-fingerprint": 1}
