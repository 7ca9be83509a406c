"""Settles a few candidates one by one: for them the arrays that settle thousands cost more than they save.

It must come to the same findings as the way for many; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hashmatch.columns.source_keys import unpack_source_keys
from hashmatch.matching.evaluation import evaluate
from hashmatch.matching.findings import Finding, Holding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.blocks import ABSENT, DAMAGED
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.sources import FewFind, find_few_in_chain
from hashmatch.store.supply import Supply
from hashmatch.store.suppressions import Suppression

# Measured: up to about this many candidates one by one is the faster way.
FEW = 48
_MAXIMUM_FINDINGS = 10_000
# Stands beside ABSENT and DAMAGED for a list whose blocks the store did not hand out.
_UNAVAILABLE = -3

# A list, the number of a segment in its chain, and a ref there.
_Place = tuple[str, int, int]
# By list where each candidate that it may hold was found.
FoundFew = dict[str, list[FewFind]]


class Settled(NamedTuple):
    """The positions that some list holds, ascending, the number of the finding of each, and the findings."""

    held: list[int]
    numbers: list[int]
    findings: list[Finding]


class FewCandidates(NamedTuple):
    """Candidates, given by placement and digest; `to_ask` has, for each list, the positions that it may hold."""

    placed: Sequence[int]
    digests: Sequence[bytes]
    to_ask: Mapping[str, Sequence[int]]

    def find(self, view: View, algorithm: Algorithm, supply: Supply | None) -> FoundFew | None:
        """Find them in every list that may hold them; with a `supply` None if that lacks blocks, which it is told."""
        found: FoundFew = {}
        lacking = False
        for list_id, asked in self.to_ask.items():
            placed, digests = self.placed, self.digests
            if len(asked) < len(placed):
                placed = [placed[position] for position in asked]
                digests = [digests[position] for position in asked]
            try:
                of_list = find_few_in_chain(view.lists[list_id].chains[algorithm], placed, digests, supply)
            except StoreUnavailableError:
                of_list = [FewFind(_UNAVAILABLE, ABSENT, bytes)] * len(asked)
            if of_list is None:
                # The other lists are looked at as well, so that everything is asked for at once.
                lacking = True
            else:
                found[list_id] = of_list
        return None if lacking else found


def settle_few(view: View, algorithm: Algorithm, few: FewCandidates, found: FoundFew, *, source_keys: bool) -> Settled:
    """Settle candidates from where they were found."""
    # Of each position which lists hold it and where: the segment's number, or DAMAGED or _UNAVAILABLE, and the ref.
    places: dict[int, tuple[_Place, ...]] = {}
    keys: dict[int, dict[str, list[str]]] = {}
    for list_id, asked in few.to_ask.items():
        for position, (segment, ref, payload) in zip(asked, found[list_id], strict=True):
            if segment == ABSENT:
                continue
            places[position] = (*places.get(position, ()), (list_id, segment, ref))
            if source_keys and (packed := payload()):
                keys.setdefault(position, {})[list_id] = unpack_source_keys(packed)
    held = sorted(places)
    any_suppressed = bool(view.snapshot.suppressions)
    number_of: dict[tuple[object, ...], int] = {}
    numbers: list[int] = []
    findings: list[Finding] = []
    for position in held:
        suppression = view.suppression(algorithm, few.digests[position]) if any_suppressed else None
        own_keys = keys.get(position)
        # What makes hashes share a finding; one with keys of its own shares it with nobody.
        shared = (places[position], id(suppression), position if own_keys else None)
        number = number_of.get(shared)
        if number is None:
            number = number_of[shared] = len(findings)
            finding = _finding(view, algorithm, places[position], suppression)
            findings.append(finding.with_source_keys(own_keys) if own_keys else finding)
        numbers.append(number)
    return Settled(held, numbers, findings)


def _finding(view: View, algorithm: Algorithm, places: tuple[_Place, ...], suppression: Suppression | None) -> Finding:
    """The finding for what lists hold; the same object for the same places."""
    # The snapshot that the view is upon keeps the suppression, and so its identity.
    key = (algorithm, places, id(suppression))
    finding = view.findings.get(key)
    if finding is None:
        if len(view.findings) >= _MAXIMUM_FINDINGS:
            view.findings.clear()
        holdings = [_holding(view, algorithm, *place) for place in places]
        finding = view.findings[key] = evaluate(view, holdings, suppression)
    return finding


def _holding(view: View, algorithm: Algorithm, list_id: str, segment: int, ref: int) -> Holding:
    if segment == _UNAVAILABLE:
        return Holding(list_id, unread=Cause(UndeterminedReason.STORE_UNAVAILABLE, list_id))
    if segment == DAMAGED:
        return Holding(list_id, unread=Cause(UndeterminedReason.STORE_DAMAGED, list_id))
    return Holding(list_id, view.lists[list_id].chains[algorithm][segment].sets[ref])
