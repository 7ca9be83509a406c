"""Shared snapshots: another process answers the same from the same memory, and goes neither wrong nor back."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from hashmatch.index.hamming import HammingIndex
from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.mapped import MappedRefresher
from hashmatch.index.refresher import Look, Outcome, Refresher, Served
from hashmatch.index.shared_memory import Memory, Written, read_memory
from hashmatch.index.sharing import Image, Piece, Pieces, SharedSnapshots
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import EpochFloor
from hashmatch.store.sources import BlockCache
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.office import ACTOR, Office

MD5 = Algorithm.MD5
INCREMENTAL = DeliveryMode.INCREMENTAL


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


class Process:
    """A process that takes over what a builder sends; here it is sent by hand."""

    def __init__(self, store: Store, clock: ManualClock, floor: EpochFloor) -> None:
        self.pieces = Pieces(store.segments, BlockCache(1 << 20))
        self.refresher = MappedRefresher(store.manifests, floor, clock, maximum_unconfirmed_seconds=60.0)
        self.received: list[int] = []
        self.images: list[tuple[list[Piece], Image]] = []

    def announce(self, pieces, image: Image) -> None:
        self.received.append(len(pieces))
        self.images.append((list(pieces), image))
        self.take(-1)

    def take(self, number: int) -> None:
        pieces, image = self.images[number]
        for piece in pieces:
            self.pieces.map(piece)
        self.refresher.offer(self.pieces.load(image))

    @property
    def served(self) -> Served:
        assert self.refresher.served is not None
        return self.refresher.served


@pytest.fixture
def worker(store: Store, clock: ManualClock) -> Process:
    return Process(store, clock, EpochFloor(None))


@pytest.fixture
def make_keeper(office: Office, store: Store, clock: ManualClock, tmp_path: Path, worker: Process):
    """Makes a builder that shares with the worker; all have one floor on disk."""

    def make(loader: SnapshotLoader | None = None) -> Refresher:
        return Refresher(
            store.manifests,
            loader or office.loader(resident=True),
            EpochFloor(tmp_path / "epoch"),
            clock,
            maximum_unconfirmed_seconds=60.0,
            sharing=SharedSnapshots(Pieces(store.segments, BlockCache(1 << 20)), worker.announce),
        )

    return make


@pytest.fixture
def keeper(make_keeper, office: Office) -> Refresher:
    """Of a list with one hash."""
    office.define()
    office.deliver_hashes([digest(1)])
    keeper = make_keeper()
    assert keeper.refresh().outcome is Outcome.LOADED
    return keeper


def hits(office: Office, served: Served, *numbers: int) -> list[int]:
    answer = office.ask(MD5, [digest(number) for number in numbers], snapshot=served.snapshot)
    return [numbers[position] for position in answer.positions.tolist()]


def test_a_worker_answers_what_the_builder_answers(office: Office, keeper: Refresher, worker: Process):
    assert worker.refresher.refresh().outcome is Outcome.LOADED
    assert hits(office, worker.served, 1, 2) == hits(office, keeper.served, 1, 2) == [1]
    assert worker.served.header == keeper.served.header
    assert worker.refresher.doubts() == ()


def test_a_delta_and_a_suppression_arrive_and_the_tables_are_sent_once(
    office: Office, keeper: Refresher, worker: Process, acts
):
    worker.refresher.refresh()
    table = worker.served.snapshot.tables[MD5].parts[0].filter
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    Suppressor(acts).suppress([(MD5, digest(1))], (), "a test", ACTOR)
    assert keeper.refresh().outcome is Outcome.LOADED
    assert worker.refresher.refresh().outcome is Outcome.LOADED
    assert hits(office, worker.served, 2, 3) == [2]
    assert worker.served.snapshot.suppressions == keeper.served.snapshot.suppressions != {}
    assert worker.served.snapshot.tables[MD5].parts[0].filter is table
    # Everything new is small, and lies in one piece.
    assert worker.received == [1, 1]


def test_a_piece_that_comes_again_leaves_every_unit_in_its_place(keeper: Refresher, worker: Process):
    worker.refresher.refresh()
    table = worker.served.snapshot.tables[MD5].parts[0].filter
    place = worker.pieces.place_of(table)
    worker.take(0)
    assert worker.pieces.place_of(table) == place is not None
    worker.pieces.keep([])
    # What is not mapped has no place, so that nothing new that comes to lie at its address is taken for it.
    assert worker.pieces.place_of(table) is None


def test_it_is_confirmed_by_the_store_and_not_by_the_builder(
    office: Office, keeper: Refresher, worker: Process, clock: ManualClock
):
    worker.refresher.refresh()
    clock.advance(100.0)
    assert worker.refresher.doubts()
    assert worker.refresher.refresh().outcome is Outcome.UNCHANGED
    assert not worker.refresher.doubts()
    # Somebody publishes, and nobody builds: what is served is not the current state.
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    clock.advance(100.0)
    look = worker.refresher.refresh()
    assert (look.outcome, look.current) == (Outcome.AWAITED, True)
    assert worker.refresher.doubts()
    # A builder that says why is believed.
    worker.refresher.tell(Look(Outcome.DAMAGED, "a block is missing"))
    assert worker.refresher.refresh() == Look(Outcome.DAMAGED, "a block is missing")


def test_it_never_goes_back(office: Office, keeper: Refresher, worker: Process):
    worker.refresher.refresh()
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    keeper.refresh()
    worker.refresher.refresh()
    epoch = worker.served.snapshot.epoch
    worker.take(0)
    look = worker.refresher.refresh()
    assert (look.outcome, look.reason) == (Outcome.REFUSED, "older-epoch")
    assert worker.served.snapshot.epoch == epoch


def test_started_again_it_does_not_begin_below_the_floor_on_the_disk(
    office: Office, store: Store, clock: ManualClock, keeper: Refresher, worker: Process, tmp_path: Path
):
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    keeper.refresh()
    again = Process(store, clock, EpochFloor(tmp_path / "epoch"))
    again.images = worker.images
    again.take(0)
    assert again.refresher.refresh().reason == "older-epoch"
    assert again.refresher.served is None


def test_the_next_builder_goes_on_from_what_was_shared(
    office: Office, store: Store, clock: ManualClock, keeper: Refresher, worker: Process, tmp_path: Path, monkeypatch
):
    worker.refresher.refresh()
    table = worker.served.snapshot.tables[MD5].parts[0].filter
    pieces = worker.pieces
    following = Refresher(
        store.manifests,
        office.loader(),
        EpochFloor(tmp_path / "epoch"),
        clock,
        maximum_unconfirmed_seconds=60.0,
        sharing=SharedSnapshots(pieces, lambda _, image: worker.refresher.offer(pieces.load(image))),
    )
    following.adopt(worker.served)
    with monkeypatch.context() as context:
        context.setattr(store.segments, "open", lambda _: pytest.fail("a segment was read again"))
        assert following.refresh().outcome is Outcome.UNCHANGED
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    assert following.refresh().outcome is Outcome.LOADED
    worker.refresher.refresh()
    assert hits(office, worker.served, 1, 2, 3) == [1, 2]
    assert worker.served.snapshot.tables[MD5].parts[0].filter is table


def test_a_builder_does_not_adopt_what_is_below_its_floor(
    office: Office, keeper: Refresher, worker: Process, make_keeper
):
    worker.refresher.refresh()
    old = worker.served
    office.deliver_hashes([digest(2)], mode=INCREMENTAL)
    keeper.refresh()
    following = make_keeper()
    following.adopt(old)
    assert following.served is None


def test_segments_that_stay_in_the_store_are_read_by_each_process_itself(
    office: Office, worker: Process, make_keeper, monkeypatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    office.define()
    office.deliver_hashes([digest(1)])
    keeper = make_keeper(office.loader())
    keeper.refresh()
    worker.refresher.refresh()
    (source,) = worker.served.snapshot.sources().values()
    assert source.needs_store
    assert hits(office, worker.served, 1, 2) == [1]
    monkeypatch.setattr(
        office.store.connection, "get_many", lambda _: (_ for _ in ()).throw(StoreUnavailableError("gone"))
    )
    # The block is in this process's cache; its way to the store is its own as well.
    assert hits(office, worker.served, 1, 2) == [1]
    assert source._cache is worker.pieces._cache


def test_no_key_is_in_what_is_shared(keeper: Refresher, worker: Process, sealing_key):
    for pieces, image in worker.images:
        for memory in (image.memory, *(piece.memory for piece in pieces)):
            content = os.pread(memory.descriptor, memory.size, 0)
            assert sealing_key._secret not in content
            assert b"SealingKey" not in content


def test_arrays_are_the_memory_itself_and_nobody_can_change_it():
    array = np.arange(1 << 20, dtype=np.uint64)
    memory = Written((array, {"name": [1, 2]}), lambda _: None).to_memory()
    one, rest = read_memory(memory, lambda _: None)
    other, _ = read_memory(memory, lambda _: None)
    assert (one == array).all()
    assert rest == {"name": [1, 2]}
    assert one.ctypes.data % 64 == 0
    # Compiled code takes it for what it was made for.
    assert one.flags.writeable
    one[0] = 7
    assert other[0] == 0
    with pytest.raises(PermissionError):
        os.pwrite(memory.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(memory.descriptor, memory.size)


def test_memory_is_given_back_with_its_last_user():
    memory = Written(np.ones(1 << 16), lambda _: None).to_memory()
    descriptor = memory.descriptor
    array = read_memory(memory, lambda _: None)
    del memory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert array.sum() == 1 << 16


def test_an_empty_array_is_shared():
    memory: Memory = Written(np.empty((0, 32), np.uint8), lambda _: None).to_memory()
    assert read_memory(memory, lambda _: None).shape == (0, 32)


def test_an_index_of_near_values_finds_the_same_in_shared_memory():
    codes = np.random.default_rng(1).integers(0, 256, (5_000, 32), np.uint8)
    index = HammingIndex(codes)
    shared = read_memory(Written(index, lambda _: None).to_memory(), lambda _: None)
    for one, other in zip(index.search(codes[:100], 31), shared.search(codes[:100], 31), strict=True):
        assert (one == other).all()
