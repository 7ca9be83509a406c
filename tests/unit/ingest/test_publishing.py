"""Publishing: only what is vetted and approved, all or nothing, on the record first, and never backwards."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
import redis

from hashmatch.formats.ncmec import NAMESPACE
from hashmatch.ingest.acts import MANIFEST_LIFETIME, Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.verdicts import Verdict
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.manifest import ManifestConflictError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.stagings import DISCARDED, PUBLISHED
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditError
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import ACTOR, APPROVERS, IMPORTER, Office, row

MD5 = Algorithm.MD5
INCREMENTAL = DeliveryMode.INCREMENTAL
ANN, BOB = APPROVERS


def digests(*numbers: int) -> list[bytes]:
    return [hashlib.md5(b"%d" % number, usedforsecurity=False).digest() for number in numbers]


def listed(office: Office, *numbers: int) -> list[bool]:
    answer = office.ask(MD5, digests(*numbers))
    found = {
        position
        for position, number in zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True)
        if answer.findings[number].verdict is Verdict.MATCH
    }
    return [position in found for position in range(len(numbers))]


def reason_of(act) -> ErrorReason:
    with pytest.raises(HashmatchError) as caught:
        act()
    return caught.value.reason


@pytest.fixture
def office(office: Office) -> Office:
    """With one list."""
    office.define()
    return office


# ---- approvals


def test_who_staged_cannot_approve(office: Office, publisher: Publisher):
    staging = office.stage_hashes(digests(1))
    act = lambda: publisher.approve(staging.staging_id, IMPORTER, staging.approval_digest)  # noqa: E731
    assert reason_of(act) is ErrorReason.APPROVER_IS_IMPORTER


def test_two_others_must_approve(office: Office, publisher: Publisher):
    staging = office.stage_hashes(digests(1))
    for _ in range(3):
        publisher.approve(staging.staging_id, ANN, staging.approval_digest)
    assert len(publisher.staging(staging.staging_id).approvals) == 1
    assert reason_of(lambda: publisher.publish(staging.staging_id, ACTOR)) is ErrorReason.APPROVALS_MISSING
    publisher.approve(staging.staging_id, BOB, staging.approval_digest)
    generation, _ = publisher.publish(staging.staging_id, ACTOR)
    assert (generation.approvals, generation.approvals_required) == (2, 2)


def test_an_approval_is_for_one_report(office: Office, publisher: Publisher):
    staging, other = office.stage_hashes(digests(1)), office.stage_hashes(digests(2))
    for wrong in (other.approval_digest, b"", staging.approval_digest[:-1]):
        act = lambda wrong=wrong: publisher.approve(staging.staging_id, ANN, wrong)  # noqa: E731
        assert reason_of(act) is ErrorReason.APPROVAL_DIGEST_MISMATCH
    assert publisher.staging(staging.staging_id).approvals == ()


def test_the_same_delivery_upon_the_same_state_is_one_report(office: Office):
    one, same = office.stage_hashes(digests(1, 2)), office.stage_hashes(digests(1, 2))
    assert one.approval_digest == same.approval_digest
    office.publish(one)
    assert office.stage_hashes(digests(1, 2)).approval_digest != one.approval_digest


def test_a_small_operator_may_relax_the_approvals_and_it_shows(
    office: Office, store: Store, clock: ManualClock, audit: MemoryAudit, floor: MemoryFloor
):
    policy = VettingPolicy(approvals_required=0)
    publisher = Publisher(Acts(store, clock, policy, audit, floor))
    generation, _ = publisher.publish(office.stage_hashes(digests(1)).staging_id, ACTOR)
    assert (generation.approvals, generation.approvals_required) == (0, 0)
    assert office.manifest().approvals_required == 0


# ---- gates


def test_a_gate_stands_in_the_way_until_it_is_accepted_with_a_reason(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(*range(10)))
    staging = office.stage_hashes(digests(*range(5)))
    assert [gate.name for gate in staging.report.unmet] == ["removals"]
    office.approve(staging)
    publish = lambda **how: publisher.publish(staging.staging_id, ACTOR, **how)  # noqa: E731
    assert reason_of(publish) is ErrorReason.GATE_NOT_MET
    assert reason_of(lambda: publish(accept_gates=["additions"], reason="why")) is ErrorReason.GATE_NOT_MET
    assert reason_of(lambda: publish(accept_gates=["removals"])) is ErrorReason.INVALID_FIELD
    assert listed(office, 9) == [True]
    publish(accept_gates=["removals"], reason="the body says so")
    assert listed(office, 0, 9) == [True, False]


@pytest.mark.parametrize(
    ("first", "then", "header", "unmet"),
    [
        (range(10), range(10), {}, []),
        (range(10), range(9), {}, []),
        (range(10), range(8), {}, ["removals"]),
        (range(10), range(15), {}, []),
        (range(10), range(16), {}, ["additions"]),
        ((), range(100), {}, []),
        (range(10), (), {}, ["not-empty", "removals"]),
        (range(10), range(10), {"declared_records": 10}, []),
        (range(10), range(10), {"declared_records": 11}, ["declared-count"]),
    ],
)
def test_gates_stop_what_the_policy_does_not_allow(office: Office, first, then, header, unmet):
    if first:
        office.deliver_hashes(digests(*first))
    report = office.stage_hashes(digests(*then), **header).report
    assert [gate.name for gate in report.unmet] == unmet


def test_unsound_records_are_counted_against_the_policy(office: Office):
    sound = "".join(digest.hex() + "\n" for digest in digests(*range(99)))
    few = office.stage(sound + "unsound\n", format="hash-text").report
    many = office.stage(sound + "unsound\n" * 2, format="hash-text").report
    assert (few.quarantined, few.unmet) == (1, ())
    assert (many.quarantined, [gate.name for gate in many.unmet]) == (2, ["quarantine"])
    assert many.quarantine[0].example_records == (100, 101)


def test_fingerprints_of_kinds_that_are_not_served_are_not_unsound(office: Office):
    """Bodies deliver them with nearly every entry: the gate would be accepted unread."""
    prints = "".join(f"<md5>{digest.hex()}</md5><netclean>text</netclean>" for digest in digests(*range(9)))
    entry = f'<image><member id="1"/><id>1</id><fingerprints>{prints}<md5>{{}}</md5></fingerprints></image>'
    document = f'<queryResult xmlns="{NAMESPACE}"><images count="1">{entry}</images></queryResult>'
    sound = office.stage(document.format(digests(9)[0].hex()), format="ncmec").report
    assert (sound.quarantined, sound.unmet) == (9, ())
    (gate,) = (gate for gate in sound.gates if gate.name == "quarantine")
    assert gate.detail.startswith("0.00% of what was read is unsound (0 of 19)")
    assert gate.detail.endswith("; 9 more are of kinds that are not served")
    unsound = office.stage(document.format("unsound"), format="ncmec").report
    assert (unsound.quarantined, [gate.name for gate in unsound.unmet]) == (10, ["quarantine"])


@pytest.mark.parametrize(("keys", "met"), [(1_000, True), (900, True), (899, False), (1, False)])
def test_a_delivery_that_replaces_itself_does_not_pass_unremarked(office: Office, keys: int, met: bool):
    """Keys that do not tell entries apart leave the last of them, and all counts agree."""
    rows = (row(key=str(number % keys), md5=digest) for number, digest in enumerate(digests(*range(1_000))))
    report = office.stage("".join(rows)).report
    assert (report.stored, report.stored + report.duplicates) == (keys, 1_000)
    assert [gate.name for gate in report.unmet] == ([] if met else ["superseded"])


def test_counts_that_do_not_reconcile_can_never_be_published(office: Office, publisher: Publisher, store: Store):
    staging = office.stage_hashes(digests(1))
    gates = tuple(
        msgspec.structs.replace(gate, passed=gate.name != "counts-reconcile") for gate in staging.report.gates
    )
    report = msgspec.structs.replace(staging.report, gates=gates)
    store.stagings.put(msgspec.structs.replace(staging, report=report))
    office.approve(staging)
    act = lambda: publisher.publish(  # noqa: E731
        staging.staging_id, ACTOR, accept_gates=["counts-reconcile"], reason="in a hurry"
    )
    assert reason_of(act) is ErrorReason.GATE_NOT_MET


def test_labels_are_counted_by_hash(office: Office):
    text = row(key="a", label="x", md5=digests(1)[0]) + row(key="b", label="x", md5=digests(1)[0])
    text += row(key="c", label="y", md5=digests(2)[0]) + row(key="d", label="y", md5=digests(3)[0])
    labels = office.stage(text).report.labels
    assert [(each.label, each.count) for each in labels] == [("y", 2), ("x", 1)]


# ---- staging


def test_a_delivery_is_the_bytes_that_were_stated(office: Office, valkey: redis.Redis):
    delivery = b"".join(digest.hex().encode() + b"\n" for digest in digests(1))
    stage = lambda stated: office.stage([delivery], format="hash-text", delivery_sha256=stated)  # noqa: E731
    keys = valkey.dbsize()
    assert reason_of(lambda: stage(bytes(32))) is ErrorReason.DELIVERY_DIGEST_MISMATCH
    assert valkey.dbsize() == keys
    assert stage(hashlib.sha256(delivery).digest()).delivery_bytes == len(delivery)


def test_validating_a_delivery_writes_nothing(office: Office, valkey: redis.Redis):
    before = {key: valkey.dump(key) for key in valkey.scan_iter()}
    staging = office.stage_hashes(digests(1), validate_only=True)
    assert (staging.staging_id, staging.changes, staging.report.stored) == ("", (), 1)
    assert {key: valkey.dump(key) for key in valkey.scan_iter()} == before


def test_the_same_request_is_staged_once(office: Office):
    one = office.stage_hashes(digests(1), request_id="r")
    assert office.stage_hashes(digests(1), request_id="r") == one
    assert office.stage_hashes(digests(1), request_id="r", staged_by=ANN).staging_id != one.staging_id
    assert office.stage_hashes(digests(1)).staging_id != one.staging_id


def test_a_request_id_is_for_one_delivery(office: Office):
    office.define("other")
    office.stage_hashes(digests(1), request_id="r")
    with pytest.raises(HashmatchError) as caught:
        office.stage_hashes(digests(1), "other", request_id="r")
    assert "header.request_id" in caught.value.fields
    with pytest.raises(HashmatchError) as caught:
        office.stage_hashes(digests(1), request_id="r", delivery_sha256=bytes(32))
    assert "header.request_id" in caught.value.fields


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"as_of": 1_800_000_000.0 + 301}, "header.as_of"),
        ({"as_of": -1.0}, "header.as_of"),
        ({"file_name": "x" * 257}, "header.file_name"),
        ({"file_name": "a\nb"}, "header.file_name"),
        ({"request_id": "x" * 65}, "header.request_id"),
        ({"delivery_sha256": b"short"}, "header.delivery_sha256"),
    ],
)
def test_a_header_out_of_range_is_refused(office: Office, header, field):
    with pytest.raises(HashmatchError) as caught:
        office.stage_hashes(digests(1), **header)
    assert list(caught.value.fields) == [field]


def test_a_delivery_to_a_list_that_is_not_there_is_refused(office: Office, valkey: redis.Redis):
    assert reason_of(lambda: office.stage_hashes(digests(1), "other")) is ErrorReason.LIST_NOT_FOUND
    valkey.flushall()
    assert reason_of(lambda: office.stage_hashes(digests(1))) is ErrorReason.LIST_NOT_FOUND


def test_a_staging_that_the_list_has_outgrown_is_refused(office: Office, publisher: Publisher):
    one, other = office.stage_hashes(digests(1)), office.stage_hashes(digests(2))
    for staging in (one, other):
        office.approve(staging)
    publisher.publish(one.staging_id, ACTOR)
    assert reason_of(lambda: publisher.publish(other.staging_id, ACTOR)) is ErrorReason.STAGING_OUTDATED
    assert listed(office, 1, 2) == [True, False]


def test_a_discarded_staging_is_closed(office: Office, publisher: Publisher):
    staging = office.stage_hashes(digests(1))
    assert [each.staging_id for each in publisher.stagings()] == [staging.staging_id]
    assert publisher.discard(staging.staging_id, ACTOR, "wrong file").state == DISCARDED
    assert publisher.stagings() == []
    for act in (
        lambda: publisher.publish(staging.staging_id, ACTOR),
        lambda: publisher.discard(staging.staging_id, ACTOR),
        lambda: publisher.approve(staging.staging_id, ANN, staging.approval_digest),
    ):
        assert reason_of(act) is ErrorReason.STAGING_CLOSED


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

    def crash(_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(store.stagings, "put", crash)
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


# ---- rolling back and withdrawing


def test_rolling_back_serves_the_old_entries_under_a_new_number(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1, 2))
    office.deliver_hashes(digests(2, 3))
    office.deliver_hashes(digests(4))
    generation, epoch = publisher.roll_back("list", 0, ACTOR)
    assert listed(office, 1, 2, 3, 4) == [False, True, True, False]
    assert (generation.number, generation.epoch, epoch) == (4, epoch, office.manifest().epoch)
    publisher.roll_back("list", 1, ACTOR)
    assert listed(office, 1, 2, 3, 4) == [True, True, False, False]
    # What came back counts as new: who asks for news since then must be told.
    answer = office.ask(MD5, digests(1))
    assert answer.findings[0].opinions[0].since_epoch == office.manifest().epoch


def test_only_retained_generations_can_be_rolled_back_to(office: Office, publisher: Publisher):
    assert reason_of(lambda: publisher.roll_back("list", 0, ACTOR)) is ErrorReason.GENERATION_NOT_FOUND
    for number in range(6):
        office.deliver_hashes(digests(number))
    assert [each.number for each in office.manifest().lists["list"].retained] == [5, 4, 3]
    assert reason_of(lambda: publisher.roll_back("list", 2, ACTOR)) is ErrorReason.GENERATION_NOT_FOUND
    assert reason_of(lambda: publisher.roll_back("other", 0, ACTOR)) is ErrorReason.LIST_NOT_FOUND


def test_a_withdrawn_list_serves_nothing_and_can_return(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1))
    publisher.withdraw_list("list", ACTOR, "the body asks for it")
    assert listed(office, 1) == [False]
    assert reason_of(lambda: publisher.withdraw_list("list", ACTOR, "again")) is ErrorReason.GENERATION_NOT_FOUND
    publisher.roll_back("list", 0, ACTOR)
    assert listed(office, 1) == [True]
    assert office.ask(MD5, digests(1)).findings[0].opinions[0].since_epoch == office.manifest().epoch


def test_an_incremental_delivery_to_a_withdrawn_list_starts_from_nothing(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1))
    publisher.withdraw_list("list", ACTOR, "why")
    office.deliver_hashes(digests(2), mode=INCREMENTAL)
    assert listed(office, 1, 2) == [False, True]


def test_withdrawing_entries_names_what_was_not_there(office: Office, publisher: Publisher):
    office.deliver(row(key="a", md5=digests(1)[0]) + row(key="b", md5=digests(2)[0]) + row(key="c", md5=digests(2)[0]))
    generation, epoch, removed, missing = publisher.withdraw_entries(
        "list", [(1, digests(1)[0]), (1, digests(9)[0])], ["b", "nobody"], ACTOR, "why"
    )
    # Another entry still carries hash 2.
    assert (removed, missing) == (1, 2)
    assert (generation.number, generation.epoch, generation.counts) == (2, epoch, {1: 1})
    assert listed(office, 1, 2) == [False, True]
    for hashes, keys, reason in (([], [], "why"), ([(1, digests(2)[0])], [], " ")):
        act = lambda h=hashes, k=keys, r=reason: publisher.withdraw_entries("list", h, k, ACTOR, r)  # noqa: E731
        assert reason_of(act) is ErrorReason.INVALID_FIELD


def test_a_list_is_filled_again_after_its_last_entry_was_withdrawn(office: Office, publisher: Publisher):
    """What is left of the list is a base and a delta without any live row between them."""
    office.deliver_hashes(digests(1))
    publisher.withdraw_entries("list", [(1, digests(1)[0])], [], ACTOR, "why")
    staging = office.stage_hashes(digests(1, 2))
    assert (staging.report.added, staging.report.unchanged) == (2, 0)
    office.publish(staging)
    assert listed(office, 1, 2) == [True, True]


# ---- suppressions


def test_a_suppressed_hash_is_left_out_also_after_the_next_delivery(office: Office, suppressor: Suppressor):
    office.deliver_hashes(digests(1, 2))
    assert suppressor.suppress([(1, digests(1)[0])] * 2, [], ACTOR, "a false positive")[1] == 1
    assert listed(office, 1, 2) == [False, True]
    office.deliver_hashes(digests(1, 2, 3))
    assert listed(office, 1, 2) == [False, True]
    assert office.ask(MD5, digests(1)).findings[0].suppressed


def test_a_suppression_of_one_list_leaves_the_others_their_say(office: Office, suppressor: Suppressor):
    office.define("other")
    for list_id in ("list", "other"):
        office.deliver_hashes(digests(1), list_id)
    hashes = [(1, digests(1)[0])]
    suppressor.suppress(hashes, ["list"], ACTOR, "why")
    (finding,) = office.ask(MD5, digests(1)).findings
    assert [opinion.list_id for opinion in finding.opinions] == ["other"]
    # Lists add up, and a suppression everywhere stays one.
    assert suppressor.suppress(hashes, ["other"], ACTOR, "why")[1] == 1
    assert listed(office, 1) == [False]
    assert suppressor.suppress(hashes, [], ACTOR, "why")[1] == 1
    assert suppressor.suppress(hashes, ["list"], ACTOR, "why")[1] == 0
    assert listed(office, 1) == [False]


def test_a_lifted_suppression_makes_the_hash_newly_visible(office: Office, suppressor: Suppressor):
    office.deliver_hashes(digests(1))
    hashes = [(1, digests(1)[0])]
    suppressor.suppress(hashes, [], ACTOR, "why")
    epoch, lifted = suppressor.lift_suppression([*hashes, (1, digests(2)[0])], ACTOR, "it was right after all")
    assert lifted == 1
    (finding,) = office.ask(MD5, digests(1)).findings
    assert (finding.verdict, finding.opinions[0].since_epoch) == (Verdict.MATCH, epoch)
    assert suppressor.lift_suppression(hashes, ACTOR, "again")[1] == 0
    suppressor.suppress(hashes, [], ACTOR, "once more")
    assert listed(office, 1) == [False]


def test_a_suppression_has_a_hash_a_reason_and_lists_that_exist(office: Office, suppressor: Suppressor):
    hashes = [(1, digests(1)[0])]
    assert reason_of(lambda: suppressor.suppress([], [], ACTOR, "why")) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: suppressor.suppress(hashes, [], ACTOR, "")) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: suppressor.suppress(hashes, ["nowhere"], ACTOR, "why")) is ErrorReason.LIST_NOT_FOUND
    assert reason_of(lambda: suppressor.lift_suppression(hashes, ACTOR, " ")) is ErrorReason.INVALID_FIELD


def test_suppressions_are_bounded(office: Office, suppressor: Suppressor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.ingest.suppressor.MAXIMUM_SUPPRESSIONS", 3)
    suppressor.suppress([(1, each) for each in digests(1, 2, 3)], [], ACTOR, "why")
    act = lambda: suppressor.suppress([(1, digests(4)[0])], [], ACTOR, "why")  # noqa: E731
    assert reason_of(act) is ErrorReason.INVALID_FIELD


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
