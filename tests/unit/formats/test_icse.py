import base64
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.formats.icse import COLUMNS, IcseParser, recognises
from hashmatch.model.opinions import Statement

SEED = b"a benign file"
MD5, SHA1 = hashlib.md5(SEED).hexdigest(), hashlib.sha1(SEED).hexdigest()
PHOTODNA = random.Random(4).randbytes(144)
HEADER = (
    "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline"
)
ROW = f"{MD5.upper()};{SHA1};{base64.b64encode(PHOTODNA).decode()};17;y;No;F;a series;3;TRUE;Image;yes"
OPTIONS = ParserOptions(label="stated", jurisdiction="FR")


@pytest.fixture
def read_rows(read):
    def read_rows(*rows, header=HEADER):
        return read(IcseParser(OPTIONS), ["\r\n".join([header, *rows, ""]).encode()])

    return read_rows


def row(**cells):
    names = HEADER.split(";")
    return ";".join(cells.get(name.replace(" ", "_"), old) for name, old in zip(names, ROW.split(";"), strict=True))


def test_a_row_arrives_with_its_three_hashes_and_what_is_said(read_rows):
    reading = read_rows(ROW)
    flags = ("file-available", "is-distributed", "media-type:Image", "series:a series", "submissions:3")
    said = Statement("yes", "interpol-baseline", "FR", flags)
    assert reading.added == [
        ("MD5", MD5, said, 2),
        ("SHA1", SHA1, said, 2),
        ("PHOTODNA", PHOTODNA.hex(), said, 2),
    ]
    assert reading.keyed == [KeyedRecord(2, "17")]


@given(order=st.permutations(range(12)), upper=st.booleans())
def test_columns_come_in_any_order_and_case(read, order, upper):
    names, cells = HEADER.split(";"), ROW.split(";")
    header = ";".join(names[place] for place in order)
    moved = ";".join(cells[place] for place in order)
    data = f"{header.upper() if upper else header.lower()}\n{moved}\n".encode()
    straight = read(IcseParser(OPTIONS), [f"{HEADER}\n{ROW}\n".encode()])
    assert recognises(data)
    assert read(IcseParser(OPTIONS), [data]).outcome() == straight.outcome()


@pytest.mark.parametrize("yes", ["y", "Yes", "t", "TRUE"])
@pytest.mark.parametrize("no", ["n", "NO", "f", "false"])
def test_baseline_is_yes_or_no_or_unknown(read_rows, yes, no):
    reading = read_rows(*(row(Baseline=each, SHA1="", PhotoDNA="") for each in (yes, no, "")))
    assert [(said.label, said.scheme) for _, _, said, _ in reading.added] == [
        ("yes", "interpol-baseline"),
        ("no", "interpol-baseline"),
        ("stated", "interpol-baseline"),
    ]


@pytest.mark.parametrize("cells", range(4, 12))
def test_short_rows_lack_what_is_at_their_end(read_rows, cells):
    reading = read_rows(";".join(ROW.split(";")[:cells]))
    assert len(reading.added) == 3
    assert reading.added[0][2].label == "stated"


def test_no_cut_of_a_row_makes_another_of_it(read):
    whole = f"{HEADER}\n{row(Image_ID='1', SHA1='', PhotoDNA='')}\n{row(Image_ID='1701', Baseline='no')}"
    for end in range(whole.index("1701"), len(whole)):
        reading = read(IcseParser(OPTIONS), [whole[:end].encode()])
        if whole[:end].count(";") < 3 * 11:
            assert "not whole" in reading.error
        elif whole[end - 1] == ";":
            assert reading.tally.quarantined == {"unfinished-row": 3}
        else:
            assert [said.label for _, _, said, record in reading.added if record == 3] == ["no"] * 3


def test_a_row_may_not_end_with_a_key_that_may_have_been_cut(read):
    names, cells = HEADER.split(";"), ROW.split(";")
    names.append(names.pop(3))
    cells.append(cells.pop(3))
    table = f"{';'.join(names)}\n{';'.join(cells)}".encode()
    assert read(IcseParser(OPTIONS), [table]).tally.quarantined == {"unfinished-row": 3}
    assert len(read(IcseParser(OPTIONS), [table + b"\n"]).added) == 3


