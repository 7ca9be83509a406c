"""Answers items: things that a caller holds one or several hashes of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hashmatch.matching.columns import ColumnAnswer, ColumnQuestion
from hashmatch.matching.findings import Finding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
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


class AskedHash(NamedTuple):
    """A hash as it was asked: the algorithm's number, known or not, and the value, well-formed or not."""

    algorithm: int
    value: bytes


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

    def __init__(self, view: View, items: Sequence[Sequence[AskedHash]]) -> None:
        self._view = view
        self._items = items
        packed: dict[Algorithm, list[bytes]] = {}
        # For each hash its column and position there, or why it cannot be asked.
        self._places: list[list[tuple[Algorithm, int] | Finding]] = []
        for item in items:
            places: list[tuple[Algorithm, int] | Finding] = []
            for asked in item:
                problem = _problem_with(asked)
                if problem is not None:
                    places.append(Finding(Verdict.NOT_DETERMINED, causes=(Cause(problem),)))
                    continue
                algorithm = Algorithm(asked.algorithm)
                column = packed.setdefault(algorithm, [])
                places.append((algorithm, len(column)))
                column.append(asked.value)
            self._places.append(places)
        self._columns = {
            algorithm: ColumnQuestion(view, algorithm, b"".join(values)) for algorithm, values in packed.items()
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
            silence[algorithm] = _with_doubts(Finding(Verdict.NO_KNOWN_MATCH), answer.doubts)
            findings[algorithm] = {
                position: _with_doubts(answer.findings[number], answer.doubts)
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


def _problem_with(asked: AskedHash) -> UndeterminedReason | None:
    try:
        algorithm = Algorithm(asked.algorithm)
    except ValueError:
        return UndeterminedReason.UNKNOWN_ALGORITHM
    if algorithm not in EXACT_ALGORITHMS:
        return UndeterminedReason.ALGORITHM_NOT_SERVED
    if len(asked.value) != algorithm.digest_size:
        return UndeterminedReason.INVALID_HASH
    return None


def _with_doubts(finding: Finding, doubts: tuple[Cause, ...]) -> Finding:
    """The finding as a caller is told of it: with doubts, the absence of a match proves nothing."""
    if not doubts:
        return finding
    verdict = Verdict.NOT_DETERMINED if finding.verdict is Verdict.NO_KNOWN_MATCH else finding.verdict
    return finding._replace(verdict=verdict, causes=(*finding.causes, *doubts))
