import base64
import csv
import hashlib
import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats import columns_profile
from hashmatch.formats.columns_profile import ColumnsParser, Limits
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm
from hashmatch.model.opinions import Statement

MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, b"a benign file").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
)
SIMPLE = '[[hash]]\ncolumn = "MD5"\nalgorithm = "md5"\n'
FULL = """
delimiter = ";"
label = ["Severity", "Age"]
scheme = "Scheme"
jurisdiction = "Country"
key = ["ID"]
updated_on = { column = "Updated", formats = ["iso", "%d/%m/%Y"] }
deleted = { column = "Status", values = ["withdrawn", "deleted"] }

[[hash]]
column = "MD5"
algorithm = "md5"

[[hash]]
column = "Value"
algorithm_column = "Type"

[[flag]]
column = "Identified"
word = "victim-identified"

[[flag]]
column = "Tags"
separator = ","
"""
FULL_HEADER = "id;MD5;value;type;SEVERITY;age;scheme;country;updated;status;identified;tags"


@pytest.fixture(scope="module")
def read_table(read):
    def read_table(profile, *pieces, layout="csv", limits=None, options=None):
        options = options or {}
        parser = ColumnsParser(ParserOptions(profile=f'layout = "{layout}"\n{profile}', **options), limits)
        return read(parser, [p.encode() if isinstance(p, str) else p for p in pieces])

    return read_table


def one_hash(column='"MD5"', algorithm="md5", form="auto", rest=""):
    return f'{rest}\n[[hash]]\ncolumn = {column}\nalgorithm = "{algorithm}"\nform = "{form}"\n'


def digests(reading):
    assert not reading.error
    return [(algorithm, digest) for algorithm, digest, _, _ in reading.added]


def refusals(reading):
    assert not reading.error
    assert not reading.added
    assert not reading.keyed
    return dict(reading.tally.quarantined)


def statements(reading):
    assert not reading.error
    return [statement for _, _, statement, _ in reading.added]


def full_row(**cells):
    names = FULL_HEADER.lower().split(";")
    assert cells.keys() <= set(names)
    return f"{FULL_HEADER}\n" + ";".join(cells.get(name, "") for name in names) + "\n"


class TestLayouts:
    def test_csv(self, read_table):
        assert digests(read_table(SIMPLE, f"a,MD5\n1,{MD5}\n")) == [("MD5", MD5)]

    def test_tsv(self, read_table):
        assert digests(read_table(SIMPLE, f"a\tMD5\n1\t{MD5}\n", layout="tsv")) == [("MD5", MD5)]

    def test_json_lines(self, read_table):
        text = f'{{"MD5": "{MD5}"}}\n\n{{"MD5": "{MD5.upper()}"}}'
        assert digests(read_table(SIMPLE, text, layout="jsonl")) == [("MD5", MD5)] * 2

    def test_dotted_paths(self, read_table):
        text = json.dumps({"hash": {"md5": MD5}, "more": [1.5]})
        assert digests(read_table(one_hash('"hash.md5"'), text, layout="jsonl")) == [("MD5", MD5)]

    def test_header_in_any_order_and_case(self, read_table):
        assert digests(read_table(SIMPLE, f" b , md5 ,MD5x\n1,{MD5},2\n")) == [("MD5", MD5)]

    def test_numbers_without_a_header(self, read_table):
        assert digests(read_table(one_hash("2", rest="header = false"), f"1,{MD5}\n2,{MD5},x\n")) == [("MD5", MD5)] * 2

    def test_numbers_with_a_header(self, read_table):
        assert digests(read_table(one_hash("2"), f"a,a\n1,{MD5}\n")) == [("MD5", MD5)]

    def test_quoted_fields(self, read_table):
        reading = read_table(one_hash(rest='label = ["l"]'), f'"l","MD5"\r\n"a ""b"", \r\nc","{MD5}"\r\nd,{MD5}\r\n')
        assert [statement.label for statement in statements(reading)] == ['a "b", \nc', "d"]
        assert [record for *_, record in reading.added] == [2, 4]

    def test_no_quoting(self, read_table):
        reading = read_table(one_hash(rest="quote = ''\nlabel = ['l']"), f'l,MD5\n"a,{MD5}\n')
        assert [statement.label for statement in statements(reading)] == ['"a']

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_ends(self, read_table, end):
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
    def test_encodings(self, read_table, stated, encoding, mark):
        profile = one_hash(rest=f'encoding = "{stated}"\nlabel = ["é"]')
        reading = read_table(profile, f"{mark}é,MD5\nà\x85b,{MD5}\n".encode(encoding))
        assert [statement.label for statement in statements(reading)] == ["à\x85b"]