def test_long_rows_are_refused_unless_the_rest_is_blank(read_rows):
    reading = read_rows(ROW + ";;", ROW + ";x")
    assert len(reading.added) == 3
    assert reading.tally.examples == {"ragged-row": [3]}


@pytest.mark.parametrize(
    ("cells", "reason", "count"),
    [
        ({"Image_ID": ""}, "key-missing", 3),
        ({"Image_ID": "x" * 201}, "key-too-long", 3),
        ({"Baseline": "perhaps"}, "bad-boolean", 3),
        ({"MD5": "", "SHA1": "", "PhotoDNA": ""}, "no-fingerprint", 1),
        ({"MD5": "00" * 16}, "degenerate", 1),
        ({"SHA1": hashlib.sha1(b"").hexdigest()}, "empty-file-digest", 1),
        ({"PhotoDNA": "AAAA"}, "wrong-length", 1),
    ],
)
def test_unsound_values_are_refused_and_counted(read_rows, cells, reason, count):
    reading = read_rows(row(**cells), ROW)
    assert reading.tally.quarantined == {reason: count}
    assert reading.tally.examples == {reason: [2]}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"Is_distributed": "2"}, "bad-boolean"),
        ({"Series_name": "x" * 201}, "value-too-long"),
        ({"Series_name": "a \xff"}, "bad-encoding"),
        ({"File_Available": "\xff"}, "bad-encoding"),
    ],
)
def test_a_flag_that_cannot_be_read_costs_no_fingerprint(read, cells, reason):
    reading = read(IcseParser(OPTIONS), [f"{HEADER}\n{row(**cells)}\n".encode("latin-1")])
    assert reading.tally.quarantined == {reason: 1}
    assert len(reading.added) == 3
    (said,) = {said for _, _, said, _ in reading.added}
    assert "submissions:3" in said.flags
    assert len(said.flags) == 4


@pytest.mark.parametrize(("cell", "lost"), [("MD5", 1), ("Image_ID", 3), ("Baseline", 3)])
def test_a_damaged_character_costs_what_it_stands_in(read, cell, lost):
    data = f"{HEADER}\n{row(**{cell: chr(255)})}\n".encode("latin-1") + ROW.encode()
    reading = read(IcseParser(OPTIONS), [data])
    assert reading.tally.quarantined == {"bad-encoding": lost}
    assert len(reading.added) == 6 - lost


def test_what_spreadsheets_put_around_a_table_does_no_harm(read):
    data = f"sep=;\r\n{HEADER}\r\n{ROW}\r\n;;;;;;;;;;;\r\n \r\n".encode()
    assert recognises(data)
    reading = read(IcseParser(OPTIONS), [data])
    assert (len(reading.added), reading.tally.records) == (3, 1)


def test_another_layout_is_told(read_rows):
    assert "Baseline" in read_rows(ROW, header=HEADER.replace("Baseline", "Bassline")).error
    assert not recognises(HEADER.replace(";", ",").encode())
    assert not recognises(b"")


def test_every_column_of_the_body_is_known():
    assert {name.casefold() for name in HEADER.split(";")} == {name.casefold() for name in COLUMNS}


@given(
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    damage=st.none() | st.tuples(st.integers(0, 9_999), st.binary(max_size=3)),
)
def test_cuts_do_not_matter_and_damage_is_told(read, read_cut, cuts, damage):
    whole = "\n".join([HEADER, ROW, row(Image_ID="18"), row(Series_name='"two\nlines"'), ""]).encode()
    if damage is not None:
        at = damage[0] % len(whole)
        whole = whole[:at] + damage[1] + whole[at + 1 :]
    assert read_cut(IcseParser(OPTIONS), whole, cuts).outcome() == read(IcseParser(OPTIONS), [whole]).outcome()
