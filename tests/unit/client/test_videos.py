"""Videos in the client: read as vPDQ's own tools write them, carried whole, and asked about a few at a time."""

import json
import random

import pytest
from hashmatch_client import Algorithm, Hash, InvalidHashError, Item, VideoFrame
from hashmatch_client._batch import MAX_BATCH_FRAMES, batches
from hashmatch_client._wire import hash_message, opinion
from hashmatch_client.cli.subjects import subject_of_video
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.v1 import common_pb2


def code(number):
    return random.Random(number).randbytes(32)


FRAMES = tuple(VideoFrame(code(number), 90 + number) for number in range(3))
HEX = [frame.pdq.hex() for frame in FRAMES]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([f"{HEX[0]},90,0.000", f"{HEX[1].upper()},91,1.001", f"{HEX[2]},92,2"]),
        "\n ".join(["[", *(f'"{each},{90 + number},{number}.5",' for number, each in enumerate(HEX))])[:-1] + "]",
        "".join(f"{number},{90 + number},{each},{number}.000\n" for number, each in enumerate(HEX)),
        "".join(f"{number},{each},{90 + number},{number}.0\r\n" for number, each in enumerate(HEX)),
        "\n".join(f" {each}, {90 + number}, {number}" for number, each in enumerate(HEX)),
    ],
)
def test_what_the_tools_write_is_read(text):
    assert Hash.of_video(text) == Hash.of_video(FRAMES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[1]",
        "[" * 100_000,
        '{"a": 1}',
        HEX[0],
        f"{HEX[0]},90",
        f"{HEX[0]},101,0",
        f"{HEX[0]},-1,0",
        f"{HEX[0][:-1]},90,0",
        f"{HEX[0]},90,0,1,2",
        f"{HEX[0]},90,nan",
        f"{HEX[0]},90,--1",
        f"{HEX[0]},90,0\nand so on",
        "\n".join([f"{HEX[0]},90,0"] * 10_001),
    ],
)
def test_what_is_no_video_is_refused_without_showing_what_it_says(text):
    with pytest.raises(InvalidHashError) as caught:
        Hash.of_video(text)
    assert HEX[0][:16] not in str(caught.value)


@given(st.text())
def test_no_text_raises_anything_else(text):
    try:
        Hash.of_video(text)
    except InvalidHashError:
        pass


def test_a_video_has_frames_and_nothing_else_and_shows_none_of_them():
    video = Hash.of_video(FRAMES)
    assert HEX[0] not in repr(video)
    assert repr(FRAMES[0].pdq)[2:12] not in repr(video)
    for rest in ({"value": code(1)}, {"quality": 5}, {"alternates": (code(1),)}):
        with pytest.raises(InvalidHashError):
            Hash(Algorithm.VPDQ, frames=FRAMES, **rest)
    with pytest.raises(InvalidHashError):
        Hash(Algorithm.PDQ, code(1), frames=FRAMES)
    with pytest.raises(InvalidHashError):
        VideoFrame(code(1)[:-1], 50)


def test_a_video_is_carried_whole():
    message = hash_message(Hash.of_video(FRAMES))
    assert message.algorithm == common_pb2.ALGORITHM_VPDQ
    assert [(frame.pdq, frame.quality) for frame in message.frames] == [(each.pdq, each.quality) for each in FRAMES]
    assert not message.value


def test_the_shares_are_told():
    shares = common_pb2.VideoShares(asked_frames=5, asked_frames_matched=4, listed_frames=10, listed_frames_matched=5)
    video = opinion(common_pb2.Opinion(video=shares)).video
    assert video is not None
    assert (video.asked, video.listed) == (0.8, 0.5)
    assert opinion(common_pb2.Opinion()).video is None


def test_no_more_frames_than_so_many_go_into_one_call():
    long = Item((Hash.of_video([FRAMES[0]] * (MAX_BATCH_FRAMES // 2 + 1)),))
    short = Item((Hash.of_video(FRAMES),))
    assert [len(batch) for batch in batches([long, short, short, long, short], 1_000)] == [3, 2]
    assert [len(batch) for batch in batches([short] * 5, 2)] == [2, 2, 1]
    assert list(batches([], 2)) == []


def test_a_file_that_is_no_video_is_kept_as_such(tmp_path):
    good, bad, binary, huge = (tmp_path / name for name in ("good", "bad", "binary", "huge"))
    good.write_text(f"{HEX[0]},90,0\n")
    bad.write_text(f"{HEX[0]},90\n")
    binary.write_bytes(b"\xff\xfe\x00")
    huge.write_bytes(b" " * 2_000_000)
    assert subject_of_video(str(good)).item == Item((Hash.of_video(FRAMES[:1]),))
    for path, reason in ((bad, "INVALID_HASH"), (binary, "INVALID_HASH"), (huge, "INVALID_HASH"),
                         (tmp_path / "none", "UNREADABLE_FILE"), (tmp_path, "UNREADABLE_FILE")):  # fmt: skip
        subject = subject_of_video(str(path))
        assert (subject.item, subject.reason) == (None, reason)
        assert HEX[0] not in subject.problem