class TestValues:
    @pytest.mark.parametrize(("name", "digest"), [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256), ("SHA512", SHA512)])
    @pytest.mark.parametrize("stated", [True, False])
    def test_forms(self, read_table, name, digest, stated):
        raw = bytes.fromhex(digest)
        for form, texts in {
            "hex": [digest, digest.upper()],
            "base64": [base64.b64encode(raw).decode(), base64.b64encode(raw).decode().rstrip("=")],
            "base32": [base64.b32encode(raw).decode(), base64.b32encode(raw).decode().rstrip("=").lower()],
        }.items():
            profile = one_hash(algorithm=name, form=form if stated else "auto")
            reading = read_table(profile, "\n".join(["MD5", *(f" {text} " for text in texts)]))
            assert digests(reading) == [(name, digest)] * 2

    @pytest.mark.parametrize(
        ("form", "text", "reason"),
        [
            ("auto", MD5[:-1], "wrong-length"),
            ("auto", "x" * 32, "not-hex"),
            ("auto", "?" * 22, "not-base64"),
            ("auto", "1" * 26, "not-base32"),
            ("hex", MD5[:-1], "odd-length"),
            ("hex", MD5[:-2], "wrong-length"),
            ("hex", f"{MD5[:15]} {MD5[16:]}", "not-hex"),
            ("hex", MD5[:-1] + "é", "not-hex"),
            ("base64", "A" * 23, "wrong-length"),
            ("base64", "A" * 21 + "B", "not-base64"),
            ("base64", "é" * 22, "not-base64"),
            ("base32", "A" * 25, "wrong-length"),
            ("base32", "A" * 25 + "B", "not-base32"),
            ("hex", "0" * 32, "degenerate"),
            ("hex", "F" * 32, "degenerate"),
            ("auto", "A" * 22, "degenerate"),
            ("hex", EMPTY_FILE_DIGESTS[Algorithm.MD5].hex(), "empty-file-digest"),
            ("auto", base64.b64encode(EMPTY_FILE_DIGESTS[Algorithm.MD5]).decode(), "empty-file-digest"),
        ],
    )
    def test_values_that_are_refused(self, read_table, form, text, reason):
        assert refusals(read_table(one_hash(form=form), f"MD5\n{text}\n")) == {reason: 1}

    def test_a_video_does_not_fit_into_a_cell(self, read_table):
        assert refusals(read_table(one_hash(algorithm="vPDQ"), "MD5\nanything\n")) == {"algorithm-not-served": 1}

    @pytest.mark.parametrize(("name", "size"), [("PDQ", 32), ("PhotoDNA", 144)])
    @pytest.mark.parametrize("form", ["hex", "base64"])
    def test_perceptual_values(self, read_table, name, size, form):
        value = bytes(range(size))
        text = value.hex() if form == "hex" else base64.b64encode(value).decode()
        reading = read_table(one_hash(algorithm=name), f"MD5\n{text}\n")
        assert digests(reading) == [(name.upper(), value.hex())]

    def test_algorithm_of_each_record(self, read_table):
        profile = 'names = { "HASH_MD5" = "md5" }'
        profile = f'[[hash]]\ncolumn = "v"\nalgorithm_column = "t"\n{profile}\n'
        rows = [("SHA-256", SHA256), ("hash_md5", MD5), ("sha_1", SHA1), ("md4", MD5), ("", MD5), ("MD5", SHA1)]
        reading = read_table(profile, "t,v\n" + "".join(f"{name},{value}\n" for name, value in rows))
        assert sorted(digests(reading)) == [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256)]
        assert reading.tally.quarantined == {"unknown-algorithm": 2, "wrong-length": 1}

    def test_zero_is_a_label_and_blank_is_not(self, read_table):
        reading = read_table(
            one_hash(rest='label = ["l"]'), f"l,MD5\n0,{MD5}\n ,{MD5}\n", options={"label": "the default"}
        )
        assert [statement.label for statement in statements(reading)] == ["0", "the default"]

    def test_numbers_and_booleans_in_json_are_text(self, read_table):
        lines = [{"MD5": MD5, "l": value} for value in (0, -7, True, None, "x")]
        reading = read_table(
            one_hash(rest='label = ["l"]'), "\n".join(map(json.dumps, [*lines, {"MD5": MD5}])), layout="jsonl"
        )
        assert [statement.label for statement in statements(reading)] == ["0", "-7", "true", "", "x", ""]

    @pytest.mark.parametrize("value", [1.5, {"a": 1}, ["a"], [], [[]]])
    def test_other_values_in_json_are_refused(self, read_table, value):
        text = json.dumps({"MD5": MD5, "l": value})
        reading = read_table(one_hash(rest='label = ["l"]'), text, layout="jsonl")
        assert refusals(reading) == {"bad-value": 1}

    def test_path_through_a_text_is_refused(self, read_table):
        assert refusals(read_table(one_hash('"a.b"'), '{"a": "c"}', layout="jsonl")) == {"bad-value": 1}

    def test_list_of_hashes_is_refused_but_not_its_neighbours(self, read_table):
        profile = SIMPLE + '[[hash]]\ncolumn = "SHA1"\nalgorithm = "sha1"\n'
        reading = read_table(profile, json.dumps({"MD5": MD5, "SHA1": [SHA1]}), layout="jsonl")
        assert digests(reading) == [("MD5", MD5)]
        assert reading.tally.quarantined == {"bad-value": 1}


