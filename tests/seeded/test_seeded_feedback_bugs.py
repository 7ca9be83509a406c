"""The suite bites where feedback is concerned: without a guard, what it guards against is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hashmatch.model.access import Permission
from hashmatch.model.errors import HashmatchError
from hashmatch.service.budgets import Budgets
from hashmatch.service.reporting import Reporting
from hashmatch.store.connection import Connection
from hashmatch.trust.sealing import SealingKey
from hashmatch.v1 import match_service_pb2
from tests.unit.service.test_non_interference import MD5, UPLOADS, Scene, md5

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Scene], None]
RECORDED, NO_MATCH = match_service_pb2.FEEDBACK_OUTCOME_RECORDED, match_service_pb2.FEEDBACK_OUTCOME_NO_MATCH
BUDGET = "[clients.uploads.budget]\nhits_per_day = 2\n"


@pytest.fixture
def scene(connection: Connection, sealing_key: SealingKey) -> Iterator[Scene]:
    scene = Scene(connection, sealing_key)
    scene.desk.follow()
    yield scene
    scene.close()


# ---- what holds


def only_matches_are_spoken_of(scene: Scene) -> None:
    assert scene.desk.dispute(UPLOADS, int(MD5), md5(1_000), "seen-one") == NO_MATCH
    assert not scene.desk.feedback.known


def hidden_lists_cannot_be_spoken_of(scene: Scene) -> None:
    """Whether a hash is in a list that the caller may not see must not be found out by disputing it."""
    with pytest.raises(HashmatchError):
        scene.desk.dispute(UPLOADS, int(MD5), md5(4), "hidden-by-id")


def who_may_not_know_is_told_nothing(scene: Scene) -> None:
    before = scene.desk.batch(UPLOADS, [[(MD5, md5(1))]]).results
    assert scene.desk.dispute(UPLOADS, int(MD5), md5(1), "seen-one") == RECORDED
    assert scene.desk.batch(UPLOADS, [[(MD5, md5(1))]]).results == before


def speaking_costs_what_asking_costs(scene: Scene) -> None:
    scene.activate(rest=BUDGET)
    scene.desk.follow()
    for number in (1, 2):
        assert scene.desk.dispute(UPLOADS, int(MD5), md5(number), "seen-one") == RECORDED
    with pytest.raises(HashmatchError):
        scene.desk.dispute(UPLOADS, int(MD5), md5(3), "seen-one")


# ---- what somebody could break


def take_anything_for_a_match(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether it is one."""

    async def look_up(*_: object) -> None:
        return None

    patch.setattr(Reporting, "_look_up", look_up)


def see_every_list(patch: pytest.MonkeyPatch) -> None:
    """A policy names lists, and nobody looks."""
    patch.setattr(Permission, "sees", lambda _self, _definition: True)


def tell_everybody(patch: pytest.MonkeyPatch) -> None:
    """The policy's word on feedback is not read."""
    patch.setattr(Permission, "feedback", True)


def spend_nothing(patch: pytest.MonkeyPatch) -> None:
    """Hits are counted where they are asked for, and not where they are spoken of."""
    patch.setattr(Budgets, "spend_hits", lambda *_: None)


CAUGHT_BY: dict[Bug, Check] = {
    take_anything_for_a_match: only_matches_are_spoken_of,
    see_every_list: hidden_lists_cannot_be_spoken_of,
    tell_everybody: who_may_not_know_is_told_nothing,
    spend_nothing: speaking_costs_what_asking_costs,
}


@pytest.mark.parametrize("check", sorted(set(CAUGHT_BY.values()), key=lambda check: check.__name__))
def test_what_holds_without_a_bug(scene: Scene, check: Check) -> None:
    check(scene)


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(scene: Scene, bug: Bug) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            CAUGHT_BY[bug](scene)
