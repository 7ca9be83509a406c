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
from hashmatch.store.sources import find_few_in_chain
from hashmatch.store.suppressions import Suppression

# Measured: up to about this many candidates one by one is the faster way.
FEW = 48
_MAXIMUM_FINDINGS = 10_000


class Settled(NamedTuple):
    """The positions that some list holds, ascending, the number of the finding of each, and the findings."""

    held: list[int]
    numbers: list[int]
    findings: list[Finding]


def settle_few(
    view: View,
    algorithm: Algorithm,
    placed: Sequence[int],
    digests: Sequence[bytes],
    to_ask: Mapping[str, Sequence[int]],
    *,
    source_keys: bool,
) -> Settled:
    """Settle candidates, given by placement and digest; `to_ask` has, for each list, the positions that it may hold."""
    holdings: dict[int, list[Holding]] = {}
    keys: dict[int, dict[str, list[str]]] = {}
    for list_id, asked in to_ask.items():
        chain = view.lists[list_id].chains[algorithm]
        try:
            found = find_few_in_chain(chain, [placed[each] for each in asked], [digests[each] for each in asked])
        except StoreUnavailableError:
            unread = Holding(list_id, unread=Cause(UndeterminedReason.STORE_UNAVAILABLE, list_id))
            for position in asked:
                holdings.setdefault(position, []).append(unread)
            continue
        for position, (segment, ref, payload) in zip(asked, found, strict=True):
            if segment == ABSENT:
                continue
            if segment == DAMAGED:
                holding = Holding(list_id, unread=Cause(UndeterminedReason.STORE_DAMAGED, list_id))
            else:
                holding = Holding(list_id, chain[segment].sets[ref])
                if source_keys and payload:
                    keys.setdefault(position, {})[list_id] = unpack_source_keys(payload)
            holdings.setdefault(position, []).append(holding)
    held = sorted(holdings)
    suppressions = view.snapshot.suppressions
    number_of: dict[int, int] = {}
    numbers: list[int] = []
    findings: list[Finding] = []
    for position in held:
        suppression = suppressions.get((algorithm, digests[position])) if suppressions else None
        finding = _finding(view, holdings[position], suppression)
        if position in keys:
            finding = finding.with_source_keys(keys[position])
        number = number_of.setdefault(id(finding), len(findings))
        if number == len(findings):
            findings.append(finding)
        numbers.append(number)
    return Settled(held, numbers, findings)


def _finding(view: View, holdings: Sequence[Holding], suppression: Suppression | None) -> Finding:
    """The finding for holdings; the same object for the same ones."""
    # Holdings hold the segment's own statement sets, so that equal ones are the same object for as long as the view is.
    shape = (tuple([(each.list_id, id(each.statements), each.unread) for each in holdings]), suppression)
    finding = view.findings.get(shape)
    if finding is None:
        if len(view.findings) >= _MAXIMUM_FINDINGS:
            view.findings.clear()
        finding = view.findings[shape] = evaluate(view, holdings, suppression)
    return finding
