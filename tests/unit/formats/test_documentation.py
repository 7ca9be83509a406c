"""The operators' page says what the parsers do."""

import re
from pathlib import Path

import pytest

from hashmatch.formats import _hex_kernel, columns_profile
from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.model.opinions import Statement

ROOT = Path(columns_profile.__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()
HASH_TEXT, TABLE, PROFILE, JSON_TABLE, JSON_PROFILE = re.findall(r"```(?:text|toml)\n(.*?)```", PAGE, re.DOTALL)


def test_every_reason_is_described_and_every_described_reason_exists():
    section = PAGE.split("## Quarantine reasons")[1].split("## ")[0]
    described = {
        word for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for word in re.findall("`(.*?)`", cell)
    }
    sources = "".join(path.read_text() for path in (ROOT / "hashmatch" / "formats").glob("*.py"))
    raised = set(
        re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', "".join(re.findall(r"(?:Refused|at_most|refuse|Row)\(.*", sources)))
    )
    assert described == raised | set(_hex_kernel.REASONS)


def test_example_of_hash_text(read):
    reading = read(HashTextParser(ParserOptions()), [HASH_TEXT.encode()])
    assert not reading.tally.quarantined
    assert sorted(name for name, *_ in reading.added) == ["MD5"] * 3 + ["SHA1"] * 3 + ["SHA256"]


def test_example_of_a_table(read):
    reading = read(ColumnsParser(ParserOptions(profile=PROFILE)), [TABLE.encode()])
    assert not reading.tally.quarantined
    assert [statement for _, _, statement, _ in reading.added] == [
        Statement("A/3-6", flags=("series-a", "victim-identified", "video"), updated_on="2025-12-31"),
        Statement("C/", updated_on="2025-12-30"),
    ]
    assert reading.keyed == [KeyedRecord(2, "1001"), KeyedRecord(3, "1002"), KeyedRecord(4, "1003", removed=True)]


def test_example_of_json_lines(read):
    reading = read(ColumnsParser(ParserOptions(profile=JSON_PROFILE)), [JSON_TABLE.encode()])
    assert reading.added == [("MD5", "3f1d5a0c7e9b42868d0f6a1b2c3d4e5f", Statement("none"), 1)]
    assert reading.keyed == [KeyedRecord(1, "17")]


@pytest.mark.parametrize("limit", [_hex_kernel.MAXIMUM_LINE, columns_profile.Limits().record_size])
def test_limits_are_the_documented_ones(limit):
    assert f"more than {limit:,}" in PAGE
