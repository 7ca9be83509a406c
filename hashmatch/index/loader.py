"""Makes the snapshot of a manifest, reusing from the one before what has not changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hashmatch.columns.placement import Digests, Placements, PlacementSecret, placements_of
from hashmatch.columns.rows import SOURCE_KEYS
from hashmatch.index.perceptual import MakeIndex, PerceptualTable, follow, indexes
from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.index.tables import AlgorithmTable, extend, make_part, wants_new_base
from hashmatch.model.access import Policy
from hashmatch.model.algorithms import SERVED_ALGORITHMS, Algorithm
from hashmatch.store.floor import ManifestRefusedError
from hashmatch.store.manifest import Manifest
from hashmatch.store.segments import SegmentInfo, SegmentStore
from hashmatch.store.sources import BlockCache, SegmentSource, open_segment
from hashmatch.store.suppressions import SuppressionStore
from hashmatch.trust.policy import PolicyError, parse_policy

# Segments up to this many rows are held in memory in any case: they are the deltas, which every hit is put to.
RESIDENT_ROWS = 65_536


class SnapshotLoader:
    """Reads, verifies and indexes what a manifest names.

    Its methods run for seconds where a list is large, so they belong on a thread of their own. They raise
    `StoreUnavailableError` and `StoreDamagedError`, or `ManifestRefusedError` for a policy that this server does not
    understand, and then the snapshot before stays in use.
    """

    def __init__(
        self,
        segments: SegmentStore,
        suppressions: SuppressionStore,
        cache: BlockCache,
        *,
        resident: bool,
        nearness: Mapping[Algorithm, MakeIndex] | None = None,
    ) -> None:
        """`resident` keeps the blocks of every segment in memory, about 40 bytes a row.

        `nearness` says how values are indexed that are searched by more than equality, by default PDQ codes; see
        `perceptual.indexes`.
        """
        self._segments = segments
        self._suppressions = suppressions
        self._cache = cache
        self._resident = resident
        self._nearness = indexes() if nearness is None else nearness

    def load(self, manifest: Manifest, previous: Snapshot | None) -> Snapshot:
        """The snapshot of `manifest`."""
        ready = {} if previous is None else previous.sources()
        active: dict[Algorithm, dict[str, str]] = {}
        for list_id, state in manifest.served().items():
            assert state.generation is not None
            for info in state.generation.segments:
                if info.kind in SERVED_ALGORITHMS:
                    active.setdefault(Algorithm(info.kind), {})[info.segment_id] = list_id
        tables: dict[Algorithm, AlgorithmTable] = {}
        perceptual: dict[Algorithm, PerceptualTable] = {}
        sources: dict[str, SegmentSource] = {}
        for algorithm, segment_lists in active.items():
            table = None if previous is None else previous.tables.get(algorithm)
            covered = frozenset() if table is None else table.segment_ids
            fresh: dict[str, _Live] = {}
            for info in self._infos(manifest, algorithm):
                live = None if info.segment_id in covered else self._live(algorithm, manifest)
                sources[info.segment_id] = self._open(info, ready.get(info.segment_id), live)
                if live is not None:
                    fresh[info.segment_id] = live
            placed = {segment_id: live.placed for segment_id, live in fresh.items()}
            tables[algorithm] = extend(table, manifest.placement, segment_lists, placed)
            if algorithm in self._nearness:
                before = None if previous is None else previous.perceptual.get(algorithm)
                perceptual[algorithm] = self._follow(tables[algorithm], before, fresh, algorithm, manifest)
        suppressed = {(each.algorithm, each.digest): each for each in self._suppressions.read(manifest.suppressions)}
        policy = _policy(manifest, previous)
        return Snapshot(manifest, self._lists(manifest, sources), tables, suppressed, perceptual, policy)

    def with_new_bases(self, snapshot: Snapshot) -> Snapshot | None:
        """The same snapshot with its overlays folded into new base tables; None if none has grown large enough."""
        manifest = snapshot.manifest
        tables: dict[Algorithm, AlgorithmTable] = dict(snapshot.tables)
        perceptual: dict[Algorithm, PerceptualTable] = dict(snapshot.perceptual)
        for algorithm, table in snapshot.tables.items():
            if not wants_new_base(table, snapshot.live_entries(algorithm)):
                continue
            segments = {}
            read: dict[str, _Live] = {}
            for loaded in snapshot.lists.values():
                for source in loaded.chains.get(algorithm, ()):
                    live = read[source.info.segment_id] = self._live(algorithm, manifest)
                    self._open(source.info, None, live)
                    segments[source.info.segment_id] = (loaded.list_id, live.placed)
            tables[algorithm] = AlgorithmTable((make_part(manifest.placement, segments),), {})
            if algorithm in self._nearness:
                perceptual[algorithm] = self._follow(tables[algorithm], None, read, algorithm, manifest)
        if all(tables[algorithm] is snapshot.tables[algorithm] for algorithm in tables):
            return None
        return Snapshot(manifest, snapshot.lists, tables, snapshot.suppressions, perceptual, snapshot.policy)

    def _live(self, algorithm: Algorithm, manifest: Manifest) -> _Live:
        return _Live(algorithm, manifest.placement, keep_digests=algorithm in self._nearness)

    def _follow(
        self,
        table: AlgorithmTable,
        previous: PerceptualTable | None,
        read: Mapping[str, _Live],
        algorithm: Algorithm,
        manifest: Manifest,
    ) -> PerceptualTable:
        digests = {segment_id: live.digests for segment_id, live in read.items()}
        return follow(table, previous, digests, algorithm, manifest.placement, self._nearness[algorithm])

    def _open(self, info: SegmentInfo, ready: SegmentSource | None, live: _Live | None) -> SegmentSource:
        """A segment ready for lookups; what is live in it goes to `live` where it is given."""
        if ready is not None and live is None:
            return ready
        source = open_segment(
            self._segments.open(info),
            self._cache,
            resident=ready is None and (self._resident or info.rows <= RESIDENT_ROWS),
            on_live_digests=None if live is None else live.add,
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


def _policy(manifest: Manifest, previous: Snapshot | None) -> Policy | None:
    record = manifest.policy
    if record is None or (previous is not None and previous.manifest.policy == record):
        return None if record is None or previous is None else previous.policy
    try:
        return parse_policy(record.document, record.since_epochs)
    except PolicyError as error:
        raise ManifestRefusedError("policy", f"policy {record.version} is none that this server can read") from error


class _Live:
    """The placements, and where they are kept the digests, of the rows of a segment that have a statement."""

    def __init__(self, algorithm: Algorithm, secret: PlacementSecret, *, keep_digests: bool) -> None:
        self._algorithm = algorithm
        self._secret = secret
        self._keep_digests = keep_digests
        self._placed: list[Placements] = [np.empty(0, np.uint64)]
        self._digests: list[Digests] = [np.empty((0, algorithm.digest_size), np.uint8)]

    def add(self, digests: Digests) -> None:
        """Take the next digests."""
        self._placed.append(placements_of(self._algorithm, digests, self._secret))
        if self._keep_digests:
            self._digests.append(digests)

    @property
    def placed(self) -> Placements:
        """(n,) uint64."""
        return np.concatenate(self._placed)

    @property
    def digests(self) -> Digests:
        """(n, size) uint8."""
        return np.concatenate(self._digests)
