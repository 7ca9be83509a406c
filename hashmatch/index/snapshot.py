"""A snapshot: everything that answers of one epoch are given from. Immutable, and replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hashmatch.index.perceptual import PerceptualTable
from hashmatch.index.tables import AlgorithmTable
from hashmatch.model.access import Policy
from hashmatch.model.algorithms import Algorithm
from hashmatch.store.manifest import Generation, ListState, Manifest
from hashmatch.store.sources import SegmentSource
from hashmatch.store.suppressions import Suppression


@dataclass(frozen=True, slots=True)
class LoadedList:
    """A list that is served: what the manifest says of it, and its segments by kind, oldest first."""

    state: ListState
    generation: Generation
    chains: Mapping[int, tuple[SegmentSource, ...]]

    @property
    def list_id(self) -> str:
        """The list."""
        return self.state.definition.list_id

    def carries(self, algorithm: Algorithm) -> bool:
        """Whether the list has at least one hash of the algorithm."""
        return self.generation.counts.get(algorithm, 0) > 0

    def age(self, now: float) -> float:
        """How long ago the body's delivery was current, in seconds, at least 0."""
        return max(0.0, now - self.generation.as_of)

    def is_stale(self, now: float) -> bool:
        """Whether the list is too old to give negatives."""
        return self.age(now) > self.state.definition.max_age


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lists and tables of one epoch."""

    manifest: Manifest
    lists: Mapping[str, LoadedList]
    tables: Mapping[Algorithm, AlgorithmTable]
    suppressions: Mapping[tuple[int, bytes], Suppression] = field(default_factory=dict)
    # For algorithms that are searched by more than equality, beside their `tables`.
    perceptual: Mapping[Algorithm, PerceptualTable] = field(default_factory=dict)
    # Who may ask what; None where no policy was ever activated.
    policy: Policy | None = None

    @property
    def epoch(self) -> int:
        """The number that answers name."""
        return self.manifest.epoch

    def sources(self) -> dict[str, SegmentSource]:
        """Every segment that is ready, by id."""
        return {
            source.info.segment_id: source
            for loaded in self.lists.values()
            for chain in loaded.chains.values()
            for source in chain
        }

    def table_sizes(self) -> Iterator[tuple[Algorithm, str, int]]:
        """The memory of each table, with the algorithm and whether it is the filter or what finds near values."""
        yield from ((algorithm, "filter", table.nbytes) for algorithm, table in self.tables.items())
        yield from ((algorithm, "near", table.nbytes) for algorithm, table in self.perceptual.items())

    def live_entries(self, algorithm: Algorithm) -> int:
        """How many rows with a statement the segments of an algorithm have."""
        return sum(
            source.info.live_rows for loaded in self.lists.values() for source in loaded.chains.get(algorithm, ())
        )
