"""Bugs that somebody could make: each takes out one guard while it is in place.

They prove that the tests bite. When one of the places here is rewritten, the bug has to be seeded anew where the guard
went; a bug that can no longer be put in place fails by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from hashmatch.index import loader
from hashmatch.index.snapshot import LoadedList
from hashmatch.index.tables import AlgorithmTable
from hashmatch.ingest.approvals import Approvals
from hashmatch.matching import columns, evaluation, few, near, nearness
from hashmatch.matching.findings import Finding
from hashmatch.matching.nearness import Flaw, Nearness
from hashmatch.matching.scope import View
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Opinion
from hashmatch.model.verdicts import Verdict
from hashmatch.service import admin_servicer
from hashmatch.store.blocks import ABSENT, DAMAGED
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import ListState
from hashmatch.store.segments import SegmentReader
from hashmatch.store.sources import ChainLookup, FewFind, SegmentSource
from hashmatch.store.suppressions import Suppression

Bug = Callable[[pytest.MonkeyPatch], None]
Few = list[FewFind] | None


def _change_lookups(
    patch: pytest.MonkeyPatch,
    change_few: Callable[[Callable[..., Few]], Callable[..., Few]],
    change_many: Callable[[Callable[..., ChainLookup]], Callable[..., ChainLookup]],
) -> None:
    patch.setattr(few, "find_few_in_chain", change_few(few.find_few_in_chain))
    patch.setattr(columns, "find_in_chain", change_many(columns.find_in_chain))


def _first_live_ref(source: SegmentSource) -> int:
    return next((ref for ref, said in enumerate(source.sets) if said), 0)


def skip_the_confirmation(patch: pytest.MonkeyPatch) -> None:
    """A hit of the filter counts as a match."""

    def change_few(find: Callable[..., Few]) -> Callable[..., Few]:
        def changed(sources: Sequence[SegmentSource], *rest: Any) -> Few:
            hit = FewFind(0, _first_live_ref(sources[0]), bytes)
            found = find(sources, *rest)
            return None if found is None else [hit if each.segment == ABSENT else each for each in found]

        return changed

    def change_many(find: Callable[..., ChainLookup]) -> Callable[..., ChainLookup]:
        def changed(sources: Sequence[SegmentSource], *rest: Any) -> ChainLookup:
            found = find(sources, *rest)
            absent = found.segments == ABSENT
            refs = np.where(absent, _first_live_ref(sources[0]), found.refs)
            return found._replace(segments=np.where(absent, 0, found.segments), refs=refs)

        return changed

    _change_lookups(patch, change_few, change_many)


def swap_before_verify(patch: pytest.MonkeyPatch) -> None:
    """A generation becomes visible without having been read back."""
    patch.setattr(SegmentReader, "verify", lambda _: None)


def accept_an_older_manifest(patch: pytest.MonkeyPatch) -> None:
    """The floor lets everything pass."""
    patch.setattr(EpochFloor, "check", lambda _self, _manifest: None)


def treat_a_missing_block_as_empty(patch: pytest.MonkeyPatch) -> None:
    """What could not be read counts as not listed."""

    def change_few(find: Callable[..., Few]) -> Callable[..., Few]:
        def changed(*rest: Any) -> Few:
            absent, found = FewFind(ABSENT, ABSENT, bytes), find(*rest)
            return None if found is None else [absent if each.segment == DAMAGED else each for each in found]

        return changed

    def change_many(find: Callable[..., ChainLookup]) -> Callable[..., ChainLookup]:
        def changed(*rest: Any) -> ChainLookup:
            found = find(*rest)
            return found._replace(segments=np.where(found.segments == DAMAGED, ABSENT, found.segments))

        return changed

    _change_lookups(patch, change_few, change_many)


def ignore_suppressions(patch: pytest.MonkeyPatch) -> None:
    """What the operator suppressed is answered."""
    patch.setattr(Suppression, "covers", lambda _self, _list_id: False)


def forget_what_was_lifted(patch: pytest.MonkeyPatch) -> None:
    """What is seen again after a suppression counts as old."""
    patch.setattr(Suppression, "seen_again_since", lambda _self, _list_id: 0)


def drop_the_overlay(patch: pytest.MonkeyPatch) -> None:
    """Only the base of the tables is asked."""

    def changed(*rest: Any) -> AlgorithmTable:
        table = extend(*rest)
        return AlgorithmTable(table.parts[:1], table.overlay_placements)

    extend = loader.extend
    patch.setattr(loader, "extend", changed)


def let_an_old_list_give_negatives(patch: pytest.MonkeyPatch) -> None:
    """No list is ever too old."""
    patch.setattr(LoadedList, "is_stale", lambda _self, _now: False)


def let_the_oldest_segment_win(patch: pytest.MonkeyPatch) -> None:
    """The base decides, not the newest delta."""

    def change_few(find: Callable[..., Few]) -> Callable[..., Few]:
        def changed(sources: Sequence[SegmentSource], *rest: Any) -> Few:
            last, found = len(sources) - 1, find(sources[::-1], *rest)
            if found is None:
                return None
            return [each._replace(segment=last - each.segment) if each.segment >= 0 else each for each in found]

        return changed

    def change_many(find: Callable[..., ChainLookup]) -> Callable[..., ChainLookup]:
        def changed(sources: Sequence[SegmentSource], *rest: Any) -> ChainLookup:
            last = len(sources) - 1
            found = find(sources[::-1], *rest)
            segments = np.where(found.segments >= 0, last - found.segments, found.segments)
            return ChainLookup(segments, found.refs, {last - number: each for number, each in found.lookups.items()})

        return changed

    _change_lookups(patch, change_few, change_many)


def count_a_roll_back_as_old(patch: pytest.MonkeyPatch) -> None:
    """What a roll back made visible again has the epoch of its first appearance."""

    def epoch_of(state: ListState, number: int) -> int:
        return next((epoch for known, epoch in state.epochs if known >= number), 0)

    patch.setattr(ListState, "epoch_of", epoch_of)


def ask_for_no_approvals(patch: pytest.MonkeyPatch) -> None:
    """Nobody has to agree before a generation becomes visible."""
    patch.setattr(Approvals, "check", lambda _self, _manifest, _approved: ())


def take_what_came_for_all(patch: pytest.MonkeyPatch) -> None:
    """A stream of chunks that ends without a word is a whole delivery."""
    chunks = admin_servicer._chunks
    patch.setattr(admin_servicer, "_chunks", lambda requests, _digest_is_stated: chunks(requests, True))


def take_near_values_unconfirmed(patch: pytest.MonkeyPatch) -> None:
    """Whatever the index finds counts as listed."""

    def changed(view: View, algorithm: Algorithm, codes: Any, *, source_keys: bool) -> tuple[Sequence[Finding], Any]:
        findings, finding_of = listed(view, algorithm, codes, source_keys=source_keys)
        list_id, loaded = next(iter(view.carriers(algorithm).items()))
        oldest = loaded.chains[algorithm][0]
        opinion = Opinion(list_id, loaded.generation.number, oldest.sets[_first_live_ref(oldest)][0], 1)
        unconfirmed = Finding(Verdict.MATCH, (opinion,))
        return (*findings, unconfirmed), np.where(finding_of < 0, len(findings), finding_of)

    listed = nearness.listed
    patch.setattr(near, "listed", changed)


def reach_one_bit_too_far(patch: pytest.MonkeyPatch) -> None:
    """What lies one bit beyond the distance counts as near."""

    def changed(*rest: Any) -> dict[str, int]:
        return {list_id: distance + 1 for list_id, distance in reach(*rest).items()}

    reach = Nearness.reach
    patch.setattr(Nearness, "reach", changed)


def cut_a_search_in_silence(patch: pytest.MonkeyPatch) -> None:
    """What was not searched counts as searched."""

    def changed(view: Any, held: Any, reach: Any, _flaws: Any, *, tell: bool) -> tuple[Finding, int]:
        return merge(view, held, reach, Flaw(0), tell=tell)

    merge = near.merge
    patch.setattr(near, "merge", changed)


def tell_one_opinion_alone(patch: pytest.MonkeyPatch) -> None:
    """Of what is said of a hash the first is told."""

    def changed(view: View, opinions: Sequence[Opinion], *rest: Any, **more: Any) -> Finding:
        return conclude(view, opinions[:1], *rest, **more)

    conclude = evaluation.conclude
    patch.setattr(evaluation, "conclude", changed)


BUGS: tuple[Bug, ...] = (
    skip_the_confirmation,
    swap_before_verify,
    accept_an_older_manifest,
    treat_a_missing_block_as_empty,
    ignore_suppressions,
    forget_what_was_lifted,
    drop_the_overlay,
    let_an_old_list_give_negatives,
    let_the_oldest_segment_win,
    count_a_roll_back_as_old,
    ask_for_no_approvals,
    take_what_came_for_all,
    take_near_values_unconfirmed,
    reach_one_bit_too_far,
    cut_a_search_in_silence,
    tell_one_opinion_alone,
)
