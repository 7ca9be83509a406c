"""Keys rotate while everything is served: one seals, others open, and in the end nothing is left under the old one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.approvers import Approvers
from hashmatch.ingest.compaction import GRACE_SECONDS, Collector
from hashmatch.ingest.policies import Policies
from hashmatch.ingest.proposals import Proposals
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.resealing import Resealer, left_under_old_keys
from hashmatch.ingest.restoring import Restorer
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.service.planned_acts import ActPlanner
from hashmatch.store.archive import Archive
from hashmatch.store.connection import Connection
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import ManifestStore
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import list_admin_service_pb2
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import ACTOR, Office, row
from tests.unit.store.test_feedback import feedback

OLD, NEW = bytes(range(KEY_SIZE)), bytes(range(100, 100 + KEY_SIZE))
SHA256 = int(Algorithm.SHA256)
NUMBERS = range(40)


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Rotation:
    """One store, opened with whatever keys."""

    def __init__(self, connection: Connection, clock: ManualClock, floor: MemoryFloor) -> None:
        self._connection, self._clock, self._floor = connection, clock, floor
        self.audit = MemoryAudit()

    def office(self, key: SealingKey) -> Office:
        store = Store(self._connection, key)
        acts = self.acts(key)
        return Office(store, self._clock, Publisher(acts), Stager(store, self._clock, VettingPolicy()))

    def acts(self, key: SealingKey) -> Acts:
        return Acts(Store(self._connection, key), self._clock, VettingPolicy(), self.audit, self._floor)

    def proposals(self, key: SealingKey) -> Proposals:
        acts = self.acts(key)
        planner = ActPlanner(Publisher(acts), Suppressor(acts), Policies(acts), Approvers(acts))
        return Proposals(acts, planner.plan)

    def answers(self, key: SealingKey) -> list[object]:
        answer = self.office(key).ask(Algorithm.SHA256, [digest(number) for number in NUMBERS])
        said = [tuple(opinion.statement for opinion in each.opinions) for each in answer.findings]
        return [answer.positions.tolist(), answer.finding_numbers.tolist(), said]


@pytest.fixture
def rotation(connection: Connection, clock: ManualClock, floor: MemoryFloor) -> Rotation:
    """A store with something of everything in it, under the old key."""
    rotation = Rotation(connection, clock, floor)
    key = SealingKey(OLD)
    office, acts = rotation.office(key), rotation.acts(key)
    office.define()
    rows = "".join(row(key=f"k{number}", label="A1", sha256=digest(number)) for number in range(30))
    office.deliver(rows)
    office.deliver(row(key="k30", label="B2", sha256=digest(30)), mode=DeliveryMode.INCREMENTAL)
    Publisher(acts).withdraw_entries("list", [(SHA256, digest(7))], [], ACTOR, "a test")
    Suppressor(acts).suppress([(SHA256, digest(8))], [], ACTOR, "a test")
    office.stage(row(key="k31", label="C3", sha256=digest(31)), mode=DeliveryMode.INCREMENTAL)
    request = list_admin_service_pb2.WithdrawListRequest(list_id="list", reason="a test")
    office.store.feedback.put(feedback())
    rotation.proposals(key).propose(pb.ProposedAct(withdraw_list=request).SerializeToString(), ACTOR)
    return rotation


def finish(rotation: Rotation, key: SealingKey) -> int:
    acts, rounds = rotation.acts(key), 0
    while Resealer(acts).reseal():
        rounds += 1
        assert rounds < 50
    assert left_under_old_keys(acts.store) == 0
    return rounds


def test_what_the_old_key_sealed_opens_before_it_is_sealed_anew(rotation: Rotation):
    before = rotation.answers(SealingKey(OLD))
    assert rotation.answers(SealingKey(NEW, retired=[OLD])) == before
    assert rotation.answers(SealingKey(OLD, upcoming=[NEW])) == before


def test_nothing_is_left_under_the_old_key_and_every_answer_is_the_same(rotation: Rotation):
    before = rotation.answers(SealingKey(OLD))
    old = SealingKey(OLD).key_id
    assert left_under_old_keys(rotation.acts(SealingKey(NEW, retired=[OLD])).store) > 5
    finish(rotation, SealingKey(NEW, retired=[OLD]))
    alone = SealingKey(NEW)
    assert rotation.answers(alone) == before
    manifest = rotation.office(alone).manifest()
    assert {info.key_id for info in manifest.segments().values()} == {alone.key_id} != {old}
    assert len(rotation.proposals(alone).open()) == 1
    assert list(rotation.office(alone).store.feedback.all().values()) == [feedback()]
    office = rotation.office(alone)
    (staging,) = office.publisher.stagings()
    # What went on before the rotation goes on after it: publishing, rolling back, what was withdrawn.
    office.publish(staging)
    assert 31 in rotation.answers(alone)[0]  # type: ignore[operator]
    office.publisher.roll_back("list", 0, ACTOR, "a test")
    assert rotation.answers(alone) == before


def test_what_is_approved_after_the_rotation_is_sealed_anew_with_its_rows(rotation: Rotation):
    """An approval seals the record under the new key, and leaves the segments under the old one."""
    keys = SealingKey(NEW, retired=[OLD])
    office = rotation.office(keys)
    (staging,) = office.publisher.stagings()
    office.approve(staging)
    assert left_under_old_keys(office.store) > 5
    finish(rotation, keys)
    alone = SealingKey(NEW)
    (staging,) = rotation.office(alone).publisher.stagings()
    assert {info.key_id for info in staging.segments()} == {alone.key_id}
    rotation.office(alone).publisher.publish(staging.staging_id, ACTOR)
    assert 31 in rotation.answers(alone)[0]  # type: ignore[operator]


def test_what_is_sealed_anew_while_it_is_published_is_not_collected_under_it(
    rotation: Rotation, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    """A server of the step before reads it back, and ours seals it anew and collects, before it swaps the manifest."""
    older, newer = SealingKey(OLD, upcoming=[NEW]), SealingKey(NEW, retired=[OLD])
    office = rotation.office(older)
    (staging,) = office.publisher.stagings()
    office.approve(staging)
    clock.advance(3 * GRACE_SECONDS)
    replace = ManifestStore.replace

    def swap(*given: object) -> object:
        monkeypatch.undo()
        Resealer(rotation.acts(newer))._reseal_waiting()
        Collector(rotation.acts(newer).store, clock).collect()
        return replace(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(ManifestStore, "replace", swap)
    office.publisher.publish(staging.staging_id, ACTOR)
    assert 31 in rotation.answers(newer)[0]  # type: ignore[operator]


def test_the_old_key_alone_opens_nothing_any_more(rotation: Rotation):
    finish(rotation, SealingKey(NEW, retired=[OLD]))
    with pytest.raises(StoreDamagedError):
        rotation.answers(SealingKey(OLD))


def test_a_server_at_the_step_before_goes_on_and_seals_nothing_back(rotation: Rotation):
    finish(rotation, SealingKey(NEW, retired=[OLD]))
    behind = SealingKey(OLD, upcoming=[NEW])
    before = rotation.answers(behind)
    assert Resealer(rotation.acts(behind)).reseal() == 0
    office = rotation.office(behind)
    office.publish(office.stage(row(key="k35", label="A1", sha256=digest(35)), mode=DeliveryMode.INCREMENTAL))
    ahead = SealingKey(NEW, retired=[OLD])
    assert rotation.answers(ahead) != before
    finish(rotation, ahead)
    assert 35 in rotation.answers(SealingKey(NEW))[0]  # type: ignore[operator]


def test_resealing_shows_in_no_answer_and_no_change(rotation: Rotation):
    key = SealingKey(NEW, retired=[OLD])
    before = rotation.office(key).manifest().state("list")
    finish(rotation, key)
    manifest = rotation.office(key).manifest()
    after = manifest.state("list")
    assert (after.changed_epoch, after.last_number, after.epochs) == (
        before.changed_epoch,
        before.last_number,
        before.epochs,
    )
    assert {record.act for record in manifest.history if record.epoch > before.changed_epoch} >= {"reseal"}


def test_a_part_is_done_at_a_time(rotation: Rotation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.ingest.resealing._ROWS_AT_ONCE", 1)
    before = rotation.answers(SealingKey(OLD))
    assert finish(rotation, SealingKey(NEW, retired=[OLD])) > 3
    assert rotation.answers(SealingKey(NEW)) == before


def test_a_list_that_moves_on_meanwhile_is_not_set_back(rotation: Rotation, monkeypatch: pytest.MonkeyPatch):
    key = SealingKey(NEW, retired=[OLD])
    resealer = Resealer(rotation.acts(key))
    proper: Callable[..., object] = resealer._rewritten

    def rewritten(*arguments: object) -> object:
        mapping = proper(*arguments)
        rotation.office(key).deliver(row(key="k", label="A1", sha256=digest(39)))
        monkeypatch.undo()
        return mapping

    monkeypatch.setattr(resealer, "_rewritten", rewritten)
    resealer.reseal()
    assert rotation.answers(key)[0] == [39]


@pytest.mark.parametrize("parts", [0, 1], ids=["nothing is sealed anew", "a part is"])
def test_an_old_key_that_is_taken_away_too_early_is_named(
    rotation: Rotation, monkeypatch: pytest.MonkeyPatch, parts: int
):
    monkeypatch.setattr("hashmatch.ingest.resealing._ROWS_AT_ONCE", 1)
    key = SealingKey(NEW, retired=[OLD])
    before = rotation.answers(key)
    for _ in range(parts):
        Resealer(rotation.acts(key)).reseal()
    with pytest.raises(StoreDamagedError) as refused:
        rotation.answers(SealingKey(NEW))
    assert f"is sealed under key {SealingKey(OLD).key_id}, which is none of" in str(refused.value)
    # It comes back, and nothing is lost.
    assert rotation.answers(key) == before


def test_a_server_that_was_left_out_of_a_rotation_puts_nothing_older_back(rotation: Rotation, tmp_path: Path):
    """It knows an older manifest, and cannot open the new one: that is not a spoilt one."""
    left_out = rotation.acts(SealingKey(OLD))
    floor, archive = EpochFloor(tmp_path / "epoch.json"), Archive(tmp_path / "archive")
    known = left_out.store.manifests.load()
    assert known is not None
    floor.raise_to(known)
    finish(rotation, SealingKey(NEW, retired=[OLD]))
    published = left_out.store.manifests.header()
    with pytest.raises(StoreDamagedError):
        Restorer(left_out.store, floor, archive, ManualClock()).restore()
    assert left_out.store.manifests.header() == published
