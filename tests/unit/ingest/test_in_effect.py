"""What is in effect is told so, whatever failed beside it, and nothing is done twice because that was not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from hashmatch.ingest.publisher import Publisher
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.manifest import ManifestStore
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, Office

GOOD, BAD = 1, 2


@pytest.fixture
def lists(office: Office) -> Office:
    """A list that had something good and then something bad."""
    office.define()
    office.deliver_hashes(digests(GOOD))
    office.deliver_hashes(digests(BAD))
    return office


def test_who_is_overtaken_before_they_could_note_it_has_published(
    lists: Office, publisher: Publisher, floor: MemoryFloor, audit: MemoryAudit, monkeypatch: pytest.MonkeyPatch
):
    """Another server publishes, and ours serves that, while the first publication still waits for the disk."""
    wait_for_disk = Connection.wait_for_disk

    def slowly(connection: Connection, mark: bytes) -> None:
        monkeypatch.setattr(Connection, "wait_for_disk", wait_for_disk)
        lists.define("another")
        assert floor.epoch == lists.manifest().epoch

    monkeypatch.setattr(Connection, "wait_for_disk", slowly)
    _, epoch = publisher.roll_back("list", 0, ACTOR, "bad")
    assert epoch == lists.manifest().epoch - 1
    assert listed(lists, GOOD, BAD) == [True, False]
    assert audit.acts[-1] == "in-effect"


@pytest.mark.parametrize("step", ["wait_for_disk", "publish"])
def test_what_fails_after_the_swap_is_no_failure_of_the_act(
    lists: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, step: str
):
    def fail(*_: object) -> None:
        raise StoreUnavailableError("no permission, or no answer")

    monkeypatch.setattr(Connection, step, fail)
    publisher.roll_back("list", 0, ACTOR, "bad")
    assert listed(lists, GOOD, BAD) == [True, False]


def test_an_act_whose_confirmation_is_lost_is_done_once_though_others_have_built_upon_it(
    lists: Office, publisher: Publisher, store: Store, audit: MemoryAudit, monkeypatch: pytest.MonkeyPatch
):
    compare_and_set = store.connection._compare_and_set

    def lost(keys: Sequence[bytes], arguments: Sequence[bytes]) -> object:
        monkeypatch.undo()
        compare_and_set(keys, arguments)
        lists.define("another")
        # The library asks again when it gets no reply.
        return compare_and_set(keys, arguments)

    monkeypatch.setattr(store.connection, "_compare_and_set", lost)
    generation, epoch = publisher.roll_back("list", 0, ACTOR, "bad")
    assert listed(lists, GOOD, BAD) == [True, False]
    manifest = lists.manifest()
    assert [(each.act, each.epoch) for each in manifest.history[-2:]] == [
        ("roll-back", epoch),
        ("define-list", epoch + 1),
    ]
    assert manifest.lists["list"].generation == generation
    assert audit.acts.count("roll-back") == 1


def before_the_swap(patch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have `act` done by somebody else when the manifest is about to be swapped."""
    replace = ManifestStore.replace

    def second(store: ManifestStore, expected: bytes, manifest: object) -> object:
        patch.setattr(ManifestStore, "replace", replace)
        act()
        return replace(store, expected, manifest)  # type: ignore[arg-type]

    patch.setattr(ManifestStore, "replace", second)


def test_two_who_roll_back_at_once_both_get_rid_of_the_same_generation(
    lists: Office, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
):
    before_the_swap(monkeypatch, lambda: publisher.roll_back("list", 0, ACTOR, "bad"))
    publisher.roll_back("list", 0, ACTOR, "bad")
    assert listed(lists, GOOD, BAD) == [True, False]


def test_withdrawing_what_the_list_does_not_have_makes_no_generation(lists: Office, publisher: Publisher):
    before = lists.manifest()
    withdrawn = publisher.withdraw_entries("list", [(Algorithm.MD5, digests(9)[0])], [], ACTOR, "a test")
    assert withdrawn == (before.lists["list"].generation, before.epoch, 0, 1)
    assert lists.manifest() == before


def test_what_was_staged_for_a_list_that_is_stated_otherwise_since_is_not_published(
    lists: Office, publisher: Publisher
):
    staging = lists.stage_hashes(digests(3))
    lists.approve(staging)
    definition = lists.manifest().lists["list"].definition
    publisher.define_list(msgspec.structs.replace(definition, body="another body"), ACTOR)
    assert reason_of(lambda: publish(publisher, staging)) is ErrorReason.STAGING_OUTDATED


def publish(publisher: Publisher, staging: Staging) -> object:
    unmet = [gate.name for gate in staging.report.unmet]
    return publisher.publish(staging.staging_id, ACTOR, accept_gates=unmet, reason="a test")


def test_what_is_sealed_anew_while_it_is_published_is_published_as_it_lies_then(
    lists: Office, publisher: Publisher, store: Store, monkeypatch: pytest.MonkeyPatch
):
    staging, other = lists.stage_hashes(digests(3)), lists.stage_hashes(digests(3))
    lists.approve(staging)
    check = publisher._acts.approvals.check

    def seal_anew(*given: object) -> object:
        # As a rotation of keys does: the same rows in other segments.
        monkeypatch.undo()
        store.stagings.change(staging.staging_id, lambda now: msgspec.structs.replace(now, changes=other.changes))
        return check(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(publisher._acts.approvals, "check", seal_anew)
    publish(publisher, staging)
    generation = lists.manifest().lists["list"].generation
    assert generation is not None
    assert list(generation.segments) == list(other.segments())
    assert listed(lists, 3) == [True]
