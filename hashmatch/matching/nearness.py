"""What lies near values of perceptual algorithms, within limits of distance, work and time, and what lists say of it.

What the search finds are values that may be listed. They are put to the exact table and the blocks like asked values,
so that what was withdrawn or suppressed does not count, and what could not be read is said.
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
from hashmatch.matching.columns import ColumnQuestion
from hashmatch.matching.findings import Finding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import PDQ_CODES, PDQ_MAXIMUM_DISTANCE, Algorithm, is_degenerate
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.store.suppressions import Suppression

Numbers = npt.NDArray[np.int64]

# How many values are searched before it is asked whether there is time for more: some tens of milliseconds of work. A
# PhotoDNA value is compared with every listed one.
_CHUNK = {Algorithm.PDQ: 256, Algorithm.VPDQ: 256, Algorithm.PHOTODNA: 8}
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

    `maximum_distance` is for PDQ and the frames of vPDQ, `photodna_distance` the squared one for PhotoDNA, 0 for
    equality alone. `work_limit` bounds the search for one value in steps of its index, `maximum_confirmed` how many
    listed values near one are looked up (fewer for each where very many are asked about at once). `expired` says that
    there is no time for more. `threads` are the cores to search on.
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
        if algorithm not in PDQ_CODES:
            return dict.fromkeys(view.carriers(algorithm), self.photodna_distance)
        asked = view.scope.max_distance
        limit = self.maximum_distance if asked is None else min(asked, self.maximum_distance)
        return {
            list_id: limit if (own := loaded.state.definition.maximum_distance) is None else min(limit, own)
            for list_id, loaded in view.carriers(algorithm).items()
        }


NEARNESS = Nearness()


class Flaw(enum.IntFlag):
    """Why a value was not, or not wholly, searched."""

    LOW_QUALITY = 1
    DEGENERATE = 2
    UNFINISHED = 4

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The flaws as causes."""
        return tuple(Cause(reason) for flaw, reason in _REASONS.items() if flaw in self)


_REASONS = {
    Flaw.LOW_QUALITY: UndeterminedReason.LOW_QUALITY,
    Flaw.DEGENERATE: UndeterminedReason.DEGENERATE_HASH,
    Flaw.UNFINISHED: UndeterminedReason.WORK_LIMIT,
}


def with_flaws(finding: Finding, flaws: Flaw) -> Finding:
    """A finding on a hash that was not wholly searched: what is found stands, and nothing else is determined."""
    if not flaws:
        return finding
    verdict = Verdict.MATCH if finding.verdict is Verdict.MATCH else Verdict.NOT_DETERMINED
    return finding._replace(verdict=verdict, causes=(*flaws.causes, *finding.causes))


def search(
    view: View,
    algorithm: Algorithm,
    values: Digests,
    reach: Mapping[str, int],
    nearness: Nearness,
    gave_up: Callable[[], bool],
) -> Near:
    """What one of the lists in `reach` may have within its distance, or another's, of (n, size) values.

    The exceeded are those of which something was left out, or that there was no time for before `gave_up` or the
    deadline.
    """
    distance = max(reach.values(), default=0)
    everything = np.arange(len(values))
    nothing = everything[:0]
    if not distance or not len(values):
        # Whatever is equal is its own candidate.
        return Near(everything, everything, np.zeros(len(values), np.int64), values, nothing)
    table = view.snapshot.perceptual[algorithm]
    narrow = _narrowing(view, algorithm, reach)
    return _search_in_chunks(table, algorithm, values, distance, nearness, gave_up, narrow)


def _narrowing(view: View, algorithm: Algorithm, reach: Mapping[str, int]) -> Callable[[Near], Near]:
    """What leaves of the values that were found those that a list in `reach` may have.

    The others must not take their places: a caller's answers do not depend on lists that it may not see.
    """
    table = view.snapshot.tables.get(algorithm)
    carrying = sum(loaded.carries(algorithm) for loaded in view.snapshot.lists.values())
    if table is None or len(reach) == carrying:
        return lambda found: found

    def narrow(found: Near) -> Near:
        placed = placements_of(algorithm, found.codes, view.snapshot.manifest.placement)
        possible = np.zeros(len(found.codes), np.bool_)
        for list_id, asked in table.lists_to_ask(placed).items():
            if list_id in reach:
                possible[asked] = True
        kept = possible[found.numbers]
        return found._replace(
            queries=found.queries[kept],
            numbers=(np.cumsum(possible) - 1)[found.numbers[kept]],
            distances=found.distances[kept],
            codes=found.codes[possible],
        )

    return narrow


def suppressed_values(view: View, algorithm: Algorithm, values: Digests) -> dict[int, Suppression]:
    """Which of (n, size) asked values are themselves suppressed, by their numbers.

    Nothing counts as near such a value in the lists that its suppression covers: an operator who leaves a hash out
    means what comes with that hash, whichever listed value it is near.
    """
    if not view.snapshot.suppressions:
        return {}
    found = ((number, view.suppression(algorithm, value.tobytes())) for number, value in enumerate(values))
    return {number: each for number, each in found if each is not None and each.active}


def listed(view: View, algorithm: Algorithm, codes: Digests, *, source_keys: bool) -> tuple[Sequence[Finding], Numbers]:
    """What the lists say of (n, size) values, one body being enough: findings, and each value's number or -1."""
    finding_of = np.full(len(codes), -1, np.int64)
    if not len(codes):
        return (), finding_of
    if view.scope.min_sources > 1:
        view = dataclasses.replace(view, scope=view.scope._replace(min_sources=1), findings={}, answers={}, _doubts={})
    question = ColumnQuestion(view, algorithm, codes.tobytes())
    question.probe()
    answer = question.confirm(source_keys=source_keys)
    finding_of[answer.positions] = answer.finding_numbers
    return answer.findings, finding_of


def degenerate_values(algorithm: Algorithm, values: Digests) -> npt.NDArray[np.bool_]:
    """Which of (n, size) values carry no information: (n,) bool. The rule is that of `is_degenerate`."""
    ones = np.bitwise_count(values).sum(axis=1, dtype=np.int64)
    found: npt.NDArray[np.bool_] = (values == values[:, :1]).all(axis=1)
    if algorithm in PDQ_CODES:
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
    narrow: Callable[[Near], Near],
) -> Near:
    """Search (n, size) values on all cores, and keep of what is near each the nearest.

    Those of which something was left out, or that there was no time for, are among the exceeded.
    """

    def search(low: int) -> Near:
        part = values[low : low + chunk]
        if gave_up() or nearness.expired():
            nothing = np.empty(0, np.int64)
            return Near(nothing, nothing, nothing, values[:0], low + np.arange(len(part)))
        found = _nearest(narrow(table.search(part, distance, nearness.work_limit)), most)
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
