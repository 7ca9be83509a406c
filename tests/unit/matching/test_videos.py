"""Videos: found by the share of their usable frames, told with the shares, and never missed for what was not read."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.index.snapshot import Snapshot
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching import videos as videos_module
from hashmatch.matching.findings import Finding
from hashmatch.matching.items import AskedHash, ItemsQuestion
from hashmatch.matching.nearness import NEARNESS, Nearness
from hashmatch.matching.scope import EVERYTHING, Scope, view
from hashmatch.matching.videos import VideoQuestion
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.model.vetting import DeliveryMode
from hashmatch.model.videos import Frame, SharedFrames
from tests.support.office import ACTOR, Office

VPDQ = Algorithm.VPDQ
HIT, MISS, UNKNOWN = Verdict.MATCH, Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED
WORK_LIMIT = Cause(UndeterminedReason.WORK_LIMIT)
INCREMENTAL = DeliveryMode.INCREMENTAL
BLACK = bytes(32)

PROFILE = """
layout = "jsonl"
key = ["id"]
label = ["label"]
deleted = { column = "deleted" }
[[hash]]
column = "frames"
algorithm = "vpdq"
"""


def code(seed: int, flipped: int = 0) -> bytes:
    """The code of a frame for each seed, with its first bits flipped."""
    bits = np.unpackbits(np.random.default_rng(seed).integers(0, 256, 32, np.uint8))
    bits[:flipped] ^= 1
    return np.packbits(bits).tobytes()


def video(*seeds: int, flipped: int = 0) -> list[bytes]:
    return [code(seed, flipped) for seed in seeds]


def record(key: str, frames: Sequence[bytes] = (), *, label: str = "x", removed: bool = False) -> str:
    listed = [f"{frame.hex()},100,{number}.5" for number, frame in enumerate(frames)]
    return json.dumps({"id": key, "label": label, "deleted": removed, "frames": listed}) + "\n"


def define(office: Office, list_id: str, **stated: object) -> None:
    definition = ListDefinition(list_id=list_id, body=list_id, nature=ListNature.ILLEGAL, max_age=1e6)
    office.publisher.define_list(msgspec.structs.replace(definition, **stated), ACTOR)


def deliver(office: Office, list_id: str, *records: str, **rest: object) -> None:
    office.deliver("".join(records), list_id, profile=PROFILE, **rest)


def ask(
    office: Office,
    asked: Sequence[bytes] | Sequence[Frame],
    nearness: Nearness = NEARNESS,
    scope: Scope = EVERYTHING,
    *,
    snapshot: Snapshot | None = None,
) -> Finding:
    """The finding on one video; frames of full quality where only codes are given."""
    frames = [each if isinstance(each, Frame) else Frame(each, 100) for each in asked]
    seen = view(snapshot or office.snapshot(), scope, now=office.clock.now())
    question = ItemsQuestion(seen, [[AskedHash(VPDQ, b"", frames=frames)]], nearness)
    question.probe()
    (answer,) = question.confirm()
    return answer.findings[0]


def shares(finding: Finding) -> dict[tuple[str, str], SharedFrames | None]:
    return {(each.list_id, each.source_key): each.video for each in finding.opinions}


@pytest.fixture
def listed(office: Office) -> Office:
    """One list of two videos: ten frames, and five of which two are of the first one too."""
    define(office, "films")
    deliver(office, "films", record("ten", video(*range(10))), record("five", video(8, 9, 20, 21, 22), label="y"))
    return office


def test_a_video_is_found_by_four_fifths_of_its_frames_whatever_the_rest_and_the_order(listed: Office):
    found = ask(listed, video(3, 900, 1, 2, 4))
    assert found.verdict is HIT
    assert shares(found) == {("films", "ten"): SharedFrames(5, 4, 10, 4)}
    assert ask(listed, video(3, 900, 901, 2, 4)).verdict is MISS
    assert ask(listed, video(7)).verdict is HIT


def test_frames_are_found_within_the_distance_and_not_beyond(listed: Office):
    near = ask(listed, video(1, 2, 3, flipped=31))
    assert (near.verdict, near.opinions[0].near) == (HIT, True)
    assert ask(listed, video(1, 2, 3, flipped=32)).verdict is MISS
    assert ask(listed, video(1, 2, 3, flipped=5), dataclasses.replace(NEARNESS, maximum_distance=4)).verdict is MISS
    assert ask(listed, video(1, 2, 3, flipped=5), scope=Scope(max_distance=4)).verdict is MISS
    assert ask(listed, video(1, 2, 3), dataclasses.replace(NEARNESS, maximum_distance=0)).verdict is HIT


def test_a_video_is_exact_if_every_frame_of_it_equals_a_listed_one(listed: Office):
    assert not ask(listed, video(1, 2, 3)).opinions[0].near
    assert ask(listed, [*video(1, 2), code(3, 1)]).opinions[0].near
    assert ask(listed, video(1, 2, 3, 4, 900)).opinions[0].near


def test_only_usable_frames_count_and_each_once(listed: Office):
    asked = [
        *(Frame(code(seed), 50) for seed in (1, 2, 3, 3, 3)),
        *(Frame(code(seed), 49) for seed in (900, 901)),
        *(Frame(BLACK, 100) for _ in range(5)),
    ]
    assert shares(ask(listed, asked)) == {("films", "ten"): SharedFrames(3, 3, 10, 3)}


def test_a_frame_of_two_videos_counts_for_both(listed: Office):
    assert shares(ask(listed, video(8, 9))) == {
        ("films", "ten"): SharedFrames(2, 2, 10, 2),
        ("films", "five"): SharedFrames(2, 2, 5, 2),
    }


def test_listed_frames_are_counted_once_however_many_are_near_them(office: Office):
    define(office, "still")
    deliver(office, "still", record("1", [code(1, flipped) for flipped in range(6)]))
    assert shares(ask(office, [code(1, 3), code(1, 40)])) == {}
    assert shares(ask(office, [code(1, 3), code(1, 30)])) == {("still", "1"): SharedFrames(2, 2, 6, 6)}
    assert shares(ask(office, [code(1, 33)])) == {("still", "1"): SharedFrames(1, 1, 6, 4)}


def test_each_list_has_its_own_shares_and_distance(office: Office):
    define(office, "half", minimum_asked_share=0.5)
    define(office, "whole", minimum_listed_share=1.0)
    define(office, "tight", maximum_distance=2)
    for list_id in ("half", "whole", "tight"):
        deliver(office, list_id, record("1", video(1, 2, 3, 4)))
    assert {on for on, _ in shares(ask(office, video(1, 2, 900, 901)))} == {"half"}
    assert {on for on, _ in shares(ask(office, video(1, 2, 3)))} == {"half", "tight"}
    assert {on for on, _ in shares(ask(office, video(1, 2, 3, 4)))} == {"half", "tight", "whole"}
    assert {on for on, _ in shares(ask(office, video(1, 2, 3, 4, flipped=3)))} == {"half", "whole"}


def test_what_a_list_says_of_several_videos_is_told_once_with_the_closest(office: Office):
    define(office, "copies")
    deliver(
        office,
        "copies",
        record("a", video(1, 2, 3, 4, 50)),
        record("b", video(1, 2, 3, 4, 5)),
        record("c", video(1, 2, 3, 4, 60), label="other"),
    )
    found = ask(office, video(1, 2, 3, 4, 5))
    assert shares(found) == {("copies", "b"): SharedFrames(5, 5, 5, 5), ("copies", "c"): SharedFrames(5, 4, 5, 4)}
    assert [each.source_key for each in found.opinions] == ["b", "c"]


def test_bodies_are_counted(office: Office):
    for list_id in ("a", "b"):
        define(office, list_id)
    deliver(office, "a", record("1", video(1, 2, 3, 4)))
    deliver(office, "b", record("1", video(3, 4, 5, 6)))
    two = Scope(min_sources=2)
    assert ask(office, video(3, 4), scope=two).verdict is HIT
    one = ask(office, video(1, 2, 3, 4), scope=two)
    assert (one.verdict, one.below_min_sources) == (MISS, True)


def test_a_video_follows_its_entry(listed: Office):
    loader = listed.loader()
    snapshot = loader.load(listed.manifest(), None)
    deliver(listed, "films", record("ten", video(0, 1)), record("more", video(70, 71)), mode=INCREMENTAL)
    snapshot = loader.load(listed.manifest(), snapshot)
    assert shares(ask(listed, video(0, 1), snapshot=snapshot)) == {("films", "ten"): SharedFrames(2, 2, 2, 2)}
    assert ask(listed, video(2, 3), snapshot=snapshot).verdict is MISS
    assert ask(listed, video(70), snapshot=snapshot).verdict is HIT
    deliver(listed, "films", record("five", removed=True), record("more", removed=True), mode=INCREMENTAL)
    snapshot = loader.load(listed.manifest(), snapshot)
    for asked in (video(8, 9), video(20), video(70)):
        assert ask(listed, asked, snapshot=snapshot).verdict is MISS
    assert ask(listed, video(0), snapshot=snapshot).verdict is HIT


def test_only_what_changed_since_an_epoch_is_told_where_that_is_asked(listed: Office):
    epoch = listed.manifest().epoch
    assert ask(listed, video(1, 2), scope=Scope(newer_than_epoch=epoch)).verdict is MISS
    deliver(listed, "films", record("new", video(1, 2)), mode=INCREMENTAL)
    assert shares(ask(listed, video(1, 2), scope=Scope(newer_than_epoch=epoch))).keys() == {("films", "new")}


def test_a_suppressed_frame_matches_nothing_and_the_answer_says_so(listed: Office, suppressor: Suppressor):
    suppressor.suppress([(int(VPDQ), code(20))], [], ACTOR, "a title card")
    clip = ask(listed, video(20))
    assert (clip.verdict, clip.suppressed) == (MISS, True)
    assert shares(ask(listed, video(20, 21, 22, 8, 9))) == {("films", "five"): SharedFrames(5, 4, 5, 4)}


def test_a_frame_that_is_itself_suppressed_is_near_nothing(listed: Office, suppressor: Suppressor):
    suppressor.suppress([(int(VPDQ), code(20, 3))], [], ACTOR, "a title card")
    clip = ask(listed, [code(20, 3)])
    assert (clip.verdict, clip.suppressed) == (MISS, True)
    assert ask(listed, [code(20, 2)]).verdict is HIT
    four = ask(listed, [code(20, 3), *video(21, 22, 8, 9)])
    assert shares(four) == {("films", "five"): SharedFrames(5, 4, 5, 4)}
    define(listed, "another")
    suppressor.lift_suppression([(int(VPDQ), code(20, 3))], ACTOR, "why")
    suppressor.suppress([(int(VPDQ), code(20, 3))], ["another"], ACTOR, "a title card")
    assert ask(listed, [code(20, 3)]).verdict is HIT


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([Frame(code(1), 49)], UndeterminedReason.LOW_QUALITY),
        ([Frame(BLACK, 100)], UndeterminedReason.DEGENERATE_HASH),
        ([Frame(code(1), 49), Frame(BLACK, 100)], UndeterminedReason.DEGENERATE_HASH),
    ],
)
def test_a_video_without_a_usable_frame_is_not_determined(listed: Office, frames, reason):
    found = ask(listed, frames)
    assert (found.verdict, found.causes) == (UNKNOWN, (Cause(reason),))


@pytest.mark.parametrize(
    "asked",
    [
        AskedHash(VPDQ, b""),
        AskedHash(VPDQ, b"", frames=[Frame(code(1)[:31], 100)]),
        AskedHash(VPDQ, b"", frames=[Frame(code(1), 101)]),
        AskedHash(VPDQ, b"", frames=[Frame(code(1), 100)] * 10_001),
        AskedHash(VPDQ, code(1), frames=[Frame(code(1), 100)]),
        AskedHash(VPDQ, b"", alternates=[code(1)], frames=[Frame(code(1), 100)]),
        AskedHash(Algorithm.PDQ, code(1), frames=[Frame(code(1), 100)]),
        AskedHash(Algorithm.SHA256, code(1), frames=[Frame(code(1), 100)]),
    ],
)
def test_what_is_no_video_is_invalid(listed: Office, asked: AskedHash):
    question = ItemsQuestion(view(listed.snapshot(), EVERYTHING, now=listed.clock.now()), [[asked]])
    question.probe()
    (answer,) = question.confirm()
    assert answer.findings[0].causes == (Cause(UndeterminedReason.INVALID_HASH),)


def test_where_no_list_carries_videos_that_is_the_reason(office: Office):
    office.define("hashes")
    office.deliver_hashes([code(1)], "hashes")
    found = ask(office, video(1))
    assert (found.verdict, found.causes) == (UNKNOWN, (Cause(UndeterminedReason.ALGORITHM_NOT_CARRIED),))


def test_what_cannot_be_read_counts_only_if_it_could_make_up_the_share(
    office: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    define(office, "films")
    deliver(office, "films", record("1", video(1, 2, 3, 4)))
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    valkey.flushall()
    lost = ask(office, video(1, 2, 3, 4, 900), snapshot=snapshot)
    assert (lost.verdict, lost.causes) == (UNKNOWN, (Cause(UndeterminedReason.STORE_DAMAGED, "films"),))
    assert ask(office, video(1, 2, 3, 901, 900), snapshot=snapshot).verdict is MISS


def test_a_list_that_cannot_be_read_is_of_no_concern_beyond_its_own_distance(
    office: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    define(office, "tight", maximum_distance=2)
    define(office, "wide")
    deliver(office, "tight", record("1", video(1, 2, 3, 4)))
    deliver(office, "wide", record("1", video(101, 102, 103, 104)))
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    valkey.flushall()
    assert ask(office, video(1, 2, 3, 4, flipped=2), snapshot=snapshot).verdict is UNKNOWN
    assert ask(office, video(1, 2, 3, 4, flipped=3), snapshot=snapshot).verdict is MISS


def test_a_list_out_of_scope_takes_no_ones_place(office: Office):
    """Frames of a hidden list are nearer, and as many as are looked up: what the caller may see is still found."""
    define(office, "seen")
    define(office, "hidden")
    deliver(office, "seen", record("1", video(1, 2, flipped=3)))
    copies = [record(str(flipped), video(1, 2, flipped=flipped), label=str(flipped)) for flipped in range(3)]
    deliver(office, "hidden", *copies)
    few = dataclasses.replace(NEARNESS, maximum_confirmed=2)
    assert shares(ask(office, video(1, 2), few, Scope(("seen",)))) == {("seen", "1"): SharedFrames(2, 2, 2, 2)}


def test_what_was_not_searched_counts_only_if_it_could_make_up_the_share(listed: Office):
    limited = dataclasses.replace(NEARNESS, work_limit=0)
    found = ask(listed, video(1, 2), limited)
    assert (found.verdict, found.causes) == (UNKNOWN, (WORK_LIMIT,))
    looks = iter([False, True])
    hurried = dataclasses.replace(NEARNESS, expired=lambda: next(looks), cores=2)
    # Eight frames are searched at a time: those of the second eight are not.
    assert ask(listed, [*video(*range(900, 905)), *video(1, 2, 3), *video(*range(950, 956))], hurried).verdict is MISS
    looks = iter([False, True])
    found = ask(listed, [*video(*range(8)), *video(8, 9)], hurried)
    assert (found.verdict, found.causes) == (HIT, (WORK_LIMIT,))
    assert shares(found) == {("films", "ten"): SharedFrames(10, 8, 10, 8)}
    looks = iter([False, True])
    assert ask(listed, [*video(*range(6)), *video(900, 901), *video(8, 9)], hurried).verdict is UNKNOWN


def test_a_frame_of_very_many_videos_is_not_followed_without_end(office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(videos_module, "_MAXIMUM_SIGHTINGS", 10)
    define(office, "films")
    # Each says something else, so that each would be told.
    records = [record(f"{number:02}", video(1, 100 + number), label=str(number)) for number in range(20)]
    deliver(office, "films", *records)
    assert (ask(office, video(1)).verdict, ask(office, video(1)).causes) == (UNKNOWN, (WORK_LIMIT,))
    # Nineteen twentieths of a video cannot be made up by the one frame.
    assert ask(office, video(1, *range(900, 919))).verdict is MISS
    assert shares(ask(office, video(1, 105, 106, 107, 108))) == {}


def test_giving_up_says_so(listed: Office):
    seen = view(listed.snapshot(), EVERYTHING, now=listed.clock.now())
    question = VideoQuestion(seen, [[Frame(code(1), 100)], [Frame(BLACK, 100)]], NEARNESS)
    assert question.probe()
    for answer in (question.give_up(), question.confirm()):
        assert [finding.causes for finding in answer.findings] == [
            (WORK_LIMIT,),
            (Cause(UndeterminedReason.DEGENERATE_HASH),),
        ]


films = st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=8), max_size=6)
asked_shares = st.sampled_from([0.3, 0.5, 0.8, 1.0])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(films, films.filter(bool), st.tuples(asked_shares, st.sampled_from([0.0, 0.4, 1.0])))
def test_answers_are_those_of_comparing_every_frame_with_every_frame(office: Office, listed, asked, wanted):
    """P1 for videos, with shares and distances as the plain rule gives them."""
    list_id = f"films-{uuid.uuid4().hex[:8]}"
    define(office, list_id, minimum_asked_share=wanted[0], minimum_listed_share=wanted[1])
    codes = {str(key): {code(*frame) for frame in frames} for key, frames in enumerate(listed)}
    codes["-"] = {code(99)}
    deliver(office, list_id, *(record(key, sorted(frames), label=key) for key, frames in codes.items()))
    snapshot = office.snapshot()
    for frames in asked:
        question = {code(*frame) for frame in frames}
        expected = {
            (list_id, key): shared
            for key, film in codes.items()
            if (shared := plainly_shared(question, film)).asked_matched >= wanted[0] * shared.asked - 1e-6
            and shared.asked_matched
            and shared.listed_matched >= wanted[1] * shared.listed - 1e-6
        }
        found = ask(office, sorted(question), scope=Scope((list_id,)), snapshot=snapshot)
        assert shares(found) == expected
        assert found.verdict is (HIT if expected else MISS)
        for opinion in found.opinions:
            assert opinion.near is not (question <= codes[opinion.source_key])


def plainly_shared(asked: set[bytes], film: set[bytes]) -> SharedFrames:
    def near(one: bytes, others: set[bytes]) -> bool:
        return any((int.from_bytes(one) ^ int.from_bytes(other)).bit_count() <= 31 for other in others)

    return SharedFrames(
        len(asked), sum(near(each, film) for each in asked), len(film), sum(near(each, asked) for each in film)
    )


def test_an_opinion_names_the_latest_change_of_the_frames_that_it_rests_on(listed: Office):
    first = ask(listed, video(1, 2)).opinions[0]
    deliver(listed, "films", record("ten", video(*range(9), 70)), mode=INCREMENTAL)
    assert ask(listed, video(1, 2)).opinions[0].since_epoch == first.since_epoch
    for asked in (video(1, 70), video(70, 1), video(1, 70, 2)):
        assert ask(listed, asked).opinions[0].since_epoch > first.since_epoch
    deliver(listed, "films", record("ten", video(*range(9))), mode=INCREMENTAL)
    assert ask(listed, video(1, 2)).opinions[0].since_epoch > first.since_epoch
