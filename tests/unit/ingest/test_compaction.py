"""Compaction changes no answer; collection deletes what nothing refers to any longer, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
import redis

from hashmatch.ingest import compaction
from hashmatch.ingest.compaction import GRACE_SECONDS, Collector, Compactor
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.stagings import PendingNote
from hashmatch.store.store import Store
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from tests.support.clock import ManualClock
from tests.support.office import ACTOR, Office, row

MD5 = Algorithm.MD5
UNIVERSE = 460


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def rows(numbers, label: str = "base") -> str:
    return "".join(row(key=f"k{number}", label=label, md5=digest(number)) for number in numbers)


def chain(office: Office, kind: int = MD5) -> list[SegmentInfo]:
    generation = office.manifest().lists["list"].generation
    return [info for info in generation.segments if info.kind == kind]


def answers(office: Office):
    everything = [digest(number) for number in range(UNIVERSE)]
    answer = office.ask(MD5, everything, source_keys=True)
    # Keys can be withdrawn: that their rows say the same is seen from what withdrawing them would remove.
    removed = [
        office.publisher.withdraw_entries("list", [], [f"k{number}"], ACTOR, "why", validate_only=True)[2]
        for number in (0, 5, 12, 401, 459)
    ]
    return answer.positions.tolist(), [answer.findings[number].opinions for number in answer.finding_numbers], removed


@pytest.fixture
def office(office: Office) -> Office:
    """With a list that has a large base and several deltas: additions, changes, removals, returns."""
    office.define()
    office.deliver(rows(range(400)))
    for number in range(compaction.MAXIMUM_DELTAS):
        text = rows([400 + number], "added") + rows([number], f"changed {number}")
        text += row(key=f"k{10 + number}", removed=True)
        if number:
            text += rows([9 + number], "back")
        office.deliver(text, mode=DeliveryMode.INCREMENTAL)
    return office


def test_folding_deltas_among_themselves_changes_no_answer(office: Office, compactor: Compactor):
    base = chain(office)[0]
    assert len(chain(office)) == compaction.MAXIMUM_DELTAS + 1
    before, epoch = answers(office), office.manifest().epoch
    assert compactor.compact() == 2
    assert [len(chain(office, kind)) for kind in (MD5, 255)] == [2, 2]
    # The base is still the oldest: it was neither read nor written again.
    assert chain(office)[0] == base
    assert answers(office) == before
    assert office.manifest().epoch > epoch
    assert compactor.compact() == 0


def test_folding_everything_changes_no_answer(office: Office, compactor: Compactor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compaction, "_BASE_SHARE", 100)
    before = answers(office)
    assert compactor.compact() == 2
    (base,) = chain(office)
    # Nothing is below it that a removal would have to hide.
    assert base.rows == base.live_rows
    assert answers(office) == before


def test_a_compacted_list_goes_on(office: Office, compactor: Compactor):
    compactor.compact()
    office.deliver(rows([450], "new") + row(key="k0", removed=True), mode=DeliveryMode.INCREMENTAL)
    positions, opinions, _ = answers(office)
    assert 0 not in positions
    assert opinions[positions.index(450)][0].statement.label == "new"
    office.publisher.roll_back("list", 0, ACTOR)
    assert 0 in answers(office)[0]


def test_a_staging_outlives_a_compaction(office: Office, compactor: Compactor):
    staging = office.stage(rows([450], "new"), mode=DeliveryMode.INCREMENTAL)
    positions = answers(office)[0]
    compactor.compact()
    office.publish(staging)
    assert answers(office)[0] == [*positions, 450]


@pytest.mark.parametrize("moved", ["a new base", "one more delta"])
def test_a_list_that_moves_on_meanwhile_loses_nothing(
    office: Office, compactor: Compactor, store: Store, monkeypatch: pytest.MonkeyPatch, moved: str
):
    write = store.segments.write
    text, mode = {
        "a new base": (rows(range(100, 200), "new"), DeliveryMode.FULL),
        "one more delta": (rows([0, 450], "new"), DeliveryMode.INCREMENTAL),
    }[moved]

    def publish_first(*how, **more):
        monkeypatch.setattr(store.segments, "write", write)
        office.deliver(text, mode=mode)
        return write(*how, **more)

    monkeypatch.setattr(store.segments, "write", publish_first)
    compactor.compact()
    positions, opinions, _ = answers(office)
    first = 100 if moved == "a new base" else 0
    assert positions[0] == first
    assert opinions[0][0].statement.label == "new"
    assert len(positions) == (100 if moved == "a new base" else 400 + compaction.MAXIMUM_DELTAS)


def test_nothing_is_folded_where_nothing_is(compactor: Compactor, office: Office, valkey: redis.Redis):
    valkey.flushall()
    assert compactor.compact() == 0


# ---- collection


@pytest.fixture
def block_keys(valkey: redis.Redis):
    """The segments of which anything lies in the store."""

    def block_keys() -> set[str]:
        keys = [key.decode().split(":") for key in valkey.scan_iter(count=1_000)]
        return {parts[2] for parts in keys if parts[1] in ("b", "s")}

    return block_keys


def test_what_was_replaced_is_deleted_after_the_grace(
    office: Office, collector: Collector, clock: ManualClock, block_keys
):
    state = office.manifest().lists["list"]
    for number in range(4):
        office.deliver(rows([number], f"label {number}"))
    assert not {info.segment_id for each in state.retained for info in each.segments} <= {*office.manifest().segments()}
    before = block_keys()
    clock.advance(GRACE_SECONDS)
    assert collector.collect() == 0
    assert block_keys() == before
    clock.advance(1.0)
    assert collector.collect() > 0
    assert block_keys() == {*office.manifest().segments()}
    assert collector.collect() == 0
    # Everything that is retained can still be rolled back to.
    for generation in office.manifest().lists["list"].retained:
        for info in generation.segments:
            office.store.segments.open(info).verify()


def test_what_is_staged_stays_however_old_it_is(office: Office, collector: Collector, clock: ManualClock, block_keys):
    staging = office.stage(rows([450]), mode=DeliveryMode.INCREMENTAL)
    for _ in range(2):
        clock.advance(GRACE_SECONDS + 1)
        collector.collect()
    office.publish(staging)
    clock.advance(GRACE_SECONDS + 1)
    collector.collect()
    assert 450 in answers(office)[0]
    assert block_keys() == {*office.manifest().segments()}


def test_a_staging_that_the_list_left_behind_is_dropped_after_the_grace(
    office: Office, collector: Collector, clock: ManualClock, valkey: redis.Redis, block_keys
):
    staging = office.stage(rows([450]), mode=DeliveryMode.INCREMENTAL)
    office.deliver(rows([451]), mode=DeliveryMode.INCREMENTAL)
    collector.collect()
    assert valkey.hexists("hashmatch:stagings", staging.staging_id)
    clock.advance(GRACE_SECONDS + 1)
    collector.collect()
    assert not valkey.hexists("hashmatch:stagings", staging.staging_id)
    assert block_keys() == {*office.manifest().segments()}


def test_a_discarded_staging_leaves_nothing(
    office: Office, collector: Collector, clock: ManualClock, valkey: redis.Redis, block_keys
):
    staging = office.stage(rows([450]), mode=DeliveryMode.INCREMENTAL)
    clock.advance(GRACE_SECONDS + 1)
    collector.collect()
    office.publisher.discard(staging.staging_id, ACTOR)
    assert {info.segment_id for info in staging.segments()} <= block_keys()
    assert collector.collect() == len(staging.segments())
    assert block_keys() == {*office.manifest().segments()}
    assert not valkey.hexists("hashmatch:stagings", staging.staging_id)


@pytest.mark.parametrize("harm", ["spoilt", "under another key"])
def test_a_staging_that_cannot_be_opened_holds_up_nothing_and_loses_nothing(
    office: Office,
    collector: Collector,
    clock: ManualClock,
    store: Store,
    valkey: redis.Redis,
    harm: str,
):
    """A key that is not here may be on another server: what is staged under it can still be published there."""
    staging = office.stage(rows([450]), mode=DeliveryMode.INCREMENTAL)
    dropped = office.stage(rows([451]), mode=DeliveryMode.INCREMENTAL)
    office.publisher.discard(dropped.staging_id, ACTOR)
    sound = valkey.hget(store.keys.stagings, staging.staging_id)
    assert sound is not None
    if harm == "spoilt":
        valkey.hset(store.keys.stagings, staging.staging_id, sound[:-1] + bytes([sound[-1] ^ 1]))
    else:
        Store(store.connection, SealingKey(bytes(KEY_SIZE))).stagings.put(staging)
    assert office.publisher.stagings() == []
    for _ in range(2):
        clock.advance(GRACE_SECONDS + 1)
        with pytest.raises(StoreDamagedError, match=staging.staging_id):
            collector.collect()
    assert not valkey.hexists(store.keys.stagings, dropped.staging_id)
    assert not any(map(store.segments.is_whole, dropped.segments()))
    assert all(map(store.segments.is_whole, staging.segments()))
    valkey.hset(store.keys.stagings, staging.staging_id, sound)
    office.publish(staging)
    assert 450 in answers(office)[0]


def test_notes_from_before_stagings_were_named_in_them_are_kept_while_one_cannot_be_opened(
    office: Office, collector: Collector, clock: ManualClock, store: Store, valkey: redis.Redis
):
    staging = office.stage(rows([450]), mode=DeliveryMode.INCREMENTAL)
    for info in staging.segments():
        store.stagings.note(info.segment_id, PendingNote(clock.now(), segment=info))
    valkey.hset(store.keys.stagings, staging.staging_id, b"spoilt")
    clock.advance(GRACE_SECONDS + 1)
    with pytest.raises(StoreDamagedError):
        collector.collect()
    assert all(map(store.segments.is_whole, staging.segments()))
    valkey.hdel(store.keys.stagings, staging.staging_id)
    collector.collect()
    assert not any(map(store.segments.is_whole, staging.segments()))


def test_what_a_dead_writer_left_is_deleted(
    office: Office, collector: Collector, clock: ManualClock, store: Store, monkeypatch: pytest.MonkeyPatch, block_keys
):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.stagings, "put", die)
        with pytest.raises(KeyboardInterrupt):
            office.stage(rows([450]))
    assert block_keys() > {*office.manifest().segments()}
    clock.advance(GRACE_SECONDS + 1)
    collector.collect()
    assert block_keys() == {*office.manifest().segments()}


def test_a_publication_while_the_collector_runs_loses_nothing(
    office: Office, collector: Collector, clock: ManualClock, store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the collector reads first, between two of its reads a staging becomes what is served."""
    for name, part in (("load", store.manifests), ("read", store.stagings), ("notes", store.stagings)):
        staging = office.stage(rows([450], name), mode=DeliveryMode.INCREMENTAL)
        office.approve(staging)
        clock.advance(GRACE_SECONDS + 1)
        read = getattr(part, name)

        def read_then_publish(read=read, part=part, name=name, staging=staging):
            monkeypatch.setattr(part, name, read)
            result = read()
            office.publisher.publish(staging.staging_id, ACTOR)
            return result

        monkeypatch.setattr(part, name, read_then_publish)
        collector.collect()
        for info in office.manifest().segments().values():
            store.segments.open(info).verify()


