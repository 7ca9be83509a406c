"""Answers values of perceptual algorithms from all listed values within reach of each together.

How many bodies those name decides, not how many one of them does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hashmatch.columns.placement import Digests
from hashmatch.matching.columns import ColumnAnswer
from hashmatch.matching.evaluation import conclude
from hashmatch.matching.findings import Finding
from hashmatch.matching.nearness import (
    Flaw,
    Nearness,
    Numbers,
    degenerate_values,
    listed,
    search,
    suppressed_values,
    with_flaws,
)
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Cause
from hashmatch.store.supply import Supply


@dataclasses.dataclass(frozen=True, slots=True)
class NearValues:
    """What is asked: `count` hashes of one algorithm, each with one or several values.

    `values` is (m, size) uint8; `owners`, ascending, (m,) int64, tells which hash each belongs to; `qualities`,
    (count,) int64, is -1 where none was given.
    """

    count: int
    values: Digests
    owners: Numbers
    qualities: Numbers

    @classmethod
    def of_column(cls, algorithm: Algorithm, packed: bytes | memoryview, qualities: bytes) -> NearValues:
        """A packed column with a value a hash; `qualities` has a byte for each, or none at all."""
        values = np.frombuffer(packed, np.uint8).reshape(-1, algorithm.digest_size)
        known = np.frombuffer(qualities, np.uint8).astype(np.int64) if qualities else np.full(len(values), -1)
        return cls(len(values), values, np.arange(len(values)), known)

    @classmethod
    def of_hashes(cls, algorithm: Algorithm, hashes: Sequence[tuple[Sequence[bytes], int | None]]) -> NearValues:
        """Hashes, each given by its values and its quality."""
        packed = b"".join(value for values, _ in hashes for value in values)
        owners = np.repeat(np.arange(len(hashes)), [len(values) for values, _ in hashes])
        qualities = np.array([-1 if quality is None else quality for _, quality in hashes], np.int64)
        return cls(len(hashes), np.frombuffer(packed, np.uint8).reshape(-1, algorithm.digest_size), owners, qualities)


class NearQuestion:
    """A question about values of a perceptual algorithm, answered in two steps like a `ColumnQuestion`."""

    def __init__(self, view: View, algorithm: Algorithm, asked: NearValues, nearness: Nearness) -> None:
        self._view = view
        self._algorithm = algorithm
        self._asked = asked
        self._nearness = nearness
        self._reach = nearness.reach(view, algorithm)
        self._doubts = view.doubts_about(algorithm)
        self._gave_up = False
        # What is wrong with each hash, as `Flaw`; and which of the values are to be searched.
        self._flaws: Numbers = np.zeros(asked.count, np.int64)
        self._searched: Numbers = np.empty(0, np.int64)
        if self._reach:
            self._examine()

    @property
    def count(self) -> int:
        """How many hashes are asked about."""
        return self._asked.count

    def _examine(self) -> None:
        asked = self._asked
        low = (asked.qualities >= 0) & (asked.qualities < self._nearness.minimum_quality)
        if self._algorithm is Algorithm.PDQ:
            self._flaws[low] |= Flaw.LOW_QUALITY
        degenerate = degenerate_values(self._algorithm, asked.values)
        self._flaws[asked.owners[degenerate]] |= Flaw.DEGENERATE
        self._searched = np.flatnonzero(~degenerate & (self._flaws[asked.owners] & Flaw.LOW_QUALITY == 0))

    def probe(self) -> bool:
        """Whether `confirm` has anything to do; searching is left to it, because it takes long."""
        return len(self._searched) > 0

    def needs_store(self, supply: Supply) -> bool:  # noqa: ARG002
        """Whether `confirm` takes so long that it belongs on a thread."""
        return len(self._searched) > 0

    def give_up(self) -> ColumnAnswer:
        """The answer without what is still being searched, which is NOT_DETERMINED. Ends a `confirm` on its way."""
        self._gave_up = True
        flaws = self._flaws.copy()
        flaws[self._asked.owners[self._searched]] |= Flaw.UNFINISHED
        return self._answer({}, flaws, told=False)

    def confirm(self, *, source_keys: bool = False) -> ColumnAnswer:
        """Search, and settle what was found.

        With `source_keys`, opinions name the entries' keys and have the distances, where they may be told; otherwise
        these stand beside the findings.
        """
        flaws = self._flaws.copy()
        values = self._asked.values[self._searched]
        near = search(self._view, self._algorithm, values, self._reach, self._nearness, lambda: self._gave_up)
        flaws[self._asked.owners[self._searched[near.exceeded]]] |= Flaw.UNFINISHED
        codes = near.codes[:0] if self._gave_up else near.codes
        findings, finding_of = listed(self._view, self._algorithm, codes, source_keys=source_keys)
        owners = self._asked.owners[self._searched[near.queries]]
        numbers, distances = finding_of[near.numbers], near.distances
        order = np.lexsort((numbers, distances, owners))
        order = order[numbers[order] >= 0]
        owners, numbers, distances = owners[order], numbers[order], distances[order]
        held, nearest = np.unique(owners, return_index=True)
        listed_values = near.codes[near.numbers[order[nearest]]]
        # Values of which the lists say the same share a finding, and the nearest of them is all that matters.
        _, first = np.unique(owners * max(1, len(findings)) + numbers, return_index=True)
        first.sort()
        parts: dict[int, list[tuple[Finding, int]]] = {}
        for owner, number, distance in zip(
            owners[first].tolist(), numbers[first].tolist(), distances[first].tolist(), strict=True
        ):
            parts.setdefault(owner, []).append((findings[number], distance))
        answer = self._answer(parts, flaws, told=source_keys)
        answer.listed = np.zeros((len(answer.positions), self._algorithm.digest_size), np.uint8)
        answer.listed[np.searchsorted(answer.positions, held)] = listed_values
        return answer

    def _reach_of_suppressed(self) -> dict[int, dict[str, int]]:
        """For each hash of which a value is suppressed, the reach in the lists where it is not."""
        reach: dict[int, dict[str, int]] = {}
        for number, suppression in suppressed_values(self._view, self._algorithm, self._asked.values).items():
            owner = int(self._asked.owners[number])
            before = reach.get(owner, self._reach)
            reach[owner] = {list_id: most for list_id, most in before.items() if not suppression.covers(list_id)}
        return reach

    def _answer(
        self, parts: Mapping[int, Sequence[tuple[Finding, int]]], flaws: Numbers, *, told: bool
    ) -> ColumnAnswer:
        """The answer from the findings that each hash has, with distances, nearest first, and what is wrong with it."""
        tell = self._nearness.tell_distances
        positions = sorted({*parts, *np.flatnonzero(flaws).tolist()})
        # Hashes near the same values at the same distances, of which lists full of copies make many, are merged once.
        known: dict[tuple[object, ...], tuple[Finding, int]] = {}
        number_of: dict[Finding, int] = {}
        numbers, distances = [], []
        narrowed = self._reach_of_suppressed() if parts else {}
        for position in positions:
            held = parts.get(position, ())
            flaw, reach = int(flaws[position]), narrowed.get(position, self._reach)
            shape = (*((id(finding), distance) for finding, distance in held), flaw, id(reach))
            merged = known.get(shape)
            if merged is None:
                merged = known[shape] = merge(self._view, held, reach, Flaw(flaw), tell=tell and told)
            finding, nearest = merged
            numbers.append(number_of.setdefault(finding, len(number_of)))
            distances.append(nearest)
        return ColumnAnswer(
            self.count,
            self._doubts,
            np.array(positions, np.int64),
            np.array(numbers, np.int64),
            tuple(number_of),
            len(positions),
            np.array(distances, np.int64) if tell and not told else None,
        )


def merge(
    view: View, held: Sequence[tuple[Finding, int]], reach: Mapping[str, int], flaws: Flaw, *, tell: bool
) -> tuple[Finding, int]:
    """The finding for a hash from those of the listed values near it, given with distances, nearest first.

    Of values of one list that say the same only the nearest is told. `reach` lacks lists in which the hash itself is
    suppressed. `flaws` say what was not searched. Also returns the distance of the nearest value that has an opinion, 0
    without one.
    """
    nearest_of: dict[tuple[object, ...], int] = {}
    opinions: list[Opinion] = []
    unread: dict[Cause, None] = {}
    suppressed = False
    nearest: int | None = None
    for number, (finding, distance) in enumerate(held):
        for opinion in finding.opinions:
            said = (opinion.list_id, opinion.statement._replace(since_generation=0))
            suppressed = suppressed or opinion.list_id not in reach
            if distance <= reach.get(opinion.list_id, -1) and nearest_of.setdefault(said, number) == number:
                opinions.append(opinion._replace(near=distance > 0, distance=distance if tell else None))
                nearest = distance if nearest is None else nearest
        unread.update(dict.fromkeys(cause for cause in finding.causes if distance <= reach.get(cause.list_id, -1)))
        suppressed = suppressed or finding.suppressed
    finding = conclude(view, opinions, tuple(unread), suppressed=suppressed)
    return with_flaws(finding, flaws), nearest or 0
