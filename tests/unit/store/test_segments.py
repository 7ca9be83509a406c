"""Segments over a real Valkey: what was written is read, and whatever happened to a block is never an absence."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import redis

from hashmatch.columns.placement import PlacementSecret, blocks_of, placements
from hashmatch.columns.rows import SOURCE_KEYS, Payloads, empty_rows, make_rows
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
from hashmatch.model.opinions import Statement
from hashmatch.store.segments import SegmentInfo, SegmentReader, StoreDamagedError, digest_size_of
from hashmatch.store.sources import ABSENT, DAMAGED, BlockCache, find_in_chain, open_segment
from hashmatch.store.store import Store
from hashmatch.store.supply import Supply
from hashmatch.trust.sealing import KEY_SIZE, SealingKey

SETS = ((), (Statement("a"),), (Statement("b", flags=("x", "y"), since_generation=3),))
KIND = int(Algorithm.SHA1)
COUNT = 400


def ignore(_: object) -> None:
    pass


def rows_with(secret, *, kind=KIND, count=COUNT, seed=1, refs=3, sets=SETS, payloads=False):
    generator = np.random.default_rng(seed)
    digests = generator.integers(0, 256, (count, digest_size_of(kind)), np.uint8)
    held = Payloads.of([b"%d" % number for number in range(count)]) if payloads else None
    return make_rows(kind, digests, generator.integers(0, refs, count, np.uint32), sets, secret, held)


@pytest.fixture
def write(store: Store):
    """Write rows; returns a reader of the segment."""

    def write(rows) -> SegmentReader:
        return store.segments.open(store.segments.write(rows, note_pending=ignore))

    return write


def placed_in(block: int, blocks: int) -> int:
    """A placement in a block."""
    return -(-(block << 32) // blocks) << 32


def block_key(store: Store, info: SegmentInfo, number: int) -> bytes:
    return b"%b%d" % (store.keys.block_prefix(info.segment_id), number)


@pytest.mark.parametrize("kind", [*sorted(int(each) for each in EXACT_ALGORITHMS), SOURCE_KEYS])
@pytest.mark.parametrize("payloads", [False, True])
def test_a_segment_comes_back_as_it_was_written(write, secret: PlacementSecret, kind: int, payloads: bool):
    rows = rows_with(secret, kind=kind, payloads=payloads)
    reader = write(rows)
    reader.verify()
    back = reader.rows(secret)
    assert np.array_equal(back.digests, rows.digests)
    assert np.array_equal(back.placed, rows.placed)
    assert np.array_equal(back.refs, rows.refs)
    assert back.sets == SETS
    assert [back.payloads[row] if back.payloads else b"" for row in range(COUNT)] == [
        rows.payloads[row] if rows.payloads else b"" for row in range(COUNT)
    ]
    assert reader.info.live_rows == int(np.count_nonzero(rows.live))
    assert (reader.info.kind, reader.info.rows) == (kind, COUNT)


def test_an_empty_segment_comes_back(write, secret: PlacementSecret):
    reader = write(empty_rows(KIND, 20))
    reader.verify()
    assert len(reader.rows(secret)) == 0


def test_what_is_written_is_noted_first(store: Store, secret: PlacementSecret, valkey: redis.Redis):
    noted = []
    store.segments.write(rows_with(secret), note_pending=lambda info: noted.append((info, valkey.dbsize())))
    ((info, keys),) = noted
    assert keys == 0
    store.segments.delete(info)
    assert valkey.dbsize() == 0


def test_no_two_segments_share_a_key_or_an_id(write, secret: PlacementSecret):
    one, other = write(rows_with(secret)).info, write(rows_with(secret)).info
    assert one.segment_id != other.segment_id
    assert one.salt != other.salt


@pytest.fixture(params=["missing", "flipped", "cut short", "swapped", "of another segment", "of another key"])
def harm(request: pytest.FixtureRequest, store: Store, valkey: redis.Redis, write, secret: PlacementSecret):
    """Does one harm to the block of a segment. Every block of another number is left as it is, unless swapped."""

    def harm(info: SegmentInfo, number: int) -> None:
        key = block_key(store, info, number)
        sealed = bytearray(valkey.get(key))
        match request.param:
            case "missing":
                valkey.delete(key)
            case "flipped":
                sealed[len(sealed) // 2] ^= 1
                valkey.set(key, bytes(sealed))
            case "cut short":
                valkey.set(key, bytes(sealed[:-1]))
            case "swapped":
                valkey.set(key, valkey.get(block_key(store, info, number + 1)))
            case "of another segment":
                twin = write(store.segments.open(info).rows(secret)).info
                valkey.set(key, valkey.get(block_key(store, twin, number)))
            case "of another key":
                stranger = Store(store.connection, SealingKey(b"\7" * KEY_SIZE), "stranger")
                twin = stranger.segments.write(store.segments.open(info).rows(secret), note_pending=ignore)
                valkey.set(key, valkey.get(block_key(stranger, twin, number)))

    return harm


def test_a_harmed_block_is_damage_and_the_others_still_answer(store: Store, write, harm, secret: PlacementSecret):
    rows = rows_with(secret)
    info = write(rows).info
    number = 3
    harm(info, number)
    reader = store.segments.open(info)
    source = open_segment(reader, BlockCache(1 << 20), resident=False)
    strangers = rows_with(secret, seed=2)
    for asked, present in ((rows, True), (strangers, False)):
        refs = source.find(asked.placed, asked.digests).refs
        in_block = ((asked.placed >> np.uint64(32)) * np.uint64(info.blocks) >> np.uint64(32)) == number
        assert in_block.any()
        assert np.all(refs[in_block] == DAMAGED)
        assert np.array_equal(refs[~in_block], asked.refs[~in_block] if present else np.full(sum(~in_block), ABSENT))


def test_a_harmed_segment_is_not_read_as_a_whole(store: Store, write, harm, secret: PlacementSecret):
    info = write(rows_with(secret)).info
    harm(info, 3)
    reader = store.segments.open(info)
    for read in (
        reader.verify,
        lambda: reader.rows(secret),
        lambda: open_segment(reader, BlockCache(0), resident=True),
        lambda: open_segment(reader, BlockCache(0), resident=False, on_live_digests=ignore),
    ):
        with pytest.raises(StoreDamagedError):
            read()


@pytest.mark.parametrize("change", [ignore, lambda sealed: sealed[:-1], lambda sealed: sealed + b"\0"])
def test_harmed_statements_are_damage(store: Store, valkey: redis.Redis, write, secret: PlacementSecret, change):
    info = write(rows_with(secret)).info
    key = store.keys.sets(info.segment_id)
    changed = change(valkey.get(key))
    valkey.delete(key) if changed is None else valkey.set(key, changed)
    with pytest.raises(StoreDamagedError):
        open_segment(store.segments.open(info), BlockCache(0), resident=False)


@pytest.mark.parametrize("field", ["salt", "segment_id", "blocks", "rows"])
def test_a_segment_is_only_what_the_manifest_says_of_it(store: Store, write, secret: PlacementSecret, field: str):
    info = write(rows_with(secret)).info
    other = {"salt": bytes(16), "segment_id": "0" * 16, "blocks": info.blocks - 1, "rows": info.rows - 1}[field]
    with pytest.raises(StoreDamagedError):
        store.segments.open(msgspec.structs.replace(info, **{field: other})).verify()


def test_a_segment_under_the_name_of_another_is_damage(
    store: Store, valkey: redis.Redis, write, secret: PlacementSecret
):
    """The parts are authenticated with the id: whoever moves a whole segment, salt and all, gains nothing."""
    info = write(rows_with(secret)).info
    other = msgspec.structs.replace(info, segment_id="0" * 16)
    for number in range(info.blocks):
        valkey.rename(block_key(store, info, number), block_key(store, other, number))
    valkey.rename(store.keys.sets(info.segment_id), store.keys.sets(other.segment_id))
    reader = store.segments.open(other)
    assert reader.fetch([0]).parts() == [None]
    with pytest.raises(StoreDamagedError):
        reader.verify()


def test_refs_beyond_the_statements_are_damage(write, secret: PlacementSecret):
    """Only a defect of ours could write such a segment: it verifies, but says nothing that can be told."""
    rows = rows_with(secret)
    reader = write(rows)
    reader._sets = SETS[:2]
    with pytest.raises(StoreDamagedError, match="lacks"):
        reader.verify()
    found = open_segment(reader, BlockCache(0), resident=False).find(rows.placed, rows.digests)
    assert np.array_equal(found.refs, np.where(rows.refs == 2, DAMAGED, rows.refs.astype(np.int64)))


@pytest.mark.parametrize("resident", [False, True])
def test_both_kinds_of_sources_answer_alike(store: Store, write, secret: PlacementSecret, resident: bool):
    rows = rows_with(secret, payloads=True)
    reader = write(rows)
    live = []
    source = open_segment(reader, BlockCache(1 << 20), resident=resident, on_live_digests=live.append)
    assert source.needs_store is not resident
    assert {digest.tobytes() for part in live for digest in part} == {
        digest.tobytes() for digest in rows.digests[rows.live]
    }
    found = source.find(rows.placed, rows.digests)
    assert np.array_equal(found.refs, rows.refs)
    assert [found.payload(row) for row in range(COUNT)] == [rows.payloads[row] for row in range(COUNT)]
    strangers = rows_with(secret, seed=2)
    missed = source.find(strangers.placed, strangers.digests)
    assert set(missed.refs.tolist()) == {ABSENT}
    assert missed.payload(0) == b""


def test_the_newest_segment_that_has_a_digest_decides(write, secret: PlacementSecret):
    base = rows_with(secret, refs=2, sets=((Statement("old"),), (Statement("kept"),)))
    delta = make_rows(
        KIND,
        base.digests[:200],
        (np.arange(200) % 2).astype(np.uint32),
        ((), (Statement("new"),)),
        secret,
    )
    chain = [open_segment(write(rows), BlockCache(1 << 20), resident=False) for rows in (base, delta)]
    found = find_in_chain(chain, base.placed, base.digests)
    in_delta = {digest.tobytes(): int(ref) for digest, ref in zip(delta.digests, delta.refs, strict=True)}
    for row, digest in enumerate(base.digests):
        ref = in_delta.get(digest.tobytes())
        if ref is None:
            assert (found.segments[row], found.refs[row]) == (0, base.refs[row])
        else:
            assert found.segments[row] == (1 if ref else ABSENT)


def test_damage_in_a_newer_segment_hides_what_an_older_one_says(
    store: Store, valkey: redis.Redis, write, secret: PlacementSecret
):
    """What is older may have been changed or removed since: it must not answer in the place of what is newer."""
    rows = rows_with(secret, count=20, sets=((Statement("a"),),), refs=1)
    base, delta = write(rows), write(rows)
    valkey.delete(block_key(store, delta.info, 0))
    chain = [open_segment(reader, BlockCache(1 << 20), resident=False) for reader in (base, delta)]
    assert set(find_in_chain(chain, rows.placed, rows.digests).segments.tolist()) == {DAMAGED}
    # The other way round the newer one has already answered.
    assert set(find_in_chain(chain[::-1], rows.placed, rows.digests).segments.tolist()) == {1}


def test_cached_blocks_answer_without_the_store(store: Store, valkey: redis.Redis, write, secret: PlacementSecret):
    rows = rows_with(secret)
    cache = BlockCache(1 << 20)
    source = open_segment(write(rows), cache, resident=False)
    source.find(rows.placed, rows.digests)
    assert (cache.hits, cache.misses) == (0, source.info.blocks)
    valkey.flushall()
    assert np.array_equal(source.find(rows.placed, rows.digests).refs, rows.refs)
    assert cache.hits == source.info.blocks


@pytest.mark.parametrize("room", [0, 1, 10, 1_000])
def test_what_was_read_for_the_tables_is_kept_as_far_as_there_is_room_and_drops_nothing(
    valkey: redis.Redis, write, secret: PlacementSecret, room: int
):
    block = len(b"used before") + BlockCache.OVERHEAD
    cache = BlockCache(block + room * 2_000)
    cache.put_many("other", [(0, b"used before")])
    rows = rows_with(secret)
    source = open_segment(write(rows), cache, resident=False, on_live_digests=ignore)
    assert cache.size_bytes <= cache.maximum_bytes
    assert cache.get_many("other", [0]) == [b"used before"]
    blocks, asked = source.info.blocks, [bytes(rows.digests.shape[1])]
    kept = [
        number for number in range(blocks) if source.find_few([placed_in(number, blocks)], asked, Supply()) is not None
    ]
    assert kept == list(range(len(kept)))
    assert bool(kept) is bool(room)
    valkey.flushall()
    inside = blocks_of(rows.placed, source.info.blocks) < len(kept)
    assert np.array_equal(source.find(rows.placed[inside], rows.digests[inside]).refs, rows.refs[inside])
    if room == 1_000:
        assert inside.all()


def test_damage_is_not_cached(store: Store, valkey: redis.Redis, write, secret: PlacementSecret):
    rows = rows_with(secret)
    reader = write(rows)
    key = block_key(store, reader.info, 0)
    sealed = valkey.get(key)
    valkey.delete(key)
    source = open_segment(reader, BlockCache(1 << 20), resident=False)
    assert DAMAGED in source.find(rows.placed, rows.digests).refs
    valkey.set(key, sealed)
    assert np.array_equal(source.find(rows.placed, rows.digests).refs, rows.refs)


@pytest.mark.parametrize("maximum", [0, 5_000, 20_000])
def test_the_cache_keeps_to_its_size(write, secret: PlacementSecret, maximum: int):
    cache = BlockCache(maximum)
    for seed in range(3):
        rows = rows_with(secret, seed=seed)
        source = open_segment(write(rows), cache, resident=False)
        for row in range(0, COUNT, 40):
            some = slice(row, row + 40)
            assert np.array_equal(source.find(rows.placed[some], rows.digests[some]).refs, rows.refs[some])
            assert cache.size_bytes <= maximum
    held = [cache.get_many("x", [0]), cache.size_bytes]
    assert held[0] == [None]
    assert cache.size_bytes == sum(len(block) + cache.OVERHEAD for block in cache._blocks.values())


def test_the_cache_drops_what_was_used_longest_ago():
    cache = BlockCache(2 * (10 + BlockCache.OVERHEAD))
    cache.put_many("s", [(0, b"0" * 10), (1, b"1" * 10)])
    cache.put_many("s", [(1, b"1" * 10)])
    assert cache.get_many("s", [0]) == [b"0" * 10]
    cache.put_many("s", [(2, b"2" * 10)])
    assert cache.get_many("s", [0, 1, 2]) == [b"0" * 10, None, b"2" * 10]


def test_asking_for_nothing_finds_nothing(write, secret: PlacementSecret):
    source = open_segment(write(rows_with(secret)), BlockCache(0), resident=False)
    nothing = np.empty((0, 20), np.uint8)
    assert len(source.find(placements(nothing, secret), nothing).refs) == 0
