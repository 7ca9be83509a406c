"""Answers items: things that a caller holds one or several hashes of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import Finding, ItemAnswer
from hashmatch.matching.near import NearQuestion, NearValues
from hashmatch.matching.nearness import NEARNESS, Nearness
from hashmatch.matching.scope import View
from hashmatch.matching.videos import VideoQuestion
from hashmatch.model.algorithms import EXACT_ALGORITHMS, SERVED_ALGORITHMS, Algorithm
from hashmatch.model.opinions import Agreement, agreement_of
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.model.videos import MAXIMUM_FRAMES, Frame
from hashmatch.store.supply import Supply

# What says only that a hash had nobody to ask, and so leaves the word to the item's other hashes.
_NOBODY_TO_ASK = frozenset(
    {
        UndeterminedReason.ALGORITHM_NOT_CARRIED,
        UndeterminedReason.ALGORITHM_NOT_SERVED,
    }
)


# How many answers are kept for items to share.
_MAXIMUM_ANSWERS = 1_000

MAXIMUM_ALTERNATES = 7
MAXIMUM_QUALITY = 100


class AskedHash(NamedTuple):
    """A hash as it was asked: the algorithm's number, known or not, and the value, well-formed or not.

    `alternates` are further values of the same thing, `quality` what the algorithm reported; None if it was not given.
    A video has `frames` and nothing else.
    """

    algorithm: int
    value: bytes
    quality: int | None = None
    alternates: Sequence[bytes] = ()
    frames: Sequence[Frame] = ()


# Where a hash is asked, as a column and a position there; or what is found without asking.
_Place = tuple[Algorithm, int] | Finding


class ItemsQuestion:
    """A question about items, answered in two steps like a `ColumnQuestion`."""

    def __init__(self, view: View, items: Sequence[Sequence[AskedHash]], nearness: Nearness = NEARNESS) -> None:
        self._view = view
        self._items = items
        packed: dict[Algorithm, list[AskedHash]] = {}
        self._places: list[list[_Place]] = []
        # What `confirm` found of each perceptual column.
        self._near: dict[Algorithm, ColumnAnswer] = {}
        for item in items:
            places: list[_Place] = []
            for asked in item:
                algorithm = _SERVED.get(asked.algorithm)
                if algorithm is None or not _is_well_formed(algorithm, asked):
                    places.append(_REFUSED[_problem_with(asked)])
                    continue
                if not view.carriers(algorithm):
                    places.append(view.silence(algorithm))
                    continue
                column = packed.get(algorithm)
                if column is None:
                    column = packed[algorithm] = []
                places.append((algorithm, len(column)))
                column.append(asked)
            self._places.append(places)
        self._columns = {
            algorithm: _question(view, algorithm, hashes, nearness) for algorithm, hashes in packed.items()
        }

    def probe(self) -> bool:
        """Ask the filters, which need no store. Returns whether `confirm` has anything left to ask."""
        left = [column.probe() for column in self._columns.values()]
        return any(left)

    def needs_store(self, supply: Supply) -> bool:
        """Whether `confirm` would have to ask the store, and so to wait; what `supply` can help with it is told."""
        # Every column is asked, so that everything is asked for at once.
        needs = [column.needs_store(supply) for column in self._columns.values()]
        return any(needs)

    def confirm(self) -> list[ItemAnswer]:
        """The answers, in the order of the items."""
        return self._answers({name: self._told(name, column) for name, column in self._columns.items()})

    @property
    def answered(self) -> dict[Algorithm, ColumnAnswer]:
        """What `confirm` found of each column."""
        exact = {name: column.answered for name, column in self._columns.items() if isinstance(column, ColumnQuestion)}
        return exact | self._near

    def give_up(self) -> list[ItemAnswer]:
        """The answers without asking the store: what `probe` let through is NOT_DETERMINED."""
        return self._answers({name: column.give_up().told() for name, column in self._columns.items()})

    def _told(self, algorithm: Algorithm, column: ColumnQuestion | NearQuestion | VideoQuestion) -> dict[int, Finding]:
        if isinstance(column, ColumnQuestion):
            return column.told()
        answer = self._near[algorithm] = column.confirm(source_keys=True)
        return answer.told()

    def _answers(self, told: Mapping[Algorithm, Mapping[int, Finding]]) -> list[ItemAnswer]:
        """The answers, from what is told of positions in each column."""
        silence = {algorithm: self._view.silence(algorithm) for algorithm in told}
        return [
            self._answer(
                item,
                places,
                tuple(
                    [
                        place if isinstance(place, Finding) else told[place[0]].get(place[1], silence[place[0]])
                        for place in places
                    ]
                ),
            )
            for item, places in zip(self._items, self._places, strict=True)
        ]

    def _answer(self, item: Sequence[AskedHash], places: Sequence[_Place], findings: tuple[Finding, ...]) -> ItemAnswer:
        """The answer, which items of the same algorithms with the same findings share."""
        shared = self._view.answers
        # Findings go by their identity, which nobody else can get as long as the answer keeps them.
        key = tuple([(asked.algorithm, id(finding)) for asked, finding in zip(item, findings, strict=True)])
        answer = shared.get(key)
        if answer is None:
            if len(shared) >= _MAXIMUM_ANSWERS:
                shared.clear()
            answer = shared[key] = self._conclude(tuple(asked.algorithm for asked in item), places, findings)
        return answer

    def _conclude(
        self, algorithms: tuple[int, ...], places: Sequence[_Place], findings: tuple[Finding, ...]
    ) -> ItemAnswer:
        opinions = [opinion for finding in findings for opinion in finding.opinions]
        lists = self._view.lists
        agreement = (
            agreement_of(
                (lists[each.list_id].state.definition.body, each.statement.scheme, each.statement.label)
                for each in opinions
            )
            if opinions
            else Agreement.NONE
        )
        if any(finding.verdict is Verdict.MATCH for finding in findings):
            return ItemAnswer(Verdict.MATCH, agreement, algorithms, findings)
        # Without a match the item is settled if every list was asked about one of its hashes. A hash that has nobody to
        # ask then leaves the word to the others; any other doubt about one of the hashes is a doubt about the item.
        asked = {place[0] for place in places if not isinstance(place, Finding)}
        consulted = {list_id for algorithm in asked for list_id in self._view.carriers(algorithm)}
        settled = (
            bool(consulted)
            and consulted.issuperset(self._view.scope.list_ids)
            and all(cause.reason in _NOBODY_TO_ASK for finding in findings for cause in finding.causes)
        )
        verdict = Verdict.NO_KNOWN_MATCH if settled else Verdict.NOT_DETERMINED
        return ItemAnswer(verdict, agreement, algorithms, findings)


def _question(
    view: View, algorithm: Algorithm, hashes: Sequence[AskedHash], nearness: Nearness
) -> ColumnQuestion | NearQuestion | VideoQuestion:
    if algorithm in EXACT_ALGORITHMS:
        return ColumnQuestion(view, algorithm, b"".join([asked.value for asked in hashes]))
    if algorithm is Algorithm.VPDQ:
        return VideoQuestion(view, [asked.frames for asked in hashes], nearness)
    given = [((asked.value, *asked.alternates), asked.quality) for asked in hashes]
    return NearQuestion(view, algorithm, NearValues.of_hashes(algorithm, given), nearness)


def _problem_with(asked: AskedHash) -> UndeterminedReason:
    return UndeterminedReason.INVALID_HASH if asked.algorithm in _SERVED else UndeterminedReason.UNKNOWN_ALGORITHM


def _is_well_formed(algorithm: Algorithm, asked: AskedHash) -> bool:
    """Whether the value is one of the algorithm, and what comes with it may.

    A quality says nothing of an exact hash and does no harm.
    """
    if algorithm is Algorithm.VPDQ:
        return not asked.value and not asked.alternates and _is_video(asked.frames)
    if len(asked.value) != _SIZES[algorithm] or asked.frames:
        return False
    if not asked.alternates and asked.quality is None:
        return True
    if algorithm in EXACT_ALGORITHMS:
        return not asked.alternates
    return (
        len(asked.alternates) <= MAXIMUM_ALTERNATES
        and all(len(value) == _SIZES[algorithm] for value in asked.alternates)
        and (asked.quality is None or asked.quality <= MAXIMUM_QUALITY)
    )


def _is_video(frames: Sequence[Frame]) -> bool:
    size = _SIZES[Algorithm.VPDQ]
    return 1 <= len(frames) <= MAXIMUM_FRAMES and all(
        len(frame.code) == size and frame.quality <= MAXIMUM_QUALITY for frame in frames
    )


_SERVED = {int(algorithm): algorithm for algorithm in SERVED_ALGORITHMS}
_SIZES = {algorithm: algorithm.digest_size for algorithm in Algorithm}
_REFUSED = {reason: Finding(Verdict.NOT_DETERMINED, causes=(Cause(reason),)) for reason in UndeterminedReason}
