"""The table of one algorithm over all lists: a large base filter and a small overlay for what came since.

A filter only ever says "certainly not" or "ask the blocks of these lists", so an entry that was removed may stay in it
until the base is made anew: it costs a false alarm, never a wrong answer. What must hold is that every live row of
every served segment is in the base or in the overlay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements, PlacementSecret, placement_of_one
from hashmatch.index.exact_filter import TAGS, ExactFilter

# An overlay beyond an eighth of the base, and this many entries, is worth folding into a new base.
_OVERLAY_SHARE = 8
_SMALL_OVERLAY = 100_000


class Part(NamedTuple):
    """A filter with the segments that it covers and the lists that each of its tags stands for."""

    filter: ExactFilter
    segment_ids: frozenset[str]
    lists: tuple[str, ...]

    def lists_of_tag(self, tag: int) -> tuple[str, ...]:
        """The lists whose entries carry the tag: more than one only beyond 256 lists."""
        return self.lists[tag::TAGS]


def make_part(secret: PlacementSecret, segments: Mapping[str, tuple[str, Placements]]) -> Part:
    """A filter over segments, given by id as (list id, placements of the live rows)."""
    lists = tuple(sorted({list_id for list_id, _ in segments.values()}))
    tags = {list_id: number % TAGS for number, list_id in enumerate(lists)}
    groups = [(tags[list_id], placed) for list_id, placed in segments.values()]
    return Part(ExactFilter(secret, groups), frozenset(segments), lists)


class AlgorithmTable:
    """What one algorithm's questions are first put to; immutable."""

    def __init__(self, parts: tuple[Part, ...], overlay_placements: Mapping[str, tuple[str, Placements]]) -> None:
        """`overlay_placements` are those of the segments outside the base, kept to make the next overlay from."""
        self.parts = parts
        self.overlay_placements = dict(overlay_placements)
        # The list that every candidate has to be asked of, if there is just one.
        self.only_list = parts[0].lists[0] if len(parts) == 1 and len(parts[0].lists) == 1 else None

    @property
    def segment_ids(self) -> frozenset[str]:
        """Every segment that is covered."""
        return frozenset().union(*(part.segment_ids for part in self.parts))

    @property
    def nbytes(self) -> int:
        """The memory that the table takes, in bytes."""
        kept = sum(placed.nbytes for _, placed in self.overlay_placements.values())
        return kept + sum(part.filter.nbytes for part in self.parts)

    @property
    def entries(self) -> int:
        """How many entries the filters hold, removed ones included."""
        return sum(part.filter.entries for part in self.parts)

    def candidates(self, digests: Digests) -> tuple[npt.NDArray[np.int64], Placements]:
        """Which of (n, size) digests may be listed: ascending positions, and the placement of each."""
        found = [part.filter.candidates(digests) for part in self.parts]
        if len(found) == 1:
            return found[0]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        positions, first = np.unique(np.concatenate([each for each, _ in found]), return_index=True)
        return positions, np.concatenate([placed for _, placed in found])[first]

    def candidates_of_few(self, digests: Sequence[bytes]) -> tuple[list[int], list[int]]:
        """The same for a few digests: ascending positions, and the placement of each."""
        positions, placements = [], []
        if self.parts:
            secret = self.parts[0].filter.secret
            for position, digest in enumerate(digests):
                placed = placement_of_one(digest, secret)
                for part in self.parts:
                    if part.filter.may_have(placed):
                        positions.append(position)
                        placements.append(placed)
                        break
        return positions, placements

    def lists_to_ask(self, placed: Placements) -> dict[str, npt.NDArray[np.int64]]:
        """For each list the ascending positions among (n,) candidates that it may have."""
        asked: dict[str, npt.NDArray[np.bool_]] = {}
        if self.only_list is not None:
            return {self.only_list: np.arange(len(placed))}
        for part in self.parts:
            tags = part.filter.tags(placed)
            for tag in np.flatnonzero(tags.any(axis=0)).tolist():
                for list_id in part.lists_of_tag(tag):
                    asked[list_id] = asked[list_id] | tags[:, tag] if list_id in asked else tags[:, tag]
        return {list_id: np.flatnonzero(mask) for list_id, mask in asked.items()}


def extend(
    table: AlgorithmTable | None,
    secret: PlacementSecret,
    active: Mapping[str, str],
    fresh: Mapping[str, Placements],
) -> AlgorithmTable:
    """The table for the `active` segments, given as segment id to list id.

    `fresh` has the placements of the active segments that `table` does not cover. The base stays; the overlay is made
    anew, or becomes the base where there is none or it has outgrown the old one and the old one serves nothing more.
    """
    base = table.parts[0] if table is not None and table.parts else None
    if base is not None and not base.segment_ids & active.keys():
        base = None
    kept = {} if table is None else table.overlay_placements
    covered = base.segment_ids if base is not None else frozenset()
    outside = {
        segment_id: (active[segment_id], fresh[segment_id] if segment_id in fresh else kept[segment_id][1])
        for segment_id in active
        if segment_id not in covered
    }
    if base is None:
        return AlgorithmTable((make_part(secret, outside),) if outside else (), {})
    if not outside:
        return AlgorithmTable((base,), {})
    return AlgorithmTable((base, make_part(secret, outside)), outside)


def wants_new_base(table: AlgorithmTable, live_entries: int) -> bool:
    """Whether the overlay, or what was removed from under the base, has grown so large that a new base pays."""
    if len(table.parts) < 2:
        return bool(table.parts) and table.entries > 2 * live_entries + _SMALL_OVERLAY
    base, overlay = table.parts[0].filter.entries, table.parts[1].filter.entries
    return overlay > max(_SMALL_OVERLAY, base // _OVERLAY_SHARE) or base > 2 * live_entries + _SMALL_OVERLAY
