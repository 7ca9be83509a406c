"""Publishing: all or nothing, on the record first, and never backwards."""

from __future__ import annotations

import pytest
import redis

from hashmatch.ingest.acts import MANIFEST_LIFETIME, Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.manifest import ManifestConflictError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.stagings import PUBLISHED
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditError
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, APPROVERS, Office, row

MD5 = Algorithm.MD5
INCREMENTAL = DeliveryMode.INCREMENTAL
ANN, BOB = APPROVERS


@pytest.fixture
def office(office: Office) -> Office:
    """With one list."""
    office.define()
    return office


# ---- all or nothing


def test_a_publication_is_visible_as_a_whole(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(*range(10)))
    snapshot = office.snapshot()
    staging = office.stage_hashes(digests(*range(5, 15)))
    assert listed(office, 0, 12) == [True, False]
    generation, epoch = office.publish(staging)
    assert listed(office, 0, 12) == [False, True]
    assert (generation.number, generation.epoch) == (2, epoch)
    assert publisher.staging(staging.staging_id).state == PUBLISHED
    # Who still answers of the epoch before answers of all of it.
    assert len(office.ask(MD5, digests(*range(15)), snapshot=snapshot).positions) == 10


def test_a_segment_that_was_harmed_is_never_published(office: Office, publisher: Publisher, valkey: redis.Redis):
    office.deliver_hashes(digests(1))
    staging = office.stage_hashes(digests(1, 2))
    office.approve(staging)
    valkey.delete(b"hashmatch:b:%b:0" % staging.segments()[0].segment_id.encode())
    with pytest.raises(StoreDamagedError):
        publisher.publish(staging.staging_id, ACTOR, accept_gates=["additions"], reason="why")
    assert listed(office, 1, 2) == [True, False]


def test_nothing_takes_effect_that_is_not_on_the_record_first(
    office: Office, publisher: Publisher, suppressor: Suppressor, audit: MemoryAudit, store: Store
):
    office.deliver_hashes(digests(1))
    office.deliver_hashes(digests(1, 2))
    staging = office.stage_hashes(digests(1, 2, 3))
    office.approve(staging)
    other = office.stage_hashes(digests(5))
    before = store.manifests.load().raw
    approved = publisher.staging(other.staging_id)
    audit.failing = True
    definition = ListDefinition(list_id="new", body="b", nature=ListNature.TEST, max_age=60.0)
    for act in (
        lambda: publisher.define_list(definition, ACTOR),
        lambda: publisher.publish(staging.staging_id, ACTOR, accept_gates=["additions"], reason="why"),
        lambda: publisher.roll_back("list", 0, ACTOR),
        lambda: publisher.withdraw_list("list", ACTOR, "why"),
        lambda: publisher.withdraw_entries("list", [(1, digests(1)[0])], [], ACTOR, "why"),
        lambda: publisher.approve(other.staging_id, ANN, other.approval_digest),
        lambda: publisher.discard(other.staging_id, ACTOR),
        lambda: suppressor.suppress([(1, digests(1)[0])], [], ACTOR, "why"),
        lambda: suppressor.lift_suppression([(1, digests(1)[0])], ACTOR, "why"),
    ):
        with pytest.raises(AuditError):
            act()
    assert store.manifests.load().raw == before
    assert publisher.staging(other.staging_id) == approved


def test_each_act_is_recorded_before_and_after_it_takes_effect(
    office: Office, audit: MemoryAudit, store: Store, monkeypatch: pytest.MonkeyPatch
):
    seen = []
    put = store.manifests.put
    monkeypatch.setattr(store.manifests, "put", lambda *how: (seen.append(audit.acts[-1]), put(*how)))
    office.deliver_hashes(digests(1))
    assert seen == ["publish"]
    assert audit.acts[-4:] == ["approve", "approve", "publish", "in-effect"]
    assert audit.records[-1].details == {"epoch": 2, "of": "publish"}


