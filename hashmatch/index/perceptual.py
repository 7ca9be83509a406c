"""Nearness: which listed values of a perceptual algorithm lie close to an asked one.

A table stands beside the exact table of its algorithm and follows it part by part: an index over the values of the
base, and a small one over what came since. Like the filters it may hold values that are listed no more; whoever asks
puts what is found to the exact table and the sealed blocks, which alone say what is listed and by whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, PlacementSecret, placements_of
from hashmatch.columns.rows import take_rows
from hashmatch.columns.sorting import sort_digests
from hashmatch.index.euclidean import EuclideanIndex
from hashmatch.index.hamming import HammingIndex
from hashmatch.index.matches import IndexMatches
from hashmatch.index.tables import AlgorithmTable
from hashmatch.model.algorithms import PDQ_CODES, Algorithm


class NearIndex(Protocol):
    """An immutable index over distinct values; thread-safe, and searches without the interpreter's lock."""

    @property
    def entries(self) -> int:
        """How many values it holds."""
        ...

    @property
    def nbytes(self) -> int:
        """The memory that it takes, in bytes."""
        ...

    def search(self, queries: Digests, distance: int, work_limit: int | None = None) -> IndexMatches:
        """Every entry within `distance` of (n, size) queries, except for those beyond `work_limit`."""
        ...

    def codes(self, entries: npt.NDArray[np.integer]) -> Digests:
        """The values of (m,) entries: (m, size) uint8."""
        ...


# Makes an index of (n, size) distinct values.
MakeIndex = Callable[[Digests], NearIndex]


class Near(NamedTuple):
    """What a table found: listed value `codes[numbers[i]]` may lie at `distances[i]` from query `queries[i]`.

    `codes` is (k, size) uint8, distinct; `exceeded`, ascending and distinct, are the queries that were given up.
    """

    queries: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    codes: Digests
    exceeded: npt.NDArray[np.int64]


class NearPart(NamedTuple):
    """An index with the segments that it covers; None for no values at all."""

    values: NearIndex | None
    segment_ids: frozenset[str]


class PerceptualTable:
    """What is near, over all lists that carry one algorithm; immutable."""

    def __init__(self, parts: tuple[NearPart, ...], outside: Mapping[str, Digests]) -> None:
        """`outside` has the values of the segments outside the base, kept to make the next overlay from."""
        self.parts = parts
        self.outside = dict(outside)

    @property
    def nbytes(self) -> int:
        """The memory that the table takes, in bytes."""
        kept = sum(codes.nbytes for codes in self.outside.values())
        return kept + sum(part.values.nbytes for part in self.parts if part.values is not None)

    @property
    def entries(self) -> int:
        """How many values the indexes hold, removed ones included."""
        return sum(part.values.entries for part in self.parts if part.values is not None)

    def search(self, queries: Digests, distance: int, work_limit: int | None) -> Near:
        """What may be listed within `distance` of (n, size) queries."""
        nothing = np.empty(0, np.int64)
        found = [Near(nothing, nothing, nothing, queries[:0], nothing)]
        for part in self.parts:
            if part.values is None:
                continue
            matches = part.values.search(queries, distance, work_limit)
            entries, numbers = np.unique(matches.entries, return_inverse=True)
            found.append(
                Near(
                    matches.queries,
                    numbers.astype(np.int64),
                    matches.distances.astype(np.int64),
                    part.values.codes(entries),
                    matches.exceeded,
                )
            )
        return found[-1] if len(found) <= 2 else join(found)


def join(found: Sequence[Near]) -> Near:
    """What several searches found, with a value that several of them found told once."""
    offsets = np.cumsum([0, *(len(each.codes) for each in found)])
    queries = np.concatenate([each.queries for each in found])
    numbers = np.concatenate([each.numbers + offset for each, offset in zip(found, offsets[:-1], strict=True)])
    distances = np.concatenate([each.distances for each in found])
    codes = np.concatenate([each.codes for each in found])
    exceeded = np.unique(np.concatenate([each.exceeded for each in found]))
    if len(found) > 1 and len(codes):
        whole = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").ravel()
        _, first, renumbered = np.unique(whole, return_index=True, return_inverse=True)
        codes, numbers = codes[first], renumbered[numbers]
        _, once = np.unique(queries * len(codes) + numbers, return_index=True)
        queries, numbers, distances = queries[once], numbers[once], distances[once]
    return Near(queries, numbers, distances, codes, exceeded)


def indexes(*, photodna: bool = False) -> dict[Algorithm, MakeIndex]:
    """How values are indexed that are searched by more than equality; PhotoDNA values only if that is asked for."""
    near: dict[Algorithm, MakeIndex] = dict.fromkeys(PDQ_CODES, HammingIndex)
    if photodna:
        near[Algorithm.PHOTODNA] = EuclideanIndex
    return near


def follow(
    table: AlgorithmTable,
    previous: PerceptualTable | None,
    fresh: Mapping[str, Digests],
    algorithm: Algorithm,
    secret: PlacementSecret,
    make_index: MakeIndex,
) -> PerceptualTable:
    """The table that covers what the exact `table` does, part by part; a part that has not changed stays.

    `fresh` has the live values of the segments that `previous` does not cover.
    """
    ready = {} if previous is None else {part.segment_ids: part for part in previous.parts}
    known = {**({} if previous is None else previous.outside), **fresh}
    parts = []
    for part in table.parts:
        made = ready.get(part.segment_ids)
        if made is None:
            codes = _distinct(algorithm, secret, [known[each] for each in sorted(part.segment_ids)])
            made = NearPart(make_index(codes) if len(codes) else None, part.segment_ids)
        parts.append(made)
    return PerceptualTable(tuple(parts), {each: known[each] for each in table.overlay_placements})


def _distinct(algorithm: Algorithm, secret: PlacementSecret, columns: list[Digests]) -> Digests:
    if len(columns) == 1:  # a segment has each value once
        return columns[0]
    together = np.concatenate(columns)
    done = sort_digests(together, placements_of(algorithm, together, secret))
    return take_rows(done.digests, np.flatnonzero(done.first))
