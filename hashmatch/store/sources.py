"""Where the rows of a segment are looked up: in the store through a bounded cache, or in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements, block_of, blocks_of
from hashmatch.model.opinions import StatementSet
from hashmatch.store.blocks import ABSENT, DAMAGED, BlockError, PlainBlocks, find_in_block, payload_of_row
from hashmatch.store.segments import SegmentInfo, SegmentReader
from hashmatch.store.supply import Supply
from hashmatch.trust.batch_opening import Opened


class Lookup(NamedTuple):
    """What a segment says of (n,) digests: `refs` (n,) int64 holds a ref, ABSENT or DAMAGED.

    `positions` and `rows`, (n,) int64, tell where in `blocks` each was found.
    """

    refs: npt.NDArray[np.int64]
    blocks: PlainBlocks
    positions: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    def payload(self, index: int) -> bytes:
        """The payload of the row that digest `index` was found in; empty if it has none."""
        if self.refs[index] < 0:
            return b""
        return self.blocks.payload(int(self.positions[index]), int(self.rows[index]))


class FewFinds(NamedTuple):
    """What a segment says of a few digests: for each a ref, ABSENT or DAMAGED, and the payload of one with a ref."""

    refs: list[int]
    payload: Callable[[int], bytes]


class SegmentSource(Protocol):
    """Answers for one segment; thread-safe."""

    info: SegmentInfo
    sets: tuple[StatementSet, ...]
    # (len(sets),) bool: which of the sets says that the digest was removed.
    removed: npt.NDArray[np.bool_]

    def find(self, placed: Placements, digests: Digests) -> Lookup:
        """Look up (n,) placements with their (n, size) digests. Raises `StoreUnavailableError`."""
        ...

    def find_few(self, placed: Sequence[int], digests: Sequence[bytes], supply: Supply | None) -> FewFinds | None:
        """The same for so few digests that arrays would cost more than they save.

        With a `supply` None where that lacks a block, which it is told; without one raises `StoreUnavailableError`.
        """
        ...

    @property
    def needs_store(self) -> bool:
        """Whether `find` may have to ask the store."""
        ...


def _removed(sets: tuple[StatementSet, ...]) -> npt.NDArray[np.bool_]:
    return np.fromiter((not each for each in sets), np.bool_, len(sets))


def _find_each(blocks: Sequence[bytes | None], digests: Sequence[bytes], sets: int) -> FewFinds:
    """Look for each digest in its own block, which is None where it is damaged; refs are below `sets`."""
    refs, rows = [], []
    for block, digest in zip(blocks, digests, strict=True):
        ref, row = (DAMAGED, ABSENT) if block is None else find_in_block(block, digest)
        refs.append(ref if ref < sets else DAMAGED)
        rows.append(row)
    return FewFinds(refs, lambda index: payload_of_row(blocks[index] or b"", len(digests[index]), rows[index]))


class BlockCache:
    """Plain blocks that were used lately, up to a number of bytes; thread-safe."""

    # What a cached block costs beside its bytes: the dictionary's entry, the key, the objects' headers.
    OVERHEAD = 250

    def __init__(self, maximum_bytes: int) -> None:
        self.maximum_bytes = maximum_bytes
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        # Segments of which a block was found missing or wrong, until somebody finds them whole again.
        self.damaged: set[str] = set()
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def get_many(self, segment_id: str, numbers: Sequence[int]) -> list[bytes | None]:
        """The cached blocks of a segment, None for those that are not."""
        blocks = self._blocks
        with self._lock:
            found = [blocks.get((segment_id, number)) for number in numbers]
            for number, block in zip(numbers, found, strict=True):
                if block is not None:
                    blocks.move_to_end((segment_id, number))
            hits = len(found) - found.count(None)
            self.hits += hits
            self.misses += len(found) - hits
        return found

    def get_all(self, segment_id: str, numbers: Sequence[int]) -> list[bytes] | None:
        """These blocks of a segment, None and not counted as asked for if one of them is not cached."""
        blocks, found = self._blocks, []
        with self._lock:
            for number in numbers:
                block = blocks.get((segment_id, number))
                if block is None:
                    return None
                found.append(block)
            for number in numbers:
                blocks.move_to_end((segment_id, number))
            self.hits += len(found)
        return found

    def put_many(self, segment_id: str, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Keep blocks, dropping those used longest ago."""
        with self._lock:
            for number, block in blocks:
                if (segment_id, number) not in self._blocks:
                    self._blocks[segment_id, number] = block
                    self.size_bytes += len(block) + self.OVERHEAD
            while self.size_bytes > self.maximum_bytes:
                _, dropped = self._blocks.popitem(last=False)
                self.size_bytes -= len(dropped) + self.OVERHEAD

    def fill(self, segment_id: str, first: int, blocks: PlainBlocks) -> None:
        """Keep blocks, numbered from `first`, as long as there is room, and drop none: nobody asked for them yet."""
        with self._lock:
            known, size, maximum = self._blocks, self.size_bytes, self.maximum_bytes - self.OVERHEAD
            if size > maximum:
                return
            for number, block in enumerate(blocks.parts(), first):
                key = (segment_id, number)
                if key in known:
                    continue
                if size + len(block) > maximum:
                    break
                known[key] = block
                size += len(block) + self.OVERHEAD
            self.size_bytes = size


