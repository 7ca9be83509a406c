"""What the archive gives back, and what it does about a file of it that cannot be read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.restoring import Restorer
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
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
from tests.support.office import Office

LISTS = ("one", "two", "three")
LONG_ENOUGH = 60.0


@dataclass
class Archived:
    """A store with an archive, and three lists in it."""

    store: Store
    office: Office
    restorer: Restorer
    directory: Path
    acts: Acts

    def file_of(self, list_id: str) -> Path:
        return self.directory / f"{self.segment_of(list_id)}.sealed"

    def segment_of(self, list_id: str) -> str:
        generation = self.office.manifest().lists[list_id].generation
        assert generation is not None
        return generation.segments[0].segment_id

    def whole(self) -> list[str]:
        return [
            list_id
            for list_id, state in self.office.manifest().lists.items()
            if state.generation is not None and all(map(self.store.segments.is_whole, state.generation.segments))
        ]


@pytest.fixture
def archived(connection: Connection, sealing_key: SealingKey, clock: ManualClock, tmp_path: Path) -> Archived:
    archive = Archive(tmp_path / "archive")
    store = Store(connection, sealing_key, archive=archive)
    floor, policy = EpochFloor(tmp_path / "epoch.json"), VettingPolicy()
    acts = Acts(store, clock, policy, MemoryAudit(), floor)
    publisher = Publisher(acts)
    office = Office(store, clock, publisher, Stager(store, clock, policy))
    for number, list_id in enumerate(LISTS):
        office.define(list_id)
        office.deliver_hashes(digests(number), list_id)
    return Archived(store, office, Restorer(store, floor, archive, clock), tmp_path / "archive", acts)


def test_one_file_that_is_cut_short_keeps_nothing_else_from_coming_back(
    archived: Archived, valkey: redis.Redis, clock: ManualClock
) -> None:
    file = archived.file_of("one")
    file.write_bytes(file.read_bytes()[:-5])
    valkey.flushall()
    for _ in range(2):
        # It is told, again and again, and all the rest is done; at last without waiting for somebody who has it.
        with pytest.raises(ArchiveError):
            archived.restorer.restore()
        clock.advance(LONG_ENOUGH)
    assert sorted(archived.whole()) == ["three", "two"]


def test_damage_that_cannot_be_healed_stays_noted_and_other_damage_is_healed(
    archived: Archived, valkey: redis.Redis
) -> None:
    segments = {list_id: archived.segment_of(list_id) for list_id in ("one", "two")}
    file = archived.file_of("one")
    file.write_bytes(file.read_bytes()[:-5])
    for segment_id in segments.values():
        valkey.delete(archived.store.keys.block_prefix(segment_id) + b"0")
    archived.store.damage.add(segments.values())
    with pytest.raises(ArchiveError):
        archived.restorer.heal()
    assert sorted(archived.whole()) == ["three", "two"]
    assert archived.store.damage.all() == {segments["one"]}


@pytest.fixture
def lagging(archived: Archived, clock: ManualClock, tmp_path: Path) -> Restorer:
    """A server whose floor was not raised when the list moved on from what it served first."""
    floor = EpochFloor(tmp_path / "lagging.json")
    sealed = archived.store.manifests.load()
    assert sealed is not None
    assert archived.store.archive is not None
    floor.raise_to(sealed)
    archived.office.deliver_hashes(digests(10), "one")
    return Restorer(archived.store, floor, archived.store.archive, clock)


def test_a_floor_that_lags_forgets_no_damage_of_what_is_served(
    archived: Archived, lagging: Restorer, valkey: redis.Redis
) -> None:
    segment_id = archived.segment_of("one")
    valkey.delete(archived.store.keys.sets(segment_id))
    archived.store.damage.add([segment_id])
    assert lagging.heal() == 1
    assert sorted(archived.whole()) == sorted(LISTS)
    assert archived.store.damage.all() == set()


def test_a_floor_that_lags_brings_nothing_back_that_was_collected(
    archived: Archived, lagging: Restorer, valkey: redis.Redis
) -> None:
    state = archived.office.manifest().lists["one"]
    (older,) = state.retained[0].segments
    archived.office.publisher.withdraw_list("one", "ann", "a test")
    for number in range(4):
        archived.office.deliver_hashes(digests(20 + number), "one")
    assert older.segment_id not in archived.office.manifest().segments()
    # As the collector of another server does, which has an archive of its own.
    valkey.delete(*archived.store.segments._all_keys(older))
    assert lagging.restore() == 0
    assert not archived.store.segments.is_whole(older)


def test_what_the_archive_has_in_no_better_state_stays_noted(archived: Archived, valkey: redis.Redis) -> None:
    segment_id = archived.segment_of("one")
    rot(archived.file_of("one"))
    valkey.delete(archived.store.keys.block_prefix(segment_id) + b"0")
    archived.store.damage.add([segment_id])
    with pytest.raises(ArchiveError):
        archived.restorer.heal()
    assert archived.store.damage.all() == {segment_id}


def rot(file: Path) -> None:
    """Change the last byte, which is of the last block."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("healing", [True, False])