class TestStatements:
    def test_all_columns(self, read_table):
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

    def test_importer_fills_in_what_is_blank(self, read_table):
        reading = read_table(
            FULL, full_row(id="k", md5=MD5), options={"label": "l", "scheme": "s", "jurisdiction": "NL"}
        )
        assert statements(reading) == [Statement("l", "s", "NL")]

    def test_parts_of_a_label_keep_their_places(self, read_table):
        first, second = (
            read_table(FULL, full_row(id="k", md5=MD5, **part)) for part in ({"severity": "A"}, {"age": "A"})
        )
        assert [each.label for each in statements(first) + statements(second)] == ["A/", "/A"]

    def test_equal_statements_are_kept_once(self):
        parser = ColumnsParser(ParserOptions(profile='layout = "csv"\n' + one_hash(rest='label = ["l"]')))
        text = "l,MD5\n" + "".join(f"{number % 3},{MD5}\n" for number in range(30))
        (chunk,) = chain(parser.feed(text.encode()), parser.finish())
        assert len(parser.statements) == 4
        assert chunk.columns[0].statements.dtype == np.uint32

    def test_longest_label(self, read_table):
        profile = one_hash(rest='label = ["l"]')
        assert len(statements(read_table(profile, f"l,MD5\n{'é' * 200},{MD5}\n"))) == 1
        assert refusals(read_table(profile, f"l,MD5\n{'é' * 201},{MD5}\n")) == {"label-too-long": 1}

    @pytest.mark.parametrize("column", ["scheme", "country", "tags"])
    def test_other_texts_have_a_limit(self, read_table, column):
        assert refusals(read_table(FULL, full_row(id="k", md5=MD5, **{column: "x" * 201}))) == {"value-too-long": 1}

    def test_number_of_flags_has_a_limit(self, read_table):
        tags = ",".join(map(str, range(65)))
        assert refusals(read_table(FULL, full_row(id="k", md5=MD5, tags=tags))) == {"too-many-flags": 1}

    def test_flags_as_a_list(self, read_table):
        text = json.dumps({"MD5": MD5, "t": ["b", "a,c", " ", None]})
        reading = read_table(SIMPLE + '[[flag]]\ncolumn = "t"\nseparator = ","', text, layout="jsonl")
        assert [statement.flags for statement in statements(reading)] == [("a,c", "b")]

    @pytest.mark.parametrize("text", ["y", "YES", "t", "True", "1"])
    def test_yes(self, read_table, text):
        assert [each.flags for each in statements(read_table(FULL, full_row(id="k", md5=MD5, identified=text)))] == [
            ("victim-identified",)
        ]

    @pytest.mark.parametrize("text", ["n", "No", "F", "false", "0", " "])
    def test_no(self, read_table, text):
        assert [each.flags for each in statements(read_table(FULL, full_row(id="k", md5=MD5, identified=text)))] == [()]

    def test_neither_yes_nor_no(self, read_table):
        reading = read_table(FULL, full_row(id="k", md5=MD5, value=SHA1, type="sha1", identified="maybe"))
        assert refusals(reading) == {"bad-boolean": 2}

    @pytest.mark.parametrize(
        ("formats", "text", "date"),
        [
            ('"iso"', "2025-12-31", "2025-12-31"),
            ('"iso"', "2025-12-31T23:30:00-01:00", "2026-01-01"),
            ('"iso"', "2025-12-31T23:30:00Z", "2025-12-31"),
            ('"%m/%d/%y", "%d.%m.%Y"', "31.12.2025", "2025-12-31"),
            ('"unix"', "0", "1970-01-01"),
            ('"iso"', "", ""),
        ],
    )
    def test_dates(self, read_table, formats, text, date):
        profile = one_hash(rest=f'updated_on = {{ column = "u", formats = [{formats}] }}')
        assert [each.updated_on for each in statements(read_table(profile, f"u,MD5\n{text},{MD5}\n"))] == [date]

    @pytest.mark.parametrize("text", ["2025-02-30", "soon", "0001-01-01T00:00:00+14:00", "10000000000", "1e3"])
    def test_dates_that_are_none(self, read_table, text):
        profile = one_hash(rest='updated_on = { column = "u", formats = ["iso", "unix"] }')
        assert refusals(read_table(profile, f"u,MD5\n{text},{MD5}\n")) == {"bad-date": 1}

    def test_number_of_statements_has_a_limit(self, read_table):
        text = "l,MD5\n" + "".join(f"{number},{MD5}\n" for number in range(4))
        reading = read_table(one_hash(rest='label = ["l"]'), text, limits=Limits(statements=4))
        assert reading.error == "record 5: more than 4 different statements"


