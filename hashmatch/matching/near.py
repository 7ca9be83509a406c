"""Answers values of perceptual algorithms: first what lies near them, then the sealed blocks of the lists concerned.

What the search finds are values that may be listed. They are put to the exact table and the blocks like asked values,
so that what was withdrawn or suppressed does not count, and what could not be read is said. A value is answered from
all listed ones within reach together: how many bodies those name decides, not how many one of them does.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, placements_of
from hashmatch.index.perceptual import Near, PerceptualTable, join
from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.evaluation import conclude
from hashmatch.matching.findings import Finding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import PDQ_MAXIMUM_DISTANCE, Algorithm, is_degenerate
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict

_Numbers = npt.NDArray[np.int64]

# How many values are searched before it is asked whether there is time for more: some tens of milliseconds of work. A
# PhotoDNA value is compared with every listed one.
_CHUNK = {Algorithm.PDQ: 256, Algorithm.PHOTODNA: 8}
_MINIMUM_CHUNK = 8
# How many pairs of an asked and a listed value a question may come to, so that a message about nothing but copies of
# crowded pictures takes no more memory than others; and how many values near each are looked up in any case.
_MAXIMUM_PAIRS = 1_000_000
_MINIMUM_CONFIRMED = 10


def _never() -> bool:
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class Nearness:
    """How far and how long is searched, and what is told of it.

    `maximum_distance` is for PDQ, `photodna_distance` the squared one for PhotoDNA, 0 for equality alone. `work_limit`
    bounds the search for one value in steps of its index, `maximum_confirmed` how many listed values near one are
    looked up (fewer for each where very many are asked about at once). `expired` says that there is no time for more.
    `threads` are the cores to search on.
    """

    maximum_distance: int = PDQ_MAXIMUM_DISTANCE
    photodna_distance: int = 0
    minimum_quality: int = 50
    work_limit: int = 1_000_000
    maximum_confirmed: int = 1_000
    tell_distances: bool = False
    expired: Callable[[], bool] = _never
    threads: Executor | None = None
    cores: int = 1

    def reach(self, view: View, algorithm: Algorithm) -> dict[str, int]:
        """For each list that carries the algorithm, within which distance its values count as near."""
        if algorithm is not Algorithm.PDQ:
            return dict.fromkeys(view.carriers(algorithm), self.photodna_distance)
        asked = view.scope.max_distance
        limit = self.maximum_distance if asked is None else min(asked, self.maximum_distance)
        return {
            list_id: limit if (own := loaded.state.definition.maximum_distance) is None else min(limit, own)
            for list_id, loaded in view.carriers(algorithm).items()
        }


NEARNESS = Nearness()


class _Flaw(enum.IntFlag):
    """Why a value was not, or not wholly, searched."""

    LOW_QUALITY = 1
    DEGENERATE = 2
    UNFINISHED = 4

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The flaws as causes."""
        return tuple(Cause(reason) for flaw, reason in _REASONS.items() if flaw in self)


_REASONS = {
    _Flaw.LOW_QUALITY: UndeterminedReason.LOW_QUALITY,
    _Flaw.DEGENERATE: UndeterminedReason.DEGENERATE_HASH,
    _Flaw.UNFINISHED: UndeterminedReason.WORK_LIMIT,
}


