"""The suite bites where trust is concerned: without a guard, what it guards against is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hashmatch.matching import nearness, visibility
from hashmatch.matching.scope import View
from hashmatch.model.access import Client, Permission
from hashmatch.model.errors import HashmatchError
from hashmatch.service.permissions import Permissions
from hashmatch.store.connection import Connection
from hashmatch.trust.policy import parse_policy
from hashmatch.trust.sealing import SealingKey
from tests.support.desk import Desk
from tests.unit.service.test_non_interference import (
    MD5,
    PDQ,
    PROFILE,
    STRANGER,
    UPLOADS,
    Scene,
    code,
    md5,
)

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Scene], None]


@pytest.fixture
def scene(connection: Connection, sealing_key: SealingKey) -> Iterator[Scene]:
    scene = Scene(connection, sealing_key)
    yield scene
    scene.close()


# ---- what holds


def hidden_lists_do_not_show(scene: Scene) -> None:
    before = scene.everything()
    scene.deliver("hidden-by-id", (0, 6), "B2")
    assert scene.everything() == before


def suppressions_in_hidden_lists_do_not_show(scene: Scene) -> None:
    before = scene.everything()
    scene.suppressor.suppress([(int(MD5), md5(3))], ["hidden-by-id"], "ann", "a test")
    assert scene.everything() == before


def near_values_of_hidden_lists_take_no_places(scene: Scene) -> None:
    """A hidden list that crowds around an asked code must not push out what is listed where the caller may see."""
    desk = Desk(scene.office, nearness=nearness.Nearness(maximum_confirmed=4))
    try:
        asked = code(0, flipped=9)

        def answer() -> bytes:
            desk.follow()
            return desk.batch(UPLOADS, [[(PDQ, asked)]], list_ids=["seen-one"]).results[0].SerializeToString()

        before = answer()
        crowd = "\t".join(("{0}", "A1", "", "{1}")) + "\n"
        rows = "".join(crowd.format(f"crowd-{n}", code(0, flipped=n).hex()) for n in range(1, 9))
        scene.office.deliver(rows, "hidden-by-id", profile=PROFILE)
        assert answer() == before
    finally:
        desk.close()


def strangers_are_refused(scene: Scene) -> None:
    scene.desk.follow()
    with pytest.raises(HashmatchError):
        scene.desk.batch(STRANGER, [[(MD5, md5(1))]])


def what_comes_into_sight_is_new(scene: Scene) -> None:
    scene.deliver("seen-one", (0, 6))
    scene.desk.follow()
    old = scene.desk.snapshot(UPLOADS).snapshot.epoch
    scene.activate('"seen-one", "hidden-by-id"')
    scene.desk.follow()
    (result,) = scene.desk.batch(UPLOADS, [[(MD5, md5(11))]], newer_than_epoch=old).results
    assert result.hashes[0].opinions


# ---- what somebody could break


def see_every_list(patch: pytest.MonkeyPatch) -> None:
    """A policy names lists, and nobody looks."""
    patch.setattr(Permission, "sees", lambda _self, _definition: True)


def tell_the_epoch_of_everything(patch: pytest.MonkeyPatch) -> None:
    """One epoch for all callers."""

    def changed(snapshot, permission):
        found = make(snapshot, permission)
        object.__setattr__(found, "epoch", snapshot.epoch)
        return found

    make = visibility.visibility
    patch.setattr("hashmatch.service.permissions.visibility", changed)


def let_any_suppression_part_hashes(patch: pytest.MonkeyPatch) -> None:
    """Whether a hash is suppressed in a list that is not in scope decides which finding it has."""
    patch.setattr(View, "suppression", lambda self, *place: self.snapshot.suppressions.get(place))


def let_the_nearest_of_all_lists_take_the_places(patch: pytest.MonkeyPatch) -> None:
    """What is looked up is chosen before it is known who may see it."""

    patch.setattr(nearness, "_narrowing", lambda *_: lambda found: found)


def let_anybody_ask(patch: pytest.MonkeyPatch) -> None:
    """Who is in no policy is taken for one on loopback."""

    def client(self, served, caller) -> Client | None:
        return served.snapshot.policy.by_identity.get(caller.name)

    patch.setattr(Permissions, "client", client)


def count_what_comes_into_sight_as_old(patch: pytest.MonkeyPatch) -> None:
    """A new permission has no epoch."""
    patch.setattr("hashmatch.index.loader.parse_policy", lambda document, _epochs: parse_policy(document))


CAUGHT_BY: dict[Bug, Check] = {
    see_every_list: hidden_lists_do_not_show,
    tell_the_epoch_of_everything: hidden_lists_do_not_show,
    let_any_suppression_part_hashes: suppressions_in_hidden_lists_do_not_show,
    let_the_nearest_of_all_lists_take_the_places: near_values_of_hidden_lists_take_no_places,
    let_anybody_ask: strangers_are_refused,
    count_what_comes_into_sight_as_old: what_comes_into_sight_is_new,
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
