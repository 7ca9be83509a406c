"""Settles a few candidates one by one: for them the arrays that settle thousands cost more than they save.

It must come to the same findings as the way for many; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements
from hashmatch.columns.source_keys import unpack_source_keys
from hashmatch.matching.evaluation import evaluate
from hashmatch.matching.findings import Finding, Holding
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.blocks import ABSENT, DAMAGED
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.sources import find_few_in_chain
from hashmatch.store.suppressions import Suppression

# Measured: up to about this many candidates one by one is the faster way.
FEW = 48
_MAXIMUM_FINDINGS = 10_000
# Stands beside ABSENT and DAMAGED for a list whose blocks the store did not hand out.
_UNAVAILABLE = -3

# A list, the number of a segment in its chain, and a ref there.
_Place = tuple[str, int, int]


class Settled(NamedTuple):
    """The positions that some list holds, ascending, the number of the finding of each, and the findings."""

    held: list[int]
    numbers: list[int]
    findings: list[Finding]


def settle_few(
    view: View,
    algorithm: Algorithm,
    placed: Placements,
    digests: Digests,
    to_ask: Mapping[str, npt.NDArray[np.int64]],
    *,
    source_keys: bool,
) -> Settled:
    """Settle candidates, given by placement and digest; `to_ask` has, for each list, the positions that it may hold."""
    # Of each position which lists hold it and where: the segment's number, or DAMAGED or _UNAVAILABLE, and the ref.
    places: dict[int, tuple[_Place, ...]] = {}
    keys: dict[int, dict[str, list[str]]] = {}
    for list_id, asked in to_ask.items():
        chain = view.lists[list_id].chains[algorithm]
        try:
            found = find_few_in_chain(chain, placed[asked], digests[asked], source_keys)
        except StoreUnavailableError:
            found = [(_UNAVAILABLE, ABSENT, b"")] * len(asked)
        for position, (segment, ref, payload) in zip(asked.tolist(), found, strict=True):
            if segment == ABSENT:
                continue
            places[position] = (*places.get(position, ()), (list_id, segment, ref))
            if payload:
                keys.setdefault(position, {})[list_id] = unpack_source_keys(payload)
    held = sorted(places)
    any_suppressed = bool(view.snapshot.suppressions)
    number_of: dict[tuple[object, ...], int] = {}
    numbers: list[int] = []
    findings: list[Finding] = []
    for position in held:
        suppression = view.suppression(algorithm, digests[position].tobytes()) if any_suppressed else None
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