@dataclasses.dataclass(frozen=True, slots=True)
class NearValues:
    """What is asked: `count` hashes of one algorithm, each with one or several values.

    `values` is (m, size) uint8; `owners`, ascending, (m,) int64, tells which hash each belongs to; `qualities`,
    (count,) int64, is -1 where none was given.
    """

    count: int
    values: Digests
    owners: _Numbers
    qualities: _Numbers

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
        # What is wrong with each hash, as `_Flaw`; and which of the values are to be searched.
        self._flaws: _Numbers = np.zeros(asked.count, np.int64)
        self._searched: _Numbers = np.empty(0, np.int64)
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
            self._flaws[low] |= _Flaw.LOW_QUALITY
        degenerate = degenerate_values(self._algorithm, asked.values)
        self._flaws[asked.owners[degenerate]] |= _Flaw.DEGENERATE
        self._searched = np.flatnonzero(~degenerate & (self._flaws[asked.owners] & _Flaw.LOW_QUALITY == 0))

    def probe(self) -> bool:
        """Whether `confirm` has anything to do; searching is left to it, because it takes long."""
        return len(self._searched) > 0

    @property
    def needs_store(self) -> bool:
        """Whether `confirm` takes so long that it belongs on a thread."""
        return len(self._searched) > 0

    def give_up(self) -> ColumnAnswer:
        """The answer without what is still being searched, which is NOT_DETERMINED. Ends a `confirm` on its way."""
        self._gave_up = True
        flaws = self._flaws.copy()
        flaws[self._asked.owners[self._searched]] |= _Flaw.UNFINISHED
        return self._answer({}, flaws, told=False)

    def confirm(self, *, source_keys: bool = False) -> ColumnAnswer:
        """Search, and settle what was found.

        With `source_keys`, opinions name the entries' keys and have the distances, where they may be told; otherwise
        these stand beside the findings.
        """
        flaws = self._flaws.copy()
        near = self._search()
        flaws[self._asked.owners[self._searched[near.exceeded]]] |= _Flaw.UNFINISHED
        findings, finding_of = self._listed(near.codes, source_keys=source_keys)
        owners = self._asked.owners[self._searched[near.queries]]
        numbers, distances = finding_of[near.numbers], near.distances
        order = np.lexsort((numbers, distances, owners))
        order = order[numbers[order] >= 0]
        owners, numbers, distances = owners[order], numbers[order], distances[order]
        # Values of which the lists say the same share a finding, and the nearest of them is all that matters.
        _, first = np.unique(owners * max(1, len(findings)) + numbers, return_index=True)
        first.sort()
        parts: dict[int, list[tuple[Finding, int]]] = {}
        for owner, number, distance in zip(
            owners[first].tolist(), numbers[first].tolist(), distances[first].tolist(), strict=True
        ):
            parts.setdefault(owner, []).append((findings[number], distance))
        return self._answer(parts, flaws, told=source_keys)

    def _search(self) -> Near:
        values = self._asked.values[self._searched]
        distance = max(self._reach.values(), default=0)
        everything = np.arange(len(values))
        nothing = everything[:0]
        if not distance or not len(values):
            # Whatever is equal is its own candidate.
            return Near(everything, everything, np.zeros(len(values), np.int64), values, nothing)
        table = self._view.snapshot.perceptual[self._algorithm]
        return _search_in_chunks(
            table, self._algorithm, values, distance, self._nearness, lambda: self._gave_up, self._in_scope
        )

    def _in_scope(self, found: Near) -> Near:
        """What of the values that were found a list in scope may have: the others must not take their places."""
        view = self._view
        table = view.snapshot.tables.get(self._algorithm)
        carrying = sum(loaded.carries(self._algorithm) for loaded in view.snapshot.lists.values())
        if table is None or len(self._reach) == carrying or not len(found.codes):
            return found
        placed = placements_of(self._algorithm, found.codes, view.snapshot.manifest.placement)
        possible = np.zeros(len(found.codes), np.bool_)
        for list_id, asked in table.lists_to_ask(placed).items():
            if list_id in self._reach:
                possible[asked] = True
        kept = possible[found.numbers]
        return found._replace(
            queries=found.queries[kept],
            numbers=(np.cumsum(possible) - 1)[found.numbers[kept]],
            distances=found.distances[kept],
            codes=found.codes[possible],
        )

    def _listed(self, codes: Digests, *, source_keys: bool) -> tuple[Sequence[Finding], _Numbers]:
        """What the lists say of (n, size) values, one body being enough: findings, and each value's number or -1."""
        finding_of = np.full(len(codes), -1, np.int64)
        if not len(codes) or self._gave_up:
            return (), finding_of
        view = self._view
        if view.scope.min_sources > 1:
            view = dataclasses.replace(view, scope=view.scope._replace(min_sources=1), findings={}, _doubts={})
        question = ColumnQuestion(view, self._algorithm, codes.tobytes())
        question.probe()
        answer = question.confirm(source_keys=source_keys)
        finding_of[answer.positions] = answer.finding_numbers
        return answer.findings, finding_of

    def _answer(
        self, parts: Mapping[int, Sequence[tuple[Finding, int]]], flaws: _Numbers, *, told: bool
    ) -> ColumnAnswer:
        """The answer from the findings that each hash has, with distances, nearest first, and what is wrong with it."""
        tell = self._nearness.tell_distances
        positions = sorted({*parts, *np.flatnonzero(flaws).tolist()})
        # Hashes near the same values at the same distances, of which lists full of copies make many, are merged once.
        known: dict[tuple[object, ...], tuple[Finding, int]] = {}
        number_of: dict[Finding, int] = {}
        numbers, distances = [], []
        for position in positions:
            held = parts.get(position, ())
            flaw = int(flaws[position])
            shape = (*((id(finding), distance) for finding, distance in held), flaw)
            merged = known.get(shape)
            if merged is None:
                merged = known[shape] = merge(self._view, held, self._reach, _Flaw(flaw).causes, tell=tell and told)
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
    view: View, held: Sequence[tuple[Finding, int]], reach: Mapping[str, int], causes: tuple[Cause, ...], *, tell: bool
) -> tuple[Finding, int]:
    """The finding for a hash from those of the listed values near it, given with distances, nearest first.

    Of values of one list that say the same only the nearest is told. `causes` say what was not searched. Also returns
    the distance of the nearest value that has an opinion, 0 without one.
    """
    nearest_of: dict[tuple[object, ...], int] = {}
    opinions: list[Opinion] = []
    unread: dict[Cause, None] = {}
    suppressed = False
    nearest: int | None = None
    for number, (finding, distance) in enumerate(held):
        for opinion in finding.opinions:
            said = (opinion.list_id, opinion.statement._replace(since_generation=0))
            if distance <= reach[opinion.list_id] and nearest_of.setdefault(said, number) == number:
                opinions.append(opinion._replace(near=distance > 0, distance=distance if tell else None))
                nearest = distance if nearest is None else nearest
        unread.update(dict.fromkeys(cause for cause in finding.causes if distance <= reach[cause.list_id]))
        suppressed = suppressed or finding.suppressed
    finding = conclude(view, opinions, tuple(unread), suppressed=suppressed)
    if causes:
        verdict = Verdict.MATCH if finding.verdict is Verdict.MATCH else Verdict.NOT_DETERMINED
        finding = finding._replace(verdict=verdict, causes=(*causes, *finding.causes))
    return finding, nearest or 0


