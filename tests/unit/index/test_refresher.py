"""The refresher: new data replace old data only when they are whole and newer; silence is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
import redis

from hashmatch.index.refresher import Outcome, Refresher
from hashmatch.ingest.acts import MANIFEST_LIFETIME, Acts
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import EpochFloor
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.office import Office

MD5 = Algorithm.MD5
MAXIMUM_UNCONFIRMED = 60.0
UNCONFIRMED = (Cause(UndeterminedReason.SNAPSHOT_UNCONFIRMED),)


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


@pytest.fixture
def make(office: Office, store: Store, clock: ManualClock, tmp_path: Path):
    """A server's refresher; all share one floor on disk, as the same server restarted does."""

    def make() -> Refresher:
        return Refresher(
            store.manifests,
            office.loader(),
            EpochFloor(tmp_path / "epoch"),
            clock,
            maximum_unconfirmed_seconds=MAXIMUM_UNCONFIRMED,
        )

    return make


@pytest.fixture
def refresher(make, office: Office) -> Refresher:
    """Of a list with one hash, and looked at once."""
    office.define()
    office.deliver_hashes([digest(1)])
    refresher = make()
    assert refresher.refresh().outcome is Outcome.LOADED
    return refresher


def hits(office: Office, refresher: Refresher, *numbers: int) -> list[int]:
    answer = office.ask(MD5, [digest(number) for number in numbers], snapshot=refresher.served.snapshot)
    return [numbers[position] for position in answer.positions.tolist()]


def test_before_anything_is_published_there_is_a_doubt_and_no_snapshot(make):
    refresher = make()
    assert refresher.refresh().outcome is Outcome.EMPTY
    assert refresher.served is None
    assert refresher.doubts() == (Cause(UndeterminedReason.NO_SNAPSHOT),)
    assert not refresher.rebase()


def test_a_change_is_live_after_one_look(refresher: Refresher, office: Office):
    assert refresher.refresh().outcome is Outcome.UNCHANGED
    before = refresher.served.snapshot
    office.deliver_hashes([digest(2)])
    look = refresher.refresh()
    assert (look.outcome, look.current) == (Outcome.LOADED, True)
    assert hits(office, refresher, 1, 2) == [2]
    # Who began with the snapshot before ends with it.
    assert office.ask(MD5, [digest(1)], snapshot=before).positions.tolist() == [0]
    assert refresher.refresh().outcome is Outcome.UNCHANGED


