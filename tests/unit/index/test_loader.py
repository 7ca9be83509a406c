"""The loader: a snapshot has all that its manifest names, and what did not change is not read again."""

from __future__ import annotations

import hashlib

import pytest
import redis

from hashmatch.index import tables
from hashmatch.index.loader import SnapshotLoader
from hashmatch.ingest.compaction import Compactor
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.matching.findings import Finding
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store
from tests.support.clock import ManualClock
from tests.support.office import ACTOR, Office, row

MD5, SHA256 = Algorithm.MD5, Algorithm.SHA256
INCREMENTAL = DeliveryMode.INCREMENTAL


def digest(number: int, algorithm: Algorithm = MD5) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(algorithm.digest_size)


def some(*numbers: int) -> list[bytes]:
    return [digest(number) for number in numbers]


def verdicts(office: Office, snapshot, *numbers: int) -> list[Verdict]:
    answer = office.ask(MD5, some(*numbers), snapshot=snapshot)
    found = dict(zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True))
    return [
        answer.verdict_at(found[position]) if position in found else Verdict.NO_KNOWN_MATCH
        for position in range(len(numbers))
    ]


HIT, MISS, UNKNOWN = Verdict.MATCH, Verdict.NO_KNOWN_MATCH, Verdict.NOT_DETERMINED


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments that are opened, in order."""
    opened = []
    real = store.segments.open
    monkeypatch.setattr(store.segments, "open", lambda info: (opened.append(info.segment_id), real(info))[1])
    return opened


@pytest.fixture(params=[False, True], ids=["stored", "resident"])
def loader(office: Office, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SnapshotLoader:
    # Otherwise every segment of these sizes would be resident.
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    return office.loader(resident=request.param)


def test_a_snapshot_has_every_list_and_algorithm(office: Office, loader: SnapshotLoader):
    office.define("one")
    office.define("two")
    office.define("empty")
    office.deliver(row(key="a", md5=digest(1), sha256=digest(1, SHA256)), "one")
    office.deliver_hashes(some(2), "two")
    snapshot = loader.load(office.manifest(), None)
    assert {*snapshot.lists} == {"one", "two"}
    assert {*snapshot.tables} == {MD5, SHA256}
    assert {kind for loaded in snapshot.lists.values() for kind in loaded.chains} == {MD5, SHA256}
    assert snapshot.live_entries(MD5) == 2
    assert snapshot.epoch == office.manifest().epoch
    assert verdicts(office, snapshot, 1, 2, 3) == [HIT, HIT, MISS]


def test_what_did_not_change_is_not_read_again(office: Office, loader: SnapshotLoader, reads: list[str]):
    office.define()
    office.deliver_hashes(some(*range(100)))
    before = loader.load(office.manifest(), None)
    office.deliver_hashes(some(200), mode=INCREMENTAL)
    reads.clear()
    after = loader.load(office.manifest(), before)
    base, delta = after.lists["list"].chains[MD5]
    assert reads == [delta.info.segment_id]
    assert base is before.lists["list"].chains[MD5][0]
    assert verdicts(office, after, 5, 200, 300) == [HIT, HIT, MISS]
    # The snapshot before still answers as it did.
    assert verdicts(office, before, 5, 200) == [HIT, MISS]
    reads.clear()
    again = loader.load(office.manifest(), after)
    assert reads == []
    assert again.sources() == after.sources()


def test_a_removed_entry_is_absent_and_returns(office: Office, loader: SnapshotLoader):
    office.define()
    office.deliver("".join(row(key=f"k{number}", md5=digest(number)) for number in range(50)))
    steps = [
        (row(key="k7", removed=True), MISS),
        (row(key="k7", md5=digest(7)), HIT),
        (row(key="k7", removed=True), MISS),
    ]
    snapshot = loader.load(office.manifest(), None)
    for text, expected in steps:
        office.deliver(text, mode=INCREMENTAL)
        snapshot = loader.load(office.manifest(), snapshot)
        fresh = loader.load(office.manifest(), None)
        assert verdicts(office, snapshot, 7, 8) == verdicts(office, fresh, 7, 8) == [expected, HIT]


def test_a_snapshot_made_step_by_step_answers_like_a_fresh_one(
    office: Office, loader: SnapshotLoader, compactor: Compactor, clock: ManualClock
):
    office.define("one")
    office.define("two")
    snapshot = None
    publisher = office.publisher
    acts = [
        lambda: office.deliver_hashes(some(*range(60)), "one"),
        lambda: office.deliver_hashes(some(*range(50, 90)), "two"),
        *(lambda n=n: office.deliver_hashes(some(100 + n), "one", mode=INCREMENTAL) for n in range(7)),
        compactor.compact,
        lambda: publisher.roll_back("one", 0, ACTOR),
        lambda: publisher.withdraw_list("two", ACTOR, "why"),
        lambda: publisher.roll_back("two", 0, ACTOR),
        lambda: publisher.withdraw_entries("one", [(int(MD5), digest(3))], [], ACTOR, "why"),
        lambda: office.deliver_hashes(some(*range(20, 30)), "one"),
    ]
    for act in acts:
        act()
        snapshot = loader.load(office.manifest(), snapshot)
        fresh = loader.load(office.manifest(), None)
        assert verdicts(office, snapshot, *range(120)) == verdicts(office, fresh, *range(120))
        rebased = loader.with_new_bases(snapshot)
        assert rebased is None


def test_a_new_base_answers_like_the_old_one(office: Office, loader: SnapshotLoader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "_SMALL_OVERLAY", 10)
    office.define("one")
    office.define("two")
    office.deliver_hashes(some(*range(40)), "one")
    snapshot = loader.load(office.manifest(), None)
    office.deliver_hashes(some(*range(30, 70)), "two")
    office.publisher.withdraw_entries("two", [(int(MD5), digest(35))], [], ACTOR, "why")
    snapshot = loader.load(office.manifest(), snapshot)
    rebased = loader.with_new_bases(snapshot)
    assert rebased is not None
    assert [len(each.tables[MD5].parts) for each in (snapshot, rebased)] == [2, 1]
    assert rebased.sources() == snapshot.sources()
    asked = range(80)
    assert verdicts(office, rebased, *asked) == verdicts(office, snapshot, *asked)
    assert loader.with_new_bases(rebased) is None
    # The next change goes on from there.
    office.deliver_hashes(some(75), "two", mode=INCREMENTAL)
    assert verdicts(office, loader.load(office.manifest(), rebased), 5, 65, 75) == [HIT] * 3


def test_a_block_that_vanishes_while_it_is_in_use_is_damage_and_no_absence(
    office: Office, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("hashmatch.index.loader.RESIDENT_ROWS", -1)
    office.define()
    office.deliver_hashes(some(*range(100)))
    snapshot = office.loader(cache_bytes=0).load(office.manifest(), None)
    assert verdicts(office, snapshot, 1, 1_000) == [HIT, MISS]
    for key in valkey.scan_iter(b"hashmatch:b:*"):
        valkey.delete(key)
    answer = office.ask(MD5, some(1, 1_000), snapshot=snapshot)
    (finding,) = answer.findings
    assert answer.positions.tolist() == [0]
    assert finding == Finding(UNKNOWN, causes=(Cause(UndeterminedReason.STORE_DAMAGED, "list"),))


@pytest.mark.parametrize("harm", ["block", "statements", "suppressions"])
def test_what_is_incomplete_does_not_become_a_snapshot(
    office: Office, suppressor: Suppressor, valkey: redis.Redis, loader: SnapshotLoader, harm: str
):
    office.define()
    office.deliver_hashes(some(*range(100)))
    suppressor.suppress([(int(MD5), digest(1))], [], ACTOR, "why")
    pattern = {"block": b"hashmatch:b:*", "statements": b"hashmatch:s:*", "suppressions": b"hashmatch:x:*"}[harm]
    valkey.delete(*valkey.keys(pattern)[:1])
    with pytest.raises(StoreDamagedError):
        loader.load(office.manifest(), None)


def test_a_store_that_is_away_stops_a_load(
    office: Office, loader: SnapshotLoader, store: Store, monkeypatch: pytest.MonkeyPatch
):
    office.define()
    office.deliver_hashes(some(1))
    manifest = office.manifest()

    def away(*_: object) -> None:
        raise StoreUnavailableError("the store cannot be reached")

    monkeypatch.setattr(store.connection, "get_many", away)
    with pytest.raises(StoreUnavailableError):
        loader.load(manifest, None)


def test_small_segments_are_held_in_memory(office: Office):
    """They are the deltas, which every hit is put to."""
    office.define()
    office.deliver_hashes(some(1))
    (source,) = office.snapshot().lists["list"].chains[MD5]
    assert not source.needs_store


def test_age_is_counted_from_what_the_body_states(office: Office, clock: ManualClock):
    office.define(max_age=100.0)
    office.deliver_hashes(some(1), as_of=clock.wall - 60.0)
    loaded = office.snapshot().lists["list"]
    assert loaded.age(clock.wall) == 60.0
    assert loaded.age(clock.wall - 1_000.0) == 0.0
    assert [loaded.is_stale(clock.wall + seconds) for seconds in (40.0, 40.1)] == [False, True]
    assert (loaded.carries(MD5), loaded.carries(SHA256)) == (True, False)
