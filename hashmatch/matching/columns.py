"""Answers a column of digests: the filter first, then for what it lets through the blocks of the lists concerned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements, packed_digests, placed_by
from hashmatch.columns.source_keys import unpack_source_keys
from hashmatch.matching.combinations import Combinations
from hashmatch.matching.evaluation import evaluate
from hashmatch.matching.few import FEW, FewCandidates, FoundFew, Settled, settle_few
from hashmatch.matching.findings import Finding, Holding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import EXACT_ALGORITHMS, Algorithm
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.store.blocks import ABSENT, DAMAGED
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.sources import ChainLookup, SegmentSource, find_in_chain
from hashmatch.store.supply import Supply

Positions = npt.NDArray[np.int64]


@dataclass(slots=True)
class ColumnAnswer:
    """The answer for `count` digests.

    `positions`, ascending, are those of the digests with a finding of their own, `finding_numbers` the finding of each
    in `findings`. Every other digest is NO_KNOWN_MATCH if `doubts` is empty, otherwise NOT_DETERMINED for the doubts.
    A finding of NO_KNOWN_MATCH is subject to the doubts as well. `distances`, where they may be told, are those of the
    nearest listed values: one for each of `positions`, of meaning for a MATCH. `listed` (n, size) are the listed values
    that the findings are of, of near ones the nearest, likewise; None where nothing was confirmed.
    """

    count: int
    doubts: tuple[Cause, ...]
    positions: Positions
    finding_numbers: Positions
    findings: tuple[Finding, ...]
    candidates: int = 0
    distances: Positions | None = None
    listed: Digests | None = None

    def told(self) -> dict[int, Finding]:
        """The findings as callers are told of them, by position."""
        if not len(self.positions):
            return {}
        told = [finding.with_doubts(self.doubts) for finding in self.findings]
        numbers = self.finding_numbers.tolist()
        return {position: told[number] for position, number in zip(self.positions.tolist(), numbers, strict=True)}

    def verdict_at(self, number: int) -> Verdict:
        """The verdict of a finding, doubts included."""
        verdict = self.findings[number].verdict
        return Verdict.NOT_DETERMINED if verdict is Verdict.NO_KNOWN_MATCH and self.doubts else verdict


# Measured: so many digests are sooner asked about one by one, above all where the processor's caches hold none of it.
PROBED_SINGLY = 2
_NOWHERE: Positions = np.empty(0, np.int64)
# Stands beside ABSENT and DAMAGED for a list whose blocks the store did not hand out.
_UNAVAILABLE = -3


class ColumnQuestion:
    """A question about packed digests, answered in two steps so that the first can run where waiting is forbidden."""

    def __init__(self, view: View, algorithm: Algorithm, packed: bytes | memoryview) -> None:
        """`packed` has a whole number of digests of an exact algorithm."""
        self._view = view
        self._algorithm = algorithm
        self._packed = packed
        self._doubts = view.doubts_about(algorithm)
        self._carriers = view.carriers(algorithm)
        table = view.snapshot.tables.get(algorithm)
        self._table = table if self._carriers else None
        # Filled in by `probe`: how many candidates there are, and those among more than `PROBED_SINGLY` digests.
        self._found = 0
        self._many: tuple[Positions, Placements] | None = None
        # The positions of candidates, where there are few, and what is known of each.
        self._at: Sequence[int] = ()
        self._few: FewCandidates | None = None
        # Filled in when it is asked for.
        self._to_ask: dict[str, Positions] | None = None
        # Filled in by `needs_store` where it turns out that nothing has to be waited for.
        self._found_few: FoundFew | None = None
        # Filled in by `told`.
        self._settled: Settled | None = None
        self._answered: ColumnAnswer | None = None

    @property
    def count(self) -> int:
        """How many digests are asked about."""
        return len(self._packed) // self._algorithm.digest_size

    def probe(self) -> bool:
        """Ask the filter, which needs no store. Returns whether `confirm` has anything left to do."""
        if self._table is None:
            return False
        size, packed = self._algorithm.digest_size, self._packed
        if len(packed) <= PROBED_SINGLY * size and self._algorithm in EXACT_ALGORITHMS:
            digests = [bytes(packed[at : at + size]) for at in range(0, len(packed), size)]
            self._at, placed = self._table.candidates_of_few(digests)
            self._found = len(placed)
            if placed:
                digests = [digests[position] for position in self._at]
                self._few = FewCandidates(placed, digests, self._few_to_ask(placed))
        else:
            self._many = self._table.candidates(placed_by(self._algorithm, packed_digests(packed, size)))
            self._found = len(self._many[0])
        return self._found > 0

    def needs_store(self, supply: Supply) -> bool:
        """Whether `confirm` would have to ask the store, and so to wait; what `supply` can help with it is told."""
        if not self._found:
            return False
        if self._found > FEW:
            chains = [loaded.chains[self._algorithm] for loaded in self._carriers.values()]
            return any(source.needs_store for chain in chains for source in chain)
        # A few blocks may be at hand, and then a thread would only add to the time.
        self._found_few = self._few_candidates().find(self._view, self._algorithm, supply)
        return self._found_few is None

    @property
    def _candidates(self) -> Positions:
        """The positions of the candidates, ascending."""
        return np.array(self._at, np.int64) if self._many is None else self._many[0]

    @property
    def _placed(self) -> Placements:
        """The placements of the candidates."""
        if self._many is None:
            return np.array(() if self._few is None else self._few.placed, np.uint64)
        return self._many[1]

    def _few_candidates(self) -> FewCandidates:
        if self._few is None:
            size, packed = self._algorithm.digest_size, self._packed
            self._at, placed = self._candidates.tolist(), self._placed.tolist()
            digests = [bytes(packed[size * position : size * (position + 1)]) for position in self._at]
            self._few = FewCandidates(placed, digests, self._few_to_ask(placed))
        return self._few

    def _few_to_ask(self, placed: Sequence[int]) -> dict[str, Sequence[int]]:
        assert self._table is not None
        only = self._table.only_list
        if only is not None:
            return {only: range(len(placed))} if only in self._carriers else {}
        asked = self._table.lists_to_ask(np.array(placed, np.uint64))
        return {list_id: each.tolist() for list_id, each in asked.items() if list_id in self._carriers}

    def _lists_to_ask(self) -> dict[str, Positions]:
        if self._to_ask is None:
            assert self._table is not None
            self._to_ask = self._table.lists_to_ask(self._placed)
        return self._to_ask

    def give_up(self) -> ColumnAnswer:
        """The answer without asking the store: what `probe` let through is NOT_DETERMINED."""
        finding = Finding(Verdict.NOT_DETERMINED, causes=(Cause(UndeterminedReason.WORK_LIMIT),))
        possible = self._possible()
        numbers = np.zeros(len(possible), np.int64)
        found = (finding,) if len(numbers) else ()
        return ColumnAnswer(self.count, self._doubts, possible, numbers, found, self._found)

    def _possible(self) -> Positions:
        """The candidates that a list in scope may have, ascending: others must not show in the answer."""
        candidates = self._candidates
        if not self._found or len(self._carriers) == len(self._view.snapshot.lists):
            return candidates
        asked = [each for list_id, each in self._lists_to_ask().items() if list_id in self._carriers]
        return candidates[np.unique(np.concatenate(asked))] if asked else _NOWHERE

    def confirm(self, *, source_keys: bool = False) -> ColumnAnswer:
        """Settle what `probe` let through. With `source_keys`, findings are not shared and name the entries' keys."""
        if not self._found or self._table is None:
            return ColumnAnswer(self.count, self._doubts, _NOWHERE, _NOWHERE, ())
        if self._found <= FEW:
            return self._answer_of(self._settle_few(source_keys=source_keys))
        to_ask = self._lists_to_ask()
        candidates, placed = self._candidates, self._placed
        digests = packed_digests(self._packed, self._algorithm.digest_size)[candidates]
        combined = Combinations(len(digests))
        lookups: dict[str, tuple[Positions, ChainLookup]] = {}
        for list_id, asked in to_ask.items():
            loaded = self._carriers.get(list_id)
            if loaded is None:
                continue
            chain = loaded.chains[self._algorithm]
            try:
                found = find_in_chain(chain, placed[asked], digests[asked])
            except StoreUnavailableError:
                combined.add(asked, np.full(len(asked), _UNAVAILABLE), _meaning(list_id, chain))
                continue
            lookups[list_id] = (asked, found)
            listed = np.flatnonzero(found.segments != ABSENT)
            codes = np.where(found.segments == DAMAGED, DAMAGED, (found.segments << 32) | found.refs)
            combined.add(asked[listed], codes[listed], _meaning(list_id, chain))
        if self._view.snapshot.suppressions:
            combined.suppress(lambda position: self._view.suppression(self._algorithm, digests[position].tobytes()))
        members, numbers = combined.result(separate=source_keys)
        held = combined.held
        findings = [evaluate(self._view, each.holdings, each.suppression) for each in members]
        if source_keys:
            findings = [
                finding.with_source_keys(_source_keys(lookups, position))
                for finding, position in zip(findings, held.tolist(), strict=True)
            ]
        return self._answer(candidates[held], digests[held], numbers, findings)

    def told(self) -> dict[int, Finding]:
        """Settle it as `confirm` does, with source keys; what callers are told of single digests, by position.

        For the few digests of a few items, of which arrays would only be made to be taken apart again.
        """
        if not self._found:
            return {}
        if self._found > FEW:
            self._answered = self.confirm(source_keys=True)
            return self._answered.told()
        self._settled = settled = self._settle_few(source_keys=True)
        positions = self._at
        told = [finding.with_doubts(self._doubts) for finding in settled.findings]
        return {positions[held]: told[number] for held, number in zip(settled.held, settled.numbers, strict=True)}

    @property
    def answered(self) -> ColumnAnswer:
        """What `told` rests on, as `confirm` gives it."""
        if self._answered is None:
            settled = self._settled
            self._answered = self.confirm() if settled is None else self._answer_of(settled)
        return self._answered

    def _settle_few(self, *, source_keys: bool) -> Settled:
        few, found = self._few_candidates(), self._found_few
        if found is None:
            found = few.find(self._view, self._algorithm, None)
        assert found is not None
        return settle_few(self._view, self._algorithm, few, found, source_keys=source_keys)

    def _answer_of(self, settled: Settled) -> ColumnAnswer:
        few = self._few_candidates()
        positions = np.array([self._at[held] for held in settled.held], np.int64)
        listed = packed_digests(b"".join([few.digests[held] for held in settled.held]), self._algorithm.digest_size)
        return self._answer(positions, listed, np.array(settled.numbers, np.int64), settled.findings)

    def _answer(
        self, positions: Positions, listed: Digests, numbers: Positions, findings: Sequence[Finding]
    ) -> ColumnAnswer:
        return ColumnAnswer(
            self.count, self._doubts, positions, numbers, tuple(findings), candidates=self._found, listed=listed
        )


def _unread(reason: UndeterminedReason, list_id: str) -> Holding:
    return Holding(list_id, unread=Cause(reason, list_id))


def _meaning(list_id: str, chain: Sequence[SegmentSource]) -> Callable[[int], Holding]:
    def meaning(code: int) -> Holding:
        if code == _UNAVAILABLE:
            return _unread(UndeterminedReason.STORE_UNAVAILABLE, list_id)
        if code == DAMAGED:
            return _unread(UndeterminedReason.STORE_DAMAGED, list_id)
        return Holding(list_id, chain[code >> 32].sets[code & 0xFFFFFFFF])

    return meaning


def _source_keys(lookups: Mapping[str, tuple[Positions, ChainLookup]], position: int) -> dict[str, list[str]]:
    keys = {}
    for list_id, (asked, found) in lookups.items():
        index = int(np.searchsorted(asked, position))
        if index < len(asked) and asked[index] == position and found.segments[index] >= 0:
            keys[list_id] = unpack_source_keys(found.payload(index))
    return keys
