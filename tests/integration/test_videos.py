"""Videos over the wire and from the command line: delivered, found by their shares, current within a second."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hashmatch_client.cli.main import main

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main as admin
from hashmatch.model.errors import ErrorReason
from hashmatch.v1 import common_pb2, list_admin_service_pb2, match_service_pb2
from tests.integration.errors import refused
from tests.integration.perceptual import apart
from tests.integration.serving import Client
from tests.integration.waiting import eventually

HIT, MISS, UNKNOWN = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH, common_pb2.VERDICT_NOT_DETERMINED
NEAR, EXACT = common_pb2.MATCH_KIND_NEAR, common_pb2.MATCH_KIND_EXACT
INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL
PROFILE = """
layout = "jsonl"
key = ["id"]
deleted = { column = "deleted" }
[[hash]]
column = "frames"
algorithm = "vpdq"
[[hash]]
column = "pdq"
algorithm = "pdq"
"""


def film(count: int) -> list[bytes]:
    return [os.urandom(32) for _ in range(count)]


def record(key: str, frames: Sequence[bytes] = (), *, pdq: bytes = b"", removed: bool = False) -> str:
    listed = [f"{frame.hex()},100,{number}.000" for number, frame in enumerate(frames)]
    return json.dumps({"id": key, "frames": listed, "deleted": removed, "pdq": pdq.hex()}) + "\n"


def deliver(client: Client, *records: str, **rest: Any) -> None:
    epoch = client.deliver("".join(records).encode(), "films", format="columns", profile=PROFILE, **rest)
    eventually(lambda: client.epoch() >= epoch, "the delivery is served")


def ask(client: Client, frames: Sequence[bytes], quality: int = 100) -> match_service_pb2.HashResult:
    asked = common_pb2.Hash(
        algorithm=common_pb2.ALGORITHM_VPDQ,
        frames=[common_pb2.VideoFrame(pdq=frame, quality=quality) for frame in frames],
    )
    return client.batch([asked]).results[0].hashes[0]


def test_a_video_is_found_by_its_shares_and_follows_its_entry(client: Client):
    frames = film(20)
    client.define("films")
    deliver(client, record("one", frames), record("other", film(5)))
    result = ask(client, [*(apart(frame, 31) for frame in frames[:8]), *film(2)])
    assert result.verdict == HIT
    (opinion,) = result.opinions
    assert (opinion.source_key, opinion.kind) == ("one", NEAR)
    assert opinion.video == common_pb2.VideoShares(
        asked_frames=10, asked_frames_matched=8, listed_frames=20, listed_frames_matched=8
    )
    assert not opinion.HasField("distance")
    assert ask(client, frames).opinions[0].kind == EXACT
    assert ask(client, [*frames[:8], *film(3)]).verdict == MISS
    assert ask(client, [apart(frame, 32) for frame in frames]).verdict == MISS
    assert ask(client, frames, quality=49).verdict == UNKNOWN
    deliver(client, record("one", removed=True), mode=INCREMENTAL)
    assert ask(client, frames).verdict == MISS


def test_the_list_states_its_shares(client: Client):
    frames = film(10)
    client.define("films", minimum_asked_share=0.5, minimum_listed_share=0.4)
    deliver(client, record("one", frames))
    assert ask(client, [*frames[:4], *film(4)]).verdict == HIT
    assert ask(client, [*frames[:4], *film(5)]).verdict == MISS
    assert ask(client, frames[:3]).verdict == MISS


def test_pictures_and_frames_are_kept_apart(client: Client):
    frame, picture = os.urandom(32), os.urandom(32)
    client.define("films")
    deliver(client, record("one", [frame], pdq=picture))
    pdq = client.batch([common_pb2.Hash(algorithm=common_pb2.ALGORITHM_PDQ, value=frame)]).results[0].hashes[0]
    assert pdq.verdict == MISS
    assert ask(client, [picture]).verdict == MISS


def test_the_command_asks_about_files_of_vpdq_hashes(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    frames = film(10)
    client.define("films")
    deliver(client, record("one", frames))
    known, unknown, broken = tmp_path / "known.json", tmp_path / "unknown.txt", tmp_path / "broken"
    known.write_text(json.dumps([f"{frame.hex()},100,{number}" for number, frame in enumerate(frames[:5])]))
    unknown.write_text("".join(f"{number},100,{frame.hex()},{number}\n" for number, frame in enumerate(film(5))))
    broken.write_text("nothing of the kind\n")
    target = ["--target", client.addresses.matching, "--output", "jsonl", "--quiet"]
    assert main(["check", "--vpdq", str(known), str(unknown), str(broken), *target]) == 10
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["verdict"] for each in answers] == ["MATCH", "NO_KNOWN_MATCH", "NOT_DETERMINED"]
    (opinion,) = answers[0]["opinions"]
    assert opinion["video"] == {
        "asked_frames": 5, "asked_frames_matched": 5, "listed_frames": 10, "listed_frames_matched": 5,
    }  # fmt: skip
    assert main(["check", "--vpdq", str(known), "--target", client.addresses.matching]) == 10
    assert "exact, 100% of it, 50% of the listed" in " ".join(capsys.readouterr().out.split())


def test_the_frames_of_a_video_are_suppressed_as_one(client: Client, tmp_path: Path):
    frames = film(10)
    client.define("films")
    deliver(client, record("one", frames), record("other", film(5)))
    file = tmp_path / "video.json"
    file.write_text(json.dumps([f"{apart(frame, 9).hex()},100,{number}" for number, frame in enumerate(frames)]))
    target = ["--reason", "lawful after all", "--target", client.addresses.administration, "--operator", "cara"]
    assert admin(["suppress", "--vpdq", str(file), *target]) is Exit.DONE
    eventually(lambda: ask(client, [apart(frame, 9) for frame in frames]).verdict == MISS, "it is left out")
    # What is near the listed frames and is not what was suppressed is found as before.
    assert ask(client, frames).verdict == HIT
    assert admin(["unsuppress", "--vpdq", str(file), *target]) is Exit.DONE
    eventually(lambda: ask(client, [apart(frame, 9) for frame in frames]).verdict == HIT, "it is found again")


def test_a_video_is_withdrawn_by_its_key_and_not_by_a_frame(client: Client, tmp_path: Path):
    frames = film(10)
    client.define("films")
    deliver(client, record("one", frames), record("other", film(5)))
    frame = common_pb2.Hash(algorithm=common_pb2.ALGORITHM_VPDQ, value=frames[0])
    request = list_admin_service_pb2.WithdrawEntriesRequest(list_id="films", hashes=[frame], reason="in error")
    assert refused(lambda: client.act("WithdrawEntries", request)).reason == ErrorReason.ALGORITHM_NOT_SERVED
    assert ask(client, frames).verdict == HIT
    request = list_admin_service_pb2.WithdrawEntriesRequest(list_id="films", source_keys=["one"], reason="in error")
    client.act("WithdrawEntries", request)
    eventually(lambda: ask(client, frames).verdict == MISS, "it is withdrawn")
