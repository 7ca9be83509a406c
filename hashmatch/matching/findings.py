"""What lists hold of a hash, the finding that it makes, and the answer that findings make for an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Agreement, Opinion, StatementSet
from hashmatch.model.verdicts import Cause, Verdict


class Holding(NamedTuple):
    """What one list has of a hash: its statements, or why that could not be read."""

    list_id: str
    statements: StatementSet = ()
    unread: Cause | None = None


class Finding(NamedTuple):
    """The verdict on a hash with what it rests on. Hashes with equal holdings share one finding.

    `natures`, ascending, are those of the lists that a MATCH rests on; empty for any other verdict.
    """

    verdict: Verdict
    opinions: tuple[Opinion, ...] = ()
    agreement: Agreement = Agreement.NONE
    causes: tuple[Cause, ...] = ()
    suppressed: bool = False
    below_min_sources: bool = False
    natures: tuple[ListNature, ...] = ()

    def with_doubts(self, doubts: tuple[Cause, ...]) -> Finding:
        """The finding as a caller is told of it: with doubts, the absence of a match proves nothing."""
        if not doubts:
            return self
        verdict = Verdict.NOT_DETERMINED if self.verdict is Verdict.NO_KNOWN_MATCH else self.verdict
        return self._replace(verdict=verdict, causes=(*self.causes, *doubts))

    def with_source_keys(self, keys: Mapping[str, Sequence[str]]) -> Finding:
        """The finding with the source keys that belong to its opinions, given by list in order of their statements."""
        opinions = tuple(
            opinion._replace(source_key=keys[opinion.list_id][opinion.position])
            if opinion.position < len(keys.get(opinion.list_id, ()))
            else opinion
            for opinion in self.opinions
        )
        return self._replace(opinions=opinions)


class ItemAnswer(NamedTuple):
    """The answer for one item: for each of its hashes, in order, the number of the algorithm asked and the finding.

    Items of the same algorithms with the same findings share one answer.
    """

    verdict: Verdict
    agreement: Agreement
    algorithms: tuple[int, ...]
    findings: tuple[Finding, ...]

    @property
    def natures(self) -> tuple[ListNature, ...]:
        """The natures of the lists that a MATCH rests on, ascending."""
        return tuple(sorted({nature for finding in self.findings for nature in finding.natures}))
