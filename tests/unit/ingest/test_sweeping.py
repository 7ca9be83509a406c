"""The archive keeps what anything refers to, and in time nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import GRACE_SECONDS, Collector
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.ingest.sweeping import GRACE, LOOK_INTERVAL, UNFINISHED_AGE, ArchiveSweeper
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.archive import Archive, ArchiveError
from hashmatch.store.connection import Connection
from hashmatch.store.floor import EpochFloor
from hashmatch.store.store import Store
from hashmatch.trust.sealing import SealingKey
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit
from tests.support.numbered import digests
from tests.support.office import ACTOR, Office


@dataclass
class Server:
    """A server that administers the store, with an archive and a floor of its own."""

    store: Store
    office: Office
    acts: Acts
    sweeper: ArchiveSweeper
    collector: Collector
    directory: Path
    clock: ManualClock

    def files(self) -> set[str]:
        return {file.stem for file in self.directory.glob("*.sealed")}

    def sweep(self, seconds: float = GRACE + 1) -> int:
        """Look, and look again after so many seconds."""
        self.clock.advance(LOOK_INTERVAL)
        swept = self.sweeper.sweep()
        self.clock.advance(seconds)
        return swept + self.sweeper.sweep()


@pytest.fixture
def servers(connection: Connection, sealing_key: SealingKey, clock: ManualClock, tmp_path: Path) -> list[Server]:
    """Two of them, at one store with one list."""
    found = []
    for name in ("one", "two"):
        archive, floor = Archive(tmp_path / name / "archive"), EpochFloor(tmp_path / name / "epoch.json")
        store = Store(connection, sealing_key, archive=archive)
        policy = VettingPolicy(retained_generations=1)
        acts = Acts(store, clock, policy, MemoryAudit(), floor)
        office = Office(store, clock, Publisher(acts), Stager(store, clock, policy))
        sweeper, collector = ArchiveSweeper(store, floor, archive, clock), Collector(store, clock)
        found.append(Server(store, office, acts, sweeper, collector, tmp_path / name / "archive", clock))
    found[0].office.define()
    return found


def test_what_another_server_has_collected_is_swept(servers: list[Server]):
    one, two = servers
    for number in range(4):
        one.office.deliver_hashes(digests(number))
    one.clock.advance(GRACE_SECONDS + 1)
    assert two.collector.collect() > 0
    named = set(one.office.manifest().segments())
    assert one.files() > named
    left = len(one.files()) - len(named)
    # Nothing before the grace is over.
    assert one.sweep(GRACE - 1) == 0
    one.clock.advance(LOOK_INTERVAL)
    assert one.sweeper.sweep() == left
    assert one.files() == named


def test_what_is_served_retained_staged_or_suppressed_stays(servers: list[Server]):
    one, _ = servers
    for number in range(2):
        one.office.deliver_hashes(digests(number))
    Suppressor(one.acts).suppress([(Algorithm.MD5, digests(1)[0])], [], ACTOR, "a test")
    staging = one.office.stage_hashes(digests(5))
    files = one.files()
    assert len(files) == 4
    assert one.sweep() == 0
    assert one.files() == files
    one.office.publisher.discard(staging.staging_id, ACTOR)
    # It is the collector's, for as long as it is noted.
    assert one.sweep() == 0
    one.collector.collect()
    assert one.files() == files - {info.segment_id for info in staging.segments()}


def test_what_the_floor_names_stays_though_the_store_has_moved_on(servers: list[Server]):
    """A server that comes back late still puts back what it served from its own archive, if that is asked of it."""
    one, two = servers
    one.office.deliver_hashes(digests(0))
    named = set(one.office.manifest().segments())
    for number in range(1, 4):
        two.office.deliver_hashes(digests(number))
    one.clock.advance(GRACE_SECONDS + 1)
    two.collector.collect()
    assert not named & set(two.office.manifest().segments())
    assert one.sweep() == 0
    sealed = one.store.manifests.load()
    assert sealed is not None
    one.acts._floor.raise_to(sealed)
    assert one.sweep() == 1
    assert one.files() == set()


def test_a_flushed_store_says_nothing_about_what_is_needed(servers: list[Server], valkey: redis.Redis):
    one, two = servers
    one.office.deliver_hashes(digests(0))
    files = one.files()
    older = {key: valkey.dump(key) for key in valkey.scan_iter()}
    one.office.deliver_hashes(digests(1))
    one.office.stage_hashes(digests(2))
    newer = one.files()
    valkey.flushall()
    assert one.sweep() == 0
    # An older copy of the store, and then another store.
    for key, value in older.items():
        valkey.restore(key, 0, value)
    assert one.sweep() == 0
    valkey.flushall()
    other = Acts(two.store, two.clock, VettingPolicy(), MemoryAudit(), EpochFloor(None))
    Office(two.store, two.clock, Publisher(other), two.office.stager).define("another")
    assert one.sweep() == 0
    assert one.files() == newer > files


def test_the_grace_begins_anew_where_nobody_could_tell_in_between(servers: list[Server], valkey: redis.Redis):
    one, _ = servers
    one.office.deliver_hashes(digests(0))
    (one.directory / f"{'0' * 16}.sealed").write_bytes(b"x")
    one.sweeper.sweep()
    one.clock.advance(GRACE - LOOK_INTERVAL)
    manifest = valkey.getdel(one.store.keys.manifest)
    assert manifest is not None
    assert one.sweeper.sweep() == 0
    valkey.set(one.store.keys.manifest, manifest)
    assert one.sweep(GRACE) == 0
    one.clock.advance(LOOK_INTERVAL)
    assert one.sweeper.sweep() == 1


def test_what_is_staged_stays_though_its_note_was_lost(servers: list[Server], valkey: redis.Redis):
    one, _ = servers
    one.office.stage_hashes(digests(5))
    valkey.delete(one.store.keys.pending)
    assert one.sweep() == 0
    assert len(one.files()) == 1


def test_after_a_flush_what_was_only_staged_is_swept(servers: list[Server], valkey: redis.Redis):
    one, _ = servers
    one.office.deliver_hashes(digests(0))
    staging = one.office.stage_hashes(digests(5))
    for key in (one.store.keys.stagings, one.store.keys.pending):
        valkey.delete(key)
    assert one.sweep() == 1
    assert not {info.segment_id for info in staging.segments()} & one.files()
    assert one.files() == set(one.office.manifest().segments())


def test_what_a_killed_importer_left_goes_after_a_day(servers: list[Server]):
    one, _ = servers
    one.office.deliver_hashes(digests(0))
    now = one.clock.now()
    for name, age in (("0" * 16, UNFINISHED_AGE - 60.0), ("1" * 16, UNFINISHED_AGE + 60.0)):
        file = one.directory / f"{name}.partial"
        file.write_bytes(b"x")
        os.utime(file, (now - age, now - age))
    foreign = one.directory / "notes.txt"
    foreign.write_bytes(b"x")
    os.utime(foreign, (0, 0))
    assert one.sweeper.sweep() == 1
    assert [file.stem for file in one.directory.glob("*.partial")] == ["0" * 16]
    assert foreign.exists()


def test_a_file_that_cannot_be_deleted_keeps_no_other(servers: list[Server]):
    one, _ = servers
    one.office.deliver_hashes(digests(0))
    (one.directory / f"{'0' * 16}.sealed").mkdir()
    (one.directory / f"{'1' * 16}.sealed").write_bytes(b"x")
    with pytest.raises(ArchiveError, match="0000"):
        one.sweep()
    assert not (one.directory / f"{'1' * 16}.sealed").exists()


def test_a_store_that_is_looked_at_all_the_time_is_asked_now_and_then(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
):
    one, _ = servers
    one.sweeper.sweep()
    monkeypatch.setattr(one.store.manifests, "load", lambda: pytest.fail("it looked again at once"))
    assert one.sweeper.sweep() == 0
