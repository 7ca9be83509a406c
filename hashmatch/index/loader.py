"""Makes the snapshot of a manifest, reusing from the one before what has not changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hashmatch.columns.placement import Placements, as_words, placements
from hashmatch.columns.rows import SOURCE_KEYS
from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.index.tables import AlgorithmTable, extend, make_part, wants_new_base
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
from hashmatch.store.manifest import Manifest
from hashmatch.store.segments import SegmentInfo, SegmentStore
from hashmatch.store.sources import BlockCache, SegmentSource, open_segment
from hashmatch.store.suppressions import SuppressionStore

# Segments up to this many rows are held in memory in any case: they are the deltas, which every hit is put to.
RESIDENT_ROWS = 65_536


class SnapshotLoader:
    """Reads, verifies and indexes what a manifest names.

    Its methods run for seconds where a list is large, so they belong on a thread of their own. They raise
    `StoreUnavailableError` and `StoreDamagedError`, and then the snapshot before stays in use.
    """

    def __init__(
        self, segments: SegmentStore, suppressions: SuppressionStore, cache: BlockCache, *, resident: bool
    ) -> None:
        """`resident` keeps the blocks of every segment in memory, about 40 bytes a row."""
        self._segments = segments
        self._suppressions = suppressions
        self._cache = cache
        self._resident = resident

    def load(self, manifest: Manifest, previous: Snapshot | None) -> Snapshot:
        """The snapshot of `manifest`."""
        ready = {} if previous is None else previous.sources()
        active: dict[Algorithm, dict[str, str]] = {}
        for list_id, state in manifest.served().items():
            assert state.generation is not None
            for info in state.generation.segments:
                if info.kind in EXACT_ALGORITHMS:
                    active.setdefault(Algorithm(info.kind), {})[info.segment_id] = list_id
        tables = {}
        sources: dict[str, SegmentSource] = {}
        for algorithm, segment_lists in active.items():
            table = None if previous is None else previous.tables.get(algorithm)
            covered = frozenset() if table is None else table.segment_ids
            fresh: dict[str, Placements] = {}
            for info in self._infos(manifest, algorithm):
                placed: list[Placements] | None = None if info.segment_id in covered else []
                sources[info.segment_id] = self._open(manifest, info, ready.get(info.segment_id), placed)
                if placed is not None:
                    fresh[info.segment_id] = np.concatenate(placed)
            tables[algorithm] = extend(table, manifest.placement, segment_lists, fresh)
        suppressed = {(each.algorithm, each.digest): each for each in self._suppressions.read(manifest.suppressions)}
        return Snapshot(manifest, self._lists(manifest, sources), tables, suppressed)

    def with_new_bases(self, snapshot: Snapshot) -> Snapshot | None:
        """The same snapshot with its overlays folded into new base tables; None if none has grown large enough."""
        tables: dict[Algorithm, AlgorithmTable] = dict(snapshot.tables)
        for algorithm, table in snapshot.tables.items():
            if not wants_new_base(table, snapshot.live_entries(algorithm)):
                continue
            segments = {}
            for loaded in snapshot.lists.values():
                for source in loaded.chains.get(algorithm, ()):
                    placed: list[Placements] = []
                    self._open(snapshot.manifest, source.info, None, placed)
                    segments[source.info.segment_id] = (loaded.list_id, np.concatenate(placed))
            tables[algorithm] = AlgorithmTable((make_part(snapshot.manifest.placement, segments),), {})
        if all(tables[algorithm] is snapshot.tables[algorithm] for algorithm in tables):
            return None
        return Snapshot(snapshot.manifest, snapshot.lists, tables, snapshot.suppressions)

    def _open(
        self, manifest: Manifest, info: SegmentInfo, ready: SegmentSource | None, placed: list[Placements] | None
    ) -> SegmentSource:
        """A segment ready for lookups; the placements of its live rows go to `placed` where it is given."""
        if ready is not None and placed is None:
            return ready
        if placed is not None:
            placed.append(np.empty(0, np.uint64))
        source = open_segment(
            self._segments.open(info),
            self._cache,
            resident=ready is None and (self._resident or info.rows <= RESIDENT_ROWS),
            on_live_digests=None
            if placed is None
            else lambda digests: placed.append(placements(as_words(digests), manifest.placement)),
        )
        return source if ready is None else ready

    @staticmethod
    def _infos(manifest: Manifest, algorithm: Algorithm) -> list[SegmentInfo]:
        return [
            info
            for state in manifest.served().values()
            if state.generation is not None
            for info in state.generation.segments
            if info.kind == algorithm
        ]

    @staticmethod
    def _lists(manifest: Manifest, sources: Mapping[str, SegmentSource]) -> dict[str, LoadedList]:
        lists = {}
        for list_id, state in manifest.served().items():
            assert state.generation is not None
            chains: dict[int, tuple[SegmentSource, ...]] = {}
            for info in state.generation.segments:
                # Rows of source keys serve the publisher alone.
                if info.kind != SOURCE_KEYS and info.segment_id in sources:
                    chains[info.kind] = (*chains.get(info.kind, ()), sources[info.segment_id])
            lists[list_id] = LoadedList(state, state.generation, chains)
        return lists
