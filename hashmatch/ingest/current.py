"""What a list has now, as the publisher sees it: point lookups for small changes, whole columns for large ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, PlacementSecret, placements_of
from hashmatch.columns.rows import SOURCE_KEYS, Rows, empty_rows, overlay, positions_in
from hashmatch.columns.source_keys import source_key_digest
from hashmatch.ingest.entry_hashes import EntryHash, unpack_entry_hashes
from hashmatch.model.opinions import StatementSet
from hashmatch.store.blocks import DAMAGED
from hashmatch.store.manifest import ListState
from hashmatch.store.segments import SegmentInfo, SegmentStore, StoreDamagedError, digest_size_of
from hashmatch.store.sources import BlockCache, ChainLookup, SegmentSource, find_in_chain, open_segment

_CACHE_BYTES = 64 << 20
# A lookup costs about what reading a block does, and a block has this many rows.
_ROWS_A_LOOKUP = 32
_LOOKUPS = 65_536


class Held:
    """What a list holds of (n,) digests: `numbers` (n,) int64 into `sets`, -1 for a digest that it does not have."""

    def __init__(self, chain: Sequence[SegmentSource], found: ChainLookup) -> None:
        if (found.segments == DAMAGED).any():
            raise StoreDamagedError("a block of the list is missing or does not verify")
        self._found = found
        self.sets: list[StatementSet] = []
        self.numbers = np.full(len(found.segments), -1, np.int64)
        listed = np.flatnonzero(found.segments >= 0)
        codes, inverse = np.unique((found.segments[listed] << 32) | found.refs[listed], return_inverse=True)
        self.sets = [chain[code >> 32].sets[code & 0xFFFFFFFF] for code in codes.tolist()]
        self.numbers[listed] = inverse

    def set_of(self, index: int) -> StatementSet:
        """The statements on digest `index`; empty if the list does not have it."""
        number = int(self.numbers[index])
        return self.sets[number] if number >= 0 else ()

    def payload(self, index: int) -> bytes:
        """The payload of digest `index`; empty if there is none."""
        return self._found.payload(index) if self.numbers[index] >= 0 else b""


class CurrentList:
    """A list's current generation. Methods raise `StoreUnavailableError` and `StoreDamagedError`."""

    def __init__(self, state: ListState, secret: PlacementSecret, segments: SegmentStore) -> None:
        self.state = state
        self._secret = secret
        self._segments = segments
        self._cache = BlockCache(_CACHE_BYTES)
        self._chains: dict[int, tuple[SegmentSource, ...]] = {}

    @property
    def infos(self) -> tuple[SegmentInfo, ...]:
        """The segments of the generation, of each kind oldest first."""
        return () if self.state.generation is None else self.state.generation.segments

    @property
    def kinds(self) -> set[int]:
        """The kinds of rows that the list has."""
        return {info.kind for info in self.infos}

    @property
    def keyed(self) -> bool:
        """Whether the list has entries with source keys."""
        return SOURCE_KEYS in self.kinds

    @property
    def counts(self) -> dict[int, int]:
        """The distinct hashes by algorithm."""
        return {} if self.state.generation is None else self.state.generation.counts

    def chain(self, kind: int) -> tuple[SegmentSource, ...]:
        """The segments of a kind, ready for lookups, oldest first."""
        if kind not in self._chains:
            self._chains[kind] = tuple(
                open_segment(self._segments.open(info), self._cache, resident=False)
                for info in self.infos
                if info.kind == kind
            )
        return self._chains[kind]

    def held(self, kind: int, digests: Digests) -> Held:
        """What the list has of (n, size) digests."""
        chain = self.chain(kind)
        return Held(chain, find_in_chain(chain, placements_of(kind, digests, self._secret), digests))

    def lists(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of the rows the list has: (n,) bool. Looked up one by one if they are few, else in one pass."""
        chain = [info for info in self.infos if info.kind == rows.kind]
        if len(rows) * _ROWS_A_LOOKUP > sum(info.rows for info in chain):
            return self._listed_in_passing(rows, chain)
        listed = np.zeros(len(rows), np.bool_)
        for low in range(0, len(rows) if chain else 0, _LOOKUPS):
            part = slice(low, low + _LOOKUPS)
            listed[part] = self.held(rows.kind, rows.digests[part]).numbers >= 0
        return listed

    def _listed_in_passing(self, rows: Rows, chain: Sequence[SegmentInfo]) -> npt.NDArray[np.bool_]:
        listed = np.zeros(len(rows), np.bool_)
        for info in chain:
            reader = self._segments.open(info)
            for digests, refs, _ in reader.checked_columns(reader.read()):
                passing = Rows(info.kind, digests, placements_of(info.kind, digests, self._secret), refs, reader.sets)
                if not len(passing):
                    continue
                low = int(np.searchsorted(rows.placed, passing.placed[0], "left"))
                high = int(np.searchsorted(rows.placed, passing.placed[-1], "right"))
                positions = positions_in(rows.part(low, high), passing)
                found = np.flatnonzero(positions >= 0)
                # Oldest segment first: what a newer one says, also that a digest is gone, takes the place.
                listed[low + found] = passing.live[positions[found]]
        return listed

    def rows(self, kind: int) -> Rows:
        """Everything of a kind, without what was removed."""
        layers = [self._segments.open(info).rows(self._secret) for info in self.infos if info.kind == kind]
        if not layers:
            return empty_rows(kind, digest_size_of(kind))
        if len(layers) == 1:
            return layers[0] if layers[0].live.all() else layers[0].take(layers[0].live)
        return overlay(layers, keep_removed=False)

    def hashes_of_entries(self, keys: Sequence[str]) -> list[list[EntryHash]]:
        """The hashes of the entry that each key names; none for a key that the list does not have."""
        digests = np.frombuffer(b"".join(map(source_key_digest, keys)), np.uint8).reshape(len(keys), -1)
        held = self.held(SOURCE_KEYS, digests)
        return [unpack_entry_hashes(held.payload(index)) for index in range(len(keys))]


def packed(digests: Sequence[bytes], size: int) -> npt.NDArray[np.uint8]:
    """Digests as (n, size) uint8."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), size)
