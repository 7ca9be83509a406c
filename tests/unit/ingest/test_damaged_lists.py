"""A list that the store lost or spoilt something of is made whole with a full delivery, and holds up no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from hashmatch.ingest.compaction import MAXIMUM_DELTAS, Compactor
from hashmatch.ingest.publisher import Publisher
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.stagings import PUBLISHED, Staging
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, Office

MD5 = Algorithm.MD5
MANY = range(1, 2_000)

Spoil = Callable[[redis.Redis, list[bytes]], object]
# What can become of a segment, by its keys: its statement sets first, then its blocks.
HARMS: dict[str, Spoil] = {
    "a block is missing": lambda valkey, keys: valkey.delete(keys[-1]),
    "a block is spoilt": lambda valkey, keys: valkey.set(keys[-1], b"x" * 50),
    "the sets are missing": lambda valkey, keys: valkey.delete(keys[0]),
}


@pytest.fixture
def office(office: Office, store: Store) -> Office:
    """With one list, and no archive that would make anything good."""
    assert store.archive is None
    office.define()
    office.deliver_hashes(digests(*MANY))
    return office


def segment_of(office: Office, list_id: str = "list") -> SegmentInfo:
    generation = office.manifest().lists[list_id].generation
    assert generation is not None
    return generation.segments[0]


def spoil(valkey: redis.Redis, store: Store, info: SegmentInfo, harm: Spoil) -> None:
    harm(valkey, store.segments._all_keys(info))
    with pytest.raises(StoreDamagedError):
        store.segments.open(info).verify()


def publish(office: Office, staging: Staging, *accepted: str) -> object:
    office.approve(staging)
    return office.publisher.publish(staging.staging_id, ACTOR, accept_gates=accepted, reason="a test")


def unmet(staging: Staging) -> list[str]:
    return [gate.name for gate in staging.report.unmet]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_full_delivery_makes_a_damaged_list_whole(office: Office, store: Store, valkey: redis.Redis, harm: Spoil):
    spoil(valkey, store, segment_of(office), harm)
    staging = office.stage_hashes(digests(*MANY, 5_000))
    assert unmet(staging) == ["removals", "additions", "base-readable"]
    assert (staging.report.added, staging.report.removed) == (len(MANY) + 1, len(MANY))
    assert reason_of(lambda: publish(office, staging)) is ErrorReason.GATE_NOT_MET
    publish(office, staging, *unmet(staging))
    store.segments.open(segment_of(office)).verify()
    assert listed(office, 1, 5_000, 6_000) == [True, True, False]
    assert unmet(office.stage_hashes(digests(*MANY, 5_000))) == []


def test_an_incremental_delivery_does_not(office: Office, store: Store, valkey: redis.Redis):
    spoil(valkey, store, segment_of(office), HARMS["the sets are missing"])
    with pytest.raises(StoreDamagedError):
        office.stage_hashes(digests(9_000), mode=DeliveryMode.INCREMENTAL)


@pytest.mark.parametrize("nature", [ListNature.ILLEGAL, ListNature.KNOWN_GOOD])
def test_what_another_list_lacks_is_told_and_holds_up_nothing(
    office: Office, publisher: Publisher, store: Store, valkey: redis.Redis, nature: ListNature
):
    office.define("other", nature=nature)
    office.deliver_hashes(digests(*MANY), "other")
    spoil(valkey, store, segment_of(office, "other"), HARMS["the sets are missing"])
    staging = office.stage_hashes(digests(*MANY, 5_000))
    assert unmet(staging) == ["lists-readable"]
    (gate,) = staging.report.unmet
    assert gate.detail.endswith(": other")
    publish(office, staging, "lists-readable")
    assert publisher.staging(staging.staging_id).state == PUBLISHED


def test_a_record_of_withdrawals_that_is_lost_is_a_gate_and_no_dead_end(
    office: Office, publisher: Publisher, store: Store, valkey: redis.Redis
):
    def withdraw(number: int) -> None:
        publisher.withdraw_entries("list", [(MD5, digests(number)[0])], [], ACTOR, "a test")

    withdraw(1)
    (record,) = office.manifest().lists["list"].withdrawn
    spoil(valkey, store, record, HARMS["the sets are missing"])
    staging = office.stage_hashes(digests(*MANY))
    assert unmet(staging) == ["withdrawn"]
    publish(office, staging, "withdrawn")
    assert listed(office, 1) == [True]
    # What is withdrawn from now on is recorded beside it.
    withdraw(2)
    assert listed(office, 2) == [False]
    assert record in office.manifest().lists["list"].withdrawn
    assert reason_of(lambda: publisher.roll_back("list", 0, ACTOR, "a test")) is ErrorReason.GATE_NOT_MET
    publisher.roll_back("list", 0, ACTOR, "a test", accept_gates=["withdrawn"])
    assert listed(office, 2) == [True]


def test_a_chain_that_cannot_be_read_keeps_no_other_from_being_folded(
    office: Office, publisher: Publisher, store: Store, valkey: redis.Redis, clock: ManualClock
):
    office.define("other")
    office.deliver_hashes(digests(*MANY), "other")
    for number in range(MAXIMUM_DELTAS):
        for list_id in ("list", "other"):
            office.deliver_hashes(digests(10_000 + number), list_id, mode=DeliveryMode.INCREMENTAL)
    spoil(valkey, store, office.manifest().lists["list"].generation.segments[-1], HARMS["a block is spoilt"])  # type: ignore[union-attr]
    with pytest.raises(StoreDamagedError):
        Compactor(store, clock, publisher).compact()
    chains = [len(office.manifest().lists[each].generation.segments) for each in ("list", "other")]  # type: ignore[union-attr]
    assert chains == [1 + MAXIMUM_DELTAS, 2]
