"""The suite bites where the flood guard is concerned: without a part of it, what it is for does not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from hashmatch.matching.findings import Finding
from hashmatch.service import floods as service
from hashmatch.store.connection import Connection
from hashmatch.trust import floods as trust
from hashmatch.trust.floods import FloodSketch
from hashmatch.trust.sealing import SealingKey
from tests.unit.service.test_non_interference import MD5, UPLOADS, Scene, md5

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Scene], None]
WINDOW = 600.0


@pytest.fixture
def scene(connection: Connection, sealing_key: SealingKey) -> Iterator[Scene]:
    scene = Scene(connection, sealing_key)
    scene.desk.follow()
    yield scene
    scene.close()


def ask(scene: Scene, *numbers: int, times: int) -> None:
    scene.desk.bulk(UPLOADS, int(MD5), [md5(number) for number in numbers] * times)


def told(scene: Scene) -> set[tuple[str, bytes]]:
    """Which values of which lists operators are told of."""
    asyncio.run(scene.desk.floods.tell())
    now = scene.clock.now()
    return {(flood.list_id, flood.value) for flood in scene.office.store.floods.all(now).values()}


# ---- what holds


def sudden_matches_are_told_of_each_list(scene: Scene) -> None:
    scene.clock.advance(WINDOW)
    ask(scene, 3, times=20)
    assert told(scene) == {("seen-one", md5(3)), ("seen-two", md5(3))}


def what_is_usual_is_not_told(scene: Scene) -> None:
    for _ in range(5):
        ask(scene, 1, times=40)
        scene.clock.advance(WINDOW)
    ask(scene, 1, times=40)
    assert told(scene) == set()


def what_is_no_match_is_not_told(scene: Scene) -> None:
    scene.suppressor.suppress([(int(MD5), md5(1))], [], "ann", "a test")
    scene.desk.follow()
    scene.clock.advance(WINDOW)
    # With one that does match, so that the batch is looked at.
    scene.desk.bulk(UPLOADS, int(MD5), [md5(1), md5(1_000)] * 20 + [md5(2)])
    assert told(scene) == set()


def many_that_match_a_little_are_none(scene: Scene) -> None:
    scene.clock.advance(WINDOW)
    ask(scene, 0, 1, 2, 4, times=15)
    assert told(scene) == set()


# ---- what somebody could break


def watch_no_columns(patch: pytest.MonkeyPatch) -> None:
    """What is asked in columns is answered and not counted."""
    patch.setattr(service.FloodGuard, "observe", lambda *_: None)


def forget_the_past(patch: pytest.MonkeyPatch) -> None:
    """Windows end, and what they had is dropped."""
    turn = FloodSketch.turn

    def forgetful(self: FloodSketch) -> None:
        turn(self)
        self._usual[:] = 0

    patch.setattr(FloodSketch, "turn", forgetful)


def take_every_opinion_for_a_match(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the verdict."""

    def lists_of(finding: Finding) -> tuple[str, ...]:
        return tuple(opinion.list_id for opinion in finding.opinions) or ("seen-one",)

    patch.setattr(service, "_lists_of", lists_of)


def count_all_in_one_place(patch: pytest.MonkeyPatch) -> None:
    """The values are not told apart."""
    patch.setattr(trust, "_BUCKETS", 1)
    patch.setattr(trust, "_ABOVE_NOISE", 0)


CAUGHT_BY: dict[Bug, Check] = {
    watch_no_columns: sudden_matches_are_told_of_each_list,
    forget_the_past: what_is_usual_is_not_told,
    take_every_opinion_for_a_match: what_is_no_match_is_not_told,
}


@pytest.mark.parametrize(
    "check", sorted({*CAUGHT_BY.values(), many_that_match_a_little_are_none}, key=lambda check: check.__name__)
)
def test_what_holds_without_a_bug(scene: Scene, check: Check) -> None:
    check(scene)


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(scene: Scene, bug: Bug) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            CAUGHT_BY[bug](scene)


def test_values_that_are_not_told_apart_are_caught(
    connection: Connection, sealing_key: SealingKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_all_in_one_place(monkeypatch)
    scene = Scene(connection, sealing_key)
    scene.desk.follow()
    try:
        with pytest.raises(AssertionError):
            many_that_match_a_little_are_none(scene)
    finally:
        scene.close()