class StoredSegment:
    """A segment that stays in the store; each lookup reads the blocks that it needs, through the cache."""

    needs_store = True

    def __init__(self, reader: SegmentReader, cache: BlockCache) -> None:
        """Read the statement sets. Raises `StoreUnavailableError` and `StoreDamagedError`."""
        self.info = reader.info
        self.sets = reader.sets
        self.removed = _removed(reader.sets)
        self._reader = reader
        self._cache = cache

    def find(self, placed: Placements, digests: Digests) -> Lookup:
        """Look up (n,) placements with their (n, size) digests. Raises `StoreUnavailableError`."""
        numbers, positions = np.unique(blocks_of(placed, self.info.blocks), return_inverse=True)
        plain, good = self._plain(numbers.tolist())
        refs = np.full(len(placed), DAMAGED, np.int64)
        rows = np.full(len(placed), ABSENT, np.int64)
        try:
            if good.all():
                refs, rows = plain.find(positions, digests)
            else:
                readable = good[positions]
                refs[readable], rows[readable] = plain.find(positions[readable], digests[readable])
        except BlockError:
            refs[:] = DAMAGED
        refs[refs >= len(self.sets)] = DAMAGED
        return Lookup(refs, plain, positions, rows)

    def find_few(self, placed: Sequence[int], digests: Sequence[bytes], supply: Supply | None) -> FewFinds | None:
        """Look up a few, with a `supply` only if that or the cache has their blocks. Raises `StoreUnavailableError`."""
        numbers = [block_of(each, self.info.blocks) for each in placed]
        blocks: Sequence[bytes | None] | None
        if supply is None:
            blocks = self._blocks(numbers)
        else:
            blocks = self._cache.get_all(self.info.segment_id, numbers) or self._supplied(numbers, supply)
        return None if blocks is None else _find_each(blocks, digests, len(self.sets))

    def _supplied(self, numbers: Sequence[int], supply: Supply) -> list[bytes | None] | None:
        at_hand = supply.at_hand(self)
        unknown = [number for number in dict.fromkeys(numbers) if number not in at_hand]
        if unknown:
            cached = self._cache.get_many(self.info.segment_id, unknown)
            at_hand.update((number, block) for number, block in zip(unknown, cached, strict=True) if block is not None)
            if None in cached:
                supply.want(self, [number for number in unknown if number not in at_hand])
                return None
        return [at_hand[number] for number in numbers]

    def keys(self, numbers: Sequence[int]) -> list[bytes]:
        """The keys of blocks in the store."""
        return self._reader.block_keys(numbers)

    def opened(self, numbers: Sequence[int], sealed: Sequence[bytes | None]) -> list[bytes | None]:
        """The plain blocks of what the store has under these keys, None for a damaged one. They are kept."""
        blocks = self._checked(self._reader.opened(numbers, sealed)).parts()
        self._keep(numbers, blocks)
        return list(blocks)

    def _blocks(self, numbers: Sequence[int]) -> list[bytes | None]:
        """The plain blocks of these numbers, None for a damaged one."""
        blocks = self._cache.get_many(self.info.segment_id, numbers)
        missing = [index for index, block in enumerate(blocks) if block is None]
        if missing:
            wanted = [numbers[index] for index in missing]
            fetched = self._fetch(wanted).parts()
            for index, block in zip(missing, fetched, strict=True):
                blocks[index] = block
            self._keep(wanted, fetched)
        return blocks

    def _plain(self, numbers: Sequence[int]) -> tuple[PlainBlocks, npt.NDArray[np.bool_]]:
        """The plain blocks of these numbers side by side, and which of them are good."""
        if not self._cache.maximum_bytes:
            opened = self._fetch(numbers)
            return PlainBlocks(opened.data, opened.starts, self.info.digest_size), opened.good
        blocks = self._blocks(numbers)
        good = np.fromiter((block is not None for block in blocks), np.bool_, len(blocks))
        return PlainBlocks.of([block or b"" for block in blocks], self.info.digest_size), good

    def _fetch(self, numbers: Sequence[int]) -> Opened:
        return self._checked(self._reader.fetch(numbers))

    def _checked(self, opened: Opened) -> Opened:
        if not opened.good.all():
            self._cache.damaged.add(self.info.segment_id)
        return opened

    def _keep(self, numbers: Sequence[int], fetched: Sequence[bytes | None]) -> None:
        kept = [(number, block) for number, block in zip(numbers, fetched, strict=True) if block is not None]
        self._cache.put_many(self.info.segment_id, kept)


