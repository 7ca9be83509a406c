"""Stagings that nobody decides about are bounded: in number when they are made, in age afterwards."""

from __future__ import annotations

import pytest

from hashmatch.ingest.compaction import GRACE_SECONDS, Collector
from hashmatch.ingest.expiring import ACTOR, StagingExpiry
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.stagings import DISCARDED, STAGED
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit
from tests.support.numbered import digests, reason_of
from tests.support.office import IMPORTER, Office

DAYS = 30
MAXIMUM_AGE = DAYS * 86_400.0


@pytest.fixture
def office(office: Office, store: Store, clock: ManualClock) -> Office:
    """With two lists, of which each may have two open stagings and both together three."""
    policy = VettingPolicy(maximum_open_stagings=3, maximum_open_stagings_of_list=2)
    office.stager = Stager(store, clock, policy)
    office.define()
    office.define("other")
    return office


@pytest.fixture
def expiry(store: Store, clock: ManualClock, publisher: Publisher) -> StagingExpiry:
    return StagingExpiry(store, clock, publisher, maximum_days=DAYS)


def test_a_list_has_only_so_many_open_stagings(office: Office):
    first, _ = (office.stage_hashes(digests(number)) for number in range(2))
    with pytest.raises(HashmatchError) as refused:
        office.stage_hashes(digests(2))
    assert refused.value.reason is ErrorReason.STAGINGS_FULL
    assert refused.value.metadata == {"list_id": "list", "open": "2", "maximum": "2"}
    # Another list has places of its own, and a report on trial takes none.
    office.stage_hashes(digests(2), "other")
    assert office.stage_hashes(digests(2), validate_only=True).report.stored == 1
    office.publisher.discard(first.staging_id, IMPORTER)
    office.stage_hashes(digests(2))


def test_all_lists_together_have_only_so_many(office: Office):
    for list_id in ("list", "list", "other"):
        office.stage_hashes(digests(1), list_id)
    with pytest.raises(HashmatchError) as refused:
        office.stage_hashes(digests(2), "other")
    assert refused.value.reason is ErrorReason.STAGINGS_FULL
    assert refused.value.metadata == {"open": "3", "maximum": "3"}


def test_it_is_refused_before_a_delivery_is_read(office: Office, store: Store):
    for number in range(2):
        office.stage_hashes(digests(number))
    notes = store.stagings.notes()

    def unread():
        pytest.fail("it was read")
        yield b""

    assert reason_of(lambda: office.stage(unread(), format="hash-text")) is ErrorReason.STAGINGS_FULL
    assert store.stagings.notes() == notes


def test_a_request_that_is_repeated_takes_no_place(office: Office):
    staging = office.stage_hashes(digests(1), request_id="r")
    office.stage_hashes(digests(2))
    assert office.stage_hashes(digests(1), request_id="r") == staging


def test_what_can_no_longer_be_published_takes_no_place(office: Office):
    for number in range(3):
        staging = office.stage_hashes(digests(number))
        office.stage_hashes(digests(10 + number))
        office.publish(staging)
    office.stage_hashes(digests(4))


def test_a_staging_is_discarded_when_it_is_too_old(
    office: Office, expiry: StagingExpiry, clock: ManualClock, store: Store, audit: MemoryAudit, collector: Collector
):
    old = office.stage_hashes(digests(1))
    clock.advance(1.0)
    young = office.stage_hashes(digests(2))
    clock.advance(MAXIMUM_AGE - 1.0)
    assert expiry.expire() == 0
    clock.advance(1.0)
    assert expiry.expire() == 1
    assert store.stagings.get(old.staging_id).state == DISCARDED
    assert store.stagings.get(young.staging_id).state == STAGED
    act, actor, details = audit.records[-1]
    assert (act, actor, details["staging_id"], details["list_id"]) == ("discard", ACTOR, old.staging_id, "list")
    assert "30 days" in str(details["reason"])
    assert expiry.expire() == 0
    clock.advance(GRACE_SECONDS)
    collector.collect()
    assert not any(map(store.segments.is_whole, old.segments()))


def test_what_was_decided_is_not_discarded(office: Office, expiry: StagingExpiry, clock: ManualClock):
    staging = office.stage_hashes(digests(1))
    office.publish(staging)
    clock.advance(MAXIMUM_AGE + 1)
    assert expiry.expire() == 0


def test_without_an_age_nothing_is_discarded(office: Office, store: Store, clock: ManualClock, publisher: Publisher):
    office.stage_hashes(digests(1))
    clock.advance(100 * MAXIMUM_AGE)
    assert StagingExpiry(store, clock, publisher, maximum_days=0).expire() == 0


def test_one_that_somebody_publishes_at_the_same_moment_holds_up_no_other(
    office: Office, expiry: StagingExpiry, clock: ManualClock, store: Store, monkeypatch: pytest.MonkeyPatch
):
    published, other = office.stage_hashes(digests(1)), office.stage_hashes(digests(2), "other")
    clock.advance(MAXIMUM_AGE + 1)
    read = store.stagings.all

    def read_then_publish():
        monkeypatch.undo()
        found = read()
        office.publish(published)
        return found

    monkeypatch.setattr(store.stagings, "all", read_then_publish)
    assert expiry.expire() == 1
    assert store.stagings.get(other.staging_id).state == DISCARDED