def test_what_has_rotten_in_the_archive_takes_the_place_of_nothing_sound(
    archived: Archived, valkey: redis.Redis, healing: bool
) -> None:
    segment_id = archived.segment_of("one")
    keys = archived.store.keys
    block = valkey.get(keys.block_prefix(segment_id) + b"0")
    rot(archived.file_of("one"))
    # What is damaged in the store is sound in the archive, and what is sound in the store has rotten there.
    valkey.set(keys.sets(segment_id), b"spoilt")
    archived.store.damage.add([segment_id])
    with pytest.raises(ArchiveError, match=segment_id):
        archived.restorer.heal() if healing else archived.restorer.restore([segment_id])
    assert valkey.get(keys.block_prefix(segment_id) + b"0") == block
    archived.restorer.heal()
    assert archived.store.damage.all() == set()


def test_each_file_that_has_rotten_is_told_and_the_others_come_back(
    archived: Archived, valkey: redis.Redis, clock: ManualClock
) -> None:
    rotten = [archived.segment_of(list_id) for list_id in ("one", "three")]
    for list_id in ("one", "three"):
        rot(archived.file_of(list_id))
    raw = archived.restorer._floor.sealed_manifest()
    valkey.flushall()
    with pytest.raises(ArchiveError) as told:
        archived.restorer.restore()
    assert all(segment_id in str(told.value) for segment_id in rotten)
    assert raw is not None
    assert not valkey.exists(*(archived.store.keys.block_prefix(segment_id) + b"0" for segment_id in rotten))
    clock.advance(LONG_ENOUGH)
    with pytest.raises(ArchiveError):
        archived.restorer.restore()
    assert archived.whole() == ["two"]


def test_suppressions_that_have_rotten_in_the_archive_are_not_put_back(archived: Archived, valkey: redis.Redis) -> None:
    Suppressor(archived.acts).suppress([(Algorithm.MD5, digests(1)[0])], [], "ann", "a test")
    info = archived.office.manifest().suppressions
    assert info is not None
    rot(archived.directory / f"{info.blob_id}.sealed")
    valkey.delete(archived.store.keys.suppressions(info.blob_id))
    with pytest.raises(ArchiveError, match=info.blob_id):
        archived.restorer.restore()
    assert not archived.store.suppressions.is_whole(info)


def test_a_file_says_nothing_about_keys_that_are_not_its_segments(archived: Archived, valkey: redis.Redis) -> None:
    """Names rot as values do, and files are mixed up."""
    one, two = (archived.file_of(list_id) for list_id in ("one", "two"))
    manifest = archived.store.keys.manifest
    before = valkey.get(manifest)
    one.write_bytes(struct.pack(">HI", len(manifest), 1) + manifest + b"x" + two.read_bytes())
    valkey.delete(archived.store.keys.sets(archived.segment_of("one")))
    with pytest.raises(ArchiveError):
        archived.restorer.restore()
    assert valkey.get(manifest) == before


def test_a_size_that_has_rotten_asks_for_no_memory(archived: Archived, valkey: redis.Redis) -> None:
    file = archived.file_of("one")
    content = bytearray(file.read_bytes())
    content[2:6] = b"\xff" * 4
    file.write_bytes(content)
    valkey.delete(archived.store.keys.sets(archived.segment_of("one")))
    with pytest.raises(ArchiveError, match="cut short"):
        archived.restorer.restore()