def test_an_act_that_is_in_effect_is_no_failure_for_want_of_a_second_record(
    office: Office, audit: MemoryAudit, monkeypatch: pytest.MonkeyPatch
):
    append = audit.append

    def append_first(act: str, actor: str, **details):
        audit.failing = act == "in-effect"
        return append(act, actor, **details)

    monkeypatch.setattr(audit, "append", append_first)
    office.deliver_hashes(digests(1))
    assert audit.acts[-1] == "publish"
    assert listed(office, 1) == [True]


def test_no_record_holds_a_hash(office: Office, publisher: Publisher, suppressor: Suppressor, audit: MemoryAudit):
    office.deliver(row(key="k", label="x", md5=digests(1)[0]))
    suppressor.suppress([(1, digests(1)[0])], [], ACTOR, "why")
    suppressor.lift_suppression([(1, digests(1)[0])], ACTOR, "why")
    publisher.withdraw_entries("list", [(1, digests(1)[0])], ["k"], ACTOR, "why")
    said = repr(audit.records) + repr(office.manifest().history)
    for form in (digests(1)[0].hex(), repr(digests(1)[0])[2:-1]):
        assert form not in said


def test_a_crash_between_the_swap_and_the_end_is_made_good(
    office: Office, publisher: Publisher, store: Store, monkeypatch: pytest.MonkeyPatch
):
    staging = office.stage_hashes(digests(1))
    office.approve(staging)

    def crash(*_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(store.stagings, "change", crash)
        with pytest.raises(StoreUnavailableError):
            publisher.publish(staging.staging_id, ACTOR)
    assert listed(office, 1) == [True]
    before = store.manifests.load().raw
    again = publisher.publish(staging.staging_id, ACTOR)
    assert again[0].number == 1
    assert again[1] == office.manifest().epoch
    assert store.manifests.load().raw == before
    assert publisher.staging(staging.staging_id).state == PUBLISHED


def test_publishing_what_is_published_changes_nothing(office: Office, publisher: Publisher, store: Store):
    staging = office.stage_hashes(digests(1))
    first = office.publish(staging)
    before = store.manifests.load().raw
    assert publisher.publish(staging.staging_id, ACTOR) == first
    assert store.manifests.load().raw == before


def test_a_crash_before_the_swap_leaves_the_old_state(
    office: Office, publisher: Publisher, store: Store, monkeypatch: pytest.MonkeyPatch
):
    office.deliver_hashes(digests(1))
    staging = office.stage_hashes(digests(2))
    office.approve(staging)

    def crash(*_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(store.manifests, "put", crash)
        with pytest.raises(StoreUnavailableError):
            publisher.publish(staging.staging_id, ACTOR, accept_gates=["removals", "additions"], reason="why")
    assert listed(office, 1, 2) == [True, False]
    publisher.publish(staging.staging_id, ACTOR, accept_gates=["removals", "additions"], reason="why")
    assert listed(office, 1, 2) == [False, True]


def test_acts_at_the_same_time_all_take_effect_once(
    office: Office, publisher: Publisher, suppressor: Suppressor, store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Somebody else is faster three times: the act starts again from what they made."""
    office.deliver_hashes(digests(1, 2, 3))
    hashes = iter(digests(1, 2, 3))
    put = store.manifests.put

    def put_second(expected: bytes, raw: bytes) -> None:
        monkeypatch.setattr(store.manifests, "put", put)
        other = next(hashes, None)
        if other is not None:
            suppressor.suppress([(1, other)], [], ACTOR, "why")
            monkeypatch.setattr(store.manifests, "put", put_second)
        put(expected, raw)

    before = office.manifest().epoch
    monkeypatch.setattr(store.manifests, "put", put_second)
    office.define("another")
    assert listed(office, 1, 2, 3) == [False, False, False]
    assert {*office.manifest().lists} == {"list", "another"}
    assert office.manifest().epoch == before + 4


def test_an_act_that_never_gets_its_turn_says_so(
    office: Office, store: Store, audit: MemoryAudit, monkeypatch: pytest.MonkeyPatch
):
    def conflict(*_: object) -> None:
        raise ManifestConflictError("the manifest was changed by somebody else")

    monkeypatch.setattr(store.manifests, "put", conflict)
    with pytest.raises(HashmatchError) as caught:
        office.define("another")
    assert caught.value.reason is ErrorReason.CONFLICT
    assert caught.value.retry_after is not None
    # However often it was tried, it was asked for once, and it never took effect.
    assert audit.acts[-1] == "define-list"
    assert audit.acts.count("define-list") == 2


def test_validating_an_act_changes_nothing(
    office: Office, publisher: Publisher, suppressor: Suppressor, valkey: redis.Redis, audit: MemoryAudit
):
    office.deliver_hashes(digests(1))
    office.deliver_hashes(digests(1, 2))
    staging = office.stage_hashes(digests(1, 2, 3))
    office.approve(staging)
    before, recorded = {key: valkey.dump(key) for key in valkey.scan_iter()}, len(audit.records)
    definition = ListDefinition(list_id="new", body="b", nature=ListNature.TEST, max_age=60.0)
    publisher.define_list(definition, ACTOR, validate_only=True)
    publisher.publish(staging.staging_id, ACTOR, accept_gates=["additions"], reason="why", validate_only=True)
    publisher.roll_back("list", 0, ACTOR, validate_only=True)
    publisher.withdraw_list("list", ACTOR, "why", validate_only=True)
    publisher.withdraw_entries("list", [(1, digests(1)[0])], [], ACTOR, "why", validate_only=True)
    suppressor.suppress([(1, digests(1)[0])], [], ACTOR, "why", validate_only=True)
    assert {key: valkey.dump(key) for key in valkey.scan_iter()} == before
    assert len(audit.records) == recorded


# ---- never backwards


def test_every_act_has_an_epoch_of_its_own(office: Office, floor: MemoryFloor):
    epochs = [office.manifest().epoch]
    for number in range(3):
        assert office.deliver_hashes(digests(number)).epoch == office.manifest().epoch
        epochs.append(office.manifest().epoch)
        assert floor.epoch == epochs[-1]
    assert epochs == [1, 2, 3, 4]


def test_nothing_is_built_on_a_store_that_lost_what_was_seen(
    office: Office, publisher: Publisher, floor: MemoryFloor, store: Store
):
    """A failover lost writes: the next epoch would take everybody's changes back."""
    staging = office.stage_hashes(digests(1))
    office.approve(staging)
    floor.epoch = 100
    before = store.manifests.load().raw
    assert reason_of(lambda: publisher.publish(staging.staging_id, ACTOR)) is ErrorReason.STORE_DAMAGED
    assert store.manifests.load().raw == before


def test_an_empty_store_is_not_begun_anew_by_who_knows_better(office: Office, valkey: redis.Redis, floor: MemoryFloor):
    floor.epoch = 1
    valkey.flushall()
    assert reason_of(office.define) is ErrorReason.STORE_DAMAGED
    assert valkey.dbsize() == 0


def test_an_older_manifest_is_not_vouched_for(office: Office, acts: Acts, clock: ManualClock, floor: MemoryFloor):
    clock.advance(MANIFEST_LIFETIME)
    floor.epoch = 100
    assert not acts.renew()
    floor.epoch = 1
    assert acts.renew()


def test_a_manifest_is_vouched_for_again_in_the_second_half_of_its_life(office: Office, acts: Acts, clock: ManualClock):
    before = office.manifest()
    assert not acts.renew()
    clock.advance(MANIFEST_LIFETIME / 2 + 1)
    assert acts.renew()
    after = office.manifest()
    assert (after.epoch, after.renewals) == (before.epoch, before.renewals + 1)
    assert after.expires_at == clock.wall + MANIFEST_LIFETIME
    assert after.lists == before.lists


# ---- definitions


def test_defining_a_list_again_keeps_what_it_serves(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1))
    office.define(max_age=60.0)
    assert office.manifest().lists["list"].definition.max_age == 60.0
    assert listed(office, 1) == [True]


def test_an_unsound_definition_is_refused(publisher: Publisher, valkey: redis.Redis):
    definition = ListDefinition(list_id="x", body="", nature=ListNature.TEST, max_age=60.0)
    assert reason_of(lambda: publisher.define_list(definition, ACTOR)) is ErrorReason.INVALID_FIELD
    assert valkey.dbsize() == 0
