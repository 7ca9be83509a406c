"""Staging: who must approve what, which gates stand in the way, and what is refused before that."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
import redis

from hashmatch.formats.ncmec import NAMESPACE
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.store.stagings import DISCARDED
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, APPROVERS, IMPORTER, Office, row

MD5 = Algorithm.MD5
INCREMENTAL = DeliveryMode.INCREMENTAL
ANN, BOB = APPROVERS


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


@pytest.mark.parametrize("mode", [DeliveryMode.FULL, INCREMENTAL])
def test_a_delivery_of_an_earlier_date_than_what_is_served_does_not_pass_unremarked(
    office: Office, publisher: Publisher, mode: DeliveryMode
):
    """It takes back what the body has said since, and nothing else about it is unusual."""
    assert "older" not in {gate.name for gate in office.stage_hashes(digests(1), as_of=2_000.0).report.gates}
    office.deliver_hashes(digests(*range(10)), as_of=2_000.0)
    for as_of in (2_000.0, 2_001.0, 0.0):
        assert office.stage_hashes(digests(*range(10)), mode=mode, as_of=as_of).report.unmet == ()
    staging = office.stage_hashes(digests(*range(10)), mode=mode, as_of=1_999.0)
    assert [(gate.name, gate.acceptable) for gate in staging.report.unmet] == [("older", True)]
    (gate,) = staging.report.unmet
    assert gate.detail == "the delivery is as of 1970-01-01T00:33:19Z, what is served 1970-01-01T00:33:20Z"
    office.approve(staging)
    publish = lambda **how: publisher.publish(staging.staging_id, ACTOR, **how)  # noqa: E731
    assert reason_of(publish) is ErrorReason.GATE_NOT_MET
    publish(accept_gates=["older"], reason="what was served was dated wrongly")
    assert office.manifest().lists["list"].generation.as_of == 1_999.0


def test_what_a_server_dates_itself_is_not_older_because_clocks_differ(office: Office, clock: ManualClock):
    office.deliver_hashes(digests(*range(10)), as_of=clock.now() + 299.0)
    assert office.stage_hashes(digests(*range(10))).report.unmet == ()
    # A feed dates its round by the same clock.
    number = office.manifest().lists["list"].last_number
    pulled = office.stage_hashes(digests(*range(10)), as_of=clock.now(), base_number=number)
    assert pulled.report.unmet == ()
    stated = office.stage_hashes(digests(*range(10)), as_of=clock.now())
    assert [gate.name for gate in stated.report.unmet] == ["older"]


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