class ResidentSegment:
    """A segment held in memory, about 40 bytes a row: it answers also while the store is away."""

    needs_store = False

    def __init__(self, info: SegmentInfo, sets: tuple[StatementSet, ...], blocks: PlainBlocks) -> None:
        self.info = info
        self.sets = sets
        self.removed = _removed(sets)
        self._blocks = blocks

    def find(self, placed: Placements, digests: Digests) -> Lookup:
        """Look up (n,) placements with their (n, size) digests."""
        positions = blocks_of(placed, self.info.blocks)
        refs, rows = self._blocks.find(positions, digests)
        return Lookup(refs, self._blocks, positions, rows)

    def find_few(self, placed: Sequence[int], digests: Sequence[bytes], supply: Supply | None) -> FewFinds | None:  # noqa: ARG002
        """Look up a few."""
        blocks = [self._blocks[block_of(each, self.info.blocks)] for each in placed]
        return _find_each(blocks, digests, len(self.sets))


def open_segment(
    reader: SegmentReader,
    cache: BlockCache,
    *,
    resident: bool,
    on_live_digests: Callable[[Digests], None] | None = None,
) -> SegmentSource:
    """Make a segment ready for lookups.

    The whole segment is read and verified if it is to be `resident` or if `on_live_digests` wants its digests that have
    a statement, a few thousand at a time; then the cache takes what it has room for, so that a server that has just
    started need not ask again for what it has read. Raises `StoreUnavailableError` and `StoreDamagedError`.
    """
    if not resident and on_live_digests is None:
        return StoredSegment(reader, cache)
    has_statement = ~_removed(reader.sets)
    kept = []
    first = 0
    for digests, refs, blocks in reader.checked_columns(reader.read()):
        if on_live_digests is not None:
            live = has_statement[refs]
            on_live_digests(digests if live.all() else digests[live])
        if resident:
            kept.append(blocks)
        else:
            cache.fill(reader.info.segment_id, first, blocks)
        first += len(blocks)
    if not resident:
        return StoredSegment(reader, cache)
    return ResidentSegment(reader.info, reader.sets, PlainBlocks.joined(kept, reader.info.digest_size))


class FewFind(NamedTuple):
    """Where a digest was found: the number of the segment (or ABSENT or DAMAGED), the ref, and its row's payload."""

    segment: int
    ref: int
    payload: Callable[[], bytes]


def _no_payload() -> bytes:
    return b""


_ABSENT = FewFind(ABSENT, ABSENT, _no_payload)
_DAMAGED = FewFind(DAMAGED, ABSENT, _no_payload)


def find_few_in_chain(
    sources: Sequence[SegmentSource], placed: Sequence[int], digests: Sequence[bytes], supply: Supply | None
) -> list[FewFind] | None:
    """What `find_in_chain` finds, for so few digests that arrays would cost more than they save.

    With a `supply` None where that lacks a block, which it is told; without one raises `StoreUnavailableError`.
    """
    found = [_ABSENT] * len(placed)
    # The positions that are still to be found, of which `placed` and `digests` have the rows.
    positions = list(range(len(placed)))
    for number in range(len(sources) - 1, -1, -1):
        source = sources[number]
        finds = source.find_few(placed, digests, supply)
        if finds is None:
            return None
        refs, payload = finds
        absent = []
        for row, (position, ref) in enumerate(zip(positions, refs, strict=True)):
            if ref == ABSENT:
                absent.append(row)
            elif ref == DAMAGED:
                found[position] = _DAMAGED
            elif source.sets[ref]:
                found[position] = FewFind(number, ref, partial(payload, row))
        if not absent:
            break
        if number and len(absent) < len(positions):
            positions = [positions[row] for row in absent]
            placed, digests = [placed[row] for row in absent], [digests[row] for row in absent]
    return found


class ChainLookup(NamedTuple):
    """What a chain of segments says of (n,) digests.

    `segments` (n,) int64 is the number of the newest segment that has the digest, ABSENT or DAMAGED; `refs` (n,) int64
    its ref there. A digest whose newest state is removed counts as absent.
    """

    segments: npt.NDArray[np.int64]
    refs: npt.NDArray[np.int64]
    lookups: dict[int, tuple[npt.NDArray[np.int64], Lookup]]

    def payload(self, index: int) -> bytes:
        """The payload of the row that digest `index` was found in; empty if it has none."""
        asked, lookup = self.lookups[int(self.segments[index])]
        return lookup.payload(int(np.searchsorted(asked, index)))


def find_in_chain(sources: Sequence[SegmentSource], placed: Placements, digests: Digests) -> ChainLookup:
    """Look digests up in the segments of one list and kind, given oldest first: the newest that has one decides.

    Raises `StoreUnavailableError`.
    """
    segments = np.full(len(placed), ABSENT, np.int64)
    refs = np.full(len(placed), ABSENT, np.int64)
    open_questions = np.arange(len(placed))
    lookups = {}
    for number in range(len(sources) - 1, -1, -1):
        if not len(open_questions):
            break
        source = sources[number]
        lookup = source.find(placed[open_questions], digests[open_questions])
        lookups[number] = (open_questions, lookup)
        answered = lookup.refs != ABSENT
        decided = open_questions[answered]
        refs[decided] = lookup.refs[answered]
        segments[decided] = np.where(lookup.refs[answered] == DAMAGED, DAMAGED, number)
        found = decided[refs[decided] >= 0]
        segments[found[source.removed[refs[found]]]] = ABSENT
        open_questions = open_questions[~answered]
    return ChainLookup(segments, refs, lookups)
