"""Videos in tables and bundles: their usable frames arrive with how many they are, or the video is refused."""

import csv
import hashlib
import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.formats._values import Refused
from hashmatch.formats._videos import codes_of_video
from hashmatch.formats.bundle import BundleHeader, BundleParser, written
from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import KeyedRecord, ParserOptions
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.opinions import Statement

MD5 = hashlib.md5(b"a benign file").hexdigest()
PROFILE = """
layout = "LAYOUT"
key = ["id"]
label = ["label"]
deleted = { column = "deleted" }
[[hash]]
column = "frames"
algorithm = "vpdq"
[[hash]]
column = "md5"
algorithm = "md5"
"""
BLACK = "00" * 32


def code(number):
    return random.Random(number).randbytes(32).hex()


def frame(number, quality=100, seconds="1.000"):
    return f"{code(number)},{quality},{seconds}"


def lines(*records):
    return "".join(json.dumps(each) + "\n" for each in records).encode()


def table(read, *records, profile=PROFILE):
    parser = ColumnsParser(ParserOptions(profile=profile.replace("LAYOUT", "jsonl")))
    return read(parser, [lines(*records)])


def codes(reading):
    return [value for algorithm, value, _, _ in reading.added if algorithm == "VPDQ"]


def test_the_usable_frames_of_a_video_arrive_each_once_and_say_how_many_they_are(read):
    frames = [frame(1), frame(2, 50), frame(1, 60, "2"), frame(3, 49), f"{BLACK},100,3", frame(4).upper()]
    reading = table(read, {"id": "v", "label": "A1", "frames": frames, "md5": MD5})
    said = Statement("A1", frames=3)
    assert sorted(reading.added) == sorted(
        [*(("VPDQ", code(number), said, 1) for number in (1, 2, 4)), ("MD5", MD5, Statement("A1"), 1)]
    )
    assert reading.keyed == [KeyedRecord(1, "v")]
    assert (reading.tally.read, reading.tally.records, reading.tally.quarantined) == (4, 1, {})


def test_a_video_may_stand_in_a_cell_as_text(read):
    listed = json.dumps([frame(1), frame(2)])
    assert codes(table(read, {"id": "v", "frames": listed})) == [code(1), code(2)]
    text = io.StringIO()
    csv.writer(text).writerows([["id", "label", "deleted", "frames", "md5"], ["v", "", "", listed, ""]])
    parser = ColumnsParser(ParserOptions(profile=PROFILE.replace("LAYOUT", "csv")))
    assert codes(read(parser, [text.getvalue().encode()])) == [code(1), code(2)]


def test_a_long_video_fits_into_a_line(read):
    frames = [frame(number, seconds=f"{number}.123") for number in range(10_000)]
    reading = table(read, {"id": "v", "frames": frames})
    assert len(codes(reading)) == 10_000
    assert {said.frames for _, _, said, _ in reading.added} == {10_000}
    assert table(read, {"id": "v", "frames": [*frames, frame(-1)]}).tally.quarantined == {"too-many-frames": 1}


def test_a_long_video_in_csv_is_refused_where_it_does_not_fit(read):
    text = io.StringIO()
    listed = json.dumps([frame(number) for number in range(2_000)])
    csv.writer(text).writerows([["id", "label", "deleted", "frames", "md5"], ["v", "", "", listed, ""]])
    reading = read(ColumnsParser(ParserOptions(profile=PROFILE.replace("LAYOUT", "csv"))), [text.getvalue().encode()])
    assert reading.tally.quarantined == {"record-too-large": 1}


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([frame(1, 49), f"{BLACK},100,0"], "no-usable-frame"),
        ("no json", "bad-frames"),
        ('{"a": 1}', "bad-frames"),
        ("[1]", "bad-frames"),
        ("[" * 100_000, "bad-frames"),
        ([code(1)], "bad-frames"),
        ([f"{code(1)},100"], "bad-frames"),
        ([f"{code(1)},100,0,0"], "bad-frames"),
        ([f"{code(1)[:-2]},100,0"], "bad-frames"),
        ([f"{code(1)[:-1]},100,0"], "bad-frames"),
        ([f"{'x' * 64},100,0"], "bad-frames"),
        ([frame(1, 101)], "bad-frames"),
        ([frame(1, -1)], "bad-frames"),
        ([frame(1, "9.5")], "bad-frames"),
        ([frame(1, seconds="-1")], "bad-frames"),
        ([frame(1, seconds="nan")], "bad-frames"),
        ([frame(1, seconds="inf")], "bad-frames"),
        ([frame(1), ""], "bad-frames"),
    ],
)
def test_a_video_with_an_unsound_frame_is_refused_alone(read, frames, reason):
    reading = table(read, {"id": "v", "frames": frames, "md5": MD5})
    assert reading.tally.quarantined == {reason: 1}
    assert [algorithm for algorithm, *_ in reading.added] == ["MD5"]


def test_a_video_needs_a_key(read):
    reading = table(read, {"id": "v", "frames": [frame(1)]}, profile=PROFILE.replace('key = ["id"]\n', ""))
    assert reading.tally.quarantined == {"key-missing": 1}


def test_a_video_is_withdrawn_by_its_key(read):
    reading = table(read, {"id": "v", "deleted": True, "frames": [frame(1)]})
    assert reading.keyed == [KeyedRecord(1, "v", removed=True)]
    assert not reading.added


@given(st.text() | st.lists(st.text()))
def test_whatever_stands_in_the_cell_is_a_video_or_refused(cell):
    try:
        codes = codes_of_video(cell)
    except Refused:
        return
    assert codes


HEADER = BundleHeader(
    hashmatch_bundle=1,
    definition=ListDefinition(list_id="films", body="a body", nature=ListNature.TEST, max_age=60.0),
    generation=1,
    as_of=0.0,
)
SAID = [Statement("A1"), Statement("B2")]


def bundle(*entries):
    return b"".join(written(HEADER, SAID, entries))


def test_a_bundle_carries_videos_and_their_number_of_frames(read):
    frames = [bytes.fromhex(code(number)) for number in range(3)]
    data = bundle(("v", [(Algorithm.VPDQ, each, 0) for each in frames] + [(Algorithm.VPDQ, frames[0], 1)]))
    reading = read(BundleParser(ParserOptions()), [data])
    assert sorted(reading.added) == sorted(
        [("VPDQ", code(0), Statement("B2", frames=1), 1)]
        + [("VPDQ", each.hex(), Statement("A1", frames=3), 1) for each in frames]
    )
    assert reading.keyed == [KeyedRecord(1, "v")]


def test_frames_of_no_video_are_refused_and_repeated_ones_are_damage(read):
    frame_of = (Algorithm.VPDQ, bytes.fromhex(code(1)), 0)
    assert read(BundleParser(ParserOptions()), [bundle(("", [frame_of]))]).tally.quarantined == {"key-missing": 1}
    assert "damaged" in read(BundleParser(ParserOptions()), [bundle(("v", [frame_of, frame_of]))]).error