def test_a_store_that_is_away_leaves_what_is_served(
    refresher: Refresher, office: Office, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(store.connection, "get_range", away)
        look = refresher.refresh()
        assert (look.outcome, look.current) == (Outcome.UNAVAILABLE, False)
        assert hits(office, refresher, 1) == [1]
        assert refresher.doubts() == ()
        clock.advance(MAXIMUM_UNCONFIRMED + 0.1)
        refresher.refresh()
        assert refresher.doubts() == UNCONFIRMED
    refresher.refresh()
    assert refresher.doubts() == ()


@pytest.mark.parametrize(
    ("harm", "outcome"),
    [
        (lambda valkey: valkey.delete("hashmatch:manifest"), Outcome.EMPTY),
        (lambda valkey: valkey.setrange("hashmatch:manifest", 40, b"\0\0\0\0"), Outcome.UNCHANGED),
        (lambda valkey: valkey.setrange("hashmatch:manifest", 15, b"\0\0\0\0\0\0"), Outcome.DAMAGED),
        (lambda valkey: valkey.setrange("hashmatch:manifest", 25, b"\0\0\0\0"), Outcome.DAMAGED),
        (lambda valkey: valkey.set("hashmatch:manifest", b"something else"), Outcome.DAMAGED),
    ],
    ids=["gone", "behind its header", "header", "nonce", "something else"],
)
def test_a_harmed_manifest_leaves_what_is_served(
    refresher: Refresher, office: Office, valkey: redis.Redis, harm, outcome: Outcome
):
    harm(valkey)
    assert refresher.refresh().outcome is outcome
    assert hits(office, refresher, 1) == [1]


def test_what_is_spoilt_behind_a_header_is_noticed_in_time_and_until_it_is_mended(
    refresher: Refresher, office: Office, valkey: redis.Redis, clock: ManualClock
):
    whole = valkey.get("hashmatch:manifest")
    valkey.setrange("hashmatch:manifest", 40, b"\0\0\0\0")
    clock.advance(5.0)
    for _ in range(2):
        assert refresher.refresh().outcome is Outcome.DAMAGED
    assert hits(office, refresher, 1) == [1]
    valkey.set("hashmatch:manifest", whole)
    assert refresher.refresh().outcome is Outcome.UNCHANGED


def test_a_generation_that_is_not_whole_is_not_served(refresher: Refresher, office: Office, valkey: redis.Redis):
    served = set(valkey.keys("hashmatch:b:*"))
    office.deliver_hashes([digest(2)])
    fresh = set(valkey.keys("hashmatch:b:*")) - served
    valkey.delete(*fresh)
    assert refresher.refresh().outcome is Outcome.DAMAGED
    assert hits(office, refresher, 1, 2) == [1]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_store_that_lost_writes_is_refused(
    refresher: Refresher, office: Office, valkey: redis.Redis, store: Store, clock: ManualClock, make, restarted: bool
):
    """P6, after a failover: the older manifest verifies perfectly."""
    old = valkey.get(store.keys.manifest)
    office.deliver_hashes([digest(2)])
    refresher.refresh()
    valkey.set(store.keys.manifest, old)
    after = make() if restarted else refresher
    look = after.refresh()
    assert (look.outcome, look.reason) == (Outcome.REFUSED, "older-epoch")
    if restarted:
        assert after.served is None
    else:
        assert hits(office, after, 1, 2) == [2]
        # What a store that is refused confirms is not confirmed.
        clock.advance(MAXIMUM_UNCONFIRMED + 0.1)
        after.refresh()
        assert after.doubts() == UNCONFIRMED


def test_another_manifest_of_the_same_epoch_is_refused(
    refresher: Refresher, office: Office, valkey: redis.Redis, store: Store
):
    """A failover lost a write, and another was made in its place under the same number."""
    old = valkey.get(store.keys.manifest)
    office.deliver_hashes([digest(2)])
    refresher.refresh()
    manifest = office.manifest()
    valkey.set(store.keys.manifest, old)
    lost = store.manifests.open(old)
    store.manifests.replace(old, msgspec.structs.replace(lost, epoch=manifest.epoch))
    look = refresher.refresh()
    assert (look.outcome, look.reason) == (Outcome.REFUSED, "fork")
    assert hits(office, refresher, 1, 2) == [2]


def test_a_manifest_past_its_life_gives_no_negatives(refresher: Refresher, acts: Acts, clock: ManualClock):
    """Whoever keeps a server on an old manifest, confirming it all the time, can do so only until it expires."""
    clock.advance(MANIFEST_LIFETIME + 0.1)
    assert refresher.refresh().outcome is Outcome.UNCHANGED
    assert refresher.doubts() == UNCONFIRMED
    assert acts.renew()
    assert refresher.refresh().outcome is Outcome.LOADED
    assert refresher.doubts() == ()


def test_a_floor_that_cannot_be_written_stops_the_change(
    refresher: Refresher, office: Office, monkeypatch: pytest.MonkeyPatch
):
    office.deliver_hashes([digest(2)])

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hashmatch.store.floor.os.fsync", no_space)
    look = refresher.refresh()
    assert (look.outcome, look.reason) == (Outcome.REFUSED, "floor-unwritable")
    assert hits(office, refresher, 1, 2) == [1]


def test_a_new_base_answers_alike(refresher: Refresher, office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.index.tables._SMALL_OVERLAY", 0)
    office.define("other")
    office.deliver_hashes([digest(number) for number in range(2, 9)], "other")
    refresher.refresh()
    before, epoch = hits(office, refresher, *range(20)), refresher.served.snapshot.epoch
    assert refresher.rebase()
    assert len(refresher.served.snapshot.tables[MD5].parts) == 1
    assert hits(office, refresher, *range(20)) == before
    assert refresher.served.snapshot.epoch == epoch
    assert not refresher.rebase()