def degenerate_values(algorithm: Algorithm, values: Digests) -> npt.NDArray[np.bool_]:
    """Which of (n, size) values carry no information: (n,) bool. The rule is that of `is_degenerate`."""
    ones = np.bitwise_count(values).sum(axis=1, dtype=np.int64)
    found: npt.NDArray[np.bool_] = (values == values[:, :1]).all(axis=1)
    if algorithm is Algorithm.PDQ:
        found |= np.minimum(ones, 8 * values.shape[1] - ones) <= PDQ_MAXIMUM_DISTANCE
    for suspect in np.flatnonzero(found).tolist():
        found[suspect] = is_degenerate(algorithm, values[suspect].tobytes())
    return found


def _search_in_chunks(
    table: PerceptualTable,
    algorithm: Algorithm,
    values: Digests,
    distance: int,
    nearness: Nearness,
    gave_up: Callable[[], bool],
    in_scope: Callable[[Near], Near],
) -> Near:
    """Search (n, size) values on all cores, and keep of what is near each the nearest.

    Those of which something was left out, or that there was no time for, are among the exceeded.
    """

    def search(low: int) -> Near:
        part = values[low : low + chunk]
        if gave_up() or nearness.expired():
            nothing = np.empty(0, np.int64)
            return Near(nothing, nothing, nothing, values[:0], low + np.arange(len(part)))
        found = _nearest(in_scope(table.search(part, distance, nearness.work_limit)), most)
        return found._replace(queries=found.queries + low, exceeded=found.exceeded + low)

    most = min(nearness.maximum_confirmed, max(_MINIMUM_CONFIRMED, _MAXIMUM_PAIRS // len(values)))
    chunk = max(_MINIMUM_CHUNK, min(_CHUNK[algorithm], -(-len(values) // nearness.cores)))
    lows = range(0, len(values), chunk)
    run = map if nearness.threads is None or len(lows) == 1 else nearness.threads.map
    return join(list(run(search, lows)))


def _nearest(found: Near, most: int) -> Near:
    """The `most` nearest values of each query; queries that have more are among the exceeded."""
    counts = np.bincount(found.queries)
    if not len(counts) or counts.max() <= most:
        return found
    order = np.lexsort((found.numbers, found.distances, found.queries))
    starts = np.cumsum(counts) - counts
    queries = found.queries[order]
    kept = order[np.arange(len(order)) - starts[queries] < most]
    numbers, renumbered = np.unique(found.numbers[kept], return_inverse=True)
    exceeded = np.union1d(found.exceeded, np.flatnonzero(counts > most))
    return Near(found.queries[kept], renumbered, found.distances[kept], found.codes[numbers], exceeded)
