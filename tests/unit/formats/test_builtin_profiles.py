"""The profiles that come with hashmatch: valid, marked as assumptions, and read what they say."""

import hashlib
import json

import pytest

from hashmatch.formats.builtin_profiles import builtin_names, builtin_profile
from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.profile import parse_profile
from hashmatch.model.opinions import Statement

MD5 = hashlib.md5(b"a benign file").hexdigest()
SHA256 = hashlib.sha256(b"a benign file").hexdigest()
SAMPLES = {
    "iwf-like": (
        "Id,MD5,SHA1,SHA256,PhotoDNA,Severity,Age band,Sex,Compatibility,Updated,Deleted\n"
        f"7,{MD5},,{SHA256},,A,3-6,F,,2025-12-31,no\n",
        Statement("A", "", "", ("3-6", "F"), "2025-12-31"),
    ),
    "iccam-like": (
        json.dumps(
            {
                "id": 7,
                "hashes": {"md5": MD5, "sha256": SHA256},
                "classification": "baseline",
                "scheme": "iccam",
                "country": "NL",
                "classified_on": "2025-12-31",
                "tags": ["a-tag"],
            }
        ),
        Statement("baseline", "iccam", "NL", ("a-tag",), "2025-12-31"),
    ),
    "videos": (
        json.dumps(
            {"id": 7, "label": "A1", "frames": [f"{SHA256},100,0.000"], "updated": "2025-12-31", "deleted": False}
        ),
        Statement("A1", "", "", (), "2025-12-31", frames=1),
    ),
    "baseline-like": (f"Image ID;MD5;SHA1;PhotoDNA\n7;{MD5}\n", Statement()),
}


def test_there_are_samples_of_all():
    assert builtin_names() == sorted(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_profile_says_that_it_is_an_assumption_and_reads_what_it_describes(read, name):
    text = builtin_profile(name)
    assert text.startswith("# ASSUMPTION")
    assert parse_profile(text).key
    sample, said = SAMPLES[name]
    reading = read(ColumnsParser(ParserOptions(profile=text)), [sample.encode()])
    assert not reading.error
    assert not reading.tally.quarantined
    assert {statement for _, _, statement, _ in reading.added} == {said}
    assert [each.key for each in reading.keyed] == ["7"]


def test_other_names_are_not_looked_for_elsewhere():
    for name in ("", "../profile", "iwf-like.toml"):
        with pytest.raises(KeyError):
            builtin_profile(name)