@pytest.mark.parametrize("drops", ["after the manifest was read", "before"])
def test_what_is_dropped_while_the_collector_runs_has_its_grace_and_keeps_its_note(
    office: Office, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, drops: str
):
    """The notes are read first. What they say of what is dropped since is of when it was staged."""
    clock.advance(3 * GRACE_SECONDS)
    served = chain(office)
    load = store.manifests.load

    def drop_and_load() -> object:
        monkeypatch.undo()
        sealed = load()
        # No generation that is retained has it any longer.
        for number in range(6):
            office.deliver_hashes([digest(1_000 + number)])
        return sealed if drops == "after the manifest was read" else load()

    monkeypatch.setattr(store.manifests, "load", drop_and_load)
    Collector(store, clock).collect()
    assert all(store.segments.is_whole(info) for info in served)
    assert {info.segment_id for info in served} <= store.stagings.notes().keys()
    clock.advance(3 * GRACE_SECONDS)
    Collector(store, clock).collect()
    assert not any(store.segments.is_whole(info) for info in served)


def test_older_suppressions_are_deleted(
    office: Office, suppressor: Suppressor, collector: Collector, clock: ManualClock, valkey: redis.Redis
):
    for number in range(3):
        suppressor.suppress([(int(MD5), digest(number))], [], ACTOR, "why")
    assert len(valkey.keys("hashmatch:x:*")) == 3
    clock.advance(GRACE_SECONDS + 1)
    collector.collect()
    (left,) = valkey.keys("hashmatch:x:*")
    assert left.decode().endswith(office.manifest().suppressions.blob_id)


def test_without_a_manifest_nothing_is_deleted(
    office: Office, collector: Collector, clock: ManualClock, valkey: redis.Redis, store: Store
):
    """It may be the manifest that was lost; then the segments are what it is restored from."""
    valkey.delete(store.keys.manifest)
    before = valkey.dbsize()
    clock.advance(GRACE_SECONDS + 1)
    assert collector.collect() == 0
    assert valkey.dbsize() == before
