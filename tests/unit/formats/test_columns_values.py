"""The format `columns`: hashes in all their forms, and the values of JSON."""

import base64
import json

import pytest

from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm
from tests.unit.formats.columns import MD5, SHA1, SHA256, SHA512, SIMPLE, digests, one_hash, refusals, statements


@pytest.mark.parametrize(("name", "digest"), [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256), ("SHA512", SHA512)])
@pytest.mark.parametrize("stated", [True, False])
def test_forms(read_table, name, digest, stated):
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
def test_values_that_are_refused(read_table, form, text, reason):
    assert refusals(read_table(one_hash(form=form), f"MD5\n{text}\n")) == {reason: 1}


@pytest.mark.parametrize(("name", "size"), [("PDQ", 32), ("PhotoDNA", 144)])
@pytest.mark.parametrize("form", ["hex", "base64"])
def test_perceptual_values(read_table, name, size, form):
    value = bytes(range(size))
    text = value.hex() if form == "hex" else base64.b64encode(value).decode()
    reading = read_table(one_hash(algorithm=name), f"MD5\n{text}\n")
    assert digests(reading) == [(name.upper(), value.hex())]


def test_algorithm_of_each_record(read_table):
    profile = 'names = { "HASH_MD5" = "md5" }'
    profile = f'[[hash]]\ncolumn = "v"\nalgorithm_column = "t"\n{profile}\n'
    rows = [("SHA-256", SHA256), ("hash_md5", MD5), ("sha_1", SHA1), ("md4", MD5), ("", MD5), ("MD5", SHA1)]
    reading = read_table(profile, "t,v\n" + "".join(f"{name},{value}\n" for name, value in rows))
    assert sorted(digests(reading)) == [("MD5", MD5), ("SHA1", SHA1), ("SHA256", SHA256)]
    assert reading.tally.quarantined == {"unknown-algorithm": 2, "wrong-length": 1}


def test_zero_is_a_label_and_blank_is_not(read_table):
    reading = read_table(one_hash(rest='label = ["l"]'), f"l,MD5\n0,{MD5}\n ,{MD5}\n", options={"label": "the default"})
    assert [statement.label for statement in statements(reading)] == ["0", "the default"]


def test_numbers_and_booleans_in_json_are_text(read_table):
    lines = [{"MD5": MD5, "l": value} for value in (0, -7, 3.0, True, None, "x")]
    reading = read_table(
        one_hash(rest='label = ["l"]'), "\n".join(map(json.dumps, [*lines, {"MD5": MD5}])), layout="jsonl"
    )
    assert [statement.label for statement in statements(reading)] == ["0", "-7", "3", "true", "", "x", ""]


@pytest.mark.parametrize("value", [1.5, {"a": 1}, ["a"], [], [[]]])
def test_other_values_in_json_are_refused(read_table, value):
    text = json.dumps({"MD5": MD5, "l": value})
    reading = read_table(one_hash(rest='label = ["l"]'), text, layout="jsonl")
    assert refusals(reading) == {"bad-value": 1}


def test_path_through_a_text_is_refused(read_table):
    assert refusals(read_table(one_hash('"a.b"'), '{"a": "c"}', layout="jsonl")) == {"bad-value": 1}


def test_list_of_hashes_is_refused_but_not_its_neighbours(read_table):
    profile = SIMPLE + '[[hash]]\ncolumn = "SHA1"\nalgorithm = "sha1"\n'
    reading = read_table(profile, json.dumps({"MD5": MD5, "SHA1": [SHA1]}), layout="jsonl")
    assert digests(reading) == [("MD5", MD5)]
    assert reading.tally.quarantined == {"bad-value": 1}


JSON_TABLE = """
key = ["id"]
label = ["l"]
deleted = { column = "gone" }
updated_on = { column = "u", formats = ["iso", "unix"] }

[[hash]]
column = "MD5"
algorithm = "md5"

[[hash]]
column = "SHA1"
algorithm = "sha1"

[[flag]]
column = "tags"
separator = ","

[[flag]]
column = "seen"
word = "seen"
"""


def record_of(**members):
    return {"id": 1, "l": "A", "u": "2025-12-31", "MD5": MD5, "SHA1": SHA1, "tags": ["a"], "seen": True} | members


@pytest.mark.parametrize("odd", [{}, {"a": 1}, [1.5], [{}]])
@pytest.mark.parametrize("column", ["MD5", "SHA1", "tags", "seen", "u"])
def test_an_odd_value_in_json_costs_itself(read_table, column, odd):
    """One such date must not keep the hashes beside it off the list."""
    reading = read_table(JSON_TABLE, json.dumps(record_of(**{column: odd})) + "\n", layout="jsonl")
    assert reading.tally.quarantined == {"bad-value": 1}
    assert len(reading.added) == (1 if column in ("MD5", "SHA1") else 2)
    assert [each.key for each in reading.keyed] == ["1"]


def test_a_fraction_is_one_of_seconds(read_table):
    reading = read_table(JSON_TABLE, json.dumps(record_of(u=1735689599.75, seen=0.5)) + "\n", layout="jsonl")
    assert {each.updated_on for each in statements(reading)} == {"2024-12-31"}
    assert reading.tally.quarantined == {"bad-value": 1}


@pytest.mark.parametrize("odd", [1.5, {}, [1.5], "perhaps"])
@pytest.mark.parametrize("column", ["MD5", "SHA1", "tags", "seen", "u", "l"])
def test_an_odd_value_in_json_keeps_no_removal_from_its_effect(read_table, column, odd):
    reading = read_table(JSON_TABLE, json.dumps(record_of(gone=True, **{column: odd})) + "\n", layout="jsonl")
    assert [(each.key, each.removed) for each in reading.keyed] == [("1", True)]
    assert not reading.tally.quarantined


@pytest.mark.parametrize("column", ["id", "l", "gone"])
def test_an_odd_value_that_decides_on_a_record_costs_it(read_table, column):
    reading = read_table(JSON_TABLE, json.dumps(record_of(**{column: 1.5})) + "\n", layout="jsonl")
    assert refusals(reading) == {"bad-value": 2}