class TestKeysAndRemovals:
    def test_removal_by_key(self, read_table):
        reading = read_table(FULL, full_row(id="k", md5="not read", status="Withdrawn"))
        assert reading.keyed == [KeyedRecord(2, "k", removed=True)]
        assert (reading.added, reading.removed) == ([], [])
        assert (reading.tally.records, reading.tally.read, reading.tally.removals) == (1, 1, 1)

    def test_unknown_status_is_no_removal(self, read_table):
        assert read_table(FULL, full_row(id="k", md5=MD5, status="Brand new")).keyed == [KeyedRecord(2, "k")]

    def test_removal_without_keys(self, read_table):
        profile = one_hash(rest='deleted = { column = "d" }')
        reading = read_table(profile, f"d,MD5\n0,{MD5}\nyes,{MD5}\n,{MD5}\n1,x\n")
        assert [record for *_, record in reading.added] == [2, 4]
        assert reading.removed == [("MD5", MD5, Statement(), 3)]
        assert (reading.tally.read, reading.tally.removals) == (4, 1)
        assert reading.tally.quarantined == {"wrong-length": 1}

    def test_removal_that_cannot_be_told(self, read_table):
        profile = one_hash(rest='deleted = { column = "d" }')
        assert refusals(read_table(profile, f"d,MD5\nperhaps,{MD5}\n")) == {"bad-boolean": 1}

    def test_record_without_its_key(self, read_table):
        assert refusals(read_table(FULL, full_row(md5=MD5))) == {"key-missing": 1}

    def test_key_too_long(self, read_table):
        assert refusals(read_table(FULL, full_row(id="k" * 201, md5=MD5))) == {"key-too-long": 1}

    def test_key_of_several_columns(self, read_table):
        profile = one_hash(rest='key = ["a", "b"]')
        reading = read_table(profile, f"a,b,MD5\n1,23,{MD5}\n12,3,{MD5}\n,3,{MD5}\n")
        assert len({keyed.key for keyed in reading.keyed}) == 2
        assert reading.tally.quarantined == {"key-missing": 1}

    def test_key_zero(self, read_table):
        assert read_table(FULL, full_row(id="0", md5=MD5)).keyed == [KeyedRecord(2, "0")]

    def test_one_bad_fingerprint_leaves_the_others(self, read_table):
        reading = read_table(FULL, full_row(id="k", md5=MD5, value="00", type="vpdq"))
        assert digests(reading) == [("MD5", MD5)]
        assert reading.tally.quarantined == {"algorithm-not-served": 1}
        assert reading.keyed == [KeyedRecord(2, "k")]

    def test_record_of_bad_fingerprints_changes_nothing(self, read_table):
        assert refusals(read_table(FULL, full_row(id="k", md5="x", value="00", type="vpdq"))) == {
            "wrong-length": 1,
            "algorithm-not-served": 1,
        }

    def test_record_without_fingerprints(self, read_table):
        assert refusals(read_table(FULL, full_row(id="k", severity="A"))) == {"no-fingerprint": 1}


