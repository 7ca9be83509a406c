"""Answers items: things that a caller holds one or several hashes of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import Finding
from hashmatch.matching.near import NEARNESS, Nearness, NearQuestion, NearValues
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import EXACT_ALGORITHMS, SERVED_ALGORITHMS, Algorithm
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Agreement, agreement_of
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict

# What says only that a hash had nobody to ask, and so leaves the word to the item's other hashes.
_NOBODY_TO_ASK = frozenset(
    {
        UndeterminedReason.ALGORITHM_NOT_CARRIED,
        UndeterminedReason.ALGORITHM_NOT_SERVED,
    }
)


MAXIMUM_ALTERNATES = 7
MAXIMUM_QUALITY = 100


class AskedHash(NamedTuple):
    """A hash as it was asked: the algorithm's number, known or not, and the value, well-formed or not.

    `alternates` are further values of the same thing, `quality` what the algorithm reported; None if it was not given.
    """

    algorithm: int
    value: bytes
    quality: int | None = None
    alternates: Sequence[bytes] = ()


class ItemAnswer(NamedTuple):
    """The answer for one item: a finding for each of its hashes, in order."""

    verdict: Verdict
    agreement: Agreement
    findings: tuple[Finding, ...]

    @property
    def natures(self) -> tuple[ListNature, ...]:
        """The natures of the lists that a MATCH rests on, ascending."""
        return tuple(sorted({nature for finding in self.findings for nature in finding.natures}))


class ItemsQuestion:
    """A question about items, answered in two steps like a `ColumnQuestion`."""

    def __init__(self, view: View, items: Sequence[Sequence[AskedHash]], nearness: Nearness = NEARNESS) -> None:
        self._view = view
        self._items = items
        packed: dict[Algorithm, list[AskedHash]] = {}
        # For each hash its column and position there, or why it cannot be asked.
        self._places: list[list[tuple[Algorithm, int] | Finding]] = []
        for item in items:
            places: list[tuple[Algorithm, int] | Finding] = []
            for asked in item:
                algorithm = _SERVED.get(asked.algorithm)
                if algorithm is None or len(asked.value) != _SIZES[algorithm] or not _completes(algorithm, asked):
                    places.append(_REFUSED[_problem_with(asked)])
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

    def probe(self) -> None:
        """Ask the filters, which need no store."""
        for column in self._columns.values():
            column.probe()

    @property
    def needs_store(self) -> bool:
        """Whether `confirm` may have to ask the store, and so may wait."""
        return any(column.needs_store for column in self._columns.values())

    def confirm(self) -> list[ItemAnswer]:
        """The answers, in the order of the items."""
        return self._answers({name: column.confirm(source_keys=True) for name, column in self._columns.items()})

    def give_up(self) -> list[ItemAnswer]:
        """The answers without asking the store: what `probe` let through is NOT_DETERMINED."""
        return self._answers({name: column.give_up() for name, column in self._columns.items()})

    def _answers(self, answers: Mapping[Algorithm, ColumnAnswer]) -> list[ItemAnswer]:
        findings: dict[Algorithm, dict[int, Finding]] = {}
        silence: dict[Algorithm, Finding] = {}
        for algorithm, answer in answers.items():
            silence[algorithm] = self._view.silence(algorithm)
            findings[algorithm] = {
                position: answer.findings[number].with_doubts(answer.doubts)
                for position, number in zip(answer.positions.tolist(), answer.finding_numbers.tolist(), strict=True)
            }
        return [
            self._answer(
                places,
                tuple(
                    place if isinstance(place, Finding) else findings[place[0]].get(place[1], silence[place[0]])
                    for place in places
                ),
            )
            for places in self._places
        ]

    def _answer(self, places: Sequence[tuple[Algorithm, int] | Finding], findings: tuple[Finding, ...]) -> ItemAnswer:
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
            return ItemAnswer(Verdict.MATCH, agreement, findings)
        # Without a match the item is settled if every list was asked about one of its hashes. A hash that has nobody to
        # ask then leaves the word to the others; any other doubt about one of the hashes is a doubt about the item.
        asked = {place[0] for place in places if not isinstance(place, Finding)}
        consulted = {list_id for algorithm in asked for list_id in self._view.carriers(algorithm)}
        settled = (
            bool(consulted)
            and consulted.issuperset(self._view.scope.list_ids)
            and all(cause.reason in _NOBODY_TO_ASK for finding in findings for cause in finding.causes)
        )
        return ItemAnswer(Verdict.NO_KNOWN_MATCH if settled else Verdict.NOT_DETERMINED, agreement, findings)


def _question(
    view: View, algorithm: Algorithm, hashes: Sequence[AskedHash], nearness: Nearness
) -> ColumnQuestion | NearQuestion:
    if algorithm in EXACT_ALGORITHMS:
        return ColumnQuestion(view, algorithm, b"".join([asked.value for asked in hashes]))
    given = [((asked.value, *asked.alternates), asked.quality) for asked in hashes]
    return NearQuestion(view, algorithm, NearValues.of_hashes(algorithm, given), nearness)


def _problem_with(asked: AskedHash) -> UndeterminedReason:
    if asked.algorithm in _SERVED:
        return UndeterminedReason.INVALID_HASH
    known = asked.algorithm in Algorithm.__members__.values()
    return UndeterminedReason.ALGORITHM_NOT_SERVED if known else UndeterminedReason.UNKNOWN_ALGORITHM


def _completes(algorithm: Algorithm, asked: AskedHash) -> bool:
    """Whether what comes with the value may come with it. A quality says nothing of an exact hash and does no harm."""
    if not asked.alternates and asked.quality is None:
        return True
    if algorithm in EXACT_ALGORITHMS:
        return not asked.alternates
    return (
        len(asked.alternates) <= MAXIMUM_ALTERNATES
        and all(len(value) == _SIZES[algorithm] for value in asked.alternates)
        and (asked.quality is None or asked.quality <= MAXIMUM_QUALITY)
    )


_SERVED = {int(algorithm): algorithm for algorithm in SERVED_ALGORITHMS}
_SIZES = {algorithm: algorithm.digest_size for algorithm in Algorithm}
_REFUSED = {reason: Finding(Verdict.NOT_DETERMINED, causes=(Cause(reason),)) for reason in UndeterminedReason}