class TestUnsoundTables:
    def test_row_too_short(self, read_table):
        assert refusals(read_table(SIMPLE, f"MD5,a,b\n{MD5},1\n")) == {"ragged-row": 1}

    def test_row_too_long(self, read_table):
        assert refusals(read_table(SIMPLE, f"MD5,a\n{MD5},1,2\n")) == {"ragged-row": 1}

    def test_blank_fields_behind_the_row_do_no_harm(self, read_table):
        assert digests(read_table(SIMPLE, f"MD5,a\n{MD5},1,, \n")) == [("MD5", MD5)]

    def test_short_rows_as_blank(self, read_table):
        profile = one_hash(rest='short_rows = "blank"\nlabel = ["b"]')
        assert digests(read_table(profile, f"MD5,a,b\n{MD5}\n")) == [("MD5", MD5)]

    def test_short_row_without_a_header(self, read_table):
        assert refusals(read_table(one_hash("3", rest="header = false"), f"{MD5},1\n")) == {"ragged-row": 1}

    def test_column_that_the_header_lacks(self, read_table):
        reading = read_table(FULL, "MD5;ID;Severity\n")
        assert reading.error.startswith("record 1: the header lacks columns of the profile: 'Value', 'Type', 'Age'")

    def test_number_beyond_the_header(self, read_table):
        assert read_table(one_hash("3"), "a,b\n").error.endswith("lacks columns of the profile: 3")

    def test_column_that_the_header_has_twice(self, read_table):
        assert read_table(SIMPLE, "MD5,md5\n").error == "record 1: the header has the column 'MD5' more than once"

    @pytest.mark.parametrize("text", ["", "\n\n"])
    def test_no_header(self, read_table, text):
        assert read_table(SIMPLE, text).error == "truncated: there is no header"

    def test_header_that_is_none(self, read_table):
        assert read_table(SIMPLE, '"MD5"x,a\n').error == "record 1: the header cannot be read"

    def test_header_alone_is_an_empty_table(self, read_table):
        assert read_table(SIMPLE, "MD5").tally.records == 0

    def test_quoted_field_that_never_ends(self, read_table):
        reading = read_table(SIMPLE, f'MD5\n{MD5}\n"{MD5}\n{MD5}\n')
        assert reading.error == "record 3: truncated: a quoted field never ends"

    def test_bad_quoting_counts_every_line_that_it_swallowed(self, read_table):
        reading = read_table(SIMPLE, f'MD5,a\n{MD5},"\n{MD5},1\n{MD5},"x"\n{MD5},2\n')
        assert [record for *_, record in reading.added] == [5]
        assert reading.tally.quarantined == {"bad-quoting": 3}
        assert reading.tally.examples == {"bad-quoting": [2]}
        assert reading.tally.records == 4

    def test_swallowed_rows_that_make_a_ragged_one_are_counted(self, read_table):
        reading = read_table(SIMPLE, f'MD5,a\n{MD5},"\n{MD5},1\n{MD5},",x\n{MD5},2\n')
        assert [record for *_, record in reading.added] == [5]
        assert reading.tally.quarantined == {"ragged-row": 3}

    @pytest.mark.parametrize("size", [99, 100])
    def test_record_too_large(self, read_table, size):
        text = f"MD5,a\n{MD5},{'x' * (size - 33)}\n{MD5},1\n"
        reading = read_table(SIMPLE, text, limits=Limits(record_size=99))
        assert len(reading.added) == (2 if size == 99 else 1)
        assert reading.tally.quarantined == ({} if size == 99 else {"record-too-large": 1})

    def test_stray_quotation_mark_costs_no_more_than_one_large_record(self, read_table):
        text = f'MD5,a\n{MD5},"x\n' + f"{MD5},1\n" * 5
        reading = read_table(SIMPLE, text, limits=Limits(record_size=99))
        assert [record for *_, record in reading.added] == [5, 6, 7]
        assert reading.tally.quarantined == {"record-too-large": 3}

    def test_json_line_too_large(self, read_table):
        text = json.dumps({"MD5": MD5, "a": "x" * 100}) + "\n" + json.dumps({"MD5": MD5})
        reading = read_table(SIMPLE, text, layout="jsonl", limits=Limits(record_size=99))
        assert [record for *_, record in reading.added] == [2]
        assert reading.tally.quarantined == {"record-too-large": 1}

    @pytest.mark.parametrize(
        "line", ["{", "nonsense", '{"MD5": 1}}', "[" * 60_000, '{"MD5": "\\ud800"}', '{"a": 1' + "0" * 5_000 + "}"]
    )
    def test_not_json(self, read_table, line):
        assert refusals(read_table(SIMPLE, line + "\n", layout="jsonl")) == {"not-json": 1}

    @pytest.mark.parametrize("line", ["[]", "1", '"a"', "null"])
    def test_json_but_no_object(self, read_table, line):
        assert refusals(read_table(SIMPLE, line + "\n", layout="jsonl")) == {"not-an-object": 1}

    def test_truncated_json(self, read_table):
        reading = read_table(SIMPLE, f'{{"MD5": "{MD5}"}}\n{{"MD5": "{MD5}', layout="jsonl")
        assert reading.error == "record 2: truncated: the last line is not whole"

    def test_truncated_character(self, read_table):
        assert read_table(SIMPLE, "MD5\né".encode()[:-1]).error == "truncated: the last character is not whole"

    def test_damaged_cell(self, read_table):
        profile = one_hash(rest='label = ["l"]')
        assert refusals(read_table(profile, b"l,MD5\n\xff," + MD5.encode())) == {"bad-encoding": 1}

    def test_damaged_cell_that_nobody_reads(self, read_table):
        assert digests(read_table(SIMPLE, b"l,MD5\n\xff," + MD5.encode())) == [("MD5", MD5)]

    def test_nul(self, read_table):
        assert read_table(SIMPLE, f"MD5\r\n{MD5}\r\0").error.startswith("record 3: this is not text")

    def test_encoding_that_is_not_the_stated_one(self, read_table):
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
